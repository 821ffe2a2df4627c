//! Gives the dynamic library its name: programs that are linked with it look for that one, not for the path by which the linker had it.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|system| system == "linux") {
        println!("cargo::rustc-link-arg-cdylib=-Wl,-soname,libengram.so");
    }
}
