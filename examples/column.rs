//! A small spiking network: each thread holds a column with its neurons' synapses, spikes travel to
//! other threads as blocks and are freed there, and a population is laid out by who fires first.
//!
//! `cargo run --release --example column`

use std::ptr::NonNull;
use std::sync::Mutex;

use engram::{Arena, BatchFlags, ColumnId, Request, Result, SpikeTime};

const THREADS: u32 = 4;
const NEURONS: u32 = 256;
const SYNAPSES: usize = 24;
const STEPS: u32 = 200;

/// A spike on its way: allocated by the sender in its own column, freed by the receiver.
struct Spike(NonNull<u32>);

// SAFETY: whoever has the value is the only one to use the block.
unsafe impl Send for Spike {}

type Inbox = Mutex<Vec<Spike>>;

/// Latency to the first spike, 2 to 100 ms.
fn first_spike(neuron: u32) -> SpikeTime {
    SpikeTime::from_nanos((2 + neuron.wrapping_mul(2_654_435_761) % 99) * 1_000_000)
}

/// One thread's neurons: leaky integrate-and-fire. Returns how often they fired.
fn run(arena: &Arena, number: u32, inboxes: &[Inbox]) -> Result<u64> {
    let column = arena.column(ColumnId::new(number))?;
    let weights: Vec<NonNull<f32>> =
        (0..NEURONS).map(|neuron| Ok(column.alloc(SYNAPSES * size_of::<f32>(), 16, first_spike(neuron))?.cast())).collect::<Result<_>>()?;
    for block in &weights {
        for synapse in 0..SYNAPSES as u16 {
            // SAFETY: the block is ours and has room for all synapses.
            unsafe { block.add(synapse.into()).write(0.2 + 0.01 * f32::from(synapse)) };
        }
    }
    let mut potentials = [0.0_f32; NEURONS as usize];
    let mut fired = 0;
    for step in 0..STEPS {
        for Spike(spike) in std::mem::take(&mut *inboxes[number as usize].lock().expect("an inbox")) {
            // SAFETY: the spike was sent to us, so it is ours; the weights are too.
            unsafe {
                let neuron = spike.read() as usize;
                potentials[neuron] += weights[neuron].add(step as usize % SYNAPSES).read();
                column.free(spike.cast())?; // of whatever column it is: wait-free
            }
        }
        for neuron in 0..NEURONS {
            let potential = &mut potentials[neuron as usize];
            *potential = 0.9 * *potential + 0.13;
            if *potential < 1.0 {
                continue;
            }
            *potential = 0.0;
            fired += 1;
            let spike = column.alloc(size_of::<u32>(), 0, first_spike(neuron))?.cast::<u32>();
            // SAFETY: the block is ours and large enough.
            unsafe { spike.write(neuron.wrapping_mul(31).wrapping_add(step) % NEURONS) };
            let to = (number + 1 + neuron % (THREADS - 1)) % THREADS;
            inboxes[to as usize].lock().expect("an inbox").push(Spike(spike));
        }
    }
    Ok(fired)
}

fn main() -> Result<()> {
    let arena = Arena::builder().capacity(32 << 20).columns(THREADS + 1).build()?;
    let inboxes: Vec<Inbox> = (0..THREADS).map(|_| Inbox::default()).collect();
    let fired = std::thread::scope(|scope| {
        let (arena, inboxes) = (&arena, &inboxes);
        let threads: Vec<_> = (0..THREADS).map(|number| scope.spawn(move || run(arena, number, inboxes))).collect();
        threads.into_iter().map(|thread| thread.join().expect("a thread")).sum::<Result<u64>>()
    })?;
    println!("{THREADS} threads, {STEPS} steps: {fired} spikes fired");

    // A population built at once: the earlier a neuron fires, the lower its address.
    let column = Some(ColumnId::new(THREADS));
    let requests: Vec<Request> =
        (0..NEURONS).map(|neuron| Request { size: SYNAPSES * 4, align: 16, column, spike: first_spike(neuron) }).collect();
    let mut blocks = vec![std::ptr::null_mut(); requests.len()];
    arena.alloc_batch(&requests, BatchFlags::ORDERED | BatchFlags::ATOMIC, &mut blocks)?;
    let mut order: Vec<_> = requests.iter().map(|request| request.spike).zip(&blocks).collect();
    order.sort_by_key(|&(spike, _)| spike);
    assert!(order.is_sorted_by_key(|&(_, block)| block));
    println!("ordered batch: {} blocks, their addresses ascend with their spike times", order.len());

    let metrics = arena.metrics();
    let (given, freed, by_others) = (metrics.allocs, metrics.frees, metrics.remote_frees);
    println!("{given} blocks given, {freed} freed, {by_others} of them by other threads; {} bytes at most", metrics.bytes_peak);
    Ok(())
}
