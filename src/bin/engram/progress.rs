//! Progress on standard error: a bar on a terminal, a line for each stage elsewhere. Standard output is the report's.

use std::io::{IsTerminal, Write};

use indicatif::{ProgressBar, ProgressStyle};

/// How far the program is.
pub enum Progress {
    /// A terminal watches.
    Bar(ProgressBar),
    /// A file or a pipe gets a line whenever a stage begins.
    Lines,
}

impl Progress {
    /// Of so many steps.
    pub fn new(steps: u64) -> Self {
        if !std::io::stderr().is_terminal() {
            return Self::Lines;
        }
        let bar = ProgressBar::new(steps);
        if let Ok(style) = ProgressStyle::with_template("{bar:32.cyan/blue} {pos:>3}/{len} {msg}") {
            bar.set_style(style.progress_chars("━╸ "));
        }
        Self::Bar(bar)
    }

    /// A stage begins.
    pub fn stage(&self, of: &str, what: &str) {
        match self {
            Self::Bar(bar) => bar.set_message(format!("{of}: {what}")),
            Self::Lines => {
                // Nobody is left to be told if standard error is gone.
                let _ = writeln!(std::io::stderr(), "engram: {of}: {what}");
            }
        }
    }

    /// A step is done.
    pub fn step(&self) {
        if let Self::Bar(bar) = self {
            bar.inc(1);
        }
    }

    /// All is done; the bar goes away.
    pub fn end(&self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}
