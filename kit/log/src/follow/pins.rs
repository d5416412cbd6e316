//! Keys that were met first are kept, and no others believed after that.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use landfall_catalog::PinnedKeys;
use landfall_runtime::bounded::read_file;

use super::FollowError;

/// The file with the pinned keys, one a line.
const FILE: &str = "keys";
const MAX_BYTES: usize = 4096;

/// The keys that were pinned in `dir` before, if any were.
pub(super) fn read(dir: &Path) -> Result<Option<PinnedKeys>, FollowError> {
    let path = dir.join(FILE);
    let failed = |source| FollowError::Pins {
        path: path.clone(),
        source,
    };
    if !path.try_exists().map_err(failed)? {
        return Ok(None);
    }
    let text = read_file(&path, MAX_BYTES).map_err(|error| failed(io::Error::other(error)))?;
    let lines: Vec<String> = String::from_utf8_lossy(&text)
        .lines()
        .map(str::to_owned)
        .collect();
    let keys = PinnedKeys::parse(&lines).map_err(|error| failed(io::Error::other(error)))?;
    Ok(Some(keys))
}

/// Keeps the keys durably.
pub(super) fn write(dir: &Path, keys: &PinnedKeys) -> Result<(), FollowError> {
    let path = dir.join(FILE);
    let written = || {
        fs::create_dir_all(dir)?;
        let new = dir.join("keys.new");
        let mut file = File::create(&new)?;
        for key in keys.to_strings() {
            writeln!(file, "{key}")?;
        }
        file.sync_all()?;
        fs::rename(&new, &path)?;
        File::open(dir)?.sync_all()
    };
    written().map_err(|source| FollowError::Pins {
        path: path.clone(),
        source,
    })
}
