//! Runs the program and gives it traces.
#![allow(dead_code, missing_docs, reason = "each test uses its part")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

#[path = "../../src/bin/engram/trace/writer.rs"]
pub mod writer;

/// Runs `engram` with its output in pipes.
pub fn engram<A: AsRef<std::ffi::OsStr>>(arguments: impl IntoIterator<Item = A>) -> Output {
    Command::new(env!("CARGO_BIN_EXE_engram")).args(arguments).stdin(Stdio::null()).output().unwrap()
}

/// Runs `engram` with nobody who reads its standard output.
pub fn unread<A: AsRef<std::ffi::OsStr>>(arguments: impl IntoIterator<Item = A>) -> Output {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut program = Command::new(env!("CARGO_BIN_EXE_engram"));
    program.args(arguments).stdin(Stdio::null()).stdout(writer).stderr(Stdio::piped());
    program.spawn().unwrap().wait_with_output().unwrap()
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Fails unless the program ended with this code, wrote nothing to standard output, and one line to standard error that
/// begins with its name; that line without it.
pub fn refusal(output: &Output, code: i32) -> String {
    let said = stderr(output);
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert_eq!(stdout(output), "");
    assert_eq!(said.lines().count(), 1, "{said}");
    said.trim_end().strip_prefix("engram: ").unwrap_or_else(|| panic!("{said}")).to_owned()
}

/// A file that goes away with the test.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new(name: &str, bytes: &[u8]) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{name}", std::process::id()));
        std::fs::write(&path, bytes).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn name(&self) -> String {
        self.0.display().to_string()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
