use super::super::cell::HEAD_BYTES;
use super::*;

const MEDIUM_CLASSES: core::ops::Range<usize> = SMALL_CLASSES..CLASS_COUNT;

/// Of every column there may be, in order.
fn cells() -> impl Iterator<Item = (Row, usize)> {
    let rows = |row: fn(usize) -> Row| (0..ZONES).map(row);
    let each = |row| {
        let classes = if matches!(row, Row::Medium | Row::MediumAligned) { MEDIUM_CLASSES } else { 0..SMALL_CLASSES };
        classes.map(move |class| (row, class))
    };
    let fixed = [Row::Ordered, Row::Medium, Row::MediumAligned, Row::Aligned];
    fixed.into_iter().chain(rows(Row::Zone)).chain(rows(Row::NarrowZone)).flat_map(each)
}

#[test]
fn every_cell_has_a_place_of_its_own_and_is_found_there() {
    let have = |id| Rows::ALL.have(id) || Rows::NARROW.have(id);
    let mut end = CELLS_OFFSET as u32;
    let mut valid = 0;
    for (row, class) in cells() {
        let id = CellId::in_row(row, class);
        assert!(have(id) && id.offset() >= end, "{id:?}");
        assert_eq!((CellId::at_offset(id.offset()), id.class(), id.row()), (id, class, Some(row)));
        assert_eq!(id.is_aligned(), matches!(row, Row::Aligned | Row::MediumAligned));
        let width = if matches!(row, Row::Zone(_)) { Width::Wide } else { Width::Narrow };
        assert_eq!(id.of_cell(), id.class_of().of_cells[width as usize]);
        end = id.offset() + (HEAD_BYTES + usize::from(id.of_cell().stack) * 8) as u32;
        valid += 1;
    }
    assert!(end as usize <= CELLS_OFFSET + Rows::NARROW.bytes());
    assert_eq!((0..CLASS_LINES as u32 + 9).filter(|&line| have(CellId(line))).count(), valid);
    for rows in [Rows::ALL, Rows::NARROW] {
        let cell_of = |size: usize| CellId((rows.start_of(5) + usize::from(rows.by_size()[size])) as u32 / 64);
        for size in 1..=SMALL_MAX {
            assert_eq!(cell_of(size), CellId::in_row(rows.of_zone(5), class_of(size)));
        }
        assert!(!have(cell_of(0)));
    }
    for size in SMALL_MAX + 1..=MEDIUM_MAX {
        assert_eq!(medium_cell_of(size), Some(CellId::in_row(Row::Medium, class_of(size)).offset()));
    }
    assert_eq!(medium_cell_of(MEDIUM_MAX + 1), None);
}

#[test]
fn fewer_rows_have_the_first_cells_of_all() {
    for rows in Rows::CHOICES {
        assert_eq!(Rows::numbered(rows.number()), Some(rows));
        for zone in 0..ZONES {
            assert!(matches!(rows.of_zone(zone), Row::Zone(row) if (rows.zones_of(row).0..=rows.zones_of(row).1).contains(&zone)));
            assert!(rows.have(CellId::in_row(rows.of_zone(zone), SMALL_CLASSES - 1)));
        }
        let last = CellId::in_row(Row::Zone(rows.zones() - 1), SMALL_CLASSES - 1);
        assert!(rows.have(last) && !rows.have(CellId(last.0 + bytes_of(Width::Wide) as u32 / 64)));
        assert!(!rows.have(CellId::in_row(Row::Zone(rows.zones()), 0)));
    }
    let ids: Vec<_> = Rows::NARROW.ids().collect();
    assert_eq!(ids.len(), Rows::ALL.ids().count());
    for zone in 0..ZONES {
        assert!(ids.contains(&CellId::in_row(Rows::NARROW.of_zone(zone), 7)) && !ids.contains(&CellId::in_row(Row::Zone(zone), 7)));
    }
    assert_eq!((Rows::numbered(4), Rows::numbered(5)), (Some(Rows::NARROW), None));
    for class in 0..CLASS_COUNT {
        let id = CellId::published(class);
        assert!(id.is_published() && !Rows::ALL.have(id) && !id.is_aligned());
        assert_eq!((CellId::at_offset(id.offset()), id.class(), id.row()), (id, class, None));
    }
}
