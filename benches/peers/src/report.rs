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
    section: Section,
    name: String,
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
    pub fn add(&mut self, section: Section, names: &[String], allocator: usize, values: &[f64]) {
        for (name, &value) in names.iter().zip(values) {
            self.line(section, name).values[allocator].push(value);
        }
    }

    fn line(&mut self, section: Section, name: &str) -> &mut Line {
        let known = self.lines.iter().position(|line| line.section == section && line.name == name);
        let index = known.unwrap_or_else(|| {
            let values = vec![Vec::new(); self.allocators.len()];
            self.lines.push(Line { section, name: name.to_owned(), values });
            self.lines.len() - 1
        });
        &mut self.lines[index]
    }

    /// The whole report as text.
    pub fn render(&self, markdown: bool) -> String {
        let sections = [Section::Time, Section::Tail, Section::Resident];
        let tables = self.parts.iter().flat_map(|part| sections.iter().filter_map(|&section| self.table(section, part)));
        let texts: Vec<_> = tables.map(|table| if markdown { table.markdown() } else { table.plain() }).collect();
        texts.join("\n")
    }

    fn table(&self, section: Section, part: &Part) -> Option<Table> {
        let told = |line: &Line| part.allocators.iter().any(|&index| !line.values[index].is_empty());
        let mut lines = self.lines.iter().filter(|line| line.section == section && told(line)).peekable();
        lines.peek()?;
        let compared = self.of(part).any(Adapter::is_peer);
        let mut head = vec![format!("{}{}", part.title, section.title())];
        head.extend(self.of(part).map(|who| who.name.to_owned()));
        head.extend(compared.then(|| format!("{SUBJECT} / best peer")));
        let rows = lines.map(|line| self.row(line, part, compared)).collect();
        Some(Table { head, rows })
    }

    fn of(&self, part: &Part) -> impl Iterator<Item = &Adapter> {
        part.allocators.iter().map(|&index| &self.allocators[index])
    }

    fn row(&self, line: &Line, part: &Part, compared: bool) -> Vec<String> {
        let summaries: Vec<_> = part.allocators.iter().map(|&index| Summary::of(&line.values[index])).collect();
        let decimals = line.section.decimals();
        let cell = |summary: &Option<Summary>| summary.as_ref().map_or("-".to_owned(), |summary| summary.text(decimals));
        let mut row = vec![line.name.clone()];
        row.extend(summaries.iter().map(cell));
        row.extend(compared.then(|| self.ratio(part, &summaries).unwrap_or("-".to_owned())));
        row
    }

    /// The subject's median for that of the best peer, and which that is.
    fn ratio(&self, part: &Part, summaries: &[Option<Summary>]) -> Option<String> {
        let medians = || self.of(part).zip(summaries).filter_map(|(who, summary)| Some((who, summary.as_ref()?.median)));
        let (_, subject) = medians().find(|(who, _)| who.name == SUBJECT)?;
        let peers = medians().filter(|(who, _)| who.is_peer());
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
