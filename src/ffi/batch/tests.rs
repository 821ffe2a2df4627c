use super::*;

/// Seen with: the fields of a request in another order.
#[test]
fn the_words_of_requests_are_those_of_each() {
    let request = |index: u32| engram_request { size: index as usize + 1, align: 1 << (index % 9), column: !index, ttfs_ns: index * 77 };
    let requests: Vec<_> = (0..RUN as u32).map(request).collect();
    let words: Vec<_> = requests.iter().map(|request| request.words()).collect();
    assert_eq!(engram_request::words_of(&requests, &mut [[0; 3]; RUN]), words);
}

/// Seen with: a count of what was undone.
#[test]
fn of_an_atomic_batch_that_is_refused_nothing_was_served() {
    use super::super::{engram_arena_close, engram_arena_open};
    let mut arena = null_mut();
    // SAFETY: the default config; the arena is closed below, and what is written to is as long as it is said to be.
    unsafe {
        assert_eq!(engram_arena_open(core::ptr::null(), &raw mut arena), ENGRAM_OK);
        let request = |size| engram_request { size, align: 0, column: 0, ttfs_ns: 0 };
        let requests = [request(64), request(100), request(1 << 40)];
        let (mut out, mut served) = ([core::ptr::dangling_mut(); 3], 7);
        let status = engram_alloc_batch(arena, requests.as_ptr(), 3, ENGRAM_BATCH_ATOMIC, out.as_mut_ptr(), &raw mut served);
        assert!(status != ENGRAM_OK && served == 0 && out == [null_mut(); 3], "{status}, {served}");
        let status = engram_alloc_batch(arena, requests.as_ptr(), 3, 0, out.as_mut_ptr(), &raw mut served);
        assert!(status != ENGRAM_OK && served == 2 && out[2].is_null(), "{status}, {served}");
        assert_eq!(engram_arena_close(arena), ENGRAM_OK);
    }
}
