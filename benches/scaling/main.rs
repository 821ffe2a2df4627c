//! How the cost of an operation depends on one size at a time: on the live blocks, on the columns of the arena, on how
//! full its spans are, on its capacity. Prints a table for each, in nanoseconds and microseconds: medians and quartiles
//! over the rounds. With `ENGRAM_SCALING_PLOTS` set to a folder, draws each as an SVG file there, too.
//!
//! ```text
//! ENGRAM_SCALING_PLOTS=benches/scaling cargo bench --bench scaling
//! ```
//!
//! In each round every point of a curve is measured once, in another order each round, after a round that does not count.
//! The blocks have 64 bytes, and their first word is written; times are the thread's processor time, and nothing is
//! subtracted. Each measurement of engram has an arena of its own: in a few of them, of any size, every operation takes
//! longer as long as they are open, and a curve must not depend on which point had such a one. Takes 1.7 GB of memory.

#![expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]

mod clock;
mod figure;
mod plot;
mod rounds;
mod work;

use std::cell::RefCell;
use std::path::Path;

use figure::{Axis, Curve, Figure, Panel};
use rounds::{Point, Spread, measure};
use work::{Churn, Malloc, Shape, TOGETHER, one_at_a_time, together, whole};

const ENGRAM: &str = "engram";
const MALLOC: &str = "the system's malloc";

/// Live blocks where their number is not what is varied.
const FEW: u32 = 1000;
/// An arena with room for all.
const ROOMY: Shape = Shape { capacity: 1 << 30, columns: 1 };

fn main() {
    // `cargo test --all-targets` runs this, too, without the option.
    if !std::env::args().any(|argument| argument == "--bench") {
        return println!("Nothing is measured without --bench.");
    }
    let figures = [by_live_blocks(), by_columns(), by_occupancy(), by_capacity()];
    for figure in &figures {
        figure.print();
    }
    figure::print_summary(&figures);
    if let Some(folder) = std::env::var_os("ENGRAM_SCALING_PLOTS") {
        for figure in &figures {
            let path = Path::new(&folder).join(figure.file);
            std::fs::write(&path, plot::draw(figure)).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        }
    }
}

/// Replacing one of so many live blocks, and allocating and freeing so many, beside the system's malloc.
fn by_live_blocks() -> Figure {
    const LIVE: [u32; 5] = [1000, 10_000, 100_000, 1_000_000, 10_000_000];
    let x = Axis::logarithmic("live blocks", &[("1e3", 1e3), ("1e4", 1e4), ("1e5", 1e5), ("1e6", 1e6), ("1e7", 1e7)]);
    // The whole comes first: it leaves malloc's free blocks in order.
    let whole = {
        let blocks = &RefCell::new(Vec::with_capacity(10_000_000));
        let ours = LIVE.map(|live| Point::new(move || ROOMY.whole(live, &mut blocks.borrow_mut())));
        let system = LIVE.map(|live| Point::new(move || whole(&Malloc, live, &mut blocks.borrow_mut())));
        measure(ours.into_iter().chain(system).collect())
    };
    let replaced = {
        let ours = LIVE.map(|live| Point::new(move || ROOMY.churn(live)));
        let mut system = LIVE.map(|live| Churn::new(&Malloc, live));
        measure(ours.into_iter().chain(system.iter_mut().map(|churn| Point::new(|| churn.turn()))).collect())
    };
    let panel = |title, y, spreads: &[Spread]| {
        let (ours, system) = spreads.split_at(LIVE.len());
        let curves = vec![Curve::new(ENGRAM, ours), Curve::new(MALLOC, system)];
        Panel { title, x: x.clone(), y, curves }
    };
    Figure {
        file: "live-blocks.svg",
        title: "Cost against live blocks",
        panels: vec![
            panel("replace one of N at random", "ns a replacement", &replaced),
            panel("allocate N, free N in the same order", "ns a pair", &whole),
        ],
    }
}

/// The same churn in arenas of so many columns, and opening them.
fn by_columns() -> Figure {
    const COLUMNS: [u32; 5] = [1, 16, 256, 4096, 65_536];
    let x = Axis::logarithmic("columns", &[("1", 1.0), ("16", 16.0), ("256", 256.0), ("4,096", 4096.0), ("65,536", 65_536.0)]);
    let shapes = COLUMNS.map(|columns| Shape { capacity: 64 << 20, columns });
    let churn = measure(shapes.map(|shape| Point::new(move || shape.churn(FEW))).into());
    let opened = measure(shapes.map(|shape| Point::new(move || shape.opening())).into());
    Figure {
        file: "columns.svg",
        title: "Cost against the columns of the arena",
        panels: vec![
            Panel::of_engram("replace one of 1,000, in one held column", &x, "ns a replacement", &churn),
            Panel::of_engram("open an arena of 64 MiB", &x, "us an opening", &opened),
        ],
    }
}

/// Replacing blocks of spans of which so much is live: one at a time, which its cell's stack serves, and many.
fn by_occupancy() -> Figure {
    const PERCENT: [u32; 6] = [10, 30, 50, 70, 90, 99];
    let ticks = [("10", 10.0), ("30", 30.0), ("50", 50.0), ("70", 70.0), ("90", 90.0), ("99", 99.0)];
    let x = Axis::linear("slots that are live, %", &ticks);
    let singly = PERCENT.map(|percent| Point::new(move || one_at_a_time(ROOMY, percent)));
    let many = PERCENT.map(|percent| Point::new(move || together(ROOMY, percent)));
    let spreads = measure(singly.into_iter().chain(many).collect());
    let (singly, many) = spreads.split_at(PERCENT.len());
    assert_eq!(TOGETHER, 2000, "as the curve is named");
    let curves = vec![Curve::new("one at a time", singly), Curve::new("2,000 freed, then 2,000 allocated", many)];
    Figure {
        file: "occupancy.svg",
        title: "Cost against occupancy of spans",
        panels: vec![Panel { title: "replace some of 10,000 blocks, in spans of 100,000 slots", x, y: "ns a replacement", curves }],
    }
}

/// The same churn in arenas of such capacities, and growing a new one.
fn by_capacity() -> Figure {
    const CAPACITIES: [usize; 4] = [64 << 20, 1 << 30, 16 << 30, 64 << 30];
    let x = Axis::logarithmic("capacity", &[("64 MiB", 0.0625), ("1 GiB", 1.0), ("16 GiB", 16.0), ("64 GiB", 64.0)]);
    let shapes = CAPACITIES.map(|capacity| Shape { capacity, columns: 1 });
    let churn = measure(shapes.map(|shape| Point::new(move || shape.churn(FEW))).into());
    let grown = measure(shapes.map(|shape| Point::new(move || shape.growth())).into());
    Figure {
        file: "capacity.svg",
        title: "Cost against capacity",
        panels: vec![
            Panel::of_engram("replace one of 1,000", &x, "ns a replacement", &churn),
            Panel::of_engram("a new arena grows by 32 MiB, untouched", &x, "ns an allocation", &grown),
        ],
    }
}
