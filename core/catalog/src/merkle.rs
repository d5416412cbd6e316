//! The RFC 6962 Merkle tree of the log: hashes, right edge, proofs.
//!
//! Hashing is done here, because a cold start hashes every entry; the
//! arithmetic of proofs is that of `tlog_tiles`. Tree sizes are bounded by
//! [`MAX_TREE_SIZE`], which keeps all index arithmetic far from overflow
//! whatever a stranger claims.

use std::cell::RefCell;
use std::fmt;
use std::str::FromStr;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use sha2::{Digest as _, Sha256};

use crate::string_form::serde_as_string;

/// Largest tree that is worked with, in entries.
pub const MAX_TREE_SIZE: u64 = 1 << 48;

/// Longest proof of a tree up to [`MAX_TREE_SIZE`] (RFC 6962 section 2.1.2:
/// one hash a level, and one).
const MAX_PROOF_HASHES: usize = 50;

/// A hash of the tree: of a leaf, of a node, or its root. Shown as standard
/// base64, as checkpoints do.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TreeHash([u8; 32]);

/// A text that is not the base64 of 32 bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not the base64 of a 32-byte hash")]
pub struct TreeHashError;

impl TreeHash {
    /// A hash from its 32 raw bytes.
    #[must_use]
    pub const fn from_raw(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 raw bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// A hash from a slice of raw bytes; none unless there are exactly 32.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

impl fmt::Display for TreeHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64_STANDARD.encode(self.0))
    }
}

impl fmt::Debug for TreeHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for TreeHash {
    type Err = TreeHashError;

    fn from_str(text: &str) -> Result<Self, TreeHashError> {
        let mut bytes = [0; 33];
        match BASE64_STANDARD.decode_slice(text, &mut bytes) {
            Ok(32) => Self::from_slice(&bytes[..32]).ok_or(TreeHashError),
            Ok(_) | Err(_) => Err(TreeHashError),
        }
    }
}

serde_as_string!(TreeHash);

/// The hash of an entry: `SHA-256(0x00 || entry)` (RFC 6962 section 2.1).
#[must_use]
pub fn leaf_hash(entry: &[u8]) -> TreeHash {
    let mut hasher = Sha256::new();
    hasher.update([0]);
    hasher.update(entry);
    TreeHash(hasher.finalize().into())
}

/// The hash of an inner node: `SHA-256(0x01 || left || right)`.
#[must_use]
pub fn node_hash(left: &TreeHash, right: &TreeHash) -> TreeHash {
    let mut preimage = [1; 65];
    preimage[1..33].copy_from_slice(&left.0);
    preimage[33..].copy_from_slice(&right.0);
    TreeHash(Sha256::digest(preimage).into())
}

/// The root of the tree without entries: `SHA-256("")`.
#[must_use]
pub fn empty_root() -> TreeHash {
    TreeHash(tlog_tiles::EMPTY_HASH.0)
}

/// A complete subtree: the `index`-th one of `2^level` entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Node {
    /// Its height; entries themselves are at level 0.
    pub level: u8,
    /// Its place among the subtrees of its height, from 0.
    pub index: u64,
}

/// The right edge of a growing tree: the roots of its complete subtrees, which
/// is all that appending needs. A few hundred bytes whatever the size.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    /// One hash for each bit of `size` that is set, largest subtree first.
    hashes: Vec<TreeHash>,
}

/// Hashes that cannot be the right edge of a tree of that size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{hashes} hashes are not the right edge of a tree of {size} entries")]
pub struct FrontierError {
    size: u64,
    hashes: usize,
}

impl Frontier {
    /// The edge of the empty tree.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The edge of a tree of `size` entries from the hashes of
    /// [`Frontier::nodes_of`].
    ///
    /// # Errors
    ///
    /// [`FrontierError`] if there are too many or too few of them, or the tree
    /// is too large.
    pub fn from_parts(size: u64, hashes: Vec<TreeHash>) -> Result<Self, FrontierError> {
        if size > MAX_TREE_SIZE || hashes.len() != size.count_ones() as usize {
            return Err(FrontierError {
                size,
                hashes: hashes.len(),
            });
        }
        Ok(Self { size, hashes })
    }

    /// The nodes whose hashes make the edge of a tree of `size` entries,
    /// largest first.
    pub fn nodes_of(size: u64) -> impl Iterator<Item = Node> {
        (0..64_u8)
            .rev()
            .filter(move |level| size >> level & 1 == 1)
            .map(move |level| Node {
                level,
                index: (size >> level) - 1,
            })
    }

    /// The hashes of the edge, largest subtree first.
    #[must_use]
    pub fn hashes(&self) -> &[TreeHash] {
        &self.hashes
    }

    /// Number of entries.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Appends an entry by its [`leaf_hash`].
    pub fn push(&mut self, leaf: TreeHash) {
        self.push_with(leaf, |_, _| {});
    }

    /// Appends an entry and shows `completed` each node that this completes:
    /// the entry's own at level 0, then upwards. Nodes at levels 0, 8, 16 … are
    /// those that tiles hold.
    pub fn push_with(&mut self, leaf: TreeHash, mut completed: impl FnMut(Node, TreeHash)) {
        let mut node = Node {
            level: 0,
            index: self.size,
        };
        let mut hash = leaf;
        completed(node, hash);
        while node.index & 1 == 1
            && let Some(left) = self.hashes.pop()
        {
            hash = node_hash(&left, &hash);
            node = Node {
                level: node.level + 1,
                index: node.index >> 1,
            };
            completed(node, hash);
        }
        self.hashes.push(hash);
        self.size += 1;
    }

