//! What was measured, and how it is told.

mod stats;
mod table;

use crate::adapters::{Adapter, SUBJECT};
use crate::lines::Section;
use stats::Summary;
use table::Table;

/// Every value measured.
pub struct Report {
    allocators: Vec<Adapter>,
    lines: Vec<Line>,
}

struct Line {
    section: Section,
    name: String,
    /// For each allocator, a value for each round.
    values: Vec<Vec<f64>>,
}

impl Report {
    /// Nothing yet.
    pub fn new(allocators: &[&Adapter]) -> Self {
        Self {
            allocators: allocators.iter().copied().copied().collect(),
            lines: Vec::new(),
        }
    }

    /// Adds a round's values, one for each of `names`, of one allocator.
    pub fn add(&mut self, section: Section, names: &[String], allocator: usize, values: &[f64]) {
        for (name, &value) in names.iter().zip(values) {
            self.line(section, name).values[allocator].push(value);
        }
    }

    fn line(&mut self, section: Section, name: &str) -> &mut Line {
        let known = self
            .lines
            .iter()
            .position(|line| line.section == section && line.name == name);
        let index = known.unwrap_or_else(|| {
            let values = vec![Vec::new(); self.allocators.len()];
            self.lines.push(Line {
                section,
                name: name.to_owned(),
                values,
            });
            self.lines.len() - 1
        });
        &mut self.lines[index]
    }

    /// The whole report as text.
    pub fn render(&self, markdown: bool) -> String {
        let sections = [Section::Time, Section::Tail, Section::Resident];
        let tables: Vec<_> = sections
            .iter()
            .filter_map(|&section| self.table(section))
            .collect();
        let texts: Vec<_> = tables
            .iter()
            .map(|table| {
                if markdown {
                    table.markdown()
                } else {
                    table.plain()
                }
            })
            .collect();
        texts.join("\n")
    }

    fn table(&self, section: Section) -> Option<Table> {
        let mut rows = self
            .lines
            .iter()
            .filter(|line| line.section == section)
            .peekable();
        rows.peek()?;
        let mut head = vec![section.title().to_owned()];
        head.extend(
            self.allocators
                .iter()
                .map(|allocator| allocator.name.to_owned()),
        );
        head.push(format!("{SUBJECT} / best peer"));
        let rows = rows.map(|line| self.row(line)).collect();
        Some(Table { head, rows })
    }

    fn row(&self, line: &Line) -> Vec<String> {
        let summaries: Vec<_> = line
            .values
            .iter()
            .map(|values| Summary::of(values))
            .collect();
        let decimals = line.section.decimals();
        let cell = |summary: &Option<Summary>| {
            summary
                .as_ref()
                .map_or("-".to_owned(), |summary| summary.text(decimals))
        };
        let mut row = vec![line.name.clone()];
        row.extend(summaries.iter().map(cell));
        row.push(self.ratio(&summaries).unwrap_or("-".to_owned()));
        row
    }

    /// The subject's median for that of the best peer, and which that is.
    fn ratio(&self, summaries: &[Option<Summary>]) -> Option<String> {
        let medians = || {
            self.allocators
                .iter()
                .zip(summaries)
                .filter_map(|(who, summary)| Some((who, summary.as_ref()?.median)))
        };
        let (_, subject) = medians().find(|(who, _)| who.name == SUBJECT)?;
        let peers = medians().filter(|(who, _)| who.name != SUBJECT);
        let (who, best) = peers.min_by(|left, right| left.1.total_cmp(&right.1))?;
        Some(format!("{:.2} {}", subject / best, who.name))
    }
}

impl Section {
    fn title(self) -> &'static str {
        match self {
            Self::Time => "ns/op: median [quartiles]",
            Self::Tail => "cycles of one operation: median [quartiles]",
            Self::Resident => "peak resident / peak live",
        }
    }

    fn decimals(self) -> usize {
        match self {
            Self::Time | Self::Resident => 2,
            Self::Tail => 0,
        }
    }
}
