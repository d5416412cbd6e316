use std::collections::{BTreeMap, BTreeSet};

use landfall_catalog::{Commit, Entry, Name, Referrer};
use landfall_content::oci::MANIFEST;
use landfall_promotion::{Position, SourceRef};

use super::*;

const SIGNATURE: &str = "application/vnd.dev.cosign.artifact.sig.v1+json";

/// Production as these names and objects make it.
#[derive(Default)]
struct World {
    catalog: Catalog,
}

impl World {
    fn apply(&mut self, mut entries: Vec<Entry>) {
        entries.push(Entry::Commit(Commit {
            revision: self.catalog.revision().next(),
            time: 0,
            who: String::new(),
            why: String::new(),
            source: String::new(),
            plan: None,
            operation: String::new(),
        }));
        self.catalog.apply(&entries).unwrap();
    }

    /// A document of this content, with its name; gives its digest.
    fn set(
        &mut self,
        name: &str,
        content: &str,
        children: &[Digest],
        about: Option<Referrer>,
    ) -> Digest {
        let digest = Digest::of(content.as_bytes());
        let mut entries = Vec::new();
        if self.catalog.ordinal(&digest).is_none() {
            entries.push(Entry::ObjectAdded(Object {
                digest,
                size: content.len() as u64,
                media_type: MANIFEST.parse().unwrap(),
                children: children.to_vec(),
                referrer: about,
                pieces: None,
            }));
        }
        let name = match name.strip_suffix('@') {
            Some(repository) => format!("{repository}@{digest}"),
            None => name.to_owned(),
        };
        let name: Name = name.parse().unwrap();
        entries.push(Entry::NameSet { name, digest });
        self.apply(entries);
        digest
    }

    fn look(&self, place: &str, kind: Kind, digest: Digest) -> Onward {
        let limits = Limits {
            referrers: 2,
            referrer_bytes: 100,
            ..Limits::default()
        };
        self.look_within(&limits, place, kind, digest)
    }

    fn look_within(&self, limits: &Limits, place: &str, kind: Kind, digest: Digest) -> Onward {
        let asked = Asked {
            name: "x:v1".parse().unwrap(),
            digest,
            project: "p".into(),
            kind,
            source: SourceRef::File {
                base: "".into(),
                path: "".into(),
            },
            mutable: false,
            at: Position {
                file: "f".into(),
                line: 1,
                column: 1,
            },
        };
        look(&self.catalog, &asked, place, limits)
    }
}

fn speaks(subject: Digest, artifact_type: &str) -> Option<Referrer> {
    Some(Referrer {
        subject,
        artifact_type: artifact_type.into(),
        annotations: BTreeMap::new(),
    })
}

#[test]
fn only_what_is_live_under_that_very_name_is_promoted_onward() {
    let mut world = World::default();
    let child = world.set("incubating/part:v1", "child", &[], None);
    let image = world.set("incubating/app:v1", "image", &[child], None);
    let file = world.set("binaries/incubating/tool", "tool", &[], None);
    let other = Digest::of(b"never seen");
    for (place, kind, digest, is_there) in [
        ("incubating/app", Kind::Images, image, true),
        ("incubating/app", Kind::Images, child, true),
        ("incubating/part", Kind::Images, image, false),
        ("stable/app", Kind::Images, image, false),
        ("incubating/app", Kind::Images, other, false),
        ("binaries/incubating/tool", Kind::Files, file, true),
        ("binaries/incubating/tool", Kind::Files, image, false),
        ("binaries/incubating/tool", Kind::Files, other, false),
        ("binaries/incubating/none", Kind::Files, other, false),
    ] {
        match world.look(place, kind, digest) {
            Onward::Whole(closure, _) => {
                assert!(is_there, "{place} {digest}");
                assert_eq!(closure.last().map(|object| object.digest), Some(digest));
            }
            Onward::Lost(why) => {
                assert!(!is_there && why.contains(place), "{place} {digest}: {why}");
            }
            Onward::Refused(why) => panic!("{place}: {why}"),
        }
    }
    let reason = "CVE-1".to_owned();
    world.apply(vec![Entry::Withdrawn {
        digest: child,
        reason,
    }]);
    match world.look("incubating/app", Kind::Images, image) {
        Onward::Refused(why) => assert!(why.contains("CVE-1") && why.contains(&child.to_string())),
        found @ (Onward::Whole(..) | Onward::Lost(_)) => panic!("{found:?}"),
    }
    world.apply(vec![Entry::NameRemoved {
        name: "binaries/incubating/tool".parse().unwrap(),
        reason: String::new(),
    }]);
    let gone = world.look("binaries/incubating/tool", Kind::Files, file);
    assert!(matches!(gone, Onward::Lost(_)), "{gone:?}");
}

