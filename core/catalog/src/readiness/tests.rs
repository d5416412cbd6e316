//! Readiness against a plain set, and its decoder against hostile bytes.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::merkle::empty_root;

const OBJECTS: u32 = 200_000;

fn log() -> LogPosition {
    LogPosition {
        origin: "log.example".to_owned(),
        size: 7,
        root: empty_root(),
    }
}

fn report(held: &RoaringBitmap, objects: u32) -> Readiness {
    Readiness::from_held(held, objects, 5, Digest::of(b""), log())
}

fn encoded(members: impl IntoIterator<Item = u32>) -> Vec<u8> {
    let mut set: RoaringBitmap = members.into_iter().collect();
    set.optimize();
    raw(&set)
}

fn raw(set: &RoaringBitmap) -> Vec<u8> {
    let mut bytes = Vec::new();
    set.serialize_into(&mut bytes).unwrap();
    bytes
}

fn reread(readiness: &Readiness, objects: u32) -> Result<Readiness, ReadinessError> {
    let blocks: Vec<_> = readiness.blocks().collect();
    Readiness::from_blocks(readiness.header(), &blocks, objects)
}

#[test]
fn a_complete_mirror_costs_a_few_integers() {
    let held = (0..OBJECTS).collect();
    let full = report(&held, OBJECTS);
    assert_eq!((full.through, full.blocks().count()), (OBJECTS, 0));
    assert_eq!(full.ready_count(), u64::from(OBJECTS));
    let nothing = report(&RoaringBitmap::new(), OBJECTS);
    let bytes: usize = nothing.blocks().map(|block| block.bytes.len()).sum();
    assert_eq!(nothing.blocks().count(), 4);
    assert!(bytes < 100, "{bytes}");
    assert_eq!(nothing.ready_count(), 0);
}

#[test]
fn a_name_is_served_once_its_entry_is_passed_and_its_object_held() {
    let ready = report(&[3].into_iter().collect(), 4);
    let name = |ordinal, set_at| NameRecord {
        ordinal: Ordinal::new(ordinal),
        set_at,
    };
    assert!(ready.serves_name(name(3, 4)));
    assert!(!ready.serves_name(name(3, 5)));
    assert!(!ready.serves_name(name(2, 4)));
    assert!(!ready.serves_name(name(4, 4)));
}

#[test]
fn the_encoding_is_that_of_the_roaring_specification() {
    // Cookie, one container; key 1, cardinality less one; offset; values.
    let plain = [
        0x3a, 0x30, 0, 0, 1, 0, 0, 0, 1, 0, 1, 0, 16, 0, 0, 0, 5, 0, 9, 0,
    ];
    assert_eq!(encoded([0x1_0005, 0x1_0009]), plain);
    let members = decode_block(&plain, 1, OBJECTS).unwrap();
    assert_eq!(members.iter().collect::<Vec<_>>(), [0x1_0005, 0x1_0009]);
    // Cookie with count, run marker; key 0, cardinality less one; one run.
    let run = [
        0x3b, 0x30, 0, 0, 1, 0, 0, 0xff, 0xff, 1, 0, 0, 0, 0xff, 0xff,
    ];
    assert_eq!(encoded(0..0x1_0000), run);
    assert_eq!(decode_block(&run, 0, OBJECTS).unwrap().len(), 0x1_0000);
}

#[test]
fn blocks_cut_anywhere_or_padded_are_refused() {
    for block in [
        encoded([1, 5, 9]),
        encoded(0..60_000),
        encoded((0..60_000).step_by(2)),
    ] {
        assert!(block.len() <= MAX_BLOCK_BYTES);
        assert!(decode_block(&block, 0, OBJECTS).is_ok());
        for length in (0..block.len()).step_by(7).chain([block.len() - 1]) {
            assert!(decode_block(&block[..length], 0, OBJECTS).is_err());
        }
        let padded = [&block[..], &[0]].concat();
        assert!(matches!(
            decode_block(&padded, 0, OBJECTS),
            Err(ReadinessError::TrailingBytes(1) | ReadinessError::TooLong(_))
        ));
    }
}

