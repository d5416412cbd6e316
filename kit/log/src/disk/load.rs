//! Finds out what a directory holds: the committed state, verified, and nothing
//! past it.

use std::fs;
use std::io;
use std::path::Path;

use landfall_catalog::{MAX_NOTE_BYTES, PinnedKeys, TilePath, decode_bundle, leaf_hash};

use super::files::Files;
use super::{CHECKPOINT, Growth, is_covered};
use crate::edge::{Edge, split_hashes};
use crate::error::LogError;
use crate::reader::{Committed, read_bounded};

/// What is committed in the directory, verified; whatever is past it is removed.
pub(super) fn load(files: &mut Files, keys: &PinnedKeys) -> Result<Committed, LogError> {
    let path = files.root().join(CHECKPOINT);
    let checkpoint = match read_bounded(&path, MAX_NOTE_BYTES) {
        Ok(note) => Some(keys.verify(&note)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(LogError::io("reading", &path)(error)),
    };
    let size = checkpoint.as_ref().map_or(0, |held| held.checkpoint.size);
    let stale_temporary = files.root().join(format!("{CHECKPOINT}.new"));
    files.remove(&stale_temporary)?;
    remove_past(files, size)?;
    let root = files.root().to_path_buf();
    let read = |path: TilePath| read_tile(&root, path);
    let edge = Edge::rebuild(size, |path| read(path).map(|tile| split_hashes(&tile)))?
        .ok_or_else(|| LogError::damaged("a hash tile is too short"))?;
    if let Some(held) = &checkpoint
        && edge.root() != held.checkpoint.root
    {
        return Err(LogError::damaged(format!(
            "the tiles have root {}, the checkpoint has {}",
            edge.root(),
            held.checkpoint.root
        )));
    }
    let bundle = match TilePath::bundle_of(size.saturating_sub(1), size) {
        Some(path) if !path.is_full() => last_bundle(&read(path)?, path, &edge)?,
        Some(_) | None => Vec::new(),
    };
    Ok(Committed {
        checkpoint,
        growth: Growth { edge, bundle },
    })
}

/// The unfinished bundle, checked against the unfinished tile above it.
fn last_bundle(stored: &[u8], path: TilePath, edge: &Edge) -> Result<Vec<u8>, LogError> {
    let damaged = || LogError::damaged(path.to_string());
    let entries = decode_bundle(stored, path.width()).map_err(|_| damaged())?;
    let hashes = entries.iter().map(|entry| leaf_hash(entry));
    if hashes.eq(edge.tail(0).iter().copied()) {
        Ok(stored.to_vec())
    } else {
        Err(damaged())
    }
}

fn read_tile(root: &Path, path: TilePath) -> Result<Vec<u8>, LogError> {
    let file = root.join(path.to_string());
    match read_bounded(&file, path.max_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(LogError::damaged(format!("{path} is missing")))
        }
        other => other.map_err(LogError::io("reading", &file)),
    }
}

/// Removes the tiles and bundles that a tree of `size` entries does not have.
/// Files that are no tiles are nobody's business here.
fn remove_past(files: &mut Files, size: u64) -> Result<(), LogError> {
    let mut directories = vec![files.root().join("tile")];
    let mut past = Vec::new();
    while let Some(directory) = directories.pop() {
        let listing = match fs::read_dir(&directory) {
            Ok(listing) => listing,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(LogError::io("listing", &directory)(error)),
        };
        for item in listing {
            let item = item.map_err(LogError::io("listing", &directory))?;
            let path = item.path();
            let kind = item.file_type().map_err(LogError::io("examining", &path))?;
            if kind.is_dir() {
                directories.push(path);
                continue;
            }
            let relative = path.strip_prefix(files.root()).ok().and_then(Path::to_str);
            let tile = relative.and_then(|text| text.parse::<TilePath>().ok());
            if tile.is_some_and(|tile| !is_covered(&tile, size)) {
                past.push(path);
            }
        }
    }
    past.iter().try_for_each(|path| files.remove(path))
}
