//! The right edge of the log: all that appending and proving the head needs.

use landfall_catalog::{Frontier, Node, TILE_WIDTH, TilePath, TreeHash};

/// Levels of one tile (tlog-tiles: 256 hashes, so 8).
const TILE_HEIGHT: u8 = 8;

/// The frontier of the tree and, per tile level, the hashes of its unfinished
/// tile. A few tens of kilobytes whatever the size.
#[derive(Clone, Debug, Default)]
pub(crate) struct Edge {
    frontier: Frontier,
    tails: Vec<Vec<TreeHash>>,
}

impl Edge {
    pub(crate) fn size(&self) -> u64 {
        self.frontier.size()
    }

    pub(crate) fn root(&self) -> TreeHash {
        self.frontier.root()
    }

    pub(crate) fn frontier(&self) -> &Frontier {
        &self.frontier
    }

    /// The hashes of the unfinished tile of a level.
    pub(crate) fn tail(&self, level: u8) -> &[TreeHash] {
        self.tails
            .get(usize::from(level))
            .map_or(&[], Vec::as_slice)
    }

    /// Appends an entry by its leaf hash; `finished` sees each hash tile that
    /// this fills.
    pub(crate) fn push(&mut self, leaf: TreeHash, mut finished: impl FnMut(TilePath, &[TreeHash])) {
        let tails = &mut self.tails;
        self.frontier.push_with(leaf, |node, hash| {
            if node.level % TILE_HEIGHT != 0 {
                return;
            }
            let level = node.level / TILE_HEIGHT;
            let slot = usize::from(level);
            if tails.len() == slot {
                tails.push(Vec::new());
            }
            let tail = &mut tails[slot];
            tail.push(hash);
            if tail.len() == usize::from(TILE_WIDTH) {
                let path = TilePath::Hashes {
                    level,
                    index: node.index / u64::from(TILE_WIDTH),
                    width: TILE_WIDTH,
                };
                finished(path, tail);
                tail.clear();
            }
        });
    }

    /// The unfinished hash tile at each level that a tree of `size` has, lowest
    /// level first.
    pub(crate) fn unfinished(size: u64) -> impl Iterator<Item = TilePath> {
        (0..TILE_HEIGHT - 1).filter_map(move |level| {
            let count = size >> (u32::from(level) * u32::from(TILE_HEIGHT));
            let width = u16::try_from(count % u64::from(TILE_WIDTH)).ok()?;
            (width > 0).then_some(TilePath::Hashes {
                level,
                index: count / u64::from(TILE_WIDTH),
                width,
            })
        })
    }

    /// Rebuilds the edge of a tree of `size` entries; `read` gives the hashes of
    /// each tile of [`Edge::unfinished`]. None if there are too few of them.
    pub(crate) fn rebuild<E>(
        size: u64,
        mut read: impl FnMut(TilePath) -> Result<Vec<TreeHash>, E>,
    ) -> Result<Option<Self>, E> {
        let mut tails = Vec::new();
        for path in Self::unfinished(size) {
            let TilePath::Hashes { level, width, .. } = path else {
                continue;
            };
            let mut hashes = read(path)?;
            if hashes.len() < usize::from(width) {
                return Ok(None);
            }
            hashes.truncate(usize::from(width));
            tails.resize(usize::from(level), Vec::new());
            tails.push(hashes);
        }
        let mut parts = Vec::new();
        for node in Frontier::nodes_of(size) {
            let Some(hash) = tails
                .get(usize::from(node.level / TILE_HEIGHT))
                .and_then(|tail| node.hash_in(&concatenated(tail)))
            else {
                return Ok(None);
            };
            parts.push(hash);
        }
        // A level that is just full has its hash one level up and an empty tail here.
        let levels = (0..TILE_HEIGHT - 1)
            .take_while(|level| size >> (u32::from(*level) * u32::from(TILE_HEIGHT)) > 0)
            .count();
        tails.resize(levels.max(tails.len()), Vec::new());
        Ok(Frontier::from_parts(size, parts)
            .ok()
            .map(|frontier| Self { frontier, tails }))
    }
}

/// Hashes as a tile has them.
pub(crate) fn concatenated(hashes: &[TreeHash]) -> Vec<u8> {
    hashes.iter().flat_map(|hash| *hash.as_bytes()).collect()
}

/// The hashes of a tile's bytes; what is left over at its end is ignored.
pub(crate) fn split_hashes(tile: &[u8]) -> Vec<TreeHash> {
    let (hashes, _) = tile.as_chunks::<32>();
    hashes.iter().copied().map(TreeHash::from_raw).collect()
}

/// The root over the hashes of a full tile.
pub(crate) fn tile_root(hashes: &[TreeHash]) -> Option<TreeHash> {
    let whole = Node {
        level: TILE_HEIGHT - 1,
        index: 0,
    };
    let half = Node {
        level: TILE_HEIGHT - 1,
        index: 1,
    };
    if hashes.len() != usize::from(TILE_WIDTH) {
        return None;
    }
    let bytes = concatenated(hashes);
    let (left, right) = (whole.hash_in(&bytes)?, half.hash_in(&bytes)?);
    Some(landfall_catalog::node_hash(&left, &right))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use landfall_catalog::leaf_hash;

    use super::*;

    #[test]
    fn an_edge_is_rebuilt_from_its_tiles_at_every_size() {
        let mut edge = Edge::default();
        let mut full = HashMap::new();
        for entry in 0..66_000_u64 {
            edge.push(leaf_hash(&entry.to_be_bytes()), |path, hashes| {
                full.insert(path, hashes.to_vec());
            });
            let interesting = entry < 600 || entry % 256 < 2 || entry > 65_500;
            if !interesting {
                continue;
            }
            let rebuilt = Edge::rebuild(edge.size(), |path| {
                let TilePath::Hashes { level, width, .. } = path else {
                    panic!("{path}");
                };
                assert_eq!(edge.tail(level).len(), usize::from(width));
                Ok::<_, ()>(edge.tail(level).to_vec())
            });
            let rebuilt = rebuilt.unwrap().unwrap();
            assert_eq!(rebuilt.root(), edge.root(), "size {}", edge.size());
            assert_eq!(rebuilt.tails, edge.tails, "size {}", edge.size());
        }
        assert_eq!(full.len(), 257 + 1);
        let lowest = TilePath::Hashes {
            level: 0,
            index: 3,
            width: 256,
        };
        let above = TilePath::Hashes {
            level: 1,
            index: 0,
            width: 256,
        };
        assert_eq!(tile_root(&full[&lowest]), Some(full[&above][3]));
    }
}
