//! Where the code of the fast path lies: each of its functions begins a line of 64 bytes, and they lie side by side.
//!
//! A processor fetches code by the line. The compiler aligns functions to 16 bytes, so what lies before them decided how fast they
//! were: up to a quarter, from one build to the next. A function is in a section of its own (`link_section`); that the section begins
//! a line is said here. It holds wherever one object file has both, as in any optimised build of a single codegen unit or with LTO;
//! elsewhere the functions lie where they come to lie.

/// Aligns the sections of these names.
macro_rules! begin_lines {
    ($($name:literal)*) => {
        core::arch::global_asm!($(
            concat!(".pushsection .text.engram.", $name, ", \"ax\", %progbits"),
            ".p2align 6",
            ".popsection",
        )*);
    };
}

begin_lines!("alloc" "check_out" "free" "refill" "spill");
