//! Bounded memory: two generations, so that finding and evicting cost the same whatever is held.

use std::collections::HashMap;

use bytes::Bytes;
use landfall_catalog::Digest;

/// Holds what was asked for lately. What was asked for since the last turn is young; when the young fill half
/// of the limit they become the old, and what was old and not asked for again is forgotten.
pub(super) struct Memory {
    young: HashMap<Digest, Bytes>,
    young_bytes: usize,
    old: HashMap<Digest, Bytes>,
    limit: usize,
}

impl Memory {
    /// Holds at most `limit` bytes.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            young: HashMap::new(),
            young_bytes: 0,
            old: HashMap::new(),
            limit,
        }
    }

    pub(super) fn get(&mut self, digest: &Digest) -> Option<Bytes> {
        if let Some(bytes) = self.young.get(digest) {
            return Some(bytes.clone());
        }
        let bytes = self.old.remove(digest)?;
        self.insert(*digest, bytes.clone());
        Some(bytes)
    }

    pub(super) fn insert(&mut self, digest: Digest, bytes: Bytes) {
        let half = self.limit / 2;
        if bytes.len() > half {
            return;
        }
        if self.young_bytes + bytes.len() > half {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        self.old.remove(&digest);
        self.young_bytes += bytes.len();
        if let Some(replaced) = self.young.insert(digest, bytes) {
            self.young_bytes -= replaced.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(number: u32) -> (Digest, Bytes) {
        let bytes = Bytes::from(number.to_be_bytes().repeat(5));
        (Digest::of(&bytes), bytes)
    }

    #[test]
    fn memory_stays_below_its_limit_and_keeps_what_is_asked_for() {
        let mut memory = Memory::new(400);
        let (hot, hot_bytes) = object(u32::MAX);
        memory.insert(hot, hot_bytes);
        for number in 0..1000 {
            let (digest, bytes) = object(number);
            memory.insert(digest, bytes.clone());
            assert_eq!(memory.get(&digest), Some(bytes));
            assert!(memory.get(&hot).is_some(), "asked for all the time");
            let held = memory.young.len() + memory.old.len();
            assert!(held * 20 <= 400, "{held} objects of 20 bytes");
        }
        assert!(memory.get(&object(0).0).is_none());
    }
}
