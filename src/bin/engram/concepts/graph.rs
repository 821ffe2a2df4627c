//! WordNet as a knowledge graph: each synset a request, with its neighbours as hints.

use std::collections::HashMap;

use engram::service::{AllocationRequest, ConceptType};

use crate::failure::Failure;
use crate::trace::packed;
use crate::wordnet::records;

const NODES: (&str, &[u8]) = (records::PATH, records::SHIPPED);
const EDGES: (&str, &[u8]) = ("data/wordnet-edges.tsv.zst", include_bytes!("../../../../data/wordnet-edges.tsv.zst"));

/// A graph of requests.
pub struct Graph {
    /// One for each concept, in the order of the file; each with all its neighbours as hints.
    pub requests: Vec<AllocationRequest>,
    /// The neighbours of each, by their places in `requests`.
    pub neighbours: Vec<Vec<usize>>,
    /// Its distinct edges.
    pub edges: usize,
}

impl Graph {
    /// The one that the program carries.
    ///
    /// # Errors
    /// [`Failure::WordNet`] if a file is damaged.
    pub fn shipped() -> Result<Self, Failure> {
        Self::parse(&text(NODES)?, &text(EDGES)?).map_err(|(path, wrong)| Failure::WordNet { path, wrong })
    }

    /// Of two tables with a header line: id, type, lemmas, gloss; and source, destination.
    fn parse(nodes: &str, edges: &str) -> Result<Self, (&'static str, String)> {
        let mut requests = Vec::new();
        let mut numbers = HashMap::new();
        for (index, line) in nodes.lines().enumerate().skip(1) {
            let parts = line.split_once('\t').and_then(|(id, rest)| Some((id, rest.split_once('\t')?)));
            let (id, (kind, content)) =
                parts.ok_or_else(|| (NODES.0, format!("line {}: expected id, type, lemmas and gloss", index + 1)))?;
            numbers.insert(id, requests.len());
            requests.push(AllocationRequest::new(id, type_of(kind), content));
        }
        let mut neighbours = vec![Vec::new(); requests.len()];
        let mut known = 0;
        for (index, line) in edges.lines().enumerate().skip(1) {
            let ends = line.split_once('\t').and_then(|(a, b)| Some((*numbers.get(a)?, *numbers.get(b)?)));
            let (a, b) = ends.ok_or_else(|| (EDGES.0, format!("line {}: expected two ids of concepts", index + 1)))?;
            if a != b {
                known += 1;
                let (from, to) = (requests[a].concept_id.clone(), requests[b].concept_id.clone());
                requests[a].locality_hints.push(to);
                requests[b].locality_hints.push(from);
                neighbours[a].push(b);
                neighbours[b].push(a);
            }
        }
        Ok(Self { requests, neighbours, edges: known })
    }
}

fn text((path, packed): (&'static str, &[u8])) -> Result<String, Failure> {
    let wrong = |wrong: String| Failure::WordNet { path, wrong };
    let bytes = packed::decompress(packed).map_err(|error| wrong(error.to_string()))?;
    String::from_utf8(bytes).map_err(|error| wrong(error.to_string()))
}

/// The pool for a part of speech.
fn type_of(kind: &str) -> ConceptType {
    match kind {
        "noun" => ConceptType::ENTITY,
        "verb" => ConceptType::EVENT,
        "adj" | "adjective" | "adj_sat" => ConceptType::PROPERTY,
        _ => ConceptType::ABSTRACT,
    }
}

#[cfg(test)]
mod tests;
