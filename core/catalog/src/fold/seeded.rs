//! Hashing for the fold's tables, keyed by a seed that is an argument.

use std::hash::{BuildHasher, DefaultHasher, Hash as _, Hasher};

use crate::digest::Digest;

/// What the hash tables are keyed by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seed {
    value: u64,
    multiplier: u64,
}

impl Seed {
    pub(super) const fn new(value: u64) -> Self {
        Self {
            value,
            // Odd, as multiplicative hashing needs; the constant is 2^64 over
            // the golden ratio, so that seed 0 is a good one too.
            multiplier: (value ^ 0x9e37_79b9_7f4a_7c15) | 1,
        }
    }

    /// A digest is uniform already, so one multiplication of its first 8 bytes
    /// is enough (multiply-shift, universal over the multiplier). The product's
    /// high bytes are swapped down, because tables take their slots from the
    /// low bits.
    pub(super) fn hash_digest(self, digest: &Digest) -> u64 {
        let (first, _) = digest.as_bytes().as_chunks::<8>();
        let prefix = first.first().copied().map_or(0, u64::from_le_bytes);
        prefix.wrapping_mul(self.multiplier).swap_bytes()
    }

    /// Text is keyed by hashing the seed in front of it.
    pub(super) fn hash_text(self, text: &str) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.value.hash(&mut hasher);
        text.hash(&mut hasher);
        hasher.finish()
    }
}

impl BuildHasher for Seed {
    type Hasher = DefaultHasher;

    fn build_hasher(&self) -> DefaultHasher {
        let mut hasher = DefaultHasher::new();
        self.value.hash(&mut hasher);
        hasher
    }
}
