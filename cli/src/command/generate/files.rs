//! `landfall manifest generate files`: a folder's files with their SHA-256.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use landfall_catalog::{Digest, FilePath, Hasher};
use landfall_promotion::{generate::merge_files, plain};
use landfall_runtime::{Clock, SystemClock};

use super::{deliver, existing};
use crate::{
    args::GenerateFilesArgs,
    failure::{Failure, Verdict},
    output::{self, progress::Progress},
};

/// Folders are followed down to this depth.
const MAX_DEPTH: usize = 64;
/// Files that one manifest may get.
const MAX_FILES: usize = 1_000_000;
/// Bytes that are read at a time.
const BUFFER: usize = 1 << 20;
/// Paths that are named when something is left out.
const NAMED: usize = 20;
/// Pause between two looks at the progress.
const LOOK: Duration = Duration::from_millis(100);

pub(crate) async fn run(args: GenerateFilesArgs) -> Result<Verdict, Failure> {
    let before = existing(args.into.as_deref())?;
    let found = find(&args.dir, args.prefix.as_deref().unwrap_or_default())?;
    if found.is_empty() {
        return Err(Failure::Failed(format!(
            "there are no files below {} to list",
            args.dir.display()
        )));
    }
    let entries = hashed(found).await?;
    deliver(
        args.into.as_deref(),
        merge_files(&before, &entries),
        args.json,
    )?;
    Ok(Verdict::Done)
}

/// A file to hash: its path below the folder, where it is, and its size.
type Found = (String, PathBuf, u64);

fn find(dir: &Path, prefix: &str) -> Result<Vec<Found>, Failure> {
    let mut walk = Walk {
        prefix,
        found: Vec::new(),
        bad: Vec::new(),
        left_out: Vec::new(),
    };
    walk.folder(dir, "", 0)?;
    walk.left_out.sort();
    for path in walk.left_out.iter().take(NAMED) {
        output::note(format!("left out: {path}"));
    }
    let more = walk.left_out.len().saturating_sub(NAMED);
    if more > 0 {
        output::note(format!("left out: {more} more"));
    }
    let Walk { found, mut bad, .. } = walk;
    if bad.is_empty() {
        Ok(found)
    } else {
        bad.sort();
        bad.truncate(NAMED);
        Err(Failure::Failed(format!(
            "these names can't be paths of a manifest: {}",
            bad.join(", ")
        )))
    }
}

struct Walk<'a> {
    prefix: &'a str,
    found: Vec<Found>,
    /// Names that no manifest can have.
    bad: Vec<String>,
    /// What is not listed, and why.
    left_out: Vec<String>,
}

impl Walk<'_> {
    /// Symbolic links are not followed: what they lead to is not of the folder.
    fn folder(&mut self, dir: &Path, relative: &str, depth: usize) -> Result<(), Failure> {
        let cannot = |error: io::Error| {
            Failure::failed(&format!("cannot read the folder {}", dir.display()), &error)
        };
        for entry in fs::read_dir(dir).map_err(cannot)? {
            let entry = entry.map_err(cannot)?;
            let name = entry.file_name();
            let path = format!("{relative}{}", name.to_string_lossy());
            let kind = entry.file_type().map_err(cannot)?;
            let below = format!("{path}/");
            if kind.is_dir() {
                // Only where the prefix may still be met.
                if !below.starts_with(self.prefix) && !self.prefix.starts_with(&below) {
                    continue;
                }
                if depth < MAX_DEPTH {
                    self.folder(&entry.path(), &below, depth + 1)?;
                } else {
                    self.leave_out(&below, "too many folders deep");
                }
            } else if kind.is_file() && path.starts_with(self.prefix) {
                // Reserved names only matter at the beginning of a public path.
                if name.to_str().is_none() || !FilePath::is_valid(&format!("-/{path}")) {
                    self.bad.push(path.escape_debug().to_string());
                    continue;
                }
                if self.found.len() >= MAX_FILES {
                    return Err(Failure::Failed(format!(
                        "there are more than {MAX_FILES} files; give a --prefix"
                    )));
                }
                let size = entry.metadata().map_err(cannot)?.len();
                self.found.push((path, entry.path(), size));
            } else if kind.is_symlink() {
                if path.starts_with(self.prefix) || self.prefix.starts_with(&below) {
                    self.leave_out(&path, "a symbolic link, which is not followed");
                }
            } else if path.starts_with(self.prefix) {
                self.leave_out(&path, "no regular file");
            }
        }
        Ok(())
    }

    fn leave_out(&mut self, path: &str, why: &str) {
        self.left_out.push(format!("{}: {why}", plain(path)));
    }
}

/// Hashes on a thread of its own, and tells how far it is.
async fn hashed(found: Vec<Found>) -> Result<BTreeMap<String, Digest>, Failure> {
    let total = found.iter().map(|(_, _, size)| size).sum();
    let done = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&done);
    let mut work = tokio::task::spawn_blocking(move || {
        let mut buffer = vec![0; BUFFER];
        found
            .into_iter()
            .map(|(path, file, _)| {
                let digest = hash(&file, &mut buffer, &counter).map_err(|error| {
                    Failure::failed(&format!("cannot read {}", file.display()), &error)
                })?;
                Ok((path, digest))
            })
            .collect()
    });
    let mut progress = Progress::new("hashing", true);
    let entries = loop {
        tokio::select! {
            ended = &mut work => break ended,
            () = tokio::time::sleep(LOOK) => {
                progress.set(done.load(Ordering::Relaxed), total, SystemClock.now());
            }
        }
    };
    progress.finish();
    entries.map_err(|error| Failure::failed("the files were not hashed", &error))?
}

fn hash(file: &Path, buffer: &mut [u8], done: &AtomicU64) -> io::Result<Digest> {
    let mut file = File::open(file)?;
    let mut hasher = Hasher::new();
    loop {
        let read = file.read(buffer)?;
        if read == 0 {
            return Ok(hasher.finish());
        }
        hasher.update(&buffer[..read]);
        done.fetch_add(read as u64, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_folder_is_hashed_below_a_prefix_and_links_are_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        for path in ["v1.0/linux/tool", "v1.0/tool.txt", "v1.1/tool", ".hidden"] {
            let file = dir.path().join(path);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, path).unwrap();
        }
        std::os::unix::fs::symlink("/etc", dir.path().join("v1.0/etc")).unwrap();
        let listed = async |prefix: &str| {
            let found = find(dir.path(), prefix).unwrap();
            hashed(found).await.unwrap()
        };
        let all = listed("").await;
        let paths: Vec<&str> = all.keys().map(String::as_str).collect();
        assert_eq!(
            paths,
            [".hidden", "v1.0/linux/tool", "v1.0/tool.txt", "v1.1/tool"]
        );
        for (path, digest) in &all {
            assert_eq!(*digest, Digest::of(path.as_bytes()));
        }
        for (prefix, count) in [("v1.0/", 2), ("v1", 3), ("v1.0/linux/t", 1), ("v2", 0)] {
            assert_eq!(listed(prefix).await.len(), count, "{prefix}");
        }
    }

    #[test]
    fn a_name_that_no_manifest_can_have_is_told() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a\\b"), "").unwrap();
        let failure = find(dir.path(), "").unwrap_err();
        assert!(
            failure.message().contains("a\\\\b"),
            "{}",
            failure.message()
        );
    }
}
