//! The tree against RFC 6962 written down naively, and the known roots.

use std::collections::HashMap;
use std::convert::Infallible;

use proptest::prelude::*;

use super::*;

/// RFC 6962 section 2.1, word for word.
fn naive_root(leaves: &[TreeHash]) -> TreeHash {
    match leaves {
        [] => TreeHash(Sha256::digest(b"").into()),
        [leaf] => *leaf,
        _ => {
            let k = leaves.len().next_power_of_two() / 2;
            node_hash(&naive_root(&leaves[..k]), &naive_root(&leaves[k..]))
        }
    }
}

/// RFC 6962 section 2.1.1, word for word.
fn naive_path(m: usize, leaves: &[TreeHash]) -> Vec<TreeHash> {
    if leaves.len() < 2 {
        return Vec::new();
    }
    let k = leaves.len().next_power_of_two() / 2;
    let (mut path, other) = if m < k {
        (naive_path(m, &leaves[..k]), naive_root(&leaves[k..]))
    } else {
        (naive_path(m - k, &leaves[k..]), naive_root(&leaves[..k]))
    };
    path.push(other);
    path
}

struct Tree {
    leaves: Vec<TreeHash>,
    nodes: HashMap<Node, TreeHash>,
    roots: Vec<TreeHash>,
}

fn grow(size: u32) -> Tree {
    let mut frontier = Frontier::new();
    let mut tree = Tree {
        leaves: Vec::new(),
        nodes: HashMap::new(),
        roots: vec![frontier.root()],
    };
    for entry in 0..size {
        let leaf = leaf_hash(&entry.to_be_bytes());
        frontier.push_with(leaf, |node, hash| {
            assert_eq!(tree.nodes.insert(node, hash), None);
        });
        tree.leaves.push(leaf);
        tree.roots.push(frontier.root());
    }
    tree
}

impl Tree {
    fn read(&self, node: Node) -> Result<TreeHash, Infallible> {
        Ok(self.nodes[&node])
    }
}

fn hex(hash: &TreeHash) -> String {
    crate::Digest::from_raw(*hash.as_bytes()).to_hex()
}

#[test]
fn roots_are_the_known_ones() {
    let entries: [&[u8]; 8] = [
        b"",
        b"\x00",
        b"\x10",
        b"\x20\x21",
        b"\x30\x31",
        b"\x40\x41\x42\x43",
        b"\x50\x51\x52\x53\x54\x55\x56\x57",
        b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
    ];
    let mut frontier = Frontier::new();
    let mut roots = vec![hex(&frontier.root())];
    for entry in entries {
        frontier.push(leaf_hash(entry));
        roots.push(hex(&frontier.root()));
    }
    assert_eq!(
        roots[0],
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    );
    assert_eq!(
        roots[1],
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    );
    assert_eq!(
        roots[3],
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77"
    );
    assert_eq!(
        roots[8],
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"
    );
}

#[test]
fn the_edge_is_rebuilt_from_stored_nodes() {
    let tree = grow(77);
    for size in 0..=77_u64 {
        let hashes = Frontier::nodes_of(size)
            .map(|node| tree.nodes[&node])
            .collect();
        let mut edge = Frontier::from_parts(size, hashes).unwrap();
        let size = usize::try_from(size).unwrap();
        assert_eq!(edge.root(), tree.roots[size]);
        if let Some(leaf) = tree.leaves.get(size) {
            edge.push(*leaf);
            assert_eq!(edge.root(), tree.roots[size + 1]);
        }
    }
    assert!(Frontier::from_parts(3, vec![empty_root()]).is_err());
    assert!(Frontier::from_parts(1 << 50, vec![empty_root()]).is_err());
}

#[test]
fn a_node_that_cannot_be_read_is_reported_as_such() {
    let failure = prove_inclusion(5, 2, |_| Err("disk")).unwrap_err();
    assert!(matches!(failure, ProveError::Read("disk")));
}

