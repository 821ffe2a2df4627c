//! A folder that goes away with the test.
#![allow(dead_code, missing_docs, reason = "each test uses its part")]

use std::path::{Path, PathBuf};

pub struct Folder(PathBuf);

impl Folder {
    /// In the system's folder for such things.
    pub fn new(name: &str) -> Self {
        Self::inside(&std::env::temp_dir(), name)
    }

    /// In memory, if there is such a file system.
    pub fn in_memory(name: &str) -> Self {
        let memory = Path::new("/dev/shm");
        if memory.is_dir() { Self::inside(memory, name) } else { Self::new(name) }
    }

    pub fn inside(parent: &Path, name: &str) -> Self {
        let path = parent.join(format!("engram-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// How many files are in it.
    pub fn files(&self) -> usize {
        std::fs::read_dir(&self.0).unwrap().count()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
