use std::collections::BTreeMap;
use std::sync::Mutex;

use landfall_catalog::{
    Checkpoint, LogSigner, TreeHash, leaf_hash, node_hash, verify_consistency, verify_inclusion,
};
use proptest::prelude::*;

use super::*;

pub(super) fn signer() -> LogSigner {
    LogSigner::from_seeds("log.example", [1; 32], [2; 32]).unwrap()
}

pub(super) fn entry(index: u64) -> Bytes {
    Bytes::from(format!("entry number {index}"))
}

pub(super) fn entries(range: std::ops::Range<u64>) -> Vec<Bytes> {
    range.map(entry).collect()
}

/// RFC 6962 section 2.1, word for word.
fn naive_root(leaves: &[TreeHash]) -> TreeHash {
    match leaves {
        [] => landfall_catalog::empty_root(),
        [leaf] => *leaf,
        _ => {
            let k = leaves.len().next_power_of_two() / 2;
            node_hash(&naive_root(&leaves[..k]), &naive_root(&leaves[k..]))
        }
    }
}

/// The note that a log of these entries has. Made once each: it is asked for often.
pub(super) fn note(size: u64, time: u64) -> Vec<u8> {
    static MADE: Mutex<BTreeMap<(u64, u64), Vec<u8>>> = Mutex::new(BTreeMap::new());
    let known = |made: &BTreeMap<_, Vec<u8>>| made.get(&(size, time)).cloned();
    if let Some(note) = known(&MADE.lock().unwrap()) {
        return note;
    }
    let note = make_note(size, time);
    MADE.lock().unwrap().insert((size, time), note.clone());
    note
}

fn make_note(size: u64, time: u64) -> Vec<u8> {
    let leaves: Vec<_> = (0..size).map(|index| leaf_hash(&entry(index))).collect();
    note_of(&leaves, time)
}

fn note_of(leaves: &[TreeHash], time: u64) -> Vec<u8> {
    let checkpoint = Checkpoint {
        origin: "log.example".to_owned(),
        size: leaves.len() as u64,
        root: naive_root(leaves),
    };
    signer().sign(&checkpoint, time).unwrap()
}

fn open(dir: &Path) -> LogDisk {
    LogDisk::open(dir, signer().keys()).unwrap()
}

fn grow(disk: &mut LogDisk, size: u64, time: u64) {
    disk.stage(&entries(disk.staged_size()..size)).unwrap();
    disk.commit(&note(size, time)).unwrap();
}

fn refused(result: Result<SignedCheckpoint, LogError>) -> Refusal {
    match result {
        Err(LogError::Refused { why, .. }) => why,
        other => panic!("{other:?}"),
    }
}

/// Every file below the directory but the lock.
pub(super) fn files_of(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut directories = vec![dir.to_path_buf()];
    while let Some(directory) = directories.pop() {
        for item in fs::read_dir(&directory).unwrap() {
            let path = item.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else if !path.ends_with("lock") {
                let name = path.strip_prefix(dir).unwrap().to_str().unwrap();
                found.insert(name.to_owned(), fs::read(&path).unwrap());
            }
        }
    }
    found
}

#[test]
fn a_log_is_the_same_after_it_was_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    for size in [0, 1, 255, 256, 257, 700, 66_000] {
        let mut disk = open(dir.path());
        grow(&mut disk, size, 1_000 + size);
        assert_eq!(disk.size(), size);
        drop(disk);
        let disk = open(dir.path());
        let checkpoint = disk.checkpoint().unwrap();
        assert_eq!(
            (checkpoint.checkpoint.size, checkpoint.time),
            (size, 1_000 + size)
        );
        let read = disk
            .reader()
            .read_entries(0, usize::MAX, usize::MAX)
            .unwrap();
        assert_eq!(read, entries(0..size));
        disk.reader().verify().unwrap();
    }
}

