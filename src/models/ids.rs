//! The map from ids to nodes: an id that is there is found, whatever happens to others meanwhile, and is there once.

use std::sync::Arc;

use super::fixture::check;
use crate::service::ids::{Ids, Retired};
use crate::service::node::Node;
use crate::sync::Ordering::Relaxed;
use loom::thread;

/// A hash for each id: all in one place, so that they stand in each other's way.
const HASH: u64 = 3;

/// Makes an id known, as `Registry::make` does. What was retired is kept: nobody is pinned in a model.
fn make(ids: &Ids, id: &str, number: u32) -> (u32, Option<Retired>) {
    let mut writer = ids.lock(HASH);
    if let Some(node) = writer.find(id.as_bytes()) {
        return (node.number, None);
    }
    let node = Node::new(id, number);
    // A node is whole once this is not 0.
    node.reads.store(number, Relaxed);
    (number, writer.insert(Arc::new(node)))
}

/// The number of an id that is found; 0 if its node is not whole.
fn number_of(ids: &Ids, id: &str) -> Option<u32> {
    // SAFETY: nothing that was retired is dropped before the threads are joined.
    unsafe { ids.find(HASH, id.as_bytes()).map(|node| node.as_ref().reads.load(Relaxed)) }
}

/// A reader that misses an id, or finds it not whole, while its table gives way to another.
/// Seen with: `Writer::grow` publishing the new table before it is filled, or relaxed; `Writer::put` storing relaxed;
/// `Shard::table` loading relaxed.
#[test]
fn an_id_is_found_while_others_come_and_go() {
    check(3, || {
        let ids = Arc::new(Ids::new());
        let first = make(&ids, "stays", 7);
        let other = {
            let ids = ids.clone();
            thread::spawn(move || {
                let gone = make(&ids, "goes", 1);
                let removed = ids.lock(HASH).remove(b"goes");
                (gone, removed, make(&ids, "comes", 2), make(&ids, "comes too", 3))
            })
        };
        assert_eq!(number_of(&ids, "stays"), Some(7));
        assert!(matches!(number_of(&ids, "goes"), None | Some(1)));
        assert!(matches!(number_of(&ids, "comes"), None | Some(2)));
        assert_eq!(number_of(&ids, "stays"), Some(7));
        let others = other.join().unwrap();
        assert_eq!([number_of(&ids, "goes"), number_of(&ids, "comes"), number_of(&ids, "comes too")], [None, Some(2), Some(3)]);
        drop((first, others));
    });
}

/// Two nodes for one id.
/// Seen with: `make` not looking again under the lock; `Writer::put` taking a place without the lock.
#[test]
fn of_two_who_make_one_id_known_both_have_the_same_node() {
    check(3, || {
        let ids = Arc::new(Ids::new());
        let others = [1, 2].map(|number| {
            let ids = ids.clone();
            thread::spawn(move || make(&ids, "id", number))
        });
        let [one, other] = others.map(|other| other.join().unwrap());
        assert_eq!(one.0, other.0);
        assert_eq!(number_of(&ids, "id"), Some(one.0));
    });
}
