//! Writes traces for the tests, and knows where each field came to lie.

/// A trace under construction; the counts in the header are those of what was written.
#[derive(Clone)]
pub struct Writer {
    threads: u32,
    operations: u64,
    objects: u64,
    body: Vec<u8>,
}

impl Writer {
    /// Bytes of the header.
    pub const HEADER: usize = 32;

    pub fn new(threads: u32) -> Self {
        Self { threads, operations: 0, objects: 0, body: Vec::new() }
    }

    /// The offset at which the next operation starts.
    pub fn at(&self) -> usize {
        Self::HEADER + self.body.len()
    }

    pub fn allocate(&mut self, thread: u8, size: u64, align_log2: u8) -> u64 {
        self.first(thread, 0);
        self.varint(size);
        self.body.push(align_log2);
        self.objects += 1;
        self.objects - 1
    }

    pub fn free(&mut self, thread: u8, object: u64) {
        self.first(thread, 1);
        self.varint(self.objects - 1 - object);
    }

    pub fn reallocate(&mut self, thread: u8, object: u64, size: u64) {
        self.first(thread, 2);
        self.varint(self.objects - 1 - object);
        self.varint(size);
    }

    /// Bytes as they are, counted as one operation.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.operations += 1;
        self.body.extend_from_slice(bytes);
    }

    pub fn finish(&self) -> Vec<u8> {
        let mut bytes = b"EGTRACE1".to_vec();
        bytes.extend(1_u32.to_le_bytes());
        bytes.extend(self.threads.to_le_bytes());
        bytes.extend(self.operations.to_le_bytes());
        bytes.extend(self.objects.to_le_bytes());
        bytes.extend(&self.body);
        bytes
    }

    fn first(&mut self, thread: u8, operation: u8) {
        self.operations += 1;
        self.body.push(operation | thread << 2);
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.body.push(value.to_le_bytes()[0] & 0x7f | 0x80);
            value >>= 7;
        }
        self.body.push(value.to_le_bytes()[0]);
    }
}

/// A trace of two threads with every kind of operation: size 0, a size that grows, shrinks, ends at 0, an aligned
/// block, blocks freed and resized by the other thread, blocks that stay.
pub fn every_operation() -> Writer {
    let mut trace = Writer::new(2);
    let empty = trace.allocate(0, 0, 4);
    let small = trace.allocate(0, 24, 4);
    let other = trace.allocate(1, 300, 4);
    let aligned = trace.allocate(1, 5_000, 12);
    trace.reallocate(0, small, 100_000);
    trace.reallocate(1, small, 40);
    trace.reallocate(0, small, 0);
    trace.reallocate(0, small, 77);
    trace.reallocate(1, aligned, 9_000);
    trace.free(0, other);
    trace.free(1, empty);
    let again = trace.allocate(1, 1_000_000, 4);
    trace.reallocate(0, again, 0);
    trace.free(1, small);
    trace.allocate(0, 600_000, 6);
    trace
}
