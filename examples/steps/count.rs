//! The table: instructions of each kind of operation.

use std::collections::BTreeMap;
use std::ffi::{CStr, OsStr, c_void};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::process::{Command, Stdio};

use crate::stepper::Stepper;

/// Counts the calls of one workload, by rows of the table.
pub(crate) struct Counter<'a> {
    stepper: &'a mut Stepper,
    rows: Vec<(&'static str, Row)>,
}

#[derive(Default)]
struct Row {
    counts: Vec<usize>,
    /// Where the worst went.
    worst: Vec<usize>,
}

impl<'a> Counter<'a> {
    /// Nothing counted yet.
    pub(crate) fn new(stepper: &'a mut Stepper) -> Self {
        Self { stepper, rows: Vec::new() }
    }

    /// Steps through a call of the C function at `function` that serves `blocks` blocks, and counts it in
    /// the row that `name` chooses by what it returns.
    ///
    /// # Safety
    /// As [`Stepper::step`].
    pub(crate) unsafe fn call(
        &mut self,
        name: impl Fn(u64) -> &'static str,
        blocks: usize,
        function: *const c_void,
        arguments: [u64; 6],
    ) -> u64 {
        // SAFETY: the caller's promise.
        let stepped = unsafe { self.stepper.step(function, arguments) };
        let name = name(stepped.result);
        assert!(!stepped.called_the_system(), "{name}: a system call inside");
        let index = self.rows.iter().position(|(other, _)| *other == name).unwrap_or_else(|| {
            self.rows.push((name, Row::default()));
            self.rows.len() - 1
        });
        self.rows[index].1.add(stepped.instructions(), blocks, stepped.path);
        stepped.result
    }

    /// Prints a line for each row, and with `explain` the functions that its worst went through.
    pub(crate) fn print(&mut self, explain: bool) {
        for (name, row) in &mut self.rows {
            row.print(name, explain);
        }
    }
}

impl Row {
    fn add(&mut self, instructions: usize, blocks: usize, path: &[usize]) {
        self.counts.push(instructions / blocks);
        if path.len() > self.worst.len() {
            self.worst = path.to_vec();
        }
    }

    fn print(&mut self, name: &str, explain: bool) {
        self.counts.sort_unstable();
        let n = self.counts.len();
        let at = |per_mille: usize| self.counts[n * per_mille / 1000];
        println!("| {name} | {n} | {} | {} | {} | {} |", at(500), at(990), at(999), self.counts[n - 1]);
        if explain {
            print_functions(&self.worst);
        }
    }
}

/// Prints how many instructions of a path lie in which function, the inlined ones told apart.
fn print_functions(path: &[usize]) {
    let mut functions = BTreeMap::<String, usize>::new();
    for name in names_of(path).unwrap_or_default() {
        *functions.entry(name).or_default() += 1;
    }
    let mut functions: Vec<_> = functions.into_iter().collect();
    functions.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    for (name, count) in functions {
        println!("    {count:6}  {name}");
    }
}

/// The function of each instruction, by the debug information of the library: of those inlined into
/// each other the innermost of this crate.
fn names_of(path: &[usize]) -> std::io::Result<Vec<String>> {
    // SAFETY: plain pointers, for which zero is valid.
    let mut library: libc::Dl_info = unsafe { std::mem::zeroed() };
    let first = std::ptr::with_exposed_provenance(path.first().copied().unwrap_or_default());
    // SAFETY: the output is ours; any address may be asked for.
    if unsafe { libc::dladdr(first, &raw mut library) } == 0 {
        return Ok(Vec::new());
    }
    let base = library.dli_fbase.addr();
    // SAFETY: the loader's string, which stays as long as the library.
    let name = OsStr::from_bytes(unsafe { CStr::from_ptr(library.dli_fname) }.to_bytes());
    let mut child =
        Command::new("addr2line").args(["-a", "-i", "-f", "-C", "-e"]).arg(name).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut input = child.stdin.take().expect("it was piped");
    let offsets: Vec<_> = path.iter().map(|at| at.wrapping_sub(base)).collect();
    let writer = std::thread::spawn(move || offsets.into_iter().try_for_each(|offset| writeln!(input, "{offset:#x}")));
    let output = child.wait_with_output()?;
    writer.join().expect("it does not panic")?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.split("0x").skip(1).map(innermost).collect())
}

/// The name to count an instruction for: of lines with an address, and then a function and a place in turn.
fn innermost(lines: &str) -> String {
    let mut names = lines.lines().skip(1).step_by(2);
    let first = names.clone().next().unwrap_or("?");
    let depth = ["engram::column", "engram::span::", "engram::arena", "engram::ffi", "engram_"];
    names.find(|name| depth.iter().any(|prefix| name.contains(prefix))).unwrap_or(first).to_owned()
}
