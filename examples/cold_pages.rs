//! Pages that a spreading activation of two steps reads from the disk, of a service's region file of which nothing is
//! in memory: `WordNet`'s concepts placed by a hash of their ids, and by guidance and maintenance.
//!
//! ```text
//! cargo run --release --example cold_pages          Linux
//! ```

use std::error::Error;

#[cfg(not(target_os = "linux"))]
fn main() -> Result<(), Box<dyn Error>> {
    Err("page faults are counted on Linux".into())
}

#[cfg(target_os = "linux")]
fn main() -> Result<(), Box<dyn Error>> {
    linux::main()
}

#[cfg(target_os = "linux")]
mod linux {
    #![expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]

    use std::collections::{BTreeSet, HashMap};
    use std::error::Error;
    use std::fs::File;
    use std::io::Read;
    use std::os::fd::AsRawFd;
    use std::path::Path;
    use std::time::Duration;

    use engram::service::AllocationServiceConfig;
    use engram::{AllocationRequest, ConceptType, MemoryAllocationService};

    const NODES: &[u8] = include_bytes!("../data/wordnet-nodes.tsv.zst");
    const EDGES: &[u8] = include_bytes!("../data/wordnet-edges.tsv.zst");
    const SEEDS: usize = 300;

    fn unpacked(packed: &[u8]) -> Result<String, Box<dyn Error>> {
        let mut text = String::new();
        ruzstd::decoding::StreamingDecoder::new(packed)?.read_to_string(&mut text)?;
        Ok(text)
    }

    struct Graph {
        requests: Vec<AllocationRequest>,
        neighbours: Vec<Vec<usize>>,
    }

    fn graph() -> Result<Graph, Box<dyn Error>> {
        let (nodes, edges) = (unpacked(NODES)?, unpacked(EDGES)?);
        let mut requests = Vec::new();
        let mut numbers = HashMap::new();
        for line in nodes.lines().skip(1) {
            let mut parts = line.splitn(3, '\t');
            let (Some(id), Some(_), Some(content)) = (parts.next(), parts.next(), parts.next()) else { continue };
            numbers.insert(id, requests.len());
            requests.push(AllocationRequest::new(id, ConceptType::ENTITY, content));
        }
        let mut neighbours = vec![Vec::new(); requests.len()];
        for line in edges.lines().skip(1) {
            let Some((a, b)) = line.split_once('\t').and_then(|(a, b)| Some((*numbers.get(a)?, *numbers.get(b)?))) else { continue };
            if a != b {
                for (from, to) in [(a, b), (b, a)] {
                    let hint = requests[to].concept_id.clone();
                    requests[from].locality_hints.push(hint);
                    neighbours[from].push(to);
                }
            }
        }
        Ok(Graph { requests, neighbours })
    }

    /// Where a file is mapped in this process.
    fn mapping(path: &Path) -> Result<(usize, usize), Box<dyn Error>> {
        let maps = std::fs::read_to_string("/proc/self/maps")?;
        let line = maps.lines().find(|line| line.ends_with(&*path.to_string_lossy())).ok_or("the file is not mapped")?;
        let (from, to) = line.split_once(' ').and_then(|(range, _)| range.split_once('-')).ok_or("a line of another form")?;
        Ok((usize::from_str_radix(from, 16)?, usize::from_str_radix(to, 16)?))
    }

    /// Pages read from the disk so far.
    fn reads() -> i64 {
        // SAFETY: room for the answer; zero is valid.
        unsafe {
            let mut usage: libc::rusage = core::mem::zeroed();
            libc::getrusage(libc::RUSAGE_SELF, &raw mut usage);
            usage.ru_majflt
        }
    }

    /// The mean number of pages that an activation reads.
    fn pages(path: &Path, graph: &Graph, guidance: bool) -> Result<f64, Box<dyn Error>> {
        let config = AllocationServiceConfig { path: Some(path.to_owned()), guidance, ..AllocationServiceConfig::default() };
        let service = MemoryAllocationService::open(config)?;
        for request in &graph.requests {
            service.allocate_memory(request.clone())?;
        }
        while guidance && service.maintain(Duration::from_millis(10)).more {}
        service.sync()?;
        let (from, to) = mapping(path)?;
        let file = File::open(path)?;
        let (mut random, mut read) = (0x9e37_79b9_7f4a_7c15_u64, 0);
        for _ in 0..SEEDS {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let seed = (random % graph.requests.len() as u64) as usize;
            let mut reached = BTreeSet::from([seed]);
            for _ in 0..2 {
                let next: Vec<_> = reached.iter().flat_map(|&concept| &graph.neighbours[concept]).copied().collect();
                reached.extend(next);
            }
            // SAFETY: the mapping is of a file that is shared: nothing is lost, it is read again.
            unsafe {
                libc::madvise(from as *mut _, to - from, libc::MADV_DONTNEED);
                libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED);
                libc::madvise(from as *mut _, to - from, libc::MADV_RANDOM);
            }
            let before = reads();
            let bytes: usize = reached
                .iter()
                .map(|&concept| {
                    let guard = service.read(&graph.requests[concept].concept_id);
                    guard.map_or(0, |content| content.iter().map(|&byte| usize::from(byte)).sum())
                })
                .sum();
            assert!(bytes > 0, "nothing was read");
            read += reads() - before;
        }
        Ok(read as f64 / SEEDS as f64)
    }

    pub(crate) fn main() -> Result<(), Box<dyn Error>> {
        let graph = graph()?;
        let path = std::env::temp_dir().join(format!("engram-cold-pages-{}", std::process::id()));
        let mut found = Vec::new();
        for guidance in [false, true] {
            let pages = pages(&path, &graph, guidance);
            let _ = std::fs::remove_file(&path);
            found.push(pages?);
        }
        println!(
            "pages read by an activation of two steps, {SEEDS} seeds: {:.1} placed by hash, {:.1} by guidance and maintenance ({:.2})",
            found[0],
            found[1],
            found[1] / found[0]
        );
        Ok(())
    }
}
