//! A few concepts, placed and visited.

use super::*;

fn concepts() -> Concepts {
    let lines: Vec<_> =
        (0..300).map(|n| format!("n{n}\tnoun\t{}\t{}\n", "ab".repeat(1 + n * 7 % 13), "gloss ".repeat(1 + n % 40))).collect();
    Concepts::parse(format!("id\ttype\tlemmas\tgloss\n{}", lines.concat()).into_bytes()).unwrap()
}

#[test]
fn every_placement_holds_every_concept_and_every_walk_finds_all_of_it() {
    let concepts = concepts();
    let stores = [Store::malloc(&concepts), Store::singles(&concepts).unwrap(), Store::batch(&concepts).unwrap()];
    for store in &stores {
        assert_eq!(store.records().len(), 300);
        for order in [concepts.order(|concept| concept.spike_ns), store.order_of_addresses()] {
            let visits = Visits::new(store, &order);
            assert_eq!((visits.walk(false), visits.walk(true)), (concepts.sum(), concepts.sum()));
        }
    }
}

#[test]
fn the_chain_goes_by_spike_time_and_ends() {
    let concepts = concepts();
    let store = Store::malloc(&concepts);
    let order = concepts.order(|concept| concept.spike_ns);
    let _visits = Visits::new(&store, &order);
    let mut seen = Vec::new();
    let mut next = store.records()[order[0] as usize].as_ptr();
    while !next.is_null() {
        // SAFETY: X1, X2: a record of the store's, which lives.
        let header = unsafe { &*next };
        seen.push(header.spike_ns);
        next = header.next;
    }
    assert_eq!(seen.len(), 300);
    assert!(seen.is_sorted());
}

#[test]
fn a_changed_byte_is_noticed() {
    let concepts = concepts();
    let store = Store::malloc(&concepts);
    // SAFETY: X1, X2: a record of the store's, whose content has at least three bytes.
    unsafe { *store.records()[17].add(1).cast::<u8>().add(2).as_ptr() ^= 4 };
    let mut bench = Bench { concepts: &concepts, caches: Caches::new(), series: Default::default(), damaged: 0 };
    bench.visit(Order::All, 0, &store, &concepts.order(|concept| concept.spike_ns));
    // Two warm ways of two walks each, two cold ones of one.
    assert_eq!(bench.damaged, 6);
    assert!(bench.series[..4].iter().all(|way| way[0].len() == 1));
}
