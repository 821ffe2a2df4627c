use super::{Opener, wiped_in_children};

/// What the child says, which may name no more than it has: it goes on in this thread alone.
fn child(fork: impl FnOnce() -> libc::c_long, is_well: impl FnOnce() -> bool) -> bool {
    match fork() {
        // SAFETY: always sound; nothing of the parent's is run or dropped.
        0 => unsafe { libc::_exit(i32::from(!is_well())) },
        pid => {
            let mut status = 0;
            // SAFETY: our own child, waited for once.
            assert_eq!(unsafe { libc::waitpid(pid as libc::pid_t, &raw mut status, 0) }, pid as libc::pid_t);
            status == 0
        }
    }
}

/// Seen with: a page that children have as it is.
#[test]
fn a_child_is_another_process_and_so_is_its_child_however_they_are_forked() {
    // SAFETY: the child leaves by `_exit`.
    let fork = || libc::c_long::from(unsafe { libc::fork() });
    // The C library hears nothing of it. SAFETY: as `fork`; no new stack, no new memory.
    let raw = || unsafe { libc::syscall(libc::SYS_clone, libc::c_long::from(libc::SIGCHLD), 0, 0, 0, 0) };
    let [this, again] = [(); 2].map(|()| Opener::this());
    assert!(wiped_in_children().is_some() && this == again && this.is_this());
    let well = child(fork, || {
        let own = Opener::this();
        own != this && own.is_this() && child(raw, || !own.is_this() && !this.is_this() && Opener::this().is_this()) && own.is_this()
    });
    assert!(well && child(raw, || !this.is_this() && Opener::this().is_this()) && this.is_this());
}
