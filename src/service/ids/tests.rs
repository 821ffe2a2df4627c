use super::*;

/// Rounds: an interpreter is slow.
const ROUNDS: usize = if cfg!(miri) { 200 } else { 100_000 };

fn make(ids: &Ids, hash: u64, id: &str) -> Option<Retired> {
    ids.lock(hash).insert(Arc::new(Node::new(id, 0)))
}

/// Who comes and goes takes the same place again: nothing grows, and nothing is moved.
#[test]
fn an_id_that_comes_and_goes_makes_no_table_grow() {
    let ids = Ids::new();
    for other in 0..ROUNDS as u64 / 100 {
        drop(make(&ids, other.wrapping_mul(0x9e37_79b9_7f4a_7c15), &other.to_string()));
    }
    drop(make(&ids, 5, "id"));
    drop(ids.lock(5).remove(b"id"));
    for _ in 0..ROUNDS {
        assert!(make(&ids, 5, "id").is_none(), "a new table");
        assert!(ids.lock(5).remove(b"id").is_some());
    }
}

/// Against a map of the standard library; hashes that meet in one place.
#[test]
fn ids_are_there_exactly_while_they_are_in() {
    let ids = Ids::new();
    let mut known = std::collections::HashSet::new();
    let mut state = 1_u64;
    for _ in 0..ROUNDS / 2 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let id = (state >> 33) % 300;
        let (hash, name) = (id % 7 + ((id % 3) << 32), id.to_string());
        if known.remove(&id) {
            drop(ids.lock(hash).remove(name.as_bytes()).expect("it is in"));
        } else {
            assert!(ids.lock(hash).find(name.as_bytes()).is_none() && ids.lock(hash).remove(name.as_bytes()).is_none());
            drop(make(&ids, hash, &name));
            known.insert(id);
        }
        let looked = (state >> 20) % 300;
        // SAFETY: nobody else has the map.
        let found = unsafe { ids.find(looked % 7 + ((looked % 3) << 32), looked.to_string().as_bytes()) };
        assert_eq!(found.is_some(), known.contains(&looked));
    }
}