#[test]
fn a_tree_of_70_000_has_exactly_the_files_of_the_specification() {
    let dir = tempfile::tempdir().unwrap();
    let mut disk = open(dir.path());
    for size in [0, 3, 300, 69_999, 70_000] {
        grow(&mut disk, size, size);
    }
    let found = files_of(dir.path());
    let mut expected: Vec<String> = new_tiles(0, 70_000).map(|path| path.to_string()).collect();
    expected.push("checkpoint".to_owned());
    // Those of the last checkpoint but one, whose full ones are not there yet.
    expected.extend([
        "tile/0/273.p/111".to_owned(),
        "tile/entries/273.p/111".to_owned(),
    ]);
    expected.sort();
    assert_eq!(found.keys().cloned().collect::<Vec<_>>(), expected);

    assert_eq!(found["tile/0/000"].len(), 8192);
}

#[test]
fn entries_are_read_within_the_limits_that_were_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let mut disk = open(dir.path());
    grow(&mut disk, 600, 1);
    let reader = disk.reader();
    assert_eq!(
        reader.read_entries(250, 10, usize::MAX).unwrap(),
        entries(250..260)
    );
    assert_eq!(
        reader.read_entries(590, 100, usize::MAX).unwrap(),
        entries(590..600)
    );
    assert_eq!(
        reader.read_entries(600, 100, usize::MAX).unwrap(),
        entries(0..0)
    );
    assert_eq!(reader.read_entries(100, 100, 1).unwrap(), entries(100..101));
    assert_eq!(
        reader.read_entries(100, 100, 48).unwrap(),
        entries(100..103)
    );
    assert!(matches!(
        reader.read_entries(601, 1, 1),
        Err(LogError::OutOfRange {
            asked: 601,
            size: 600
        })
    ));
}

#[test]
fn staged_entries_are_seen_by_nobody_and_gone_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut disk = open(dir.path());
    grow(&mut disk, 10, 1);
    disk.stage(&entries(10..1_000)).unwrap();
    assert_eq!((disk.size(), disk.staged_size()), (10, 1_000));
    let reader = disk.reader();
    assert_eq!(
        reader.read_entries(0, 100, usize::MAX).unwrap(),
        entries(0..10)
    );
    let past = "tile/entries/000".parse().unwrap();
    assert_eq!(reader.tile_file(&past), None);
    assert!(dir.path().join("tile/entries/000").try_exists().unwrap());
    drop(disk);
    let mut disk = open(dir.path());
    assert!(!dir.path().join("tile/entries/000").try_exists().unwrap());
    assert_eq!((disk.size(), disk.staged_size()), (10, 10));
    grow(&mut disk, 1_000, 2);
    disk.reader().verify().unwrap();
}

#[test]
fn discarded_entries_leave_no_trace_in_what_comes_next() {
    let dir = tempfile::tempdir().unwrap();
    let mut disk = open(dir.path());
    grow(&mut disk, 200, 1);
    let wrong: Vec<_> = (0..2_000)
        .map(|n| Bytes::from(format!("wrong {n}")))
        .collect();
    disk.stage(&wrong).unwrap();
    assert_eq!(
        refused(disk.commit(&note(2_200, 2))),
        Refusal::TamperedEntry
    );
    disk.discard_staged();
    grow(&mut disk, 300, 3);
    disk.reader().verify().unwrap();
    drop(disk);
    let disk = open(dir.path());
    let names = files_of(dir.path());
    assert!(
        names.keys().all(|name| !name.contains("entries/002")),
        "{:?}",
        names.keys()
    );
    disk.reader().verify().unwrap();
}

