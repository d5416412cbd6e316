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
mod tests {
    use std::collections::{BTreeSet, HashMap};

    use proptest::prelude::*;

    use super::*;
    use crate::merkle::{Frontier, leaf_hash};

    fn hashes(level: u8, index: u64, width: u16) -> TilePath {
        TilePath::Hashes {
            level,
            index,
            width,
        }
    }

    fn entries(index: u64, width: u16) -> TilePath {
        TilePath::Entries { index, width }
    }

    #[test]
    fn paths_are_those_of_the_specification() {
        for (path, text) in [
            (hashes(0, 0, 256), "tile/0/000"),
            (hashes(0, 1234, 256), "tile/0/x001/234"),
            (hashes(0, 1_234_067, 256), "tile/0/x001/x234/067"),
            (hashes(2, 1_234_067, 17), "tile/2/x001/x234/067.p/17"),
            (entries(0, 5), "tile/entries/000.p/5"),
            (entries(999, 256), "tile/entries/999"),
            (entries(1000, 255), "tile/entries/x001/000.p/255"),
            (entries(1_000_000, 256), "tile/entries/x001/x000/000"),
        ] {
            assert_eq!(path.to_string(), text);
            assert_eq!(text.parse(), Ok(path), "{text}");
        }
    }

    #[test]
    fn other_spellings_of_a_path_are_refused() {
        for text in [
            "",
            "tile",
            "tile/",
            "tile/0",
            "tile/0/",
            "tile/0/0",
            "tile/0/0000",
            "tile/0/x000/000",
            "tile/0/x001",
            "tile/0/001/000",
            "tile/0/x001/x000",
            "tile/00/000",
            "tile/+1/000",
            "tile/-1/000",
            "tile/7/000",
            "tile/256/000",
            "tile/0/+01",
            "tile/0/000.p/0",
            "tile/0/000.p/256",
            "tile/0/000.p/05",
            "tile/0/000.p/+5",
            "tile/0/000.p/",
            "tile/0/000.p",
            "tile/0/000.p/5/",
            "tile/0/000.p/5.p/5",
            "tile/0/000/",
            "/tile/0/000",
            "tile/Entries/000",
            "tile/0/../000",
            "tile/0/x999/x999/x999/x999/x999/x999/999",
            "tile/0/x999/x999/x999/x999/x999/x999/x999/x999/x999/x999/x999/999",
        ] {
            assert!(text.parse::<TilePath>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_tree_of_70_000_has_the_tiles_of_the_specification() {
        let tiles: Vec<_> = new_tiles(0, 70_000).collect();
        let at = |level| {
            tiles
                .iter()
                .filter(|tile| matches!(tile, TilePath::Hashes { level: l, .. } if *l == level))
                .collect::<Vec<_>>()
        };
        assert_eq!(at(0).len(), 274);
        assert!(at(0)[..273].iter().all(|tile| tile.is_full()));
        assert_eq!(*at(0)[273], hashes(0, 273, 112));
        assert_eq!(at(1), [&hashes(1, 0, 256), &hashes(1, 1, 17)]);
        assert_eq!(at(2), [&hashes(2, 0, 1)]);
        assert_eq!(tiles.len(), 2 * 274 + 2 + 1);
    }

    #[test]
    fn a_tree_of_256_has_one_full_tile_and_one_of_one() {
        assert_eq!(
            new_tiles(0, 256).collect::<Vec<_>>(),
            [entries(0, 256), hashes(0, 0, 256), hashes(1, 0, 1)]
        );
        assert_eq!(new_tiles(0, 0).count(), 0);
        assert_eq!(new_tiles(256, 256).count(), 0);
        assert_eq!(new_tiles(300, 256).count(), 0);
        assert_eq!(
            new_tiles(255, 257).collect::<Vec<_>>(),
            [
                entries(0, 256),
                entries(1, 1),
                hashes(0, 0, 256),
                hashes(0, 1, 1),
                hashes(1, 0, 1)
            ]
        );
    }

    #[test]
    fn the_tiles_of_an_absurd_size_cost_nothing_until_asked_for() {
        assert_eq!(
            new_tiles(0, u64::MAX).take(2).collect::<Vec<_>>(),
            [entries(0, 256), entries(1, 256)]
        );
        let node = Node {
            level: 200,
            index: u64::MAX,
        };
        assert_eq!(node.tile(u64::MAX), None);
        assert_eq!(node.hash_in(&[]), None);
        assert_eq!(TilePath::bundle_of(u64::MAX, 5), None);
        assert_eq!(TilePath::bundle_of(256, 257), Some(entries(1, 1)));
    }

    #[test]
    fn bundles_hold_each_entry_after_its_length() {
        let bundle = encode_bundle(&[&b"ab"[..], b"", b"c"]).unwrap();
        assert_eq!(bundle, b"\x00\x02ab\x00\x00\x00\x01c");
        assert_eq!(decode_bundle(&bundle, 3).unwrap(), [&b"ab"[..], b"", b"c"]);
    }

    #[test]
    fn bundles_that_are_cut_or_padded_are_refused() {
        let bundle = encode_bundle(&[&b"ab"[..], b"c"]).unwrap();
        for length in 0..bundle.len() {
            assert!(
                matches!(
                    decode_bundle(&bundle[..length], 2),
                    Err(BundleError::Truncated { .. })
                ),
                "{length}"
            );
        }
        assert_eq!(
            decode_bundle(&bundle, 1),
            Err(BundleError::TrailingBytes(3))
        );
        assert_eq!(decode_bundle(&bundle, 0), Err(BundleError::Count(0)));
        assert_eq!(decode_bundle(&bundle, 257), Err(BundleError::Count(257)));
        assert_eq!(
            decode_bundle(&[0xff; 70_000], 1),
            Err(BundleError::EntryTooLong {
                entry: 0,
                bytes: 65_535
            })
        );
        assert_eq!(
            encode_bundle(&[vec![0; MAX_ENTRY_BYTES + 1]]),
            Err(BundleError::EntryTooLong {
                entry: 0,
                bytes: MAX_ENTRY_BYTES + 1
            })
        );
        assert_eq!(encode_bundle(&[[]; 257]), Err(BundleError::Count(257)));
        assert_eq!(encode_bundle::<Vec<u8>>(&[]), Err(BundleError::Count(0)));
        let largest = encode_bundle(&[vec![7; MAX_ENTRY_BYTES]]).unwrap();
        assert_eq!(
            decode_bundle(&largest, 1).unwrap()[0].len(),
            MAX_ENTRY_BYTES
        );
    }

    #[test]
    fn a_nodes_hash_is_found_in_its_tile() {
        const SIZE: u64 = 70_000;
        let mut frontier = Frontier::new();
        let mut nodes = HashMap::new();
        let mut tiles: HashMap<(u8, u64), Vec<u8>> = HashMap::new();
        for entry in 0..SIZE {
            frontier.push_with(leaf_hash(&entry.to_be_bytes()), |node, hash| {
                nodes.insert(node, hash);
                if node.level.is_multiple_of(8) {
                    tiles
                        .entry((node.level / 8, node.index / 256))
                        .or_default()
                        .extend(hash.as_bytes());
                }
            });
        }
        for (node, hash) in &nodes {
            let Some(TilePath::Hashes {
                level,
                index,
                width,
            }) = node.tile(SIZE)
            else {
                panic!("{node:?} is in a hash tile");
            };
            let tile = &tiles[&(level, index)];
            assert_eq!(tile.len(), usize::from(width) * 32);
            assert_eq!(node.hash_in(tile), Some(*hash), "{node:?}");
        }
        let listed: BTreeSet<_> = new_tiles(0, SIZE)
            .filter_map(|tile| match tile {
                TilePath::Hashes { level, index, .. } => Some((level, index)),
                TilePath::Entries { .. } => None,
            })
            .collect();
        assert_eq!(listed, tiles.keys().copied().collect());
    }

    proptest! {
        #[test]
        fn every_path_reads_back(level in 0..=MAX_LEVEL, index in 0_u64..1 << 40, width in 1_u16..=256) {
            for path in [hashes(level, index, width), entries(index, width)] {
                prop_assert_eq!(path.to_string().parse(), Ok(path));
            }
        }

        #[test]
        fn growing_in_steps_adds_what_growing_at_once_has(mut steps in prop::collection::vec(0_u64..200_000, 1..6)) {
            steps.sort_unstable();
            let last = steps[steps.len() - 1];
            let mut have = BTreeSet::new();
            let mut size = 0;
            for step in steps {
                have.extend(new_tiles(size, step));
                size = step;
            }
            for tile in new_tiles(0, last) {
                prop_assert!(have.contains(&tile), "{} of {}", tile, last);
            }
        }

        #[test]
        fn arbitrary_bytes_never_break_the_bundle_decoder(bytes in prop::collection::vec(any::<u8>(), 0..600), width in 0_u16..300) {
            if let Ok(entries) = decode_bundle(&bytes, width) {
                prop_assert_eq!(encode_bundle(&entries), Ok(bytes.clone()));
            }
        }

        #[test]
        fn arbitrary_text_never_breaks_the_path_parser(text in "tile/(entries|[0-9]{1,3})/[x0-9/.p+-]{0,30}") {
            if let Ok(path) = text.parse::<TilePath>() {
                prop_assert_eq!(path.to_string(), text);
            }
        }
    }
}
