//! Paths, tiles and bundles: the specification's own, and hostile ones.

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
