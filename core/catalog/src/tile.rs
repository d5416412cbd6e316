//! The static files of the log, as C2SP tlog-tiles lays them out: paths,
//! which of them a growing tree adds, where a node's hash is found in them, and
//! the entry bundles.

use std::fmt;
use std::str::FromStr;

use crate::entry::MAX_ENTRY_BYTES;
use crate::excerpt::excerpt;
use crate::merkle::{MAX_TREE_SIZE, Node, TreeHash, node_hash};

/// Hashes of a full tile, and entries of a full bundle.
pub const TILE_WIDTH: u16 = 256;

/// Bytes of a full hash tile.
pub const FULL_TILE_BYTES: usize = 256 * HASH_BYTES;

/// Most bytes that an entry bundle can have.
pub const MAX_BUNDLE_BYTES: usize = 256 * (LENGTH_BYTES + MAX_ENTRY_BYTES);

const HASH_BYTES: usize = 32;
const LENGTH_BYTES: usize = 2;
/// Levels of hashes in one tile.
const TILE_HEIGHT: u8 = 8;
/// Highest tile level that a tree up to [`MAX_TREE_SIZE`] has.
const MAX_LEVEL: u8 = 6;
/// Longest path text: the widest index, a level and a width.
const MAX_PATH_TEXT: usize = 64;

/// The path of a tile below the log's prefix. `width` is 1 to 256; 256 means a
/// full tile, which never changes any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TilePath {
    /// `tile/<level>/<index>[.p/<width>]`: concatenated hashes.
    Hashes {
        /// Tile level: its hashes are of subtrees of `256^level` entries.
        level: u8,
        /// Place among the tiles of its level, from 0.
        index: u64,
        /// Number of hashes in it.
        width: u16,
    },
    /// `tile/entries/<index>[.p/<width>]`: the entries below the level-0 tile
    /// of that index.
    Entries {
        /// Place among the bundles, from 0.
        index: u64,
        /// Number of entries in it.
        width: u16,
    },
}

/// A text that is not the path of a tile in its one spelling.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{path}\" is not the path of a tile")]
pub struct TilePathError {
    path: String,
}

impl TilePath {
    /// Place among the tiles of its level.
    #[must_use]
    pub const fn index(&self) -> u64 {
        match self {
            Self::Hashes { index, .. } | Self::Entries { index, .. } => *index,
        }
    }

    /// Number of hashes or entries in it.
    #[must_use]
    pub const fn width(&self) -> u16 {
        match self {
            Self::Hashes { width, .. } | Self::Entries { width, .. } => *width,
        }
    }

    /// True for a full tile, which never changes any more.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.width() == TILE_WIDTH
    }

    /// The full tile of the same level and index: where to look when a partial
    /// one is no longer there.
    #[must_use]
    pub const fn full(self) -> Self {
        match self {
            Self::Hashes { level, index, .. } => Self::Hashes {
                level,
                index,
                width: TILE_WIDTH,
            },
            Self::Entries { index, .. } => Self::Entries {
                index,
                width: TILE_WIDTH,
            },
        }
    }

    /// Most bytes that the file can have; a hash tile has exactly as many.
    #[must_use]
    pub fn max_bytes(&self) -> usize {
        match self {
            Self::Hashes { width, .. } => usize::from(*width) * HASH_BYTES,
            Self::Entries { width, .. } => usize::from(*width) * (LENGTH_BYTES + MAX_ENTRY_BYTES),
        }
    }

    /// The bundle of a tree of `size` entries that holds the entry at `entry`,
    /// if the tree has that entry.
    #[must_use]
    pub fn bundle_of(entry: u64, size: u64) -> Option<Self> {
        let index = entry / u64::from(TILE_WIDTH);
        (entry < size).then(|| Self::Entries {
            index,
            width: width_at(size, index),
        })
    }
}

