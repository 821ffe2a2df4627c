//! How many edges of `WordNet` lie between columns, when concepts come and after maintenance, what that
//! takes, and what each voter is worth.
//!
//! ```text
//! cargo run --release --example placement              4, 64 and 1,024 columns
//! cargo run --release --example placement -- 16 256    other numbers of columns
//! cargo run --release --example placement -- voters    each voter alone, and all but each
//! ```
//!
//! Concepts come in the order of the table (natural) or in random order, each with all its neighbours as
//! hints, also those yet to come; then maintenance steps until there is nothing to do
//! ("growing": this after every 1,000 concepts). "Cut" is the
//! share of all edges whose ends lie in different columns. No column has more than 1.1 times the mean.

#![allow(clippy::cast_precision_loss, reason = "counts far below 2^53")]

mod input;
mod run;

use std::error::Error;
use std::time::Duration;

use engram::guidance::{STEP_TIES, Voters};

use input::Graph;
use run::{Outcome, arrive, run};

/// A row of the table: what it is called, and what it tells of a run.
type Row = (&'static str, fn(&Outcome) -> String);

const ROWS: [Row; 15] = [
    ("cut after arrival", |run| format!("{:.3}", run.cut_on_arrival)),
    ("cut after maintenance", |run| format!("{:.3}", run.cut)),
    ("fullest column / mean", |run| format!("{:.2}", run.balance)),
    ("relocations a concept", |run| format!("{:.2}", f64::from(run.relocations) / run.concepts)),
    ("growing: cut", |run| format!("{:.3}", run.growing.0)),
    ("growing: relocations a concept", |run| format!("{:.2}", f64::from(run.growing.1) / run.concepts)),
    ("place(), median ns", |run| nanos(&run.places, 500)),
    ("place(), 99.9 % ns", |run| nanos(&run.places, 999)),
    ("link(), mean ns", |run| run.link.as_nanos().to_string()),
    ("step(), median ns", |run| nanos(&run.steps, 500)),
    ("step(), 99.9 % ns", |run| nanos(&run.steps, 999)),
    ("step(), longest ns", |run| nanos(&run.steps, 1000)),
    ("steps a concept", |run| format!("{:.2}", run.steps.len() as f64 / run.concepts)),
    ("edges read by a step at most", |run| format!("{} <= {STEP_TIES}", run.most_read)),
    ("host bytes a concept at most", |run| format!("{:.0}", run.bytes / run.concepts)),
];

/// What the best of so many thousandths took; sorted.
fn nanos(times: &[Duration], thousandths: usize) -> String {
    let last = times.len().saturating_sub(1);
    times.get(last * thousandths / 1000).map_or(String::new(), |time| time.as_nanos().to_string())
}

fn print_row(name: &str, cells: impl Iterator<Item = String>) {
    print!("{name:32}");
    cells.for_each(|cell| print!("{cell:>16}"));
    println!();
}

fn maintenance(orders: &[(&str, &Graph)], columns: &[u32]) {
    let mut runs = Vec::new();
    for &columns in columns {
        for (order, graph) in orders {
            runs.push((format!("{columns} {order}"), run(graph, columns)));
        }
    }
    print_row("columns, order", runs.iter().map(|(name, _)| name.clone()));
    for (name, cell) in ROWS {
        print_row(name, runs.iter().map(|(_, outcome)| cell(outcome)));
    }
}

/// One way of voting.
type Way = (&'static str, Voters);

fn voters(orders: &[(&str, &Graph)], columns: &[u32]) {
    let (all, none) = (Voters::ALL, Voters::NONE);
    let ways: [Way; 7] = [
        ("nobody", none),
        ("structure alone", Voters { structural: all.structural, ..none }),
        ("content alone", Voters { semantic: all.semantic, ..none }),
        ("all but content", Voters { semantic: 0.0, ..all }),
        ("all but recent use", Voters { temporal: 0.0, ..all }),
        ("all but novelty", Voters { exception: 0.0, ..all }),
        ("all", all),
    ];
    let runs: Vec<_> = columns.iter().flat_map(|&columns| orders.iter().map(move |&(order, graph)| (columns, order, graph))).collect();
    print_row("cut after arrival", runs.iter().map(|(columns, order, _)| format!("{columns} {order}")));
    for (name, voters) in ways {
        print_row(
            name,
            runs.iter().map(|&(columns, _, graph)| format!("{:.3}", arrive(graph, columns, voters, usize::MAX).1.cut_on_arrival)),
        );
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let (of_voters, columns): (Vec<_>, Vec<_>) = std::env::args().skip(1).partition(|argument| argument == "voters");
    let columns = columns.iter().map(|columns| columns.parse()).collect::<Result<Vec<u32>, _>>()?;
    let columns = if columns.is_empty() { vec![4, 64, 1024] } else { columns };
    let natural = Graph::wordnet()?;
    let random = natural.shuffled();
    let orders = [("natural", &natural), ("random", &random)];
    println!("WordNet 3.0: {} concepts, {} edges\n", natural.features.len(), natural.edges.len());
    if of_voters.is_empty() {
        maintenance(&orders, &columns);
    } else {
        voters(&orders, &columns);
    }
    Ok(())
}
