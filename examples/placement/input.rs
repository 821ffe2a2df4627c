//! `WordNet`, as it ships with the project.

use std::collections::{BTreeSet, HashMap};
use std::error::Error;
use std::io::Read;
use std::path::Path;

use engram::guidance::{Features, Stimulus};

/// Concepts, numbered in the order in which they come, and what is known of them.
pub struct Graph {
    pub features: Vec<Features>,
    /// The neighbours of each concept.
    pub hints: Vec<Vec<u32>>,
    /// Each edge once.
    pub edges: Vec<(u32, u32)>,
}

fn unpacked(name: &str) -> Result<String, Box<dyn Error>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("data").join(name);
    let packed = std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let mut text = String::new();
    ruzstd::decoding::StreamingDecoder::new(packed.as_slice())?.read_to_string(&mut text)?;
    Ok(text)
}

impl Graph {
    /// In the order of the table. Both tables have a header and tabs: id, type and content; and two ids.
    pub fn wordnet() -> Result<Self, Box<dyn Error>> {
        let (nodes, links) = (unpacked("wordnet-nodes.tsv.zst")?, unpacked("wordnet-edges.tsv.zst")?);
        let (mut numbers, mut features) = (HashMap::new(), Vec::new());
        for line in nodes.lines().skip(1) {
            let mut cells = line.splitn(3, '\t');
            numbers.insert(cells.next().unwrap_or_default(), features.len() as u32);
            features.push(Features::of(Stimulus::Content(cells.nth(1).unwrap_or_default().as_bytes()))?);
        }
        let mut edges = BTreeSet::new();
        for line in links.lines().skip(1) {
            let (a, b) = line.split_once('\t').ok_or_else(|| format!("two ids are wanted: {line}"))?;
            let number = |id| numbers.get(id).copied().ok_or_else(|| format!("no such concept: {id}"));
            let (a, b) = (number(a)?, number(b)?);
            if a != b {
                edges.insert((a.min(b), a.max(b)));
            }
        }
        Ok(Self::of(features, edges.into_iter().collect()))
    }

    fn of(features: Vec<Features>, edges: Vec<(u32, u32)>) -> Self {
        let mut hints = vec![Vec::new(); features.len()];
        for &(a, b) in &edges {
            hints[a as usize].push(b);
            hints[b as usize].push(a);
        }
        Self { features, hints, edges }
    }

    /// The same graph, its concepts coming in random order, the same in every run (xorshift: Marsaglia 2003).
    pub fn shuffled(&self) -> Self {
        let mut order: Vec<u32> = (0..self.features.len() as u32).collect();
        let mut state = 77_u64;
        for last in (1..order.len()).rev() {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            order.swap(last, (state >> 20) as usize % (last + 1));
        }
        // Concept `order[i]` comes as number `i`.
        let mut number = vec![0; order.len()];
        for (new, &old) in (0..).zip(&order) {
            number[old as usize] = new;
        }
        let features = order.iter().map(|&old| self.features[old as usize].clone()).collect();
        Self::of(features, self.edges.iter().map(|&(a, b)| (number[a as usize], number[b as usize])).collect())
    }
}
