//! A spiking network that lives in a region file: killed at any moment, it goes on where it was, and fires the same spikes.
//!
//! ```text
//! cargo run --release --example checkpoint -- FILE [STEPS] [--kill-at STEP]
//! ```
//!
//! It prints the spikes of all steps once it has done them. `--kill-at` kills the process (SIGKILL) in the middle of that
//! step, if it has not been done before. `examples/c/checkpoint.c` is the same program, and goes on with the same file.
//!
//! ```text
//! root 0 -> network: step, two states, spikes, synapses
//!                      |
//!           step even: state 0 holds, state 1 is being written; odd: the other way
//! ```
//!
//! A step reads the state that holds and writes the other one, and its row of spikes; then one store counts the
//! step, and so says that the other state holds. A kill before that store undoes the step, one after it
//! does not: either way what holds is whole. Numbers are integers, so that every machine fires the same spikes.

use std::io::Write;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use engram::{Arena, Column, ColumnId, Result, SpikeTime};

const NEURONS: usize = 300;
const SYNAPSES: usize = 20;
const THRESHOLD: i32 = 1000;
const SEED: u64 = 0x5eed_0fa1_1ca1_1e27;
/// Bytes of a step's spikes: a bit for each neuron.
const ROW: usize = NEURONS.div_ceil(8);

/// What the root names. Blocks are named by their offsets, which stay the same wherever the file is mapped.
#[repr(C)]
struct Network {
    /// Steps that are done.
    step: AtomicU64,
    /// Steps for which there are rows of spikes.
    steps: u64,
    states: [u64; 2],
    spikes: u64,
    synapses: [u64; NEURONS],
}

