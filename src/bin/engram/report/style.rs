//! How text looks: colours and block characters on a terminal that has them, plain ASCII elsewhere; numbers in groups.

use std::env::var_os;
use std::io::IsTerminal;

/// What the reader's screen can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// Colours and weights.
    pub colour: bool,
    /// Block characters.
    pub blocks: bool,
}

/// Whether standard output is a terminal that knows more than lines.
pub fn is_screen() -> bool {
    std::io::stdout().is_terminal() && var_os("TERM").is_none_or(|value| value != "dumb")
}

impl Style {
    /// Plain ASCII.
    pub const PLAIN: Self = Self { colour: false, blocks: false };

    /// Of standard output: plain unless it is a terminal, `NO_COLOR` is unset or empty, and `TERM` is not `dumb`.
    pub fn of_stdout() -> Self {
        let unwanted = var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        if !is_screen() || unwanted {
            return Self::PLAIN;
        }
        Self { colour: true, blocks: locale_is_utf8() }
    }

    /// Text that stands out.
    pub fn bold(self, text: &str) -> String {
        self.sgr("1", text)
    }

    /// Text that stands back.
    pub fn dim(self, text: &str) -> String {
        self.sgr("2", text)
    }

    /// A ratio to malloc: green where less, red where more, by more than the noise of 2 %.
    pub fn ratio(self, ratio: f64) -> String {
        let text = time(ratio);
        match ratio {
            ratio if ratio < 0.98 => self.sgr("32", &text),
            ratio if ratio > 1.02 => self.sgr("31", &text),
            _ => text,
        }
    }

    /// Text under a "select graphic rendition" code.
    pub fn sgr(self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// The first of the three variables that is set decides, as in POSIX.
fn locale_is_utf8() -> bool {
    let set = ["LC_ALL", "LC_CTYPE", "LANG"].iter().filter_map(var_os).find(|value| !value.is_empty());
    set.is_some_and(|value| {
        let value = value.to_string_lossy().to_ascii_lowercase();
        value.contains("utf-8") || value.contains("utf8")
    })
}

/// Text of others, as a file's name is, that stays in its line and leaves the terminal as it is: control characters are escaped.
pub fn in_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for char in text.chars() {
        if char.is_control() {
            line.extend(char.escape_default());
        } else {
            line.push(char);
        }
    }
    line
}

/// `1234567` as `1,234,567`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number of bytes in the unit that leaves it below 1,024: `123.5 MiB`.
pub fn bytes(number: u64) -> String {
    let mut value = number as f64;
    let mut unit = "B";
    for next in ["KiB", "MiB", "GiB", "TiB"] {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    if unit == "B" { format!("{number} B") } else { format!("{value:.1} {unit}") }
}

/// A time with three digits that matter: `6.91`, `23.1`, `1,234`.
pub fn time(ns: f64) -> String {
    match ns {
        ns if ns < 10.0 => format!("{ns:.2}"),
        ns if ns < 100.0 => format!("{ns:.1}"),
        _ => grouped(ns.round() as u64),
    }
}

/// A time of at most five characters: `6.91`, `123`, `12.3k`, `1.23M`.
pub fn short_time(ns: f64) -> String {
    match ns {
        ns if ns < 999.5 => time(ns),
        ns if ns < 999_500.0 => format!("{}k", time(ns / 1e3)),
        _ => format!("{}M", time(ns / 1e6)),
    }
}

#[cfg(test)]
mod tests;
