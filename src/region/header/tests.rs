use super::*;

fn described() -> Described {
    Described { columns: 7, rows: 2, extent: Extent::fresh(3, 5 * PAGE) }
}

#[test]
fn a_header_says_what_was_written_and_every_changed_bit_of_it_is_seen_or_does_not_matter() {
    let mut copied = Copied::new(described());
    assert_eq!(copied.read(), Ok(Found::Nothing));
    copied.0[STATE] = OPEN;
    assert_eq!(copied.read(), Ok(Found::Unclosed(described())));
    copied.close();
    assert_eq!(copied.read(), Ok(Found::Closed(described())));
    let again = Copied::from_bytes(&copied.to_bytes());
    assert_eq!(again.read(), copied.read());
    for word in 0..EXTENTS + EXTENT_WORDS {
        for bit in 0..64 {
            let mut changed = Copied(copied.0.clone());
            changed.0[word] ^= 1 << bit;
            match changed.read() {
                Err(_) => {}
                Ok(found) => {
                    let harmless = word == ALIGNMENT || word >= EXTENTS + 5;
                    assert!(harmless && found == Found::Closed(described()), "word {word} bit {bit}");
                }
            }
        }
    }
}

#[test]
fn a_header_that_was_cut_short_after_any_store_is_nothing_yet() {
    let whole = Copied::new(described());
    let another = Copied::new(Described { columns: 5, ..described() });
    // In fresh memory, and in that of a creation that was cut short before it was open.
    for before in [Copied(vec![0; WORDS].into()), another] {
        let mut part = before;
        for (index, word) in whole.stores() {
            assert!(part.is_zero() || part.read() == Ok(Found::Nothing), "before word {index}: {:?}", part.read());
            part.0[index] = word;
        }
        assert_eq!((&part.0, part.read()), (&whole.0, Ok(Found::Nothing)));
    }
}

#[test]
fn a_header_whose_check_fits_but_whose_numbers_do_not_is_refused() {
    let good = described().extent;
    let wrong = [
        Extent { chunks: 0, ..good },
        Extent { chunks: usize::MAX, ..good },
        Extent { data: 0, ..good },
        Extent { data: good.data + 1, ..good },
        Extent { metadata: good.data + CHUNK, ..good },
        Extent { metadata: usize::MAX - 4095, ..good },
        Extent { metadata_bytes: usize::MAX - 4095, ..good },
    ];
    for extent in wrong {
        let mut copied = Copied::new(Described { extent, ..described() });
        copied.0[STATE] = CLOSED;
        assert!(copied.read().is_err(), "{extent:?}");
    }
}
/// Seen with: no look at the geometry.
#[test]
fn a_header_of_spans_or_chunks_of_another_size_is_refused() {
    for geometry in [GEOMETRY + 1, GEOMETRY + (1 << 24), GEOMETRY << 1, 0] {
        let mut copied = Copied::new(described());
        copied.0[STATE] = CLOSED;
        copied.0[2] = geometry;
        copied.0[CHECK] = check(&copied.0[..CHECK]);
        assert!(copied.read().is_err_and(|why| !why.contains("damaged")), "{geometry:#x}: {:?}", copied.read());
    }
}
