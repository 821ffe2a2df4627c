//! The tables.

use engram::guidance::{STEP_TIES, Voters};

use crate::input::Input;
use crate::run::{Arrivals, Outcome, Task};

const ALL: Voters = Voters::ALL;
const NONE: Voters = Voters::NONE;

/// What is asked of one graph.
pub struct Report {
    pub columns: Vec<u32>,
    pub markdown: bool,
}

/// What a row tells of a run.
type Cell = fn(&Outcome) -> String;

/// One way of placing, in one pass.
struct Way {
    name: &'static str,
    voters: Voters,
    /// Whether neighbours that are yet to come vote, too.
    ahead: bool,
}

const WAYS: [Way; 9] = [
    Way { name: "content only", voters: Voters { semantic: 1.0, ..NONE }, ahead: false },
    Way { name: "structure only", voters: Voters { structural: 1.0, ..NONE }, ahead: false },
    Way { name: "structure and content", voters: Voters { temporal: 0.0, exception: 0.0, ..ALL }, ahead: false },
    Way { name: "the same, votes for those to come", voters: Voters { temporal: 0.0, exception: 0.0, ..ALL }, ahead: true },
    Way { name: "all voters", voters: ALL, ahead: true },
    Way { name: "all but structure", voters: Voters { structural: 0.0, ..ALL }, ahead: true },
    Way { name: "all but content", voters: Voters { semantic: 0.0, ..ALL }, ahead: true },
    Way { name: "all but recent use", voters: Voters { temporal: 0.0, ..ALL }, ahead: true },
    Way { name: "all but novelty", voters: Voters { exception: 0.0, ..ALL }, ahead: true },
];

impl Report {
    /// All tables of one graph.
    pub fn everything(&self, name: &str, input: &Input, offline: &[(&str, [f64; 3])]) {
        let orders = [input, &input.shuffled()];
        for (share, known) in [("every edge", 1), ("every other edge", 2)] {
            println!("\n{name}: {} concepts, {} edges; {share} is known\n", input.texts.len(), input.edges.len());
            let arrivals = orders.map(|order| Arrivals::new(order, known));
            self.header("cut, natural / random order");
            let hash = self.columns.iter().map(|&columns| both(|order| arrivals[order].hashed(columns), cut));
            self.row("one pass: hash of the id", hash);
            for way in &WAYS {
                let task = |columns| Task { columns, voters: way.voters, ahead: way.ahead, settle: false };
                let cells = self.columns.iter().map(|&columns| both(|order| arrivals[order].run(task(columns)), cut));
                self.row(&format!("one pass: {}", way.name), cells);
            }
            self.settled(&arrivals);
            if known == 1 && self.columns == [4, 64, 1024] {
                for (name, cuts) in offline {
                    self.row(name, cuts.iter().map(|cut| format!("{cut:.3}")));
                }
            }
        }
    }

    /// One table of one graph: what re-placement makes of it.
    pub fn graph(&self, name: &str, input: &Input) {
        println!("\n{name}: {} concepts, {} edges\n", input.texts.len(), input.edges.len());
        let arrivals = [input, &input.shuffled()].map(|order| Arrivals::new(order, 1));
        self.header("cut, natural / random order");
        self.settled(&arrivals);
    }

    fn settled(&self, arrivals: &[Arrivals; 2]) {
        let task = |columns| Task { columns, voters: ALL, ahead: true, settle: true };
        let outcomes: Vec<[Outcome; 2]> =
            self.columns.iter().map(|&columns| [0, 1].map(|order| arrivals[order].run(task(columns)))).collect();
        let rows: [(&str, Cell); 12] = [
            ("one pass, all voters", |outcome| format!("{:.3}", outcome.first_cut)),
            ("its balance", |outcome| format!("{:.2}", outcome.first_balance)),
            ("**after re-placement**", |outcome| format!("**{:.4}**", outcome.cut)),
            ("its balance", |outcome| format!("{:.3}", outcome.balance)),
            ("relocations a concept", |outcome| format!("{:.2}", outcome.relocations)),
            ("microseconds: a decision, its links included", |outcome| format!("{:.2}", micros(outcome.decision))),
            ("microseconds: re-placement, a concept", |outcome| format!("{:.1}", micros(outcome.settling))),
            ("microseconds: a step, on average", |outcome| format!("{:.1}", micros(outcome.step))),
            ("microseconds: the longest step", |outcome| format!("{:.0}", micros(outcome.longest_step))),
            ("edges read in a step, at most", |outcome| outcome.most_read.to_string()),
            ("(the bound of that)", |_| STEP_TIES.to_string()),
            ("bytes of host memory a concept, at most", |outcome| format!("{:.0}", outcome.bytes)),
        ];
        for (name, cell) in rows {
            self.row(name, outcomes.iter().map(|[natural, random]| format!("{} / {}", cell(natural), cell(random))));
        }
    }

    fn header(&self, what: &str) {
        self.row(what, self.columns.iter().map(|columns| format!("{columns} columns")));
        if self.markdown {
            println!("|{}", "---|".repeat(self.columns.len() + 1));
        }
    }

    fn row(&self, name: &str, cells: impl Iterator<Item = String>) {
        if self.markdown {
            println!("| {name} | {} |", cells.collect::<Vec<_>>().join(" | "));
        } else {
            let plain = |text: &str| text.replace("**", "");
            print!("{:48}", plain(name));
            cells.for_each(|cell| print!("{:>20}", plain(&cell)));
            println!();
        }
    }
}

/// A cell for both orders of arrival.
fn both<T>(run: impl Fn(usize) -> T, cell: impl Fn(&T) -> String) -> String {
    format!("{} / {}", cell(&run(0)), cell(&run(1)))
}

fn cut(outcome: &Outcome) -> String {
    format!("{:.3}", outcome.first_cut)
}

fn micros(time: std::time::Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
