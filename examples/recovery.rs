//! How long a region takes to be recovered, by the spans in use: sparse files of 64 GiB whose process died.
//!
//! ```text
//! cargo run --release --example recovery
//! ```

use std::path::Path;
use std::time::Instant;

use engram::{Arena, ArenaBuilder, ColumnId, SpikeTime};

const CAPACITY: usize = 64 << 30;
/// Bytes of a block, and blocks of a span of 32 KiB.
const BLOCK: usize = 1024;
const BLOCKS: u64 = 32;

fn builder(path: &Path) -> ArenaBuilder {
    Arena::builder().capacity(CAPACITY).columns(8).sparse(true).path(path)
}

/// Fills `spans` spans, and dies.
fn fill(path: &Path, spans: u64) -> ! {
    let arena = builder(path).build().expect("a region file");
    let column = arena.column(ColumnId::new(0)).expect("a column");
    for _ in 0..spans * BLOCKS {
        column.alloc(BLOCK, 16, SpikeTime::NONE).expect("64 GiB are enough");
    }
    std::process::abort();
}

fn main() {
    let path = std::env::temp_dir().join(format!("engram-recovery-{}", std::process::id()));
    let mut arguments = std::env::args().skip(1);
    if let (Some(path), Some(spans)) = (arguments.next(), arguments.next()) {
        fill(Path::new(&path), spans.parse().expect("a number of spans"));
    }
    println!("| spans in use | blocks | opened in | a span |");
    println!("|---:|---:|---:|---:|");
    for spans in [0, 1 << 10, 1 << 14, 1 << 18, 1 << 20] {
        let _ = std::fs::remove_file(&path);
        let filled = std::process::Command::new(std::env::current_exe().expect("this program"))
            .args([path.as_os_str(), spans.to_string().as_ref()])
            .stderr(std::process::Stdio::null())
            .status();
        assert!(filled.is_ok_and(|status| !status.success()), "it is to die");
        let start = Instant::now();
        let arena = builder(&path).build().expect("the region");
        let took = start.elapsed();
        assert!(arena.was_recovered() && arena.metrics().live_blocks() == spans * BLOCKS);
        let each = if spans == 0 { String::new() } else { format!("{} ns", took.as_nanos() / u128::from(spans)) };
        println!("| {spans} | {} | {:.1} ms | {each} |", spans * BLOCKS, took.as_secs_f64() * 1e3);
    }
    let _ = std::fs::remove_file(&path);
}
