//! Memory as the system sees it: what this process has resident, what the machine has left.
//!
//! Linux only; elsewhere there is no answer, and the report says so.

/// Resident memory of this process in bytes, and the most it was since [`reset_peak`].
#[derive(Clone, Copy, Debug)]
pub struct Resident {
    /// Now.
    pub now: u64,
    /// At its highest.
    pub peak: u64,
}

impl Resident {
    /// From `/proc/self/status`.
    pub fn read() -> Option<Self> {
        let status = std::fs::read_to_string("/proc/self/status").ok()?;
        Some(Self { now: field(&status, "VmRSS:")?, peak: field(&status, "VmHWM:")? })
    }
}

/// Sets the peak to what is resident now; `false` if the system does not let us.
pub fn reset_peak() -> bool {
    std::fs::write("/proc/self/clear_refs", "5").is_ok()
}

/// Bytes that the machine can still give without swapping.
pub fn available() -> Option<u64> {
    field(&std::fs::read_to_string("/proc/meminfo").ok()?, "MemAvailable:")
}

/// Page faults of this process so far that the system served without a disk, all threads together.
pub fn page_faults() -> Option<u64> {
    faults_of(&std::fs::read_to_string("/proc/self/stat").ok()?)
}

/// Field 10 of `/proc/self/stat`; the second field, the only one with spaces, ends with the last parenthesis.
fn faults_of(stat: &str) -> Option<u64> {
    let (_, after) = stat.rsplit_once(')')?;
    after.split_ascii_whitespace().nth(7)?.parse().ok()
}

/// A line such as `VmRSS:      1234 kB`, in bytes.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests;
