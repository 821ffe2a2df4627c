//! Random numbers: xorshift64 (Marsaglia 2003).

/// A generator.
pub struct Random(u64);

impl Random {
    /// The generator of a seed.
    pub fn new(seed: u64) -> Self {
        // Any number but 0 starts it; an odd multiplier keeps seeds apart.
        Self((seed + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }

    /// The next number. Its high half is for [`below`], its low bits are for other choices.
    #[inline]
    pub fn draw(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// A number below `bound`, which is less than 2^32: the high half of what was drawn, scaled.
#[inline]
pub fn below(bound: usize, drawn: u64) -> usize {
    (((drawn >> 32) * bound as u64) >> 32) as usize
}