impl Node {
    /// The tile of a tree of `size` entries that this node's hash is computed
    /// from; none if the tree does not hold the whole node.
    #[must_use]
    pub fn tile(self, size: u64) -> Option<TilePath> {
        if size > MAX_TREE_SIZE || self.level > 48 || self.index >= size >> self.level {
            return None;
        }
        let (level, rest) = (self.level / TILE_HEIGHT, self.level % TILE_HEIGHT);
        let index = self.index >> (TILE_HEIGHT - rest);
        Some(TilePath::Hashes {
            level,
            index,
            width: width_at(size >> (u32::from(level) * 8), index),
        })
    }

    /// The hash of this node from the bytes of [`Node::tile`], or of a wider
    /// tile of the same place; none if the bytes do not reach that far.
    #[must_use]
    pub fn hash_in(self, tile: &[u8]) -> Option<TreeHash> {
        let rest = self.level % TILE_HEIGHT;
        let count = 1_usize << rest;
        let nodes_in_tile = 1_u64 << (TILE_HEIGHT - rest);
        let first = usize::try_from(self.index % nodes_in_tile).ok()? * count;
        let bytes = tile.get(first * HASH_BYTES..(first + count) * HASH_BYTES)?;
        let (hashes, _) = bytes.as_chunks::<HASH_BYTES>();
        let mut row: Vec<TreeHash> = hashes.iter().copied().map(TreeHash::from_raw).collect();
        while let [_, _, ..] = row.as_slice() {
            row = row
                .as_chunks::<2>()
                .0
                .iter()
                .map(|[left, right]| node_hash(left, right))
                .collect();
        }
        row.pop()
    }
}

/// Width of the tile at `index` over `count` hashes; 256 unless it is the last.
fn width_at(count: u64, index: u64) -> u16 {
    let left = count.saturating_sub(index.saturating_mul(u64::from(TILE_WIDTH)));
    u16::try_from(left).map_or(TILE_WIDTH, |left| left.min(TILE_WIDTH))
}

/// The tiles that a tree of `new` entries has and the tree of its first `old`
/// entries had not: bundles first, then hashes level by level. From 0, all
/// tiles. Lazy, since sizes may be a stranger's.
pub fn new_tiles(old: u64, new: u64) -> impl Iterator<Item = TilePath> {
    let new = new.min(MAX_TREE_SIZE);
    let bundles = new_at_level(old, new).map(|(index, width)| TilePath::Entries { index, width });
    let hashes = (0..=MAX_LEVEL).flat_map(move |level| {
        let shift = u32::from(level) * u32::from(TILE_HEIGHT);
        new_at_level(old >> shift, new >> shift).map(move |(index, width)| TilePath::Hashes {
            level,
            index,
            width,
        })
    });
    bundles.chain(hashes)
}

/// Index and width of each tile that growing from `old` to `new` hashes adds.
fn new_at_level(old: u64, new: u64) -> impl Iterator<Item = (u64, u16)> {
    let width = u64::from(TILE_WIDTH);
    let range = if old < new {
        old / width..new.div_ceil(width)
    } else {
        0..0
    };
    range.map(move |index| (index, width_at(new, index)))
}

impl fmt::Display for TilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hashes { level, .. } => write!(f, "tile/{level}/")?,
            Self::Entries { .. } => f.write_str("tile/entries/")?,
        }
        let index = self.index();
        let mut groups = 1;
        while groups < 7 && index / 1000_u64.pow(groups) > 0 {
            groups += 1;
        }
        for group in (1..groups).rev() {
            write!(f, "x{:03}/", index / 1000_u64.pow(group) % 1000)?;
        }
        write!(f, "{:03}", index % 1000)?;
        if !self.is_full() {
            write!(f, ".p/{}", self.width())?;
        }
        Ok(())
    }
}

impl FromStr for TilePath {
    type Err = TilePathError;

    fn from_str(text: &str) -> Result<Self, TilePathError> {
        // One spelling: what does not print the same is refused.
        parse(text)
            .filter(|path| path.to_string() == text)
            .ok_or_else(|| TilePathError {
                path: excerpt(text),
            })
    }
}

