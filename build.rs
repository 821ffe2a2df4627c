//! Refuses what is not 64-bit, and gives the dynamic library its name: programs that are linked with it look for that one, not for the path
//! by which the linker had it.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let target = |what: &str| std::env::var(format!("CARGO_CFG_TARGET_{what}")).unwrap_or_default();
    if target("POINTER_WIDTH") != "64" {
        println!("cargo::error=engram needs a 64-bit platform: an arena reserves up to 1 TiB of address space");
    }
    if target("OS") == "linux" {
        println!("cargo::rustc-link-arg-cdylib=-Wl,-soname,libengram.so");
    }
}
