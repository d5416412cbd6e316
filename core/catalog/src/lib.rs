//! What is promoted: the objects, the names they go by, the signed log that
//! records both, the state that folding the log gives, and the sets that say
//! which of it a mirror holds.
//!
//! # Invariants
//!
//! - A value of a type of this crate is valid: strings, digests, notes and
//!   bitmaps are checked once, where they are parsed, and bounded there.
//! - The fold is deterministic: the same entries give every reader the same
//!   ordinals, the same membership and the same live set.
//! - A revision is applied whole or not at all, and at a cost in proportion to
//!   itself, never to the catalog.
//!
//! # Deliberately absent
//!
//! No files, sockets, clocks, threads or randomness: seeds and the time are
//! arguments. No wire format of the entries either: the log hashes an entry's
//! bytes as they are, and `landfall-proto` turns them into [`Entry`] values.
//! Whether a promotion is *allowed* is not decided here; [`Catalog::apply`]
//! only refuses what would make the state contradict itself.

mod checkpoint;
mod digest;
mod entry;
mod excerpt;
mod fold;
mod liveness;
mod membership;
mod merkle;
mod name;
mod object;
mod readiness;
mod string_form;
mod tile;

pub use checkpoint::{
    Checkpoint, CheckpointError, KeyError, KeyKind, LogSigner, MAX_NOTE_BYTES, NoteError, PinError,
    PinnedKeys, Refusal, STALE_AFTER_SECONDS, SignError, SignedCheckpoint, VerifierKey,
    judge_advance,
};
pub use digest::{Digest, DigestError, Hasher};
pub use entry::{Commit, Entry, MAX_ENTRY_BYTES};
pub use fold::{
    Catalog, FoldError, FoldFault, MAX_EDGES, MAX_NAMES, MAX_OBJECTS, NameEntry, NameRecord,
    ObjectRef, PendingRecord,
};
pub use merkle::{
    Frontier, FrontierError, InvalidProof, MAX_TREE_SIZE, Node, ProveError, TreeHash,
    TreeHashError, empty_root, leaf_hash, node_hash, prove_consistency, prove_inclusion,
    verify_consistency, verify_inclusion,
};
pub use name::{FilePath, MAX_PATH_BYTES, Name, NameError, Repository, Tag};
pub use object::{MediaType, MediaTypeError, Object, Ordinal, PIECE_SIZE, Referrer, Revision};
pub use readiness::{
    BlockSet, LogPosition, MAX_BLOCK_BYTES, Readiness, ReadinessBlock, ReadinessError,
    ReadinessHeader, decode_block,
};
pub use tile::{
    BundleError, FULL_TILE_BYTES, MAX_BUNDLE_BYTES, TILE_WIDTH, TilePath, TilePathError,
    decode_bundle, encode_bundle, new_tiles,
};
