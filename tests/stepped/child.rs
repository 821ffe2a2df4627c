//! Child processes: forked, killed, and stepped through instruction by instruction.

use std::ffi::c_int;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::promises::{children_before, is_child, run_again};

/// A child; it is killed when this is dropped.
pub(crate) struct Child {
    pid: libc::pid_t,
    ended: bool,
}

/// What a child stopped with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    Signal(c_int),
    Exit(c_int),
    Killed(c_int),
}

impl Child {
    /// Runs `child` in a forked process. In a test that `ran_alone`: a lock that another thread has at this moment stays locked in
    /// the child.
    pub(crate) fn fork(child: impl FnOnce()) -> Self {
        // SAFETY: the child goes on in this thread alone, and leaves by `_exit`.
        match unsafe { libc::fork() } {
            -1 => panic!("{}", std::io::Error::last_os_error()),
            0 => {
                std::panic::set_hook(Box::new(|info| say(&format!("in the child: {info}\n"))));
                let end = catch_unwind(AssertUnwindSafe(child));
                // SAFETY: always sound; nothing of the parent's is run or dropped.
                unsafe { libc::_exit(if end.is_ok() { 0 } else { 101 }) }
            }
            pid => Self { pid, ended: false },
        }
    }

    /// Waits until it stops or ends.
    pub(crate) fn wait(&mut self) -> Stop {
        let mut status = 0;
        loop {
            // SAFETY: our own child, which has not been waited for to its end.
            let pid = unsafe { libc::waitpid(self.pid, &raw mut status, 0) };
            if pid == self.pid {
                break;
            }
            assert_eq!(std::io::Error::last_os_error().kind(), std::io::ErrorKind::Interrupted);
        }
        if libc::WIFSTOPPED(status) {
            return Stop::Signal(libc::WSTOPSIG(status));
        }
        self.ended = true;
        if libc::WIFSIGNALED(status) { Stop::Killed(libc::WTERMSIG(status)) } else { Stop::Exit(libc::WEXITSTATUS(status)) }
    }

    /// Whether it has ended by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        // SAFETY: our own child, which has not been waited for to its end.
        self.ended = self.ended || unsafe { libc::waitpid(self.pid, core::ptr::null_mut(), libc::WNOHANG) } == self.pid;
        self.ended
    }

    /// Kills it by SIGKILL, and waits until it is gone.
    pub(crate) fn kill(mut self) -> Stop {
        self.end()
    }

    fn end(&mut self) -> Stop {
        // SAFETY: our own child, which has not been waited for to its end.
        unsafe { libc::kill(self.pid, libc::SIGKILL) };
        loop {
            let stop = self.wait();
            if self.ended {
                return stop;
            }
        }
    }

    /// Executes one instruction of it, which has stopped.
    pub(crate) fn step(&mut self) {
        assert!(self.step_or_stop(), "after one instruction");
    }

    /// The same; false if it stopped for another reason: at the end of what is stepped through.
    pub(crate) fn step_or_stop(&mut self) -> bool {
        // SAFETY: our own child, stopped; nothing is read or written here.
        let stepped = unsafe { libc::ptrace(libc::PTRACE_SINGLESTEP, self.pid, core::ptr::null_mut::<u8>(), core::ptr::null_mut::<u8>()) };
        assert_eq!(stepped, 0, "{}", std::io::Error::last_os_error());
        self.wait() == Stop::Signal(libc::SIGTRAP)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if !self.ended {
            self.end();
        }
    }
}

/// Runs the test that calls this in a process of its own, and says so; false in that process. So a test may fork, and other tests
/// go on beside it: whatever they have locked or opened, its children do not have.
pub(crate) fn ran_alone() -> bool {
    if is_child() {
        return false;
    }
    let thread = std::thread::current();
    let test = thread.name().expect("that of its test");
    let output = run_again(test);
    let [said, errors] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    println!("{said}");
    eprintln!("{errors}");
    assert!(output.status.success() && said.contains("ok. 1 passed;"), "{test}: {}", output.status);
    true
}

/// Keeps this thread, and its children, on one processor: to step from one process to the other is quicker there. Tests that run
/// side by side take one each.
pub(crate) fn stay_on_one_processor() {
    let before = children_before().unwrap_or(0);
    // SAFETY: room for a set; zero is an empty one.
    let mut all: libc::cpu_set_t = unsafe { core::mem::zeroed() };
    // SAFETY: as large as told.
    if unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut all) } != 0 {
        return;
    }
    // SAFETY: numbers that a set has room for.
    let ours: Vec<_> = (0..libc::CPU_SETSIZE as usize).filter(|&processor| unsafe { libc::CPU_ISSET(processor, &all) }).collect();
    // SAFETY: as above.
    let mut one: libc::cpu_set_t = unsafe { core::mem::zeroed() };
    // SAFETY: as above; where it is refused it only takes longer.
    unsafe {
        libc::CPU_SET(ours[before % ours.len()], &mut one);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const one);
    }
}

/// In a child: lets the parent step through it from here on.
pub(crate) fn stop_to_be_stepped() {
    // SAFETY: no pointers; the parent is there.
    unsafe {
        assert_eq!(libc::ptrace(libc::PTRACE_TRACEME, 0, core::ptr::null_mut::<u8>(), core::ptr::null_mut::<u8>()), 0);
        assert_eq!(libc::raise(libc::SIGSTOP), 0);
    }
}

/// In a child: it is killed after so many nanoseconds, whatever it does then, and whether or not the parent runs.
pub(crate) fn be_killed_after(nanoseconds: usize) {
    // SAFETY: plain numbers and pointers, for which zero is valid; room for the timer.
    unsafe {
        let mut event: libc::sigevent = core::mem::zeroed();
        event.sigev_notify = libc::SIGEV_SIGNAL;
        event.sigev_signo = libc::SIGKILL;
        let mut timer: libc::timer_t = core::mem::zeroed();
        assert_eq!(libc::timer_create(libc::CLOCK_MONOTONIC, &raw mut event, &raw mut timer), 0);
        let mut when: libc::itimerspec = core::mem::zeroed();
        when.it_value.tv_sec = (nanoseconds / 1_000_000_000) as libc::time_t;
        when.it_value.tv_nsec = (nanoseconds % 1_000_000_000) as libc::c_long + 1;
        assert_eq!(libc::timer_settime(timer, 0, &raw const when, core::ptr::null_mut()), 0);
    }
}

/// Writes to standard error, past what the test runner captures.
fn say(text: &str) {
    // SAFETY: the bytes are there.
    unsafe { libc::write(2, text.as_ptr().cast(), text.len()) };
}
