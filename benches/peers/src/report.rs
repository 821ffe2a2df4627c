//! What was measured, and how it is told.

mod stats;
mod table;

use crate::adapters::{Adapter, BATCH, SUBJECT};
use crate::lines::{Name, Section};
use stats::Summary;
use table::Table;

/// Every value measured.
pub struct Report {
    allocators: Vec<Adapter>,
    parts: Vec<Part>,
    lines: Vec<Line>,
}

/// Allocators that share a table.
struct Part {
    /// What the tables' titles begin with.
    title: &'static str,
    allocators: Vec<usize>,
}

struct Line {
    name: Name,
    /// For each allocator, a value for each round.
    values: Vec<Vec<f64>>,
}

impl Report {
    /// Nothing yet. Variants of the subject are told in tables of their own, beside it, or among the others.
    pub fn new(allocators: &[&Adapter], variants_apart: bool) -> Self {
        let those = |wanted: &dyn Fn(&Adapter) -> bool| {
            let indices = 0..allocators.len();
            indices.filter(|&index| wanted(allocators[index])).collect()
        };
        let mut parts = vec![Part { title: "", allocators: those(&|who| !(variants_apart && who.variant)) }];
        if variants_apart {
            let allocators = those(&|who| who.variant || who.name == SUBJECT);
            parts.push(Part { title: "variants, ", allocators });
        }
        Self { allocators: allocators.iter().copied().copied().collect(), parts, lines: Vec::new() }
    }

    /// Adds a round's values, one for each of `names`, of one allocator.
    pub fn add(&mut self, names: &[Name], allocator: usize, values: &[f64]) {
        for (name, &value) in names.iter().zip(values) {
            self.line(name).values[allocator].push(value);
        }
    }

    fn line(&mut self, name: &Name) -> &mut Line {
        let known = self.lines.iter().position(|line| line.name == *name);
        let index = known.unwrap_or_else(|| {
            let values = vec![Vec::new(); self.allocators.len()];
            self.lines.push(Line { name: name.clone(), values });
            self.lines.len() - 1
        });
        &mut self.lines[index]
    }

    /// The whole report as text.
    pub fn render(&self, markdown: bool) -> String {
        let sections = [Section::Time, Section::Tail, Section::Resident];
        let apart = self.parts.iter().flat_map(|part| sections.iter().filter_map(|&section| self.table(section, part)));
        let all = Part { title: "", allocators: (0..self.allocators.len()).collect() };
        let together = [Section::Visits, Section::ByAddress].into_iter().filter_map(|section| self.table(section, &all));
        let tables = apart.chain(together);
        let texts: Vec<_> = tables.map(|table| if markdown { table.markdown() } else { table.plain() }).collect();
        texts.join("\n")
    }

    /// The lines of a section, with those of a part's allocators that have taken part in it.
    fn table(&self, section: Section, part: &Part) -> Option<Table> {
        let measured = |&index: &usize| self.lines.iter().any(|line| line.name.section == section && !line.values[index].is_empty());
        let allocators: Vec<usize> = part.allocators.iter().copied().filter(measured).collect();
        let told = |line: &&Line| line.name.section == section && allocators.iter().any(|&index| !line.values[index].is_empty());
        let lines: Vec<&Line> = self.lines.iter().filter(told).collect();
        let mut rows: Vec<Vec<String>> = lines.iter().map(|line| line.cells(&allocators)).collect();
        let mut head = vec![format!("{}{}", part.title, section.title())];
        head.extend(allocators.iter().map(|&index| self.allocators[index].name.to_owned()));
        for ratio in section.ratios() {
            let cells: Vec<_> = lines.iter().map(|line| self.ratio(ratio, line, &allocators)).collect();
            if cells.iter().any(Option::is_some) {
                head.push(ratio.title());
                rows.iter_mut().zip(cells).for_each(|(row, cell)| row.push(cell.unwrap_or("-".to_owned())));
            }
        }
        (!rows.is_empty()).then_some(Table { head, rows })
    }

    /// What a ratio is on a line, among these allocators.
    fn ratio(&self, ratio: &Ratio, line: &Line, allocators: &[usize]) -> Option<String> {
        let median = |line: &Line, index: usize| Some(Summary::of(&line.values[index])?.median);
        let named = |name: &str| allocators.iter().copied().find(|&index| self.allocators[index].name == name);
        let index = named(ratio.of)?;
        let of = median(line, index)?;
        match ratio.to {
            To::BestPeer => {
                let peers = allocators.iter().filter(|&&index| self.allocators[index].is_peer());
                let medians = peers.filter_map(|&index| Some((self.allocators[index].name, median(line, index)?)));
                let (who, best) = medians.min_by(|left, right| left.1.total_cmp(&right.1))?;
                Some(format!("{:.2} {who}", of / best))
            }
            To::Peer(name) => Some(format!("{:.2}", of / median(line, named(name)?)?)),
            To::ByAddress => {
                let name = Name { section: Section::ByAddress, ..line.name.clone() };
                let limit = self.lines.iter().find(|other| other.name == name)?;
                Some(format!("{:.2}", of / median(limit, index)?))
            }
        }
    }
}

impl Line {
    /// Its name, and what is told of each of these allocators.
    fn cells(&self, allocators: &[usize]) -> Vec<String> {
        let decimals = self.name.section.decimals();
        let cell = |&index: &usize| Summary::of(&self.values[index]).map_or("-".to_owned(), |summary| summary.text(decimals));
        [self.name.text.clone()].into_iter().chain(allocators.iter().map(cell)).collect()
    }
}

/// An allocator's median in parts of another median.
struct Ratio {
    of: &'static str,
    to: To,
}

enum To {
    /// The least of the peers' on the line, with its name.
    BestPeer,
    /// This peer's on the line.
    Peer(&'static str),
    /// The allocator's own when the same blocks are visited in the order of their addresses.
    ByAddress,
}

impl Ratio {
    fn title(&self) -> String {
        let to = match self.to {
            To::BestPeer => "best peer",
            To::Peer(name) => name,
            To::ByAddress => "its blocks by address",
        };
        format!("{} / {to}", self.of)
    }
}

impl Section {
    fn title(self) -> &'static str {
        match self {
            Self::Time => "ns/op: median [quartiles]",
            Self::Tail => "cycles of one operation: median [quartiles]",
            Self::Resident => "peak resident / peak live",
            Self::Visits => "ns/visit in spike order: median [quartiles]",
            Self::ByAddress => "ns/visit by address: median [quartiles]",
        }
    }

    /// What is told beside the medians, where there are both parts of it.
    fn ratios(self) -> &'static [Ratio] {
        match self {
            Self::Time | Self::Tail | Self::Resident => &[Ratio { of: SUBJECT, to: To::BestPeer }],
            Self::Visits => &[
                Ratio { of: SUBJECT, to: To::Peer("mimalloc") },
                Ratio { of: BATCH, to: To::Peer("mimalloc") },
                Ratio { of: BATCH, to: To::ByAddress },
            ],
            Self::ByAddress => &[],
        }
    }

    fn decimals(self) -> usize {
        match self {
            Self::Time | Self::Resident | Self::Visits | Self::ByAddress => 2,
            Self::Tail => 0,
        }
    }
}
