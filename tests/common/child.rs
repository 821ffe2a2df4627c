//! Forked children that report through a pipe.
#![allow(dead_code, reason = "each test uses its part")]

use std::fs::File;
use std::io::Read;
use std::os::fd::FromRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The child's end of the pipe.
#[derive(Clone, Copy)]
pub(crate) struct Report(libc::c_int);

impl Report {
    /// Sends a line, by one system call and without allocating.
    pub(crate) fn say(self, line: &str) {
        for part in [line, "\n"] {
            // SAFETY: the bytes are there, and the pipe stays open as long as the child.
            unsafe { libc::write(self.0, part.as_ptr().cast(), part.len()) };
        }
    }
}

/// How a child ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    Exit(i32),
    Signal(i32),
}

/// How a child ended and the lines that it sent.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) end: End,
    pub(crate) said: Vec<String>,
}

impl Outcome {
    pub(crate) fn last(&self) -> &str {
        self.said.last().map_or("", String::as_str)
    }
}

/// Runs `child` in a forked process. It ends with 0 if `child` returns, with 101 if it panics.
pub(crate) fn fork(child: impl FnOnce(Report)) -> Outcome {
    let mut ends = [0; 2];
    // SAFETY: room for two descriptors.
    assert_eq!(unsafe { libc::pipe(ends.as_mut_ptr()) }, 0);
    // SAFETY: the child goes on in this thread alone, and leaves by `_exit`.
    match unsafe { libc::fork() } {
        -1 => panic!("{}", std::io::Error::last_os_error()),
        0 => {
            let end = catch_unwind(AssertUnwindSafe(|| child(Report(ends[1]))));
            // SAFETY: always sound; nothing of the parent's is run or dropped.
            unsafe { libc::_exit(if end.is_ok() { 0 } else { 101 }) }
        }
        pid => {
            // SAFETY: the parent's copy of the child's end, which nobody uses.
            unsafe { libc::close(ends[1]) };
            let said = hear(ends[0]);
            Outcome { end: wait(pid), said }
        }
    }
}

fn hear(end: libc::c_int) -> Vec<String> {
    let mut said = String::new();
    // SAFETY: the descriptor is open and ours alone.
    let mut pipe = unsafe { File::from_raw_fd(end) };
    pipe.read_to_string(&mut said).expect("the pipe can be read");
    said.lines().map(str::to_owned).collect()
}

fn wait(pid: libc::pid_t) -> End {
    let mut status = 0;
    // SAFETY: our own child, waited for once.
    assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
    if libc::WIFSIGNALED(status) { End::Signal(libc::WTERMSIG(status)) } else { End::Exit(libc::WEXITSTATUS(status)) }
}