/// All that changes from step to step.
#[repr(C)]
struct State {
    random: u64,
    potential: [i32; NEURONS],
    /// What arrives in this step.
    input: [i32; NEURONS],
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Synapse {
    target: u32,
    weight: i32,
}

/// Random numbers (Marsaglia's xorshift64).
fn next(random: &mut u64) -> u64 {
    *random ^= *random << 13;
    *random ^= *random >> 7;
    *random ^= *random << 17;
    *random
}

/// The block at an offset, as what it holds.
fn block<T>(arena: &Arena, offset: u64) -> *mut T {
    arena.at(offset as usize).expect("an offset in the arena").cast()
}

/// A new block of a column, zeroed: its offset.
fn add(arena: &Arena, column: &Column<'_>, bytes: usize, spike: SpikeTime) -> Result<u64> {
    let p: NonNull<u8> = column.alloc_zeroed(bytes, 16, spike)?;
    Ok(arena.offset_of(p.as_ptr()).expect("a block of the arena") as u64)
}

/// Makes the network; the root comes last. What a creation that was killed has left goes first.
fn create(arena: &Arena, steps: u64) -> Result<()> {
    let column = arena.column(ColumnId::new(0))?;
    // SAFETY: without a root nothing uses any block.
    unsafe { column.reset() };
    let mut random = SEED;
    // Not the first block: it may lie at offset 0, which in a root stands for nothing.
    let states = [add(arena, &column, size_of::<State>(), SpikeTime::NONE)?, add(arena, &column, size_of::<State>(), SpikeTime::NONE)?];
    let at = add(arena, &column, size_of::<Network>(), SpikeTime::NONE)?;
    // SAFETY: a new block of this size; zero is a network.
    let network: &mut Network = unsafe { &mut *block(arena, at) };
    (network.steps, network.states) = (steps, states);
    network.spikes = add(arena, &column, steps as usize * ROW, SpikeTime::NONE)?;
    for (neuron, synapses) in network.synapses.iter_mut().enumerate() {
        // Neurons that fire early lie together.
        let spike = SpikeTime::from_nanos((1 + neuron as u32 % 100) * 1_000_000);
        *synapses = add(arena, &column, SYNAPSES * size_of::<Synapse>(), spike)?;
        // SAFETY: a new block of so many; zero is a synapse.
        let synapses: &mut [Synapse; SYNAPSES] = unsafe { &mut *block(arena, *synapses) };
        for synapse in synapses {
            synapse.target = (next(&mut random) % NEURONS as u64) as u32;
            synapse.weight = (next(&mut random) % 200) as i32 - 60;
        }
    }
    // SAFETY: the block made for it.
    unsafe { (*block::<State>(arena, network.states[0])).random = random };
    arena.set_root(0, at)
}

/// Does the step after `step`, into the other state. Only spikes and that state are written.
fn advance(arena: &Arena, network: &Network, step: u64, die: bool) {
    let held = (step % 2) as usize;
    // SAFETY: two blocks made for it.
    let (now, then): (&State, &mut State) = unsafe { (&*block(arena, network.states[held]), &mut *block(arena, network.states[1 - held])) };
    // SAFETY: the block has a row for each step.
    let row: &mut [u8; ROW] = unsafe { &mut *block(arena, network.spikes + step * ROW as u64) };
    row.fill(0);
    then.input.fill(0);
    then.random = now.random;
    for neuron in 0..NEURONS {
        let noise = (next(&mut then.random) % 100) as i32;
        let before = now.potential[neuron];
        let potential = before - (before >> 4) + now.input[neuron] + noise;
        then.potential[neuron] = potential;
        if potential >= THRESHOLD {
            then.potential[neuron] = 0;
            row[neuron / 8] |= 1 << (neuron % 8);
            // SAFETY: the block made for it.
            let synapses: &[Synapse; SYNAPSES] = unsafe { &*block(arena, network.synapses[neuron]) };
            for synapse in synapses {
                then.input[synapse.target as usize] += synapse.weight;
            }
        }
        if die && neuron == NEURONS / 2 {
            kill();
        }
    }
}

#[cfg(unix)]
fn kill() {
    // SAFETY: no pointers.
    unsafe { libc::raise(libc::SIGKILL) };
}

#[cfg(not(unix))]
fn kill() {
    std::process::abort();
}

/// The spikes of all steps, a line each.
fn print(arena: &Arena, network: &Network) -> std::io::Result<()> {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for step in 0..network.steps {
        // SAFETY: the block has a row for each step.
        let row: &[u8; ROW] = unsafe { &*block(arena, network.spikes + step * ROW as u64) };
        write!(out, "{step}:")?;
        for neuron in (0..NEURONS).filter(|neuron| row[neuron / 8] >> (neuron % 8) & 1 != 0) {
            write!(out, " {neuron}")?;
        }
        writeln!(out)?;
    }
    out.flush()
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let mut arguments: Vec<_> = std::env::args().skip(1).collect();
    let mut kill_at = None;
    if let Some(at) = arguments.iter().position(|argument| argument == "--kill-at") {
        kill_at = Some(arguments.get(at + 1).ok_or("--kill-at wants a step")?.parse()?);
        arguments.drain(at..at + 2);
    }
    let path = arguments.first().ok_or("usage: checkpoint FILE [STEPS] [--kill-at STEP]")?;
    let steps = arguments.get(1).map_or(Ok(2000), |steps| steps.parse())?;
    let arena = Arena::builder().capacity(8 << 20).columns(1).path(path).build()?;
    if arena.root(0)? == 0 {
        create(&arena, steps)?;
    }
    // SAFETY: the root names the network, which is whole.
    let network: &Network = unsafe { &*block(&arena, arena.root(0)?) };
    let first = network.step.load(Ordering::Relaxed);
    eprintln!("{} at step {first} of {}", if arena.was_recovered() { "recovered" } else { "opened" }, network.steps);
    for step in first..network.steps {
        advance(&arena, network, step, kill_at == Some(step));
        // Release: all that the step wrote comes before.
        network.step.store(step + 1, Ordering::Release);
    }
    print(&arena, network)?;
    Ok(())
}