#[test]
fn members_outside_the_block_or_the_catalog_are_refused() {
    let block = encoded([0x1_0005]);
    assert!(decode_block(&block, 1, 0x1_0006).is_ok());
    assert!(matches!(
        decode_block(&block, 1, 0x1_0005),
        Err(ReadinessError::BeyondCatalog {
            found: 0x1_0005,
            ..
        })
    ));
    assert!(matches!(
        decode_block(&block, 0, OBJECTS),
        Err(ReadinessError::OtherBlock { found: 1, .. })
    ));
    let last = encoded([u32::MAX]);
    assert!(decode_block(&last, 0xffff, u32::MAX).is_err());
    assert!(matches!(
        decode_block(&encoded([1, 0x1_0000]), 0, OBJECTS),
        Err(ReadinessError::Containers)
    ));
    assert!(matches!(
        decode_block(&encoded([]), 0, OBJECTS),
        Err(ReadinessError::Containers)
    ));
}

#[test]
fn bombs_are_refused_before_they_cost_memory() {
    let huge_count = [&[0x3a, 0x30, 0, 0, 0xff, 0xff, 0xff, 0xff][..], &[0; 64]].concat();
    let all_containers = [&[0x3b, 0x30, 0xff, 0xff][..], &[0xff; 8000]].concat();
    for bomb in [huge_count, all_containers] {
        assert!(matches!(
            decode_block(&bomb, 0, u32::MAX),
            Err(ReadinessError::Containers)
        ));
    }
    // All 32,768 odd numbers as runs of one: valid, and longer than any
    // encoder's choice.
    let runs: Vec<u8> = (0..0x8000_u32)
        .flat_map(|n| [(2 * n).to_le_bytes()[0], (2 * n).to_le_bytes()[1], 0, 0])
        .collect();
    let header = [0x3b, 0x30, 0, 0, 1, 0, 0, 0xff, 0x7f, 0, 0x80];
    assert!(matches!(
        decode_block(&[&header[..], &runs].concat(), 0, u32::MAX),
        Err(ReadinessError::TooLong(_))
    ));
    assert!(decode_block(&vec![0; 1 << 20], 0, u32::MAX).is_err());
}

#[test]
fn runs_that_overlap_or_overflow_are_refused() {
    let run = |runs: &[(u16, u16)]| {
        let mut bytes = vec![0x3b, 0x30, 0, 0, 1, 0, 0, 0, 0];
        bytes.extend(u16::try_from(runs.len()).unwrap().to_le_bytes());
        for (start, length) in runs {
            bytes.extend(start.to_le_bytes());
            bytes.extend(length.to_le_bytes());
        }
        decode_block(&bytes, 0, OBJECTS)
    };
    assert_eq!(run(&[(1, 2), (9, 0)]).unwrap().len(), 4);
    assert!(run(&[]).is_err());
    assert!(run(&[(0xffff, 1)]).is_err());
    assert!(run(&[(1, 5), (3, 1)]).is_err());
    assert!(run(&[(9, 0), (1, 2)]).is_err());
}

#[test]
fn a_report_out_of_order_or_on_the_wrong_side_is_refused() {
    let held: RoaringBitmap = (0..OBJECTS)
        .filter(|o| o % 70_000 != 0)
        .chain([OBJECTS + 1])
        .collect();
    let good = report(&held, OBJECTS);
    let objects = OBJECTS + 2;
    assert_eq!(reread(&good, objects).unwrap(), good);
    let blocks: Vec<_> = good.blocks().collect();
    let from = |header, blocks: &[ReadinessBlock]| Readiness::from_blocks(header, blocks, objects);

    let mut swapped = blocks.clone();
    swapped.swap(0, 1);
    assert!(matches!(
        from(good.header(), &swapped),
        Err(ReadinessError::Order(_))
    ));
    let twice = [&blocks[..1], &blocks].concat();
    assert!(matches!(
        from(good.header(), &twice),
        Err(ReadinessError::Order(_))
    ));
    let mut lower = good.header();
    lower.through = 10;
    assert!(matches!(
        from(lower, &blocks),
        Err(ReadinessError::WrongSide { .. })
    ));
    let mut relabelled = blocks;
    for block in &mut relabelled {
        block.set = BlockSet::Extra;
    }
    relabelled.dedup_by_key(|block| block.block);
    assert!(matches!(
        from(good.header(), &relabelled),
        Err(ReadinessError::WrongSide { .. })
    ));
    assert!(matches!(
        reread(&good, OBJECTS - 1),
        Err(ReadinessError::BeyondCatalog { .. })
    ));
    assert!(matches!(
        reread(&good, OBJECTS + 1),
        Err(ReadinessError::BeyondCatalog { .. })
    ));
}