#[test]
fn what_speaks_about_an_image_comes_along_within_the_bounds_of_staging() {
    let mut world = World::default();
    let image = world.set("in/app:v1", "image", &[], None);
    let sbom = world.set(
        "in/app@",
        "sbom",
        &[],
        speaks(image, "application/spdx+json"),
    );
    let nested = world.set("in/app@", "its signature", &[], speaks(sbom, SIGNATURE));
    let tag = format!("sha256-{}.sig", image.to_hex());
    let cosign = world.set(&format!("in/app:{tag}"), "cosign", &[], None);
    let elsewhere = world.set("other/app@", "elsewhere", &[], speaks(image, SIGNATURE));
    let Onward::Whole(_, found) = world.look("in/app", Kind::Images, image) else {
        panic!("it is there");
    };
    let digests: BTreeSet<_> = found
        .artifacts
        .iter()
        .map(|artifact| artifact.digest)
        .collect();
    assert_eq!(digests, BTreeSet::from([sbom, nested, cosign]));
    assert!(!digests.contains(&elsewhere) && found.left_out.is_empty());
    let tags: Vec<_> = found
        .artifacts
        .iter()
        .filter_map(|artifact| artifact.tag.as_ref())
        .collect();
    assert_eq!(tags, [&tag.parse::<Tag>().unwrap()]);

    let unknown = world.set("in/app@", "unknown", &[], speaks(nested, "text/x-unknown"));
    let large = world.set(
        &format!("in/app:sha256-{}.att", image.to_hex()),
        &"x".repeat(200),
        &[],
        None,
    );
    let Onward::Whole(_, found) = world.look("in/app", Kind::Images, image) else {
        panic!("it is there");
    };
    assert_eq!(found.artifacts.len(), 3);
    for (digest, why) in [(unknown, "not taken"), (large, "200 bytes")] {
        let told = found
            .left_out
            .iter()
            .find(|told| told.starts_with(&digest.to_string()));
        assert!(
            told.is_some_and(|told| told.contains(why)),
            "{:?}",
            found.left_out
        );
    }
}

#[test]
fn what_is_over_the_bound_is_named_and_not_dropped_in_silence() {
    let mut world = World::default();
    let image = world.set("in/app:v1", "image", &[], None);
    for content in ["one", "two", "three", "four", "five"] {
        world.set(
            "in/app@",
            content,
            &[],
            speaks(image, "application/spdx+json"),
        );
    }
    let Onward::Whole(_, attached) = world.look("in/app", Kind::Images, image) else {
        panic!("it is there");
    };
    assert_eq!(attached.artifacts.len(), 2);
    let over = format!("3 of the 5 referrers of {image}");
    assert!(
        attached.left_out.iter().any(|why| why.contains(&over)),
        "{:?}",
        attached.left_out
    );
}

#[test]
fn what_speaks_about_what_speaks_about_an_image_has_the_budget_of_staging() {
    let mut world = World::default();
    let image = world.set("in/app:v1", "image", &[], None);
    for first in 0..3 {
        let signed = world.set(
            "in/app@",
            &format!("sbom {first}"),
            &[],
            speaks(image, "application/spdx+json"),
        );
        for second in 0..3 {
            let content = format!("signature {second} of {first}");
            world.set("in/app@", &content, &[], speaks(signed, SIGNATURE));
        }
    }
    let few = Limits {
        attached: 5,
        ..Limits::default()
    };
    let small = Limits {
        attached_bytes: 20,
        ..Limits::default()
    };
    for (limits, taken, over) in [
        (Limits::default(), 12, None),
        (
            few,
            5,
            Some("1 artifacts, and whatever speaks about 4 others"),
        ),
        (small, 3, Some("9 artifacts")),
    ] {
        let Onward::Whole(_, found) = world.look_within(&limits, "in/app", Kind::Images, image)
        else {
            panic!("it is there");
        };
        assert_eq!(found.artifacts.len(), taken, "{found:?}");
        match over {
            Some(over) => assert!(found.left_out[0].contains(over), "{:?}", found.left_out),
            None => assert!(found.left_out.is_empty(), "{:?}", found.left_out),
        }
    }
}
