//! Reading what is committed.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use landfall_catalog::{
    Frontier, Node, ProveError, SignedCheckpoint, TILE_WIDTH, TilePath, TreeHash, decode_bundle,
    leaf_hash, new_tiles, prove_consistency, prove_inclusion,
};

use crate::disk::Growth;
use crate::edge::{Edge, concatenated, split_hashes, tile_root};
use crate::error::LogError;

/// A committed state of the log.
#[derive(Debug, Default)]
pub(crate) struct Committed {
    pub(crate) checkpoint: Option<SignedCheckpoint>,
    pub(crate) growth: Growth,
}

impl Committed {
    pub(crate) fn size(&self) -> u64 {
        self.growth.edge.size()
    }
}

/// What the writer and the readers share.
#[derive(Debug)]
pub(crate) struct Shared {
    root: PathBuf,
    head: RwLock<Arc<Committed>>,
}

impl Shared {
    pub(crate) fn new(root: PathBuf, head: Committed) -> Self {
        Self {
            root,
            head: RwLock::new(Arc::new(head)),
        }
    }

    pub(crate) fn head(&self) -> Arc<Committed> {
        Arc::clone(&self.head.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn set(&self, head: Committed) {
        *self.head.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(head);
    }
}

/// Reads the committed part of a log on disk, from any thread, while its writer
/// goes on. Its calls block on the disk.
#[derive(Clone, Debug)]
pub struct LogReader {
    shared: Arc<Shared>,
}

impl LogReader {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    pub(crate) fn head(&self) -> Arc<Committed> {
        self.shared.head()
    }

    /// The newest committed checkpoint.
    #[must_use]
    pub fn checkpoint(&self) -> Option<SignedCheckpoint> {
        self.head().checkpoint.clone()
    }

    /// Number of committed entries.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.head().size()
    }

    /// The edge of the committed tree: enough to compute the next root.
    #[must_use]
    pub fn frontier(&self) -> Frontier {
        self.head().growth.edge.frontier().clone()
    }

    /// The root of the tree of the first `size` entries.
    ///
    /// # Errors
    /// [`LogError::OutOfRange`], [`LogError::Io`], [`LogError::Damaged`].
    pub fn root_at(&self, size: u64) -> Result<TreeHash, LogError> {
        let head = self.head();
        if size == head.size() {
            return Ok(head.growth.edge.root());
        }
        if size > head.size() {
            return Err(LogError::OutOfRange {
                asked: size,
                size: head.size(),
            });
        }
        let parts: Result<_, LogError> = Frontier::nodes_of(size)
            .map(|node| self.node(&head, node))
            .collect();
        Frontier::from_parts(size, parts?)
            .map(|frontier| frontier.root())
            .map_err(|error| LogError::damaged(error.to_string()))
    }

    /// The directory that holds the log.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.shared.root
    }

    /// Where the file of a tile is, if the log has that tile by now; whether the
    /// file is there is another question for a partial tile.
    #[must_use]
    pub fn tile_file(&self, path: &TilePath) -> Option<PathBuf> {
        crate::disk::is_covered(path, self.size()).then(|| self.dir().join(path.to_string()))
    }

    /// Entries from index `from` on, as stored: at most `max_entries`, and no more
    /// than `max_bytes` except for the first. Empty only at the end of the log.
    /// Not verified against the tree: for those who send them on.
    ///
    /// # Errors
    /// [`LogError::OutOfRange`], [`LogError::Io`], [`LogError::Damaged`].
    pub fn read_entries(
        &self,
        from: u64,
        max_entries: usize,
        max_bytes: usize,
    ) -> Result<Vec<Bytes>, LogError> {
        let head = self.head();
        let size = head.size();
        if from > size {
            return Err(LogError::OutOfRange { asked: from, size });
        }
        let (mut entries, mut bytes, mut next) = (Vec::new(), 0, from);
        while next < size {
            let index = next / u64::from(TILE_WIDTH);
            let first = usize::try_from(next % u64::from(TILE_WIDTH)).unwrap_or(0);
            for entry in self.bundle(&head, index)?.into_iter().skip(first) {
                bytes += entry.len();
                let over = bytes > max_bytes && !entries.is_empty();
                if entries.len() == max_entries || over {
                    return Ok(entries);
                }
                entries.push(entry);
                next += 1;
            }
        }
        Ok(entries)
    }

