//! Kills the writer between any two writes, and in the middle of each, with and
//! without the loss of what was not synced; whatever is then on the disk must be
//! the old or the new state, and go on.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use super::files::Step;
use super::tests::{entries, files_of, note, signer};
use super::*;

/// What a file had when its directory was last known to be durable.
#[derive(Clone)]
struct Volatile {
    before: Option<Vec<u8>>,
    data_is_durable: bool,
}

/// A disk that remembers what a power failure would take back.
#[derive(Default)]
struct Disk {
    steps_left: u64,
    steps: u64,
    volatile: BTreeMap<PathBuf, Volatile>,
}

impl Disk {
    fn step(&mut self, step: Step<'_>) -> io::Result<()> {
        self.steps += 1;
        if self.steps_left == 0 {
            // A write is cut in the middle.
            if let Step::Write(path, bytes) = step
                && path.parent().is_some_and(Path::is_dir)
            {
                self.remember(path);
                fs::write(path, &bytes[..bytes.len() / 2])?;
            }
            return Err(io::Error::other("killed"));
        }
        self.steps_left -= 1;
        match step {
            Step::Write(path, _) => self.remember(path),
            Step::SyncFile(path) => {
                if let Some(file) = self.volatile.get_mut(path) {
                    file.data_is_durable = true;
                }
            }
            Step::SyncDirectory(path) => self
                .volatile
                .retain(|file, state| file.parent() != Some(path) || !state.data_is_durable),
            Step::SyncAll => self.volatile.clear(),
            Step::Rename(from, to) => {
                let moved = self.volatile.remove(from);
                self.remember(to);
                if let (Some(moved), Some(target)) = (moved, self.volatile.get_mut(to)) {
                    target.data_is_durable = moved.data_is_durable;
                }
            }
            Step::Remove(path) => self.remember(path),
        }
        Ok(())
    }

    fn remember(&mut self, path: &Path) {
        let state = self
            .volatile
            .entry(path.to_path_buf())
            .or_insert_with(|| Volatile {
                before: fs::read(path).ok(),
                data_is_durable: false,
            });
        state.data_is_durable = false;
    }

    /// Takes back what nobody made durable, or a part of it: a file system writes
    /// back in whatever order it likes.
    fn lose_power(&mut self, crash: Crash, root: &Path) {
        for (path, state) in std::mem::take(&mut self.volatile) {
            let of_the_root = path.parent() == Some(root);
            let lost = match crash {
                Crash::Killed => false,
                Crash::AllLost => true,
                Crash::TilesLost => !of_the_root,
                Crash::CheckpointLost => of_the_root,
            };
            match state.before {
                _ if !lost => {}
                Some(bytes) => fs::write(&path, bytes).unwrap(),
                None if path.try_exists().unwrap() => fs::remove_file(&path).unwrap(),
                None => {}
            }
        }
    }
}

/// What becomes of changes that were not synced.
#[derive(Clone, Copy, Debug)]
enum Crash {
    /// The process went, the kernel did not: all of them are there.
    Killed,
    AllLost,
    /// Only those in the root's own directory are there.
    TilesLost,
    CheckpointLost,
}

fn lock(disk: &Mutex<Disk>) -> std::sync::MutexGuard<'_, Disk> {
    disk.lock().unwrap_or_else(PoisonError::into_inner)
}

fn open(dir: &Path, disk: &Arc<Mutex<Disk>>) -> Result<LogDisk, LogError> {
    let disk = Arc::clone(disk);
    let hook = Box::new(move |step: Step<'_>| lock(&disk).step(step));
    LogDisk::open_with(dir, signer().keys(), Some(hook))
}

/// One commit after another; the error of the step that was killed.
fn work(dir: &Path, disk: &Arc<Mutex<Disk>>, sizes: &[u64]) -> Result<(), LogError> {
    let mut log = open(dir, disk)?;
    for size in sizes {
        if log.size() < *size || log.checkpoint().is_none() {
            log.stage(&entries(log.size()..*size))?;
            log.commit(&note(*size, *size))?;
        }
    }
    Ok(())
}

fn copy_of(files: &BTreeMap<String, Vec<u8>>) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    dir
}