/// Sets with long runs, lone members and gaps.
fn any_held() -> impl Strategy<Value = BTreeSet<u32>> {
    let run = (0..OBJECTS, 1_u32..30_000);
    let lone = prop::collection::btree_set(0..OBJECTS + 50_000, 0..200);
    (prop::collection::vec(run, 0..4), lone).prop_map(|(runs, lone)| {
        let runs = runs.into_iter().flat_map(|(from, len)| from..from + len);
        runs.chain(lone).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_report_says_what_the_plain_set_says(
        held in any_held(),
        objects in 0..OBJECTS,
        asked in prop::collection::vec(0..OBJECTS + 100_000, 50),
    ) {
        let bitmap: RoaringBitmap = held.iter().copied().collect();
        let report = report(&bitmap, objects);
        prop_assert_eq!(report.ready_count(), held.len() as u64);
        prop_assert_eq!(&report.held(), &bitmap);
        let edges = held.iter().copied().take(100).flat_map(|o| [o.saturating_sub(1), o, o + 1]);
        for ordinal in asked.into_iter().chain(edges) {
            prop_assert_eq!(report.holds(Ordinal::new(ordinal)), held.contains(&ordinal));
        }
        let beyond = held.last().map_or(0, |last| last + 1).max(objects);
        prop_assert!(report.blocks().all(|block| block.bytes.len() <= MAX_BLOCK_BYTES));
        prop_assert_eq!(reread(&report, beyond).unwrap(), report);
    }

    #[test]
    fn a_loose_report_still_counts_what_it_holds(
        through in 0_u32..40,
        missing in prop::collection::btree_set(0_u32..60, 0..30),
        extra in prop::collection::btree_set(0_u32..60, 0..30),
        asked in prop::collection::btree_set(0_u32..60, 0..4),
    ) {
        let loose = Readiness {
            through,
            missing: missing.into_iter().collect(),
            extra: extra.into_iter().collect(),
            ..report(&RoaringBitmap::new(), 0)
        };
        let held = (0..100).filter(|o| loose.holds(Ordinal::new(*o))).count();
        prop_assert_eq!(loose.ready_count(), held as u64);
        prop_assert_eq!(loose.held().len(), held as u64);
        let all = asked.iter().all(|o| loose.holds(Ordinal::new(*o)));
        prop_assert_eq!(loose.holds_all(&asked.into_iter().collect()), all);
    }

    #[test]
    fn arbitrary_bytes_never_break_the_decoder(
        head in prop::sample::select(vec![
            vec![],
            vec![0x3a, 0x30, 0, 0, 1, 0, 0, 0],
            vec![0x3b, 0x30, 0, 0, 1],
            vec![0x3b, 0x30, 0, 0, 0],
        ]),
        tail in prop::collection::vec(any::<u8>(), 0..300),
        block in 0_u16..3,
    ) {
        let bytes = [head, tail].concat();
        if let Ok(members) = decode_block(&bytes, block, OBJECTS) {
            prop_assert!(members.iter().all(|o| o >> 16 == u32::from(block) && o < OBJECTS));
        }
    }

    #[test]
    fn a_changed_byte_never_reaches_beyond_the_block(
        members in prop::collection::btree_set(0_u32..0x1_0000, 1..300),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut bytes = encoded(members);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(members) = decode_block(&bytes, 0, 0xfff0) {
            prop_assert!(members.max().unwrap() < 0xfff0);
        }
    }
}