    /// All entries of the bundle at `index` that a committed state has.
    pub(crate) fn bundle(&self, head: &Committed, index: u64) -> Result<Vec<Bytes>, LogError> {
        let size = head.size();
        let first = index * u64::from(TILE_WIDTH);
        let path =
            TilePath::bundle_of(first, size).ok_or(LogError::OutOfRange { asked: first, size })?;
        let stored = if path.is_full() {
            Bytes::from(self.read_tile(path)?)
        } else {
            Bytes::copy_from_slice(&head.growth.bundle)
        };
        let entries = decode_bundle(&stored, path.width())
            .map_err(|error| LogError::damaged(format!("{path}: {error}")))?;
        Ok(entries
            .into_iter()
            .map(|entry| stored.slice_ref(entry))
            .collect())
    }

    fn read_tile(&self, path: TilePath) -> Result<Vec<u8>, LogError> {
        let file = self.dir().join(path.to_string());
        match read_bounded(&file, path.max_bytes()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(LogError::damaged(format!("{path} is missing")))
            }
            other => other.map_err(LogError::io("reading", &file)),
        }
    }

    /// The hash of a node of the committed tree.
    fn node(&self, head: &Committed, node: Node) -> Result<TreeHash, LogError> {
        let size = head.size();
        let path = node.tile(size).ok_or(LogError::OutOfRange {
            asked: node.index,
            size,
        })?;
        let tile = match path {
            TilePath::Hashes { level, .. } if !path.is_full() => {
                concatenated(head.growth.edge.tail(level))
            }
            TilePath::Hashes { .. } | TilePath::Entries { .. } => self.read_tile(path)?,
        };
        node.hash_in(&tile)
            .ok_or_else(|| LogError::damaged(format!("{path} is too short")))
    }

    /// Proof that the committed tree has some entry at `index`, and that tree's size.
    ///
    /// # Errors
    /// [`LogError::OutOfRange`], [`LogError::Io`], [`LogError::Damaged`].
    pub fn prove_inclusion(&self, index: u64) -> Result<(u64, Vec<TreeHash>), LogError> {
        let head = self.head();
        let proof = prove_inclusion(head.size(), index, |node| self.node(&head, node));
        Ok((head.size(), proof.map_err(from_prove)?))
    }

    /// Proof that the committed tree begins with the tree of its first `old`
    /// entries, and the committed tree's size.
    ///
    /// # Errors
    /// [`LogError::OutOfRange`], [`LogError::Io`], [`LogError::Damaged`].
    pub fn prove_consistency(&self, old: u64) -> Result<(u64, Vec<TreeHash>), LogError> {
        let head = self.head();
        let proof = prove_consistency(head.size(), old, |node| self.node(&head, node));
        Ok((head.size(), proof.map_err(from_prove)?))
    }

    /// Reads everything that is committed and compares every tile and bundle
    /// with the tree that the entries give.
    ///
    /// # Errors
    /// [`LogError::Damaged`] names the first file that is wrong or missing.
    pub fn verify(&self) -> Result<(), LogError> {
        let head = self.head();
        let mut bundles = VerifiedBundles::new(self, &head);
        let mut edge = Edge::default();
        while let Some((_, leaves, _)) = bundles.next()? {
            for leaf in leaves {
                let mut wrong = None;
                edge.push(leaf, |path, hashes| {
                    let same = self
                        .read_tile(path)
                        .map(|tile| tile == concatenated(hashes));
                    if wrong.is_none() && !matches!(same, Ok(true)) {
                        wrong = Some(same.map(|_| path));
                    }
                });
                if let Some(wrong) = wrong {
                    return Err(LogError::damaged(wrong?.to_string()));
                }
            }
        }
        for path in Edge::unfinished(head.size()) {
            let TilePath::Hashes { level, .. } = path else {
                continue;
            };
            if self.read_tile(path)? != concatenated(edge.tail(level)) {
                return Err(LogError::damaged(path.to_string()));
            }
        }
        let partial_bundle = new_tiles(0, head.size())
            .find(|path| matches!(path, TilePath::Entries { .. }) && !path.is_full());
        match partial_bundle {
            Some(path) if self.read_tile(path)? != head.growth.bundle => {
                Err(LogError::damaged(path.to_string()))
            }
            Some(_) | None => Ok(()),
        }
    }
}

