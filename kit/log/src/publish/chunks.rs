//! Entries as messages of the stream: encoded once, sent to everybody.

use std::collections::VecDeque;
use std::sync::{PoisonError, RwLock};

use bytes::Bytes;
use landfall_proto::v1::{
    CatalogBookmark, CatalogCheckpoint, CatalogEntries, CatalogHello, CatalogWatchResponse,
    catalog_watch_response::Kind,
};
use prost::Message as _;

/// Most bytes of a message, with what protobuf puts around the entries.
const MAX_MESSAGE_BYTES: usize = 64 << 10;
/// Room for what is in the message besides the entries.
const ENVELOPE_BYTES: usize = 64;
/// Most bytes that protobuf puts before an entry: its field and its length.
const ENTRY_OVERHEAD_BYTES: usize = 4;
/// Most entries of a message, whatever their size.
pub(super) const MAX_MESSAGE_ENTRIES: usize = 4096;

/// Encoded messages of the newest entries that are kept for all streams.
const RECENT_BYTES: usize = 8 << 20;

/// Most bytes of entries, as read from the disk, that fit one message.
pub(super) const fn entry_bytes_limit(entries: usize) -> usize {
    MAX_MESSAGE_BYTES - ENVELOPE_BYTES - entries * ENTRY_OVERHEAD_BYTES
}

/// A message with the entries `first..end`, encoded.
#[derive(Clone, Debug)]
pub(super) struct Chunk {
    pub(super) first: u64,
    pub(super) end: u64,
    pub(super) message: Bytes,
}

impl Chunk {
    fn new(first: u64, entries: Vec<Bytes>) -> Self {
        Self {
            first,
            end: first + entries.len() as u64,
            message: encode(Kind::Entries(CatalogEntries { first, entries })),
        }
    }

    /// The longest beginning of `entries` that fits one message.
    pub(super) fn of_beginning(first: u64, entries: &[Bytes]) -> Self {
        let mut bytes = ENVELOPE_BYTES;
        let count = entries
            .iter()
            .take(MAX_MESSAGE_ENTRIES)
            .take_while(|entry| {
                bytes += entry.len() + ENTRY_OVERHEAD_BYTES;
                bytes <= MAX_MESSAGE_BYTES
            })
            .count();
        // An entry alone always fits: it has at most 60,000 bytes.
        Self::new(first, entries[..count.max(1).min(entries.len())].to_vec())
    }
}

fn encode(kind: Kind) -> Bytes {
    CatalogWatchResponse { kind: Some(kind) }
        .encode_to_vec()
        .into()
}

pub(super) fn hello(origin: &str, verifier_keys: &[String]) -> Bytes {
    encode(Kind::Hello(CatalogHello {
        origin: origin.to_owned(),
        verifier_keys: verifier_keys.to_vec(),
    }))
}

pub(super) fn checkpoint(note: Bytes, trace_parent: Option<&str>) -> Bytes {
    encode(Kind::Checkpoint(CatalogCheckpoint {
        note,
        trace_parent: trace_parent.unwrap_or_default().to_owned(),
    }))
}

pub(super) fn bookmark(size: u64) -> Bytes {
    encode(Kind::Bookmark(CatalogBookmark { size }))
}

/// The newest entries, ready to send. Streams that are at the head take their
/// messages here; those far behind read the disk.
#[derive(Debug, Default)]
pub(super) struct RecentChunks {
    chunks: RwLock<VecDeque<Chunk>>,
}

impl RecentChunks {
    /// Adds the entries of a commit, which begin at index `first`.
    pub(super) fn add(&self, mut first: u64, mut entries: &[Bytes]) {
        let mut chunks = self.chunks.write().unwrap_or_else(PoisonError::into_inner);
        while !entries.is_empty() {
            let chunk = Chunk::of_beginning(first, entries);
            entries = &entries[usize::try_from(chunk.end - first).unwrap_or(entries.len())..];
            first = chunk.end;
            chunks.push_back(chunk);
            let mut kept: usize = chunks.iter().map(|chunk| chunk.message.len()).sum();
            while kept > RECENT_BYTES
                && let Some(oldest) = chunks.pop_front()
            {
                kept -= oldest.message.len();
            }
        }
    }

    /// The chunk that begins at `cursor` and does not go past `size`.
    pub(super) fn at(&self, cursor: u64, size: u64) -> Option<Chunk> {
        let chunks = self.chunks.read().unwrap_or_else(PoisonError::into_inner);
        let place = chunks
            .binary_search_by_key(&cursor, |chunk| chunk.first)
            .ok()?;
        chunks.get(place).filter(|chunk| chunk.end <= size).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_message_is_larger_than_64_kib_and_none_is_lost() {
        for length in [0, 1, 150, 30_000, 60_000] {
            let entries: Vec<_> = (0..5_000_u32 / (1 + length / 100))
                .map(|n| Bytes::from(vec![n.to_le_bytes()[0]; length as usize]))
                .collect();
            let recent = RecentChunks::default();
            recent.add(7, &entries);
            let (mut cursor, mut read) = (7, Vec::new());
            let size = 7 + entries.len() as u64;
            while cursor < size {
                let chunk = recent.at(cursor, size).unwrap();
                assert!(chunk.message.len() <= MAX_MESSAGE_BYTES);
                let decoded = CatalogWatchResponse::decode(chunk.message.clone()).unwrap();
                let Some(Kind::Entries(message)) = decoded.kind else {
                    panic!("{decoded:?}");
                };
                assert_eq!(message.first, cursor);
                cursor = chunk.end;
                read.extend(message.entries);
            }
            assert_eq!(read, entries);
        }
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let recent = RecentChunks::default();
        for first in 0..300 {
            recent.add(first, &[Bytes::from(vec![0; 60_000])]);
        }
        assert!(recent.at(0, 300).is_none());
        assert!(recent.at(299, 300).is_some());
        assert!(recent.at(299, 299).is_none());
        assert!(recent.chunks.read().unwrap().len() <= RECENT_BYTES / 60_000);
    }
}
