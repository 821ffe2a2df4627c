#![allow(missing_docs)]
use engram::{Arena, ColumnId, SpikeTime};
#[test]
fn stale_collect() {
    let arena = Arena::builder().capacity(8 << 20).columns(2).build().unwrap();
    let column = arena.column(ColumnId::new(0)).unwrap();
    let get = || column.alloc(64, 16, SpikeTime::NONE).unwrap();
    let mut a: Vec<_> = (0..1024).map(|_| get()).collect();
    a.sort();
    let other = a.split_off(512);
    let unit = |u: usize, i: usize| u * 16 + i;
    let mut back = vec![];
    unsafe {
        for u in [5, 6] {
            arena.free(a[unit(u, 0)]).unwrap();
        }
        back.push(get()); // accepts {5,6}, checks 5 out
        for u in [5, 6] {
            arena.free(a[unit(u, 1)]).unwrap();
        } // announced anew
        back.push(get());
        back.push(get()); // unit 6: both slots
        arena.verify().unwrap();
        let x = get();
        back.push(x); // accepts {5,6}: 5 checked out, 6 is stale
        arena.verify().unwrap();
        // everything of the span is freed by the holder, then blocks of another span push it out of the stack
        arena.verify().unwrap();
        for p in &other[1..] {
            column.free(*p).unwrap();
        }
        let gone = [unit(5, 0), unit(6, 0), unit(5, 1), unit(6, 1)];
        for (i, p) in a.iter().enumerate() {
            if !gone.contains(&i) {
                column.free(*p).unwrap();
            }
        }
        for p in back {
            column.free(p).unwrap();
        }
        column.free(other[0]).unwrap();
        println!("before {:?}", arena.metrics().bytes_committed);
        arena.verify().unwrap();
        let again: Vec<_> = (0..2000)
            .map(|i| {
                let p = get();
                if let Err(e) = arena.verify() {
                    panic!("after {i}: {e}");
                }
                p
            })
            .collect();
        for p in again {
            column.free(p).unwrap();
        }
        arena.verify().unwrap();
    }
}
