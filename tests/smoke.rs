//! Smoke.
use engram::*;
#[test]
fn churn() {
    let arena = Arena::builder().capacity(64 << 20).columns(8).build().unwrap();
    let col = arena.column(ColumnId::new(1)).unwrap();
    let mut s = 88172645463325252u64;
    let mut rnd = || {
        s ^= s << 13;
        s ^= s >> 7;
        s ^= s << 17;
        s
    };
    let mut v: Vec<(std::ptr::NonNull<u8>, usize, u8)> = vec![];
    for i in 0..300_000u64 {
        if v.len() > 3000 || (v.len() > 0 && rnd() % 3 == 0) {
            let k = rnd() as usize % v.len();
            let (p, n, t) = v.swap_remove(k);
            unsafe {
                assert_eq!(*p.as_ptr(), t);
                assert_eq!(*p.as_ptr().add(n - 1), t);
                if rnd() % 4 == 0 { arena.free(p).unwrap() } else { col.free(p).unwrap() }
            }
        } else {
            let n = match rnd() % 100 {
                0..90 => rnd() % 1024 + 1,
                90..98 => rnd() % 40000 + 1,
                _ => rnd() % 600000 + 1,
            } as usize;
            let spike = SpikeTime::from_nanos(rnd() as u32 >> (rnd() % 12));
            let p = if rnd() % 8 == 0 {
                arena
                    .alloc_batch(
                        &[Request { size: n, align: 16, column: Some(ColumnId::new(1)), spike }],
                        BatchFlags::ORDERED,
                        &mut [std::ptr::null_mut(); 1],
                    )
                    .ok();
                arena.alloc(Some(ColumnId::new(1)), std::alloc::Layout::from_size_align(n, 64).unwrap(), spike)
            } else {
                col.alloc(n, 16, spike)
            };
            let Ok(p) = p else { continue };
            let t = i as u8;
            unsafe {
                *p.as_ptr() = t;
                *p.as_ptr().add(n - 1) = t;
            }
            v.push((p, n, t));
        }
        if i % 10_000 == 0 || i < 5000 {
            arena.verify().unwrap();
        }
    }
    println!("{:?}", arena.metrics());
    for (p, _, _) in v {
        unsafe { col.free(p).unwrap() }
    }
    arena.verify().unwrap();
    unsafe { col.reset() };
    arena.verify().unwrap();
    println!("{:?}", arena.metrics());
    assert_eq!(arena.metrics().bytes_live, 0);
    drop(col);
    arena.maintain(std::time::Duration::from_secs(1)).unwrap();
    arena.verify().unwrap();
    println!("{:?}", arena.metrics());
    let p = arena.alloc(None, std::alloc::Layout::from_size_align(64 << 20, 16).unwrap(), SpikeTime::NONE).unwrap();
    unsafe { arena.free(p).unwrap() };
    arena.verify().unwrap();
}
