//! How many edges placement cuts, what re-placement makes of it, and what each voter is worth.
//!
//! ```text
//! cargo run --release --example placement                         WordNet, as it ships with the project
//! cargo run --release --example placement -- NODES EDGES          other tables (tab-separated, zstd or plain)
//! cargo run --release --example placement -- --generated          graphs that are made here
//! cargo run --release --example placement -- --columns 4,64       other numbers of columns
//! cargo run --release --example placement -- --markdown           tables in Markdown
//! ```
//!
//! NODES: a header, then a line for each concept, its id first. EDGES: a header, then source and
//! destination. "Cut" is the share of *all* edges, known or not, whose ends lie in different columns.
//! Concepts come in the order of the table (natural) or in random order, each with all its known
//! neighbours as hints; then re-placement steps until there is nothing to do.

mod input;
mod report;
mod run;

use std::error::Error;
use std::path::{Path, PathBuf};

use input::Input;
use report::Report;

/// What is asked for.
struct Arguments {
    files: Vec<PathBuf>,
    columns: Vec<u32>,
    generated: bool,
    markdown: bool,
}

impl Arguments {
    fn parse() -> Result<Self, Box<dyn Error>> {
        let mut arguments = Self { files: Vec::new(), columns: vec![4, 64, 1024], generated: false, markdown: false };
        let mut given = std::env::args().skip(1);
        while let Some(argument) = given.next() {
            match argument.as_str() {
                "--markdown" => arguments.markdown = true,
                "--generated" => arguments.generated = true,
                "--columns" => {
                    let list = given.next().ok_or("--columns wants numbers, parted by commas")?;
                    arguments.columns = list.split(',').map(str::parse).collect::<Result<_, _>>()?;
                }
                option if option.starts_with('-') => return Err(format!("{option}: no such option").into()),
                file => arguments.files.push(file.into()),
            }
        }
        if ![0, 2].contains(&arguments.files.len()) {
            return Err("nodes and edges are wanted, two files, or none".into());
        }
        Ok(arguments)
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse()?;
    let report = Report { columns: arguments.columns, markdown: arguments.markdown };
    if arguments.generated {
        for (name, input) in [
            ("preferential attachment, three edges a concept", Input::attachment(100_000)),
            ("planted groups of 100, an eighth of the edges leads out", Input::planted(100_000)),
            ("a grid of 316 x 316", Input::grid(316)),
            ("a hub of 20,000 edges, the others in chains of ten", Input::star(20_001)),
        ] {
            report.graph(name, &input);
        }
    } else if let [nodes, edges] = arguments.files.as_slice() {
        report.everything(&nodes.display().to_string(), &Input::read(nodes, edges)?, &[]);
    } else {
        let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("data");
        let input = Input::read(&data.join("wordnet-nodes.tsv.zst"), &data.join("wordnet-edges.tsv.zst"))?;
        report.everything("WordNet 3.0", &input, &OFFLINE);
    }
    Ok(())
}

/// Offline partitioners on `WordNet` at a balance of 1.1, for 4, 64 and 1,024 columns.
const OFFLINE: [(&str, [f64; 3]); 2] = [("offline: METIS", [0.053, 0.145, 0.242]), ("offline: Mt-KaHyPar, KaHIP", [0.049, 0.128, 0.232])];