/// From `from`, grows to `to` with a kill at every step.
fn kill_at_every_step(from: &[u64], to: u64) {
    kill_at_steps(from, to, 1);
}

/// The same at every n-th step, and at the last twelve.
fn kill_at_steps(from: &[u64], to: u64, every: u64) {
    let unlimited = || {
        Arc::new(Mutex::new(Disk {
            steps_left: u64::MAX,
            ..Disk::default()
        }))
    };
    let start = tempfile::tempdir().unwrap();
    work(start.path(), &unlimited(), from).unwrap();
    let files = files_of(start.path());
    let old = from.last().copied();

    let counted = unlimited();
    work(copy_of(&files).path(), &counted, &[to]).unwrap();
    let steps = lock(&counted).steps;
    assert!(steps >= 5, "{steps}");

    let (mut saw_old, mut saw_new) = (false, false);
    // After the last step, too: what was committed must survive then.
    for killed_at in (0..=steps).filter(|step| step.is_multiple_of(every) || step + 12 > steps) {
        for crash in [
            Crash::Killed,
            Crash::AllLost,
            Crash::TilesLost,
            Crash::CheckpointLost,
        ] {
            let dir = copy_of(&files);
            let disk = unlimited();
            lock(&disk).steps_left = killed_at;
            let worked = work(dir.path(), &disk, &[to]);
            assert_eq!(worked.is_ok(), killed_at == steps, "{worked:?}");
            lock(&disk).lose_power(crash, dir.path());
            let log = LogDisk::open(dir.path(), signer().keys()).unwrap();
            let size = log.checkpoint().map(|held| held.checkpoint.size);
            let allowed = size == Some(to) || (size == old && worked.is_err());
            assert!(allowed, "{size:?} after {crash:?} at {killed_at}");
            saw_old |= size == old;
            saw_new |= size == Some(to);
            log.reader().verify().unwrap();
            drop(log);
            let further = to + 300;
            work(dir.path(), &unlimited(), &[to, further]).unwrap();
            let log = LogDisk::open(dir.path(), signer().keys()).unwrap();
            assert_eq!(log.size(), further);
            log.reader().verify().unwrap();
        }
    }
    assert!(saw_old && saw_new);
}

#[test]
fn a_first_checkpoint_is_there_whole_or_not_at_all() {
    kill_at_every_step(&[], 0);
}

#[test]
fn a_small_commit_is_there_whole_or_not_at_all() {
    kill_at_every_step(&[0, 3], 5);
}

#[test]
fn a_commit_that_fills_tiles_is_there_whole_or_not_at_all() {
    kill_at_every_step(&[0, 200, 250], 530);
}

#[test]
fn a_commit_of_many_files_is_there_whole_or_not_at_all() {
    kill_at_steps(&[0, 250], 33 * 256 + 7, 16);
}

#[test]
fn a_failed_write_is_recovered_from_without_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::new(Mutex::new(Disk {
        steps_left: u64::MAX,
        ..Disk::default()
    }));
    let mut log = open(dir.path(), &disk).unwrap();
    log.stage(&entries(0..300)).unwrap();
    log.commit(&note(300, 1)).unwrap();
    let used = lock(&disk).steps;
    // Fails at the last step of all: after the rename, before it is durable.
    log.stage(&entries(300..600)).unwrap();
    let (before, mut counted) = (files_of(dir.path()), 0);
    for steps_left in 0.. {
        lock(&disk).steps_left = steps_left;
        match log.commit(&note(600, 2)) {
            Ok(_) => break,
            Err(LogError::Io { .. }) => counted += 1,
            Err(other) => panic!("{other}"),
        }
        assert!(matches!(log.stage(&[]), Err(LogError::Broken)));
        assert!(matches!(log.commit(&note(600, 2)), Err(LogError::Broken)));
        lock(&disk).steps_left = u64::MAX;
        log.recover().unwrap();
        log.reader().verify().unwrap();
        if log.size() == 300 {
            log.stage(&entries(300..600)).unwrap();
        }
    }
    assert!(counted > 5 && used > 5 && before.len() > 3);
    assert_eq!(log.size(), 600);
    log.reader().verify().unwrap();
}