    /// The root of the tree.
    #[must_use]
    pub fn root(&self) -> TreeHash {
        self.hashes
            .iter()
            .copied()
            .rev()
            .reduce(|right, left| node_hash(&left, &right))
            .unwrap_or_else(empty_root)
    }
}

/// Why a proof could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ProveError<E> {
    /// The entry or the smaller tree is not within the larger tree, or that is
    /// larger than [`MAX_TREE_SIZE`]. The asker's fault.
    #[error("{asked} is not within a tree of {size} entries")]
    OutOfRange {
        /// The entry's index or the smaller tree's size.
        asked: u64,
        /// The larger tree's size.
        size: u64,
    },
    /// A node could not be read.
    #[error("reading the tree's nodes failed")]
    Read(#[source] E),
}

/// A proof that does not prove what is claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("proof does not hold")]
pub struct InvalidProof;

/// Proof that a tree of `size` entries has some entry at `index` (RFC 6962
/// section 2.1.1); `read` gives the hashes of nodes of that tree.
///
/// # Errors
///
/// [`ProveError`].
pub fn prove_inclusion<E>(
    size: u64,
    index: u64,
    read: impl FnMut(Node) -> Result<TreeHash, E>,
) -> Result<Vec<TreeHash>, ProveError<E>> {
    if index >= size || size > MAX_TREE_SIZE {
        return Err(ProveError::OutOfRange { asked: index, size });
    }
    with_reader(read, |reader| tlog_tiles::prove_record(size, index, reader))
}

/// Checks that a tree of `size` entries and root `root` has an entry of hash
/// `leaf` at `index`.
///
/// # Errors
///
/// [`InvalidProof`] if that is not shown.
pub fn verify_inclusion(
    proof: &[TreeHash],
    size: u64,
    root: &TreeHash,
    index: u64,
    leaf: &TreeHash,
) -> Result<(), InvalidProof> {
    if size > MAX_TREE_SIZE {
        return Err(InvalidProof);
    }
    let proof = bounded(proof)?;
    tlog_tiles::check_record(&proof, size, foreign(root), index, foreign(leaf))
        .map_err(|_| InvalidProof)
}

/// Proof that a tree of `size` entries begins with the tree of its first `old`
/// entries (RFC 6962 section 2.1.2). Empty if `old` is 0 or `size`.
///
/// # Errors
///
/// [`ProveError`].
pub fn prove_consistency<E>(
    size: u64,
    old: u64,
    read: impl FnMut(Node) -> Result<TreeHash, E>,
) -> Result<Vec<TreeHash>, ProveError<E>> {
    if old > size || size > MAX_TREE_SIZE {
        return Err(ProveError::OutOfRange { asked: old, size });
    }
    if old == 0 {
        return Ok(Vec::new());
    }
    with_reader(read, |reader| tlog_tiles::prove_tree(size, old, reader))
}

/// Checks that the tree of `size` entries and root `root` begins with the tree
/// of `old` entries and root `old_root`.
///
/// # Errors
///
/// [`InvalidProof`] if that is not shown.
pub fn verify_consistency(
    proof: &[TreeHash],
    size: u64,
    root: &TreeHash,
    old: u64,
    old_root: &TreeHash,
) -> Result<(), InvalidProof> {
    if size > MAX_TREE_SIZE || old > size {
        return Err(InvalidProof);
    }
    if old == 0 {
        let shown =
            proof.is_empty() && *old_root == empty_root() && (size > 0 || *root == empty_root());
        return if shown { Ok(()) } else { Err(InvalidProof) };
    }
    let proof = bounded(proof)?;
    tlog_tiles::check_tree(&proof, size, foreign(root), old, foreign(old_root))
        .map_err(|_| InvalidProof)
}

fn bounded(proof: &[TreeHash]) -> Result<Vec<tlog_tiles::Hash>, InvalidProof> {
    if proof.len() > MAX_PROOF_HASHES {
        return Err(InvalidProof);
    }
    Ok(proof.iter().map(foreign).collect())
}

fn foreign(hash: &TreeHash) -> tlog_tiles::Hash {
    tlog_tiles::Hash(hash.0)
}

/// Runs `prove` over a closure that reads one node; the first failure of the
/// closure comes back as it is.
fn with_reader<E, F>(
    read: F,
    prove: impl FnOnce(&ClosureReader<F, E>) -> Result<Vec<tlog_tiles::Hash>, tlog_tiles::Error>,
) -> Result<Vec<TreeHash>, ProveError<E>>
where
    F: FnMut(Node) -> Result<TreeHash, E>,
{
    let reader = ClosureReader {
        state: RefCell::new((read, None)),
    };
    match (prove(&reader), reader.state.into_inner().1) {
        (_, Some(failure)) => Err(ProveError::Read(failure)),
        (Ok(proof), None) => Ok(proof.into_iter().map(|hash| TreeHash(hash.0)).collect()),
        // Its other failures are about ranges, which were checked before.
        (Err(_), None) => Err(ProveError::OutOfRange { asked: 0, size: 0 }),
    }
}

struct ClosureReader<F, E> {
    state: RefCell<(F, Option<E>)>,
}

impl<F, E> tlog_tiles::HashReader for ClosureReader<F, E>
where
    F: FnMut(Node) -> Result<TreeHash, E>,
{
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<tlog_tiles::Hash>, tlog_tiles::Error> {
        let mut state = self.state.borrow_mut();
        let (read, failure) = &mut *state;
        indexes
            .iter()
            .map(|stored| {
                let (level, index) = tlog_tiles::split_stored_hash_index(*stored);
                read(Node { level, index })
                    .map(|hash| foreign(&hash))
                    .map_err(|error| {
                        *failure = Some(error);
                        tlog_tiles::Error::IndexesNotInTree
                    })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests;
