//! Concepts and edges: from files, or generated.

use std::collections::{BTreeSet, HashMap};
use std::error::Error;
use std::io::Read;
use std::path::Path;

/// A graph whose concepts are numbered in their natural order.
pub struct Input {
    /// The text of each concept.
    pub texts: Vec<String>,
    /// Distinct undirected edges.
    pub edges: Vec<(u32, u32)>,
}

/// Small numbers that look random, the same in every run (xorshift*: Vigna 2016).
pub struct Random(pub u64);

impl Random {
    /// The next number, below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        ((self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize) % bound.max(1)
    }
}

fn text(path: &Path) -> Result<String, Box<dyn Error>> {
    let bytes = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let mut text = String::new();
    if bytes.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        ruzstd::decoding::StreamingDecoder::new(bytes.as_slice())?.read_to_string(&mut text)?;
    } else {
        text = String::from_utf8(bytes)?;
    }
    Ok(text)
}

impl Input {
    /// Of two tables with a header line, parted by tabs, packed with zstd or not: id and whatever else
    /// a concept has; source, destination and whatever else an edge has.
    pub fn read(nodes: &Path, edges: &Path) -> Result<Self, Box<dyn Error>> {
        let (nodes, edges) = (text(nodes)?, text(edges)?);
        let mut numbers = HashMap::new();
        let mut texts = Vec::new();
        for line in nodes.lines().skip(1) {
            let (id, rest) = line.split_once('\t').unwrap_or((line, ""));
            numbers.insert(id, texts.len() as u32);
            // The first column after the id is the type: no content.
            texts.push(rest.split_once('\t').map_or(rest, |(_, content)| content).replace(['\t', '|'], " "));
        }
        let mut distinct = BTreeSet::new();
        for (number, line) in edges.lines().enumerate().skip(1) {
            let mut ends = line.split('\t').map(|id| numbers.get(id).copied());
            match (ends.next().flatten(), ends.next().flatten()) {
                (Some(a), Some(b)) if a == b => {}
                (Some(a), Some(b)) => _ = distinct.insert((a.min(b), a.max(b))),
                _ => return Err(format!("edges, line {}: no such concept", number + 1).into()),
            }
        }
        Ok(Self { texts, edges: distinct.into_iter().collect() })
    }

    fn generated(concepts: usize, edges: impl Iterator<Item = (usize, usize)>) -> Self {
        let distinct: BTreeSet<_> = edges.filter(|(a, b)| a != b).map(|(a, b)| (a.min(b) as u32, a.max(b) as u32)).collect();
        Self { texts: vec![String::new(); concepts], edges: distinct.into_iter().collect() }
    }

    /// Preferential attachment: every concept links to three earlier ones, chosen by degree (Barabasi and Albert 1999).
    pub fn attachment(concepts: usize) -> Self {
        let mut random = Random(7);
        let mut ends = vec![0_usize];
        let mut edges = Vec::new();
        for concept in 1..concepts {
            for _ in 0..3 {
                let other = ends[random.below(ends.len())];
                edges.push((concept, other));
                ends.extend([concept, other]);
            }
        }
        Self::generated(concepts, edges.into_iter())
    }

    /// Groups of 100 concepts: eight edges a concept, one of eight leads out of its group. Concepts of a group are spread.
    pub fn planted(concepts: usize) -> Self {
        let mut random = Random(11);
        let groups = concepts / 100;
        let edges = (0..concepts * 4).map(|edge| {
            let concept = edge % concepts;
            let other = if random.below(8) == 0 { random.below(concepts) } else { random.below(100) * groups + concept % groups };
            (concept, other)
        });
        Self::generated(concepts, edges)
    }

    /// A square grid, row after row.
    pub fn grid(side: usize) -> Self {
        let edges = (0..side * side).flat_map(|concept| {
            let right = (concept % side + 1 < side).then_some((concept, concept + 1));
            let below = (concept + side < side * side).then_some((concept, concept + side));
            right.into_iter().chain(below)
        });
        Self::generated(side * side, edges)
    }

    /// A hub with all others around it, in chains of ten.
    pub fn star(concepts: usize) -> Self {
        let edges = (1..concepts).flat_map(|concept| [(0, concept), (concept, if concept % 10 == 0 { concept } else { concept + 1 })]);
        Self::generated(concepts, edges.filter(move |(_, other)| *other < concepts))
    }

    /// The same with the concepts numbered in random order.
    pub fn shuffled(&self) -> Self {
        let mut random = Random(77);
        let mut order: Vec<u32> = (0..self.texts.len() as u32).collect();
        for last in (1..order.len()).rev() {
            order.swap(last, random.below(last + 1));
        }
        let mut texts = vec![String::new(); order.len()];
        for (concept, &number) in order.iter().enumerate() {
            texts[number as usize].clone_from(&self.texts[concept]);
        }
        let number = |concept: u32| order[concept as usize];
        Self { texts, edges: self.edges.iter().map(|&(a, b)| (number(a), number(b))).collect() }
    }
}