fn from_prove(error: ProveError<LogError>) -> LogError {
    match error {
        ProveError::OutOfRange { asked, size } => LogError::OutOfRange { asked, size },
        ProveError::Read(error) => error,
    }
}

/// The bundles of a committed state one after the other, each verified against
/// the tree before it is handed on.
///
/// A full bundle's root is a hash of the tile two levels of the tree up, and so
/// on to the edge, which was verified against the checkpoint. So besides the
/// bundles only one file in 65,536 entries is read, and no unverified byte passes.
pub(crate) struct VerifiedBundles<'a> {
    reader: &'a LogReader,
    head: &'a Committed,
    next: u64,
    /// The level-1 tile in use.
    roots: Option<(u64, Vec<TreeHash>)>,
}

/// Index of the first entry, leaf hashes, entries.
pub(crate) type VerifiedBundle = (u64, Vec<TreeHash>, Vec<Bytes>);

impl<'a> VerifiedBundles<'a> {
    pub(crate) fn new(reader: &'a LogReader, head: &'a Committed) -> Self {
        Self::starting(reader, head, 0)
    }

    /// Begins with the bundle that holds the entry at index `from`.
    pub(crate) fn starting(reader: &'a LogReader, head: &'a Committed, from: u64) -> Self {
        Self {
            reader,
            head,
            next: from / u64::from(TILE_WIDTH),
            roots: None,
        }
    }

    pub(crate) fn next(&mut self) -> Result<Option<VerifiedBundle>, LogError> {
        let index = self.next;
        let first = index * u64::from(TILE_WIDTH);
        if first >= self.head.size() {
            return Ok(None);
        }
        let entries = self.reader.bundle(self.head, index)?;
        let leaves: Vec<TreeHash> = entries.iter().map(|entry| leaf_hash(entry)).collect();
        let right = match tile_root(&leaves) {
            Some(root) => self.root_of_bundle(index)? == Some(root),
            None => leaves == self.head.growth.edge.tail(0),
        };
        if !right {
            return Err(LogError::damaged(format!(
                "the bundle of entries {first} to {} does not hash to the tree",
                first + entries.len() as u64 - 1
            )));
        }
        self.next += 1;
        Ok(Some((first, leaves, entries)))
    }

    fn root_of_bundle(&mut self, index: u64) -> Result<Option<TreeHash>, LogError> {
        let tile = index / u64::from(TILE_WIDTH);
        let place = usize::try_from(index % u64::from(TILE_WIDTH)).unwrap_or(usize::MAX);
        if let Some((held, roots)) = &self.roots
            && *held == tile
        {
            return Ok(roots.get(place).copied());
        }
        let roots = self.trusted_tile(1, tile)?;
        let root = roots.get(place).copied();
        self.roots = Some((tile, roots));
        Ok(root)
    }

    /// The hashes of a tile, verified up to the edge.
    fn trusted_tile(&self, level: u8, index: u64) -> Result<Vec<TreeHash>, LogError> {
        let width = u64::from(TILE_WIDTH);
        let count = self.head.size() >> (u32::from(level) * 8);
        if index == count / width {
            return Ok(self.head.growth.edge.tail(level).to_vec());
        }
        let path = TilePath::Hashes {
            level,
            index,
            width: TILE_WIDTH,
        };
        let hashes = split_hashes(&self.reader.read_tile(path)?);
        let above = self.trusted_tile(level + 1, index / width)?;
        let place = usize::try_from(index % width).unwrap_or(usize::MAX);
        let expected = above.get(place).copied();
        if expected.is_some() && tile_root(&hashes) == expected {
            Ok(hashes)
        } else {
            Err(LogError::damaged(path.to_string()))
        }
    }
}

/// Reads a file of at most `limit` bytes.
pub(crate) fn read_bounded(path: &Path, limit: usize) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let expected = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
    let mut bytes = Vec::with_capacity(expected.min(limit) + 1);
    file.take(limit as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > limit {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("more than {limit} bytes"),
        ));
    }
    Ok(bytes)
}
