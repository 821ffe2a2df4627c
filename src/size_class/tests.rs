use super::*;

#[test]
fn every_size_has_the_smallest_class_that_holds_it_and_wastes_at_most_an_eighth() {
    for size in 1..=MEDIUM_MAX {
        let class = class_of(size);
        let bytes = CLASSES[class].bytes as usize;
        assert!(bytes >= size, "C1: {size} in {bytes}");
        assert_eq!(small_class_of(size).map(|class| usize::from(class.index)), (size <= SMALL_MAX).then_some(class));
        assert!(class == 0 || (CLASSES[class - 1].bytes as usize) < size, "C1: {size}");
        assert!(bytes - size < GRANULE || (size >= 128 && (bytes - size) * 8 <= size), "{size} takes {bytes}");
    }
}

#[test]
fn runs_leave_over_at_most_a_sixteenth_and_units_are_exact() {
    for (index, class) in CLASSES[..CLASS_COUNT].iter().enumerate() {
        let run = class.spans as usize * SPAN;
        let used = class.slots as usize * class.bytes as usize;
        assert!(used <= run && class.spans <= 64);
        for of_cell in class.of_cells {
            assert!(if class.bytes as usize > SPAN { of_cell.stack <= 1 } else { of_cell.stack >= 4 });
        }
        if index >= SMALL_CLASSES {
            assert!((run - used) * 16 <= run, "C3: {}", class.bytes);
            assert!((class.bytes as usize) < SPAN || (run == used && class.slots <= 8 && class.spans <= 15), "C3: {}", class.bytes);
        }
        let mut units = 0u64;
        for slot in 0..u64::from(class.slots) {
            let granule = slot * u64::from(class.bytes) / 16;
            let unit = class.unit(granule);
            units |= 1 << unit;
            if class.by_word {
                assert_eq!(u64::from(unit), granule / 64);
                assert_ne!(pattern(index, unit) >> (granule % 64) & 1, 0);
            } else {
                assert_eq!(u64::from(unit), slot);
            }
        }
        assert_eq!(units, class.units, "{}", class.bytes);
        if class.by_word {
            let starts: u32 = (0..32).map(|unit| pattern(index, unit).count_ones()).sum();
            assert_eq!(starts, u32::from(class.slots));
        }
    }
}

#[test]
fn good_sizes_are_what_the_classes_say() {
    let capacity = 64 << 20;
    assert_eq!(good_size(0, capacity), None);
    assert_eq!(good_size(1, capacity), Some(16));
    assert_eq!(good_size(4097, capacity), Some(4608));
    assert_eq!(good_size(MEDIUM_MAX + 1, capacity), Some(MEDIUM_MAX + SPAN));
    assert_eq!(good_size(CHUNK + 1, capacity), Some(2 * CHUNK));
    assert_eq!(good_size(capacity, capacity), Some(capacity));
    assert_eq!(good_size(capacity + 1, capacity), None);
    assert_eq!(good_size(usize::MAX, capacity), None);
}
