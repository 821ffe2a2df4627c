//! Compiles C programs with every warning an error, and links them with the library.
#![allow(dead_code, reason = "each test uses its part")]

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

pub(crate) const C: [&str; 5] = ["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror"];

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Where the programs go.
pub(crate) fn folder() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
}

/// Runs a command that must succeed.
pub(crate) fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// The folder with the static and the dynamic library: what this test's own crate was built as, in its profile.
pub(crate) fn libraries() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let test = std::env::current_exe().expect("this test's path");
        let built = test.parent().expect("target/PROFILE/deps").to_owned();
        assert!(built.join("libengram.a").exists() && built.join("libengram.so").exists(), "no library in {}", built.display());
        built
    })
}

pub(crate) fn compiler() -> OsString {
    std::env::var_os("CC").unwrap_or_else(|| "cc".into())
}

/// A compiler that finds the headers and takes no warning.
pub(crate) fn strict(compiler: impl AsRef<std::ffi::OsStr>, flags: &[&str]) -> Command {
    let mut command = Command::new(compiler);
    command.args(flags).arg("-O1").arg("-I").arg(root().join("include")).arg("-I").arg(root().join("tests/c"));
    command
}

/// Compiles a program and links it with the static library.
pub(crate) fn program(compiler: impl AsRef<std::ffi::OsStr>, flags: &[&str], source: &str) -> PathBuf {
    let program = folder().join(format!("c_face-{}", source.replace(['/', '.'], "-")));
    let mut command = strict(compiler, flags);
    command.arg(root().join(source)).arg(libraries().join("libengram.a")).args(["-lpthread", "-ldl", "-lm", "-o"]);
    run(command.arg(&program));
    program
}

pub(crate) fn run_c(source: &str) -> String {
    let output = run(&mut Command::new(program(compiler(), &C, source)));
    String::from_utf8(output.stdout).expect("output in UTF-8")
}