#[test]
fn absurd_sizes_and_proofs_are_refused_without_harm() {
    let root = empty_root();
    for size in [0, 1, MAX_TREE_SIZE, MAX_TREE_SIZE + 1, u64::MAX] {
        for proof in [&[root; 0][..], &[root; 64], &[root; 10_000]] {
            assert_eq!(
                verify_inclusion(proof, size, &root, u64::MAX, &root),
                Err(InvalidProof)
            );
            assert_eq!(
                verify_consistency(proof, size, &root, u64::MAX, &root),
                Err(InvalidProof)
            );
        }
    }
    let never = |_: Node| -> Result<TreeHash, Infallible> { unreachable!() };
    assert!(prove_inclusion(u64::MAX, 0, never).is_err());
    assert!(prove_inclusion(1, 1, never).is_err());
    assert!(prove_consistency(u64::MAX, 1, never).is_err());
    assert!(prove_consistency(1, 2, never).is_err());
}

#[test]
fn every_log_begins_with_the_empty_one() {
    let tree = grow(3);
    let empty = empty_root();
    assert_eq!(prove_consistency(3, 0, |n| tree.read(n)).unwrap(), []);
    assert!(verify_consistency(&[], 3, &tree.roots[3], 0, &empty).is_ok());
    assert!(verify_consistency(&[], 3, &tree.roots[3], 0, &tree.roots[1]).is_err());
    assert!(verify_consistency(&[empty], 3, &tree.roots[3], 0, &empty).is_err());
    assert!(verify_consistency(&[], 0, &tree.roots[3], 0, &empty).is_err());
    assert!(verify_consistency(&[], 0, &empty, 0, &empty).is_ok());
}

#[test]
fn hashes_read_back_as_they_are_shown() {
    let hash = leaf_hash(b"x");
    assert_eq!(hash.to_string().parse(), Ok(hash));
    for bad in [
        "",
        "AAAA",
        &"A".repeat(43),
        &"A".repeat(44),
        &"A".repeat(4000),
    ] {
        assert_eq!(bad.parse::<TreeHash>(), Err(TreeHashError), "{bad}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn roots_and_proofs_are_those_of_the_naive_tree(
        size in 1_u32..300,
        entry in any::<prop::sample::Index>(),
        old in any::<prop::sample::Index>(),
        flip in any::<prop::sample::Index>(),
    ) {
        let tree = grow(size);
        let (size, length) = (u64::from(size), tree.leaves.len());
        let root = tree.roots[length];
        prop_assert_eq!(root, naive_root(&tree.leaves));

        let index = entry.index(length);
        let proof = prove_inclusion(size, index as u64, |n| tree.read(n)).unwrap();
        prop_assert_eq!(&proof, &naive_path(index, &tree.leaves));
        let leaf = tree.leaves[index];
        prop_assert!(verify_inclusion(&proof, size, &root, index as u64, &leaf).is_ok());
        prop_assert!(verify_inclusion(&proof, size, &leaf_hash(b"no"), index as u64, &leaf).is_err());
        prop_assert!(verify_inclusion(&proof, size, &root, index as u64, &leaf_hash(b"no")).is_err());
        if !proof.is_empty() {
            let mut wrong = proof.clone();
            wrong[flip.index(proof.len())].0[flip.index(32)] ^= 1;
            prop_assert!(verify_inclusion(&wrong, size, &root, index as u64, &leaf).is_err());
            prop_assert!(verify_inclusion(&proof[1..], size, &root, index as u64, &leaf).is_err());
        }

        let old = old.index(length + 1);
        let old_root = tree.roots[old];
        prop_assert_eq!(old_root, naive_root(&tree.leaves[..old]));
        let proof = prove_consistency(size, old as u64, |n| tree.read(n)).unwrap();
        prop_assert!(verify_consistency(&proof, size, &root, old as u64, &old_root).is_ok());
        let fork = leaf_hash(b"fork");
        prop_assert!(verify_consistency(&proof, size, &root, old as u64, &fork).is_err());
        if old > 0 {
            prop_assert!(verify_consistency(&proof, size, &fork, old as u64, &old_root).is_err());
        }
    }
}
