//! What was calculated before, of values that come again and again.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hash, Hasher},
};

/// Values by small keys. A millionth of a second counts here, and nobody chooses keys to collide.
pub(crate) type Known<K, V> = HashMap<K, V, BuildHasherDefault<Quick>>;

/// Multiplies and rotates, as rustc's own tables do.
#[derive(Debug, Default)]
pub(crate) struct Quick(u64);

impl Quick {
    pub(crate) fn of(value: &impl Hash) -> u64 {
        let mut hasher = Self::default();
        value.hash(&mut hasher);
        hasher.finish()
    }

    fn add(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    }
}

impl Hasher for Quick {
    fn finish(&self) -> u64 {
        // The table takes the upper bits and the lower ones.
        self.0 ^ (self.0 >> 32)
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.add(u64::from(*byte));
        }
    }

    fn write_u8(&mut self, word: u8) {
        self.add(word.into());
    }

    fn write_u32(&mut self, word: u32) {
        self.add(word.into());
    }

    fn write_u64(&mut self, word: u64) {
        self.add(word);
    }

    fn write_u128(&mut self, word: u128) {
        let bytes = word.to_le_bytes();
        let (low, high) = bytes.split_at(8);
        for half in [low, high] {
            self.add(half.try_into().map_or(0, u64::from_le_bytes));
        }
    }

    fn write_usize(&mut self, word: usize) {
        self.add(word as u64);
    }

    fn write_isize(&mut self, word: isize) {
        self.write_usize(word.cast_unsigned());
    }
}
