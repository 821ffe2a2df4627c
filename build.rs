//! Refuses what is not 64-bit, and gives the dynamic library its name: programs that are linked with it look for that one, not for the path
//! by which the linker had it. A dynamic library that only uses the crate has a name of its own: cargo would hand it this one, too.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let target = |what: &str| std::env::var(format!("CARGO_CFG_TARGET_{what}")).unwrap_or_default();
    if target("POINTER_WIDTH") != "64" {
        println!("cargo::error=engram needs a 64-bit platform: an arena reserves up to 1 TiB of address space");
    }
    let is_built_itself = option_env!("CARGO_PRIMARY_PACKAGE").is_some();
    if is_built_itself && target("OS") == "linux" {
        println!("cargo::rustc-link-arg-cdylib=-Wl,-soname,libengram.so");
    }
}
