//! The command line.

use crate::adapters::{ALL, Adapter};
use anyhow::{Result, anyhow};
use clap::Parser;
use std::path::PathBuf;

/// Compares engram with other allocators, loaded into one process and measured in turn.
#[derive(Parser)]
#[command(name = "engram-peers")]
pub struct Args {
    /// Only lines whose name contains this
    #[arg(long, value_name = "ROW_SUBSTRING")]
    pub only: Option<String>,

    /// Only these allocators, in this order, in one table for each part of the report [default: all, engram's variants apart]
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_parser = adapter)]
    alloc: Vec<&'static Adapter>,

    /// Rounds for each line, not counting the first, which is thrown away
    #[arg(long, default_value_t = 11, value_parser = clap::value_parser!(u32).range(1..))]
    pub rounds: u32,

    /// No huge pages for any allocator, whatever it asks for
    #[arg(long)]
    pub small_pages: bool,

    /// Print Markdown tables
    #[arg(long)]
    pub markdown: bool,

    /// The folder with the traces
    #[arg(long, value_name = "DIR", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../../traces"))]
    pub traces: PathBuf,

    /// Print the bytes resident and live at their peaks in replaying one trace with one allocator, built before
    #[arg(long, num_args = 2, value_names = ["ALLOC", "TRACE"])]
    rss: Option<Vec<String>>,
}

impl Args {
    /// The allocators asked for, each once.
    pub fn allocators(&self) -> Vec<&'static Adapter> {
        let asked = if self.alloc.is_empty() { ALL.iter().collect() } else { self.alloc.clone() };
        let mut chosen: Vec<&'static Adapter> = Vec::new();
        for adapter in asked {
            if !chosen.iter().any(|other| other.name == adapter.name) {
                chosen.push(adapter);
            }
        }
        chosen
    }

    /// Whether engram's variants are told in tables of their own.
    pub fn variants_apart(&self) -> bool {
        self.alloc.is_empty()
    }

    /// What `--rss` asks for.
    pub fn resident_child(&self) -> Result<Option<(&'static Adapter, PathBuf)>> {
        let Some([allocator, trace]) = self.rss.as_deref() else {
            return Ok(None);
        };
        let adapter = adapter(allocator).map_err(|message| anyhow!(message))?;
        Ok(Some((adapter, PathBuf::from(trace))))
    }
}

fn adapter(name: &str) -> Result<&'static Adapter, String> {
    ALL.iter().find(|adapter| adapter.name == name).ok_or_else(|| {
        let names: Vec<_> = ALL.iter().map(|adapter| adapter.name).collect();
        format!("no allocator named {name:?}: there are {}", names.join(", "))
    })
}
