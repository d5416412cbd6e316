//! Generated trees in the shape of the real one.

use std::fmt::Write as _;

use landfall_catalog::Digest;
use landfall_promotion::{SourceFile, Tree};

/// How large a tree to make.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) projects: u64,
    pub(crate) images: u64,
    pub(crate) digests: u64,
    pub(crate) hosts: u64,
}

impl Shape {
    pub(crate) fn rows(self) -> u64 {
        self.projects * self.images * self.digests
    }
}

/// A tree of that shape; every digest and every tag of an image is its own.
pub(crate) fn tree(shape: Shape) -> Tree {
    let mut tree = Tree::default();
    for project in 0..shape.projects {
        let mut registries =
            format!("registries:\n- name: gcr.io/k8s-staging-{project}\n  src: true\n");
        for host in 0..shape.hosts {
            let _ = write!(
                registries,
                "- name: host-{host}.example/prod/images/project-{project}\n  service-account: a@b\n"
            );
        }
        tree.files.push(SourceFile {
            path: format!("manifests/k8s-staging-{project}/promoter-manifest.yaml"),
            text: registries,
        });
        let mut images = String::new();
        for image in 0..shape.images {
            let _ = write!(images, "- name: image-{image}\n  dmap:\n");
            for digest in 0..shape.digests {
                let content = format!("{project} {image} {digest}");
                let digest_text = Digest::of(content.as_bytes());
                let _ = writeln!(images, "    \"{digest_text}\": [\"v1.{digest}.0\"]");
            }
        }
        tree.files.push(SourceFile {
            path: format!("images/k8s-staging-{project}/images.yaml"),
            text: images,
        });
    }
    tree
}

mod tests {
    use std::collections::BTreeSet;

    use landfall_catalog::Catalog;
    use landfall_promotion::{PlanOptions, parse, plan};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_look_alike_is_read_whole() {
        let shape = Shape {
            projects: 7,
            images: 3,
            digests: 40,
            hosts: 22,
        };
        let parsed = parse(&tree(shape));
        assert_eq!(parsed.findings, []);
        assert_eq!(parsed.projects.len(), 7);
        assert_eq!(parsed.stats.digest_rows, shape.rows());
        assert_eq!(parsed.stats.tags, shape.rows());
    }

    #[test]
    fn a_tree_of_the_real_size_is_planned_once_a_public_name() {
        let shape = Shape {
            projects: 75,
            images: 11,
            digests: 25,
            hosts: 22,
        };
        let parsed = parse(&tree(shape));
        let plan = plan(&parsed, &[], &Catalog::default(), &PlanOptions::default());
        assert_eq!(plan.findings, []);
        assert_eq!(plan.set.len() as u64, shape.rows());
        assert_eq!(plan.destination_edges, shape.rows() * shape.hosts);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Damage to one byte of one list reaches no other list, and makes up no
        /// digests but the one it is in.
        #[test]
        fn a_damaged_byte_stays_in_its_own_file(at in 0_usize..4000, byte in 0_u8..128) {
            let shape = Shape { projects: 3, images: 2, digests: 10, hosts: 2 };
            let sound = tree(shape);
            let mut damaged = sound.clone();
            let text = &mut damaged.files[1].text;
            let at = at % text.len();
            text.replace_range(at..=at, char::from(byte).encode_utf8(&mut [0; 4]));
            let (sound, damaged) = (parse(&sound), parse(&damaged));
            prop_assert_eq!(&sound.projects[1..], &damaged.projects[1..]);
            let known: BTreeSet<_> =
                sound.projects[0].images.iter().map(|row| row.digest).collect();
            let new = damaged.projects[0].images.iter().filter(|row| !known.contains(&row.digest));
            prop_assert!(new.count() <= 1);
            prop_assert!(damaged.projects[0].images.len() as u64 <= shape.images * shape.digests);
        }
    }
}
