use super::*;
use crate::service::{AllocationRequest, AllocationServiceConfig};

/// Seen with: all that were visited.
#[test]
fn an_id_that_is_freed_and_comes_again_while_all_are_listed_is_listed_once() {
    let config = AllocationServiceConfig { capacity_bytes: 4 << 20, columns: 2, ..Default::default() };
    let service = MemoryAllocationService::open(config).unwrap();
    let come = |id: &str| drop(service.allocate_memory(AllocationRequest::new(id, ConceptType::ENTITY, "content")).unwrap());
    let go = |id: &str| drop(service.deallocate_memory(id.into()).unwrap());
    ["cat", "dog", "hen"].into_iter().for_each(come);
    go("hen");
    let mut nodes = Vec::new();
    service.registry.each_live(|node, _| {
        if nodes.is_empty() {
            go("cat");
            // This one gets its number, and it that of the hen, which is still to be visited.
            ["ant", "cat"].into_iter().for_each(come);
        }
        nodes.push(node.clone());
    });
    let visited: Vec<_> = nodes.iter().map(|node| node.id()).collect();
    assert_eq!(visited, [b"cat", b"dog", b"cat"]);
    let mut ids = service.ids_of(&nodes);
    ids.sort_unstable();
    assert_eq!(ids, ["cat", "dog"]);
}
