//! `engram`: the allocator at work, from the command line.
//!
//! Without a command it replays the memory traffic of a neural simulation and visits a knowledge graph in spike order, beside
//! the system's malloc, with every content checked; `engram replay` does the first with any recorded trace.
//!
//! | module | what |
//! |---|---|
//! | [`cli`] | what can be asked |
//! | [`trace`] | recorded traces, decoded and checked |
//! | [`replay`] | a trace played against both allocators |
//! | [`wordnet`] | WordNet's concepts placed and visited |
//! | [`concepts`] | WordNet through the memory allocation service |
//! | [`watch`] | region files, looked at while they are open or not |
//! | [`report`] | what was measured, as text or JSON |
//! | [`clock`], [`stats`], [`resident`] | what measuring takes |
//! | [`progress`], [`failure`] | what standard error and the exit code say |
//!
//! Exit codes: 0 all is well, 1 something was refused, damaged or cannot be measured, 2 wrong options or files.

// Numbers are measured, then shown: as floats that lose nothing a reader would see, or as indices that fit.
#![expect(clippy::doc_markdown, reason = "WordNet is a name, and help texts show no backticks")]
#![expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
#![expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "ranges are stated where it matters")]

mod cli;
mod clock;
mod concepts;
mod failure;
mod progress;
mod replay;
mod report;
mod resident;
mod stats;
mod trace;
mod watch;
mod wordnet;

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;

use cli::{ArenaOptions, Cli, Command};
use clock::Clock;
use failure::Failure;
use progress::Progress;
use replay::{Options, Source};
use report::style::{Style, in_line};
use report::{Report, text};
use trace::packed::{self, PackedError, PackedFault};

const NEST: &[u8] = include_bytes!("../../../traces/nest_brunel.egt.zst");
const NEST_NAME: &str = "nest_brunel";

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return answer(&error),
    };
    end(run(&cli))
}

/// Says what went wrong, if anything did. Whoever stops reading knows that it did.
fn end(outcome: Result<(), Failure>) -> ExitCode {
    match failure::heard_or_not(outcome) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // Nobody is left to be told if standard error is gone.
            let _ = writeln!(io::stderr(), "engram: {}", in_line(&failure.to_string()));
            failure.exit_code()
        }
    }
}

/// Help and version as they are, everything else in one line.
fn answer(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        return end(error.print().and_then(|()| io::stdout().flush()).map_err(Failure::from));
    }
    let text = error.to_string();
    let wrong: Vec<_> = text.lines().take_while(|line| !line.is_empty()).map(str::trim).collect();
    let wrong = in_line(&wrong.join(" "));
    let _ = writeln!(io::stderr(), "engram: {} (engram --help says what is allowed)", wrong.trim_start_matches("error: "));
    ExitCode::from(2)
}

fn run(cli: &Cli) -> Result<(), Failure> {
    match &cli.command {
        None => {
            let options = Options { rounds: cli.rounds.number(), arena: ArenaOptions::default(), verify: true };
            let nest = source(NEST_NAME.to_owned(), Path::new("traces/nest_brunel.egt.zst"), NEST.to_vec())?;
            measure(cli, &[nest], &options, true)
        }
        Some(Command::Replay(replay)) => {
            let rounds = replay.rounds.or(cli.rounds).number();
            let options = Options { rounds, arena: replay.arena, verify: !replay.no_verify };
            let sources = replay.files.iter().map(|path| read(path)).collect::<Result<Vec<_>, _>>()?;
            measure(cli, &sources, &options, false)
        }
        Some(_) if cli.rounds.rounds.is_some() => {
            Err(Failure::Usage("--rounds: only the main run and replay measure in rounds".to_owned()))
        }
        Some(Command::Info(file)) => watch::info(&file.path, cli.json),
        Some(Command::Map(options)) => watch::map(&options.file.path, options.html.as_deref(), cli.json),
        Some(Command::Top(options)) => watch::top(options, cli.json),
        Some(Command::Check(options)) => watch::check(&options.file.path, options.repair, cli.json),
        Some(Command::Export(file)) => watch::export(&file.path, cli.json),
        Some(Command::MeasurePeak(options)) => replay::peak::child(options),
    }
}

/// Reads a trace and checks all of it.
fn read(path: &Path) -> Result<Source, Failure> {
    let (mut bytes, most) = (Vec::new(), packed::MAX_BYTES);
    // One more than is allowed tells that there is more, however much: a device has no end.
    let read = File::open(path).and_then(|file| file.take(most as u64 + 1).read_to_end(&mut bytes));
    read.map_err(|source| Failure::Read { path: path.to_owned(), source })?;
    if bytes.len() > most {
        let source = PackedError { at: most, fault: PackedFault::TooLarge(most) };
        return Err(Failure::Packed { path: path.to_owned(), source });
    }
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
    let name = name.trim_end_matches(".zst").trim_end_matches(".egt").to_owned();
    source(name, path, bytes)
}

fn source(name: String, path: &Path, bytes: Vec<u8>) -> Result<Source, Failure> {
    let bytes = packed::unpack(bytes).map_err(|source| Failure::Packed { path: path.to_owned(), source })?;
    let trace = trace::decode(&bytes).map_err(|source| Failure::Trace { path: path.to_owned(), source })?;
    Ok(Source { name, bytes, trace })
}

/// Measures everything, then reports it.
fn measure(cli: &Cli, sources: &[Source], options: &Options, with_wordnet: bool) -> Result<(), Failure> {
    let steps =
        sources.len() as u64 * replay::steps(options) + if with_wordnet { wordnet::steps(options.rounds) + concepts::steps() } else { 0 };
    // What one of several cannot have is no reason to lose what was measured of the others. (One alone is told so soon enough.)
    if sources.len() > 1 {
        sources.iter().try_for_each(|source| replay::fits(source, options))?;
    }
    let progress = Progress::new(steps);
    let clock = Clock::calibrate();
    // WordNet first: malloc has a fresh heap for its records.
    let wordnet = with_wordnet.then(|| wordnet::measure(options.rounds, &progress)).transpose()?;
    let replays = sources.iter().map(|source| replay::measure(source, options, clock, &progress));
    let replays = replays.collect::<Result<Vec<_>, _>>()?;
    let concepts = with_wordnet.then(|| concepts::measure(&progress)).transpose()?;
    progress.end();

    let report = Report { engram: env!("CARGO_PKG_VERSION"), clock, replays, wordnet, concepts };
    failure::heard_or_not(say(&report, cli.json))?;
    report.complaint().map_or(Ok(()), |complaint| Err(Failure::Found(complaint)))
}

fn say(report: &Report, json: bool) -> Result<(), Failure> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    if json {
        serde_json::to_writer(&mut out, report).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        text::write(&mut out, report, Style::of_stdout())?;
    }
    Ok(out.flush()?)
}
