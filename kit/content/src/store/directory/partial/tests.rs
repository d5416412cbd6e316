use std::fs;

use landfall_catalog::PIECE_SIZE;

use super::*;
use crate::testing::{PIECE, content, store};

fn with_list(bytes: &[u8]) -> WriterOptions {
    WriterOptions {
        pieces: Some(PieceList::of(bytes)),
        make_pieces: false,
    }
}

#[test]
fn what_was_written_becomes_visible_only_by_a_commit() {
    let (_folder, store) = store();
    for length in [0, 1, 5000, 3 << 20, 2 * PIECE + 1] {
        let bytes = content(length);
        let digest = Digest::of(&bytes);
        let mut writer = store
            .writer(&digest, length as u64, WriterOptions::default())
            .unwrap();
        for chunk in bytes.chunks(100_003) {
            writer.write(bytes.slice_ref(chunk)).unwrap();
            assert!(!store.has(&digest, length as u64).unwrap());
        }
        assert_eq!(writer.commit().unwrap(), None);
        assert!(store.verify(&digest).unwrap());
        assert_eq!(store.partials().unwrap(), []);
    }
}

/// Everybody may read it, nobody write.
const READ_ONLY: u32 = 0o444;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn what_nobody_goes_on_with_is_thrown_away_and_nothing_else() {
    let (folder, store) = store();
    let begin = |text: &str| {
        let bytes = content(text.len() + 5000);
        let digest = Digest::of(text.as_bytes());
        let mut writer = store
            .writer(&digest, 9000, WriterOptions::default())
            .unwrap();
        writer.write(bytes).unwrap();
        (digest, writer)
    };
    let partial = folder.path().join(".landfall/partial");
    let age = |digest: &Digest| {
        let path = partial.join(digest.to_hex());
        let file = File::options().write(true).open(path).unwrap();
        let long_ago = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1000);
        file.set_modified(long_ago).unwrap();
    };
    let (old, _) = begin("old");
    let (young, _) = begin("young");
    let (written, _writer) = begin("written");
    let (locked, writer) = begin("locked");
    drop(writer);
    // By another process.
    let lock = File::open(partial.join(locked.to_hex())).unwrap();
    lock.lock().unwrap();
    for digest in [&old, &written, &locked] {
        age(digest);
    }
    let strange = partial.join("notes.txt");
    fs::write(&strange, "mine").unwrap();
    let whole = content(5000);
    store.put_bytes(&Digest::of(&whole), &whole).unwrap();

    assert_eq!(store.discard_stale(1000).unwrap(), []);
    assert_eq!(store.discard_stale(1001).unwrap(), [old]);
    assert_eq!(store.discard_stale(1001).unwrap(), []);
    let mut left = [young, written, locked].map(|digest| digest.to_hex());
    left.sort();
    let found: Vec<_> = store.partials().unwrap();
    let found: Vec<_> = found.iter().map(|(digest, _)| digest.to_hex()).collect();
    assert_eq!(found, left);
    assert!(strange.is_file() && store.verify(&Digest::of(&whole)).unwrap());
    let (_, writer) = begin("old");
    assert_eq!(writer.resumed_from(), 0);
}

#[test]
fn a_commit_that_stops_before_the_rename_can_be_taken_up_again() {
    let (folder, store) = store();
    let bytes = content(5000);
    let (digest, size) = (Digest::of(&bytes), bytes.len() as u64);
    let partial = folder.path().join(".landfall/partial");
    let partial = partial.join(digest.to_hex());
    let blob = folder.path().join("blobs/sha256").join(digest.to_hex());
    // Something at its place lets the rename fail, and nothing before it.
    fs::create_dir_all(blob.join("in the way")).unwrap();
    let mut writer = store
        .writer(&digest, size, WriterOptions::default())
        .unwrap();
    writer.write(bytes).unwrap();
    writer.commit().unwrap_err();
    assert_eq!(mode(&partial) & 0o600, 0o600, "whoever comes next writes");

    fs::remove_dir_all(&blob).unwrap();
    let writer = store
        .writer(&digest, size, WriterOptions::default())
        .unwrap();
    assert_eq!(writer.resumed_from(), size);
    writer.commit().unwrap();
    assert_eq!(mode(&blob), READ_ONLY);
}

#[test]
fn a_commit_that_stops_after_the_rename_is_complete() {
    let (folder, store) = store();
    let bytes = content(5000);
    let digest = Digest::of(&bytes);
    store.put_bytes(&digest, &bytes).unwrap();
    let blob = folder.path().join("blobs/sha256").join(digest.to_hex());
    // As a crash before the permissions were changed leaves it.
    fs::set_permissions(&blob, Permissions::from_mode(0o644)).unwrap();
    let store = DirectoryStore::open(folder.path()).unwrap();
    assert!(store.has(&digest, 5000).unwrap() && store.verify(&digest).unwrap());
    assert_eq!(store.partials().unwrap(), []);
    store.put_bytes(&digest, &bytes).unwrap();
    assert!(store.remove(&digest).unwrap());
}

#[test]
fn other_bytes_than_the_digest_says_are_thrown_away() {
    let (_folder, store) = store();
    let digest = Digest::of(b"right");
    let mut writer = store.writer(&digest, 5, WriterOptions::default()).unwrap();
    writer.write(Bytes::from_static(b"wrong")).unwrap();
    assert!(matches!(writer.commit(), Err(StoreError::Mismatch { .. })));
    assert!(!store.has(&digest, 5).unwrap());
    assert_eq!(store.partials().unwrap(), []);
}

