use super::*;

/// Seen with: the fields of a request in another order.
#[test]
fn the_words_of_requests_are_those_of_each() {
    let request = |index: u32| engram_request { size: index as usize + 1, align: 1 << (index % 9), column: !index, ttfs_ns: index * 77 };
    let requests: Vec<_> = (0..RUN as u32).map(request).collect();
    let words: Vec<_> = requests.iter().map(|request| request.words()).collect();
    assert_eq!(engram_request::words_of(&requests, &mut [[0; 3]; RUN]), words);
}
