//! The column that the calling thread holds, in thread-local storage of the initial-exec model.
//!
//! That is how the peers keep their threads' heaps. A `thread_local!` in a shared library calls `__tls_get_addr` in each
//! operation instead, which a program that holds its column in a variable never pays, and stable Rust offers no choice.

use crate::abi::Column;
use core::arch::{asm, global_asm};

global_asm!(
    ".pushsection .tbss.ad_column, \"awT\", @nobits",
    ".globl ad_column",
    ".hidden ad_column",
    ".type ad_column, @object",
    ".size ad_column, 8",
    ".p2align 3",
    "ad_column:",
    ".zero 8",
    ".popsection",
);

/// The calling thread's column; null if it holds none.
#[inline]
pub fn column() -> *mut Column {
    let column;
    // SAFETY: reads the calling thread's own word, which exists as long as the thread.
    unsafe {
        asm!(
            "mov {column}, qword ptr [rip + ad_column@GOTTPOFF]",
            "mov {column}, qword ptr fs:[{column}]",
            column = out(reg) column,
            options(nostack, readonly, preserves_flags),
        );
    }
    column
}

/// Makes `column` the calling thread's.
pub fn set_column(column: *mut Column) {
    // SAFETY: writes the calling thread's own word, which no Rust reference points to.
    unsafe {
        asm!(
            "mov {place}, qword ptr [rip + ad_column@GOTTPOFF]",
            "mov qword ptr fs:[{place}], {column}",
            place = out(reg) _,
            column = in(reg) column,
            options(nostack, preserves_flags),
        );
    }
}
