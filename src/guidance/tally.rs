//! Sums under few keys, in a fixed number of bytes: what a decision or a visit adds up for each
//! column, cluster or concept that it meets.
//!
//! Keys are numbered in the order in which they come; that number is where their value lies. A small
//! hash table (linear probing, half full at most) finds it again.

/// At most `N` keys, found through `SLOTS` slots, a power of two of at least `2 * N`.
pub(crate) struct Tally<V, const N: usize, const SLOTS: usize> {
    keys: [u32; N],
    values: [V; N],
    /// One more than the number of the key, or 0.
    slots: [u16; SLOTS],
    len: usize,
}

impl<V: Copy + Default, const N: usize, const SLOTS: usize> Tally<V, N, SLOTS> {
    const SHIFT: u32 = {
        assert!(SLOTS.is_power_of_two() && SLOTS >= 2 * N && SLOTS > 1 && N < u16::MAX as usize);
        32 - SLOTS.ilog2()
    };

    /// Nothing yet.
    pub(crate) fn new() -> Self {
        Self { keys: [0; N], values: [V::default(); N], slots: [0; SLOTS], len: 0 }
    }

    /// Forgets all keys.
    pub(crate) fn clear(&mut self) {
        if self.len > 0 {
            self.slots.fill(0);
            self.len = 0;
        }
    }

    /// The keys, in the order in which they came.
    pub(crate) fn keys(&self) -> &[u32] {
        &self.keys[..self.len]
    }

    /// Their values.
    pub(crate) fn values(&self) -> &[V] {
        &self.values[..self.len]
    }

    /// Key and value, in the order in which the keys came.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, V)> + '_ {
        self.keys().iter().copied().zip(self.values().iter().copied())
    }

    /// Replaces each value.
    pub(crate) fn update(&mut self, mut value: impl FnMut(u32, V) -> V) {
        for (key, old) in self.keys[..self.len].iter().zip(&mut self.values) {
            *old = value(*key, *old);
        }
    }

    /// The slot of `key`, or the free one where it would go.
    fn slot(&self, key: u32) -> usize {
        // Fibonacci hashing: Knuth, The Art of Computer Programming, volume 3, section 6.4.
        let mut slot = (key.wrapping_mul(0x9E37_79B1) >> Self::SHIFT) as usize;
        while self.slots[slot] != 0 && self.keys[self.slots[slot] as usize - 1] != key {
            slot = (slot + 1) % SLOTS;
        }
        slot
    }

    /// The value of `key`, if it came already.
    pub(crate) fn get(&self, key: u32) -> Option<V> {
        match self.slots[self.slot(key)] {
            0 => None,
            number => Some(self.values[number as usize - 1]),
        }
    }

    /// The value of `key`, if it came already, to be changed.
    pub(crate) fn get_mut(&mut self, key: u32) -> Option<&mut V> {
        match self.slots[self.slot(key)] {
            0 => None,
            number => Some(&mut self.values[number as usize - 1]),
        }
    }

    /// The value of `key`, a fresh one if it is new; `None` if it is new and there is no room.
    pub(crate) fn entry(&mut self, key: u32) -> Option<&mut V> {
        let slot = self.slot(key);
        if self.slots[slot] == 0 {
            if self.len == N {
                return None;
            }
            self.keys[self.len] = key;
            self.values[self.len] = V::default();
            self.len += 1;
            self.slots[slot] = self.len as u16;
        }
        Some(&mut self.values[self.slots[slot] as usize - 1])
    }
}

#[cfg(test)]
mod tests;