#[test]
fn what_does_not_continue_the_log_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let mut disk = open(dir.path());
    grow(&mut disk, 100, 50);
    let before = files_of(dir.path());
    assert_eq!(
        refused(disk.commit(&note(99, 49))),
        Refusal::OlderCheckpoint
    );
    assert_eq!(
        refused(disk.commit(&note(100, 49))),
        Refusal::OlderCheckpoint
    );
    assert_eq!(refused(disk.commit(&note(99, 51))), Refusal::TruncatedLog);
    assert_eq!(refused(disk.commit(&note(101, 51))), Refusal::TruncatedLog);
    let other = vec![leaf_hash(b"other"); 100];
    assert_eq!(refused(disk.commit(&note_of(&other, 51))), Refusal::Fork);
    let stranger = LogSigner::from_seeds("log.example", [3; 32], [4; 32]).unwrap();
    let unknown = stranger
        .sign(&disk.checkpoint().unwrap().checkpoint, 60)
        .unwrap();
    assert_eq!(refused(disk.commit(&unknown)), Refusal::UnknownKey);
    let mut broken = note(100, 60);
    let at = broken.len() - 5;
    broken[at] = if broken[at] == b'A' { b'B' } else { b'A' };
    assert_eq!(refused(disk.commit(&broken)), Refusal::BadSignature);
    assert_eq!(refused(disk.commit(b"nonsense")), Refusal::MalformedNote);
    assert_eq!(files_of(dir.path()), before);
    assert_eq!(disk.checkpoint().unwrap().time, 50);
    disk.commit(&note(100, 50)).unwrap();
    disk.commit(&note(100, 61)).unwrap();
    assert_eq!(disk.checkpoint().unwrap().time, 61);
}

#[test]
fn a_second_writer_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let disk = open(dir.path());
    assert!(matches!(
        LogDisk::open(dir.path(), signer().keys()),
        Err(LogError::Locked(_))
    ));
    drop(disk);
    open(dir.path());
}

#[test]
fn every_flipped_byte_on_the_disk_is_found_by_verify() {
    let dir = tempfile::tempdir().unwrap();
    let mut disk = open(dir.path());
    grow(&mut disk, 66_000, 1);
    drop(disk);
    let files = files_of(dir.path());
    let some = files.keys().filter(|name| {
        name.contains("/1/") || name.contains("/2/") || name.contains(".p/") || name.ends_with("77")
    });
    for name in some {
        let path = dir.path().join(name);
        let mut bytes = files[name].clone();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&path, &bytes).unwrap();
        let found =
            LogDisk::open(dir.path(), signer().keys()).and_then(|disk| disk.reader().verify());
        assert!(
            matches!(found, Err(LogError::Damaged { .. })),
            "{name}: {found:?}"
        );
        fs::write(&path, &files[name]).unwrap();
    }
    open(dir.path()).reader().verify().unwrap();
}

#[test]
fn proofs_hold_for_the_committed_tree() {
    let dir = tempfile::tempdir().unwrap();
    let mut disk = open(dir.path());
    grow(&mut disk, 70_000, 1);
    let root = disk.checkpoint().unwrap().checkpoint.root;
    for index in [0, 255, 256, 65_535, 65_536, 69_999] {
        let (size, proof) = disk.reader().prove_inclusion(index).unwrap();
        verify_inclusion(&proof, size, &root, index, &leaf_hash(&entry(index))).unwrap();
    }
    let leaves: Vec<_> = (0..70_000).map(|index| leaf_hash(&entry(index))).collect();
    for old in [1, 256, 65_536, 69_998, 70_000] {
        let (size, proof) = disk.reader().prove_consistency(old).unwrap();
        let before = naive_root(&leaves[..usize::try_from(old).unwrap()]);
        verify_consistency(&proof, size, &root, old, &before).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn however_it_grows_the_files_are_those_of_growing_at_once(steps in prop::collection::vec((1_u64..700, any::<bool>()), 1..8)) {
        let (dir, once) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut disk = open(dir.path());
        let mut size = 0;
        for (time, (step, reopen)) in (1..).zip(&steps) {
            size += step;
            grow(&mut disk, size, time);
            if *reopen {
                drop(disk);
                disk = open(dir.path());
            }
        }
        disk.reader().verify().unwrap();
        let mut at_once = open(once.path());
        grow(&mut at_once, size, steps.len() as u64);
        let (found, expected) = (files_of(dir.path()), files_of(once.path()));
        for (name, bytes) in &expected {
            prop_assert_eq!(found.get(name), Some(bytes), "{}", name);
        }
    }
}
