//! The log's secret keys: two seeds, one file each, beside the database.
//!
//! Files and not rows, so that a copy of the database is not a copy of the
//! keys. They are created once, before the first checkpoint is signed, and
//! never replaced.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use landfall_catalog::LogSigner;
use landfall_proto::status::{Classify, Fault};
use rand::TryRngCore;

const LOG_SEED: &str = "log.seed";
const TIMESTAMP_SEED: &str = "timestamp.seed";
const SEED_BYTES: usize = 32;

/// Why the keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// A file cannot be read or written.
    #[error("the key file {path} cannot be {verb}", path = path.display())]
    Io {
        /// What was tried.
        verb: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// Others than the owner may read a file.
    #[error("the key file {path} is open to others (mode {mode:o}); make it 600", path = path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A file does not hold a seed.
    #[error("the key file {path} does not hold {SEED_BYTES} bytes", path = path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
    },
    /// There is a log, and its keys are gone. New ones would be another log.
    #[error("the log has entries, but its key files in {folder} are missing", folder = folder.display())]
    Lost {
        /// Where they should be.
        folder: PathBuf,
    },
    /// The system has no randomness to give.
    #[error("no randomness")]
    Random(#[source] rand::rand_core::OsError),
    /// The name and the seeds do not make keys.
    #[error("the keys cannot be used: {0}")]
    Unusable(String),
}

impl Classify for KeyError {
    fn fault(&self) -> Fault {
        Fault::Bug
    }
}

/// Reads the keys, or creates them if there is no log yet.
pub(crate) fn load_or_create(
    folder: &Path,
    origin: &str,
    log_exists: bool,
) -> Result<LogSigner, KeyError> {
    let (log, timestamp) = (folder.join(LOG_SEED), folder.join(TIMESTAMP_SEED));
    let (log_seed, timestamp_seed) = match (read_seed(&log)?, read_seed(&timestamp)?) {
        (Some(log_seed), Some(timestamp_seed)) => (log_seed, timestamp_seed),
        _ if log_exists => {
            return Err(KeyError::Lost {
                folder: folder.to_owned(),
            });
        }
        // One of two: the process was killed between them. Nothing was signed yet.
        (log_seed, timestamp_seed) => {
            create_folder(folder)?;
            let seeds = (
                log_seed.map_or_else(|| create_seed(&log), Ok)?,
                timestamp_seed.map_or_else(|| create_seed(&timestamp), Ok)?,
            );
            sync_folder(folder)?;
            seeds
        }
    };
    LogSigner::from_seeds(origin, log_seed, timestamp_seed)
        .map_err(|error| KeyError::Unusable(error.to_string()))
}

fn read_seed(path: &Path) -> Result<Option<[u8; SEED_BYTES]>, KeyError> {
    let io = |source| KeyError::Io {
        verb: "read",
        path: path.to_owned(),
        source,
    };
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io(error)),
    };
    let mode = file.metadata().map_err(io)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeyError::Exposed {
            path: path.to_owned(),
            mode,
        });
    }
    let mut bytes = Vec::with_capacity(SEED_BYTES + 1);
    (&mut file)
        .take(SEED_BYTES as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(io)?;
    let seed = bytes.try_into().map_err(|_| KeyError::Malformed {
        path: path.to_owned(),
    })?;
    Ok(Some(seed))
}

/// Durable before it returns; a killed process leaves a whole file or none.
fn create_seed(path: &Path) -> Result<[u8; SEED_BYTES], KeyError> {
    let io = |source| KeyError::Io {
        verb: "written",
        path: path.to_owned(),
        source,
    };
    let mut seed = [0; SEED_BYTES];
    rand::rngs::OsRng
        .try_fill_bytes(&mut seed)
        .map_err(KeyError::Random)?;
    let temporary = path.with_extension("new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)
        .map_err(io)?;
    file.write_all(&seed).map_err(io)?;
    file.sync_all().map_err(io)?;
    fs::rename(&temporary, path).map_err(io)?;
    Ok(seed)
}

fn create_folder(folder: &Path) -> Result<(), KeyError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .and_then(|()| {
            folder
                .parent()
                .map_or(Ok(()), |above| File::open(above)?.sync_all())
        })
        .map_err(|source| KeyError::Io {
            verb: "created",
            path: folder.to_owned(),
            source,
        })
}

fn sync_folder(folder: &Path) -> Result<(), KeyError> {
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|source| KeyError::Io {
            verb: "synced",
            path: folder.to_owned(),
            source,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode_of(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    fn keys_of(signer: &LogSigner) -> Vec<String> {
        signer.keys().to_strings()
    }

    #[test]
    fn keys_are_created_once_and_for_the_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let keys = folder.path().join("keys");
        let first = load_or_create(&keys, "example.org", false).unwrap();
        let second = load_or_create(&keys, "example.org", true).unwrap();
        assert_eq!(keys_of(&first), keys_of(&second));
        assert_eq!(mode_of(&keys), 0o700);
        assert_eq!(mode_of(&keys.join(LOG_SEED)), 0o600);
        assert_eq!(mode_of(&keys.join(TIMESTAMP_SEED)), 0o600);
    }

    #[test]
    fn a_log_without_keys_gets_no_new_ones() {
        let folder = tempfile::tempdir().unwrap();
        let keys = folder.path().join("keys");
        load_or_create(&keys, "example.org", false).unwrap();
        fs::remove_file(keys.join(TIMESTAMP_SEED)).unwrap();
        let lost = load_or_create(&keys, "example.org", true);
        assert!(matches!(lost, Err(KeyError::Lost { .. })));
        assert!(!keys.join(TIMESTAMP_SEED).try_exists().unwrap());
    }

    #[test]
    fn a_key_that_others_can_read_or_that_is_cut_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let keys = folder.path().join("keys");
        load_or_create(&keys, "example.org", false).unwrap();
        let path = keys.join(LOG_SEED);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let exposed = load_or_create(&keys, "example.org", true);
        assert!(matches!(
            exposed,
            Err(KeyError::Exposed { mode: 0o640, .. })
        ));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        for content in [&b"short"[..], &[0; 33]] {
            fs::write(&path, content).unwrap();
            let malformed = load_or_create(&keys, "example.org", true);
            assert!(matches!(malformed, Err(KeyError::Malformed { .. })));
        }
    }
}