#[test]
fn neither_too_few_nor_too_many_bytes_are_committed() {
    let (_folder, store) = store();
    let digest = Digest::of(b"right");
    let mut writer = store.writer(&digest, 5, WriterOptions::default()).unwrap();
    writer.write(Bytes::from_static(b"rig")).unwrap();
    let error = writer.write(Bytes::from_static(b"ht!")).unwrap_err();
    assert!(matches!(error, StoreError::TooLong { limit: 5, .. }));
    assert!(matches!(
        writer.commit(),
        Err(StoreError::Incomplete { written: 3, .. })
    ));
    assert_eq!(store.partials().unwrap(), [(digest, 3)]);
}

#[test]
fn a_dropped_writer_is_resumed_where_it_was() {
    let (_folder, store) = store();
    let bytes = content(PIECE + 100);
    let digest = Digest::of(&bytes);
    let size = bytes.len() as u64;
    for options in [
        WriterOptions::default(),
        WriterOptions {
            pieces: None,
            make_pieces: true,
        },
    ] {
        let mut writer = store.writer(&digest, size, options.clone()).unwrap();
        writer.write(bytes.slice(..1234)).unwrap();
        drop(writer);
        let mut writer = store.writer(&digest, size, options.clone()).unwrap();
        assert_eq!((writer.position(), writer.resumed_from()), (1234, 1234));
        writer.write(bytes.slice(1234..)).unwrap();
        let made = writer.commit().unwrap();
        assert_eq!(made, options.make_pieces.then(|| PieceList::of(&bytes)));
        assert_eq!(store.get_pieces(&digest, size).unwrap(), made);
        store.remove(&digest).unwrap();
    }
}

#[test]
fn with_a_piece_list_only_right_whole_pieces_survive_a_restart() {
    let (folder, store) = store();
    let bytes = content(3 * PIECE + 10);
    let (digest, size) = (Digest::of(&bytes), bytes.len() as u64);
    let path = folder
        .path()
        .join(".landfall/partial")
        .join(digest.to_hex());
    let mut spoiled = bytes.to_vec();
    spoiled[2 * PIECE - 1] ^= 1;
    let mut longer = bytes.to_vec();
    longer.push(0);
    for (found, kept) in [
        (&bytes[..PIECE - 1], 0),
        (&bytes[..2 * PIECE + 77], 2 * PIECE),
        (&spoiled[..], PIECE),
        (&bytes[..], bytes.len()),
        (&longer[..], 0),
    ] {
        fs::write(&path, found).unwrap();
        let writer = store.writer(&digest, size, with_list(&bytes)).unwrap();
        assert_eq!(writer.position(), kept as u64);
        drop(writer);
        assert_eq!(fs::metadata(&path).unwrap().len(), kept as u64);
    }
    let mut writer = store.writer(&digest, size, with_list(&bytes)).unwrap();
    writer.write(bytes.clone()).unwrap();
    assert_eq!(writer.commit().unwrap(), Some(PieceList::of(&bytes)));
    assert_eq!(
        store.get_pieces(&digest, size).unwrap(),
        Some(PieceList::of(&bytes))
    );
}

#[test]
fn a_wrong_piece_is_not_written_and_the_next_source_goes_on_before_it() {
    let (_folder, store) = store();
    let bytes = content(2 * PIECE + 10);
    let (digest, size) = (Digest::of(&bytes), bytes.len() as u64);
    let mut spoiled = bytes.to_vec();
    spoiled[PIECE + 5] ^= 1;
    let mut writer = store.writer(&digest, size, with_list(&bytes)).unwrap();
    let error = writer.write(spoiled.into()).unwrap_err();
    assert!(
        matches!(error, StoreError::WrongPiece { index: 1, .. }),
        "{error}"
    );
    assert_eq!(writer.position(), PIECE_SIZE);
    writer.write(bytes.slice(PIECE..PIECE + 9)).unwrap();
    writer.forget_pending();
    writer.write(bytes.slice(PIECE..)).unwrap();
    writer.commit().unwrap();
    assert!(store.verify(&digest).unwrap());
}

#[test]
fn a_piece_list_that_does_not_fit_is_refused() {
    let (_folder, store) = store();
    let digest = Digest::of(b"x");
    let error = store
        .writer(&digest, PIECE_SIZE + 1, with_list(b"x"))
        .unwrap_err();
    assert!(matches!(error, StoreError::PieceList(_)));
}

#[test]
fn one_object_has_one_writer_also_through_another_handle() {
    let (folder, store) = store();
    let digest = Digest::of(b"x");
    let writer = store.writer(&digest, 1, WriterOptions::default()).unwrap();
    let other = DirectoryStore::open(folder.path()).unwrap();
    for store in [&store, &other] {
        let error = store
            .writer(&digest, 1, WriterOptions::default())
            .unwrap_err();
        assert!(matches!(error, StoreError::Busy(_)), "{error}");
    }
    assert!(matches!(
        store.discard_partial(&digest),
        Err(StoreError::Busy(_))
    ));
    drop(writer);
    assert!(other.writer(&digest, 1, WriterOptions::default()).is_ok());
    assert!(store.discard_partial(&digest).unwrap());
}