fn parse(text: &str) -> Option<TilePath> {
    if text.len() > MAX_PATH_TEXT {
        return None;
    }
    let (kind, rest) = text.strip_prefix("tile/")?.split_once('/')?;
    let (index, width) = match rest.split_once(".p/") {
        Some((index, width)) => (index, width.parse().ok().filter(|w| (1..256).contains(w))?),
        None => (rest, TILE_WIDTH),
    };
    let index = index.split('/').try_fold(0_u64, |sum, group| {
        let digits = group.strip_prefix('x').unwrap_or(group);
        let number: u64 = (digits.len() == 3).then(|| digits.parse().ok())??;
        sum.checked_mul(1000)?.checked_add(number)
    })?;
    if index > MAX_TREE_SIZE / u64::from(TILE_WIDTH) {
        return None;
    }
    if kind == "entries" {
        return Some(TilePath::Entries { index, width });
    }
    let level = kind.parse().ok().filter(|level| *level <= MAX_LEVEL)?;
    Some(TilePath::Hashes {
        level,
        index,
        width,
    })
}

/// Why bytes are not an entry bundle, or entries do not make one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// An entry is longer than [`MAX_ENTRY_BYTES`].
    #[error("entry {entry} of the bundle has {bytes} bytes, more than an entry may have")]
    EntryTooLong {
        /// Its place in the bundle.
        entry: usize,
        /// Its length.
        bytes: usize,
    },
    /// There are more than 256 entries, or none.
    #[error("a bundle of {0} entries")]
    Count(usize),
    /// The bytes end within an entry, or before the last one.
    #[error("bundle ends within or before entry {entry}")]
    Truncated {
        /// The entry's place in the bundle.
        entry: usize,
    },
    /// There are bytes after the last entry.
    #[error("{0} bytes after the last entry of the bundle")]
    TrailingBytes(usize),
}

/// The bundle of 1 to 256 entries: each after its length as a big-endian
/// 16-bit number.
///
/// # Errors
///
/// [`BundleError::EntryTooLong`] or [`BundleError::Count`].
pub fn encode_bundle<T: AsRef<[u8]>>(entries: &[T]) -> Result<Vec<u8>, BundleError> {
    check_count(entries.len())?;
    let total: usize = entries
        .iter()
        .map(|e| LENGTH_BYTES + e.as_ref().len())
        .sum();
    let mut bundle = Vec::with_capacity(total.min(MAX_BUNDLE_BYTES));
    for (entry, bytes) in entries.iter().enumerate() {
        let bytes = bytes.as_ref();
        let length = u16::try_from(bytes.len())
            .ok()
            .filter(|length| usize::from(*length) <= MAX_ENTRY_BYTES)
            .ok_or(BundleError::EntryTooLong {
                entry,
                bytes: bytes.len(),
            })?;
        bundle.extend_from_slice(&length.to_be_bytes());
        bundle.extend_from_slice(bytes);
    }
    Ok(bundle)
}

/// The entries of a bundle that has exactly `width` of them.
///
/// # Errors
///
/// [`BundleError`] if it has not, or has anything else.
pub fn decode_bundle(bundle: &[u8], width: u16) -> Result<Vec<&[u8]>, BundleError> {
    let count = usize::from(width);
    check_count(count)?;
    let mut entries = Vec::with_capacity(count);
    let mut rest = bundle;
    for entry in 0..count {
        let truncated = BundleError::Truncated { entry };
        let Some((length, after)) = rest.split_first_chunk::<LENGTH_BYTES>() else {
            return Err(truncated);
        };
        let bytes = usize::from(u16::from_be_bytes(*length));
        if bytes > MAX_ENTRY_BYTES {
            return Err(BundleError::EntryTooLong { entry, bytes });
        }
        let Some((content, after)) = after.split_at_checked(bytes) else {
            return Err(truncated);
        };
        entries.push(content);
        rest = after;
    }
    if rest.is_empty() {
        Ok(entries)
    } else {
        Err(BundleError::TrailingBytes(rest.len()))
    }
}

fn check_count(count: usize) -> Result<(), BundleError> {
    if (1..=usize::from(TILE_WIDTH)).contains(&count) {
        Ok(())
    } else {
        Err(BundleError::Count(count))
    }
}

#[cfg(test)]
mod tests;
