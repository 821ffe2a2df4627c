//! `libengram.so`, as a C program calls it.

use std::ffi::{CStr, CString, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::OnceLock;

use engram::ffi::{engram_arena, engram_arena_config, engram_column, engram_request, engram_status};

macro_rules! face {
    ($($name:ident: fn($($argument:ty),*) -> $result:ty;)*) => {
        /// The functions that are called and counted.
        #[allow(clippy::struct_field_names, reason = "the header's names")]
        pub(crate) struct Face {
            $(pub(crate) $name: unsafe extern "C" fn($($argument),*) -> $result,)*
        }

        impl Face {
            fn of(library: *mut c_void) -> Self {
                let symbol = |name: &CStr| {
                    // SAFETY: an open library, and a string.
                    let address = unsafe { libc::dlsym(library, name.as_ptr()) };
                    assert!(!address.is_null(), "the library has no {name:?}");
                    address
                };
                Self {
                    // SAFETY: the header gives the function this type.
                    $($name: unsafe {
                        std::mem::transmute::<*mut c_void, unsafe extern "C" fn($($argument),*) -> $result>(
                            symbol(CStr::from_bytes_with_nul(concat!(stringify!($name), "\0").as_bytes()).expect("a name")),
                        )
                    },)*
                }
            }
        }
    };
}

face! {
    engram_arena_config_init: fn(*mut engram_arena_config, usize) -> engram_status;
    engram_arena_open: fn(*const engram_arena_config, *mut *mut engram_arena) -> engram_status;
    engram_arena_close: fn(*mut engram_arena) -> engram_status;
    engram_column_acquire: fn(*mut engram_arena, u32, *mut *mut engram_column) -> engram_status;
    engram_column_release: fn(*mut engram_column) -> engram_status;
    engram_column_limit: fn(*mut engram_arena, u32, usize) -> engram_status;
    engram_column_alloc: fn(*mut engram_column, usize, usize, u32) -> *mut c_void;
    engram_column_free: fn(*mut engram_column, *mut c_void) -> engram_status;
    engram_alloc: fn(*mut engram_arena, u32, usize, usize, u32) -> *mut c_void;
    engram_free: fn(*mut engram_arena, *mut c_void) -> engram_status;
    engram_column_alloc_batch: fn(*mut engram_column, usize, usize, u32, usize, *mut *mut c_void) -> usize;
    engram_alloc_batch: fn(*mut engram_arena, *const engram_request, usize, u32, *mut *mut c_void) -> engram_status;
}

/// In the environment: the path of the library, if it is not that of this program's build.
const LIBRARY: &str = "ENGRAM_STEPS_LIBRARY";

/// The library, loaded at the first call.
pub(crate) fn face() -> &'static Face {
    static FACE: OnceLock<Face> = OnceLock::new();
    FACE.get_or_init(|| {
        let path = path();
        let name = CString::new(path.as_os_str().as_bytes()).expect("a path without zero bytes");
        // SAFETY: loading the library runs nothing but what the standard library needs.
        let library = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
        assert!(!library.is_null(), "cannot load {}", path.display());
        Face::of(library)
    })
}

fn path() -> PathBuf {
    std::env::var_os(LIBRARY).map_or_else(built_beside, PathBuf::from)
}

/// Where cargo puts the library: this program is `target/PROFILE/examples/steps`.
fn built_beside() -> PathBuf {
    let program = std::env::current_exe().expect("this program");
    let profile = program.ancestors().nth(2).expect("target/PROFILE");
    profile.join("deps/libengram.so")
}
