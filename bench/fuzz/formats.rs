//! Names, digests, and the formats of the log and of its readers.

use std::error::Error;

use landfall_catalog::{
    Checkpoint, Commit, Digest, Entry, FilePath, LogPosition, LogSigner, MediaType, Name, Object,
    Readiness, Referrer, Repository, Revision, Tag, TilePath, TreeHash, VerifierKey, decode_block,
    decode_bundle, empty_root, encode_bundle,
};
use landfall_content::oci::{Document, INDEX, MANIFEST};
use landfall_proto::model::{decode_entry, encode_entry};

use crate::{Target, kind_of, text};

pub(crate) fn targets() -> Result<Vec<Target>, Box<dyn Error>> {
    let digest = Digest::of(b"x");
    let names = [
        "kube-apiserver".to_owned(),
        "kops/dns-controller:v1.2.3".to_owned(),
        format!("a/b__c-d.e@{digest}"),
        "binaries/kops/1.30.0/linux/amd64/kops".to_owned(),
        format!("pause:sha256-{}.sig", digest.to_hex()),
    ];
    let digests = [
        digest.to_string(),
        digest.to_hex(),
        TreeHash::from_raw([7; 32]).to_string(),
    ];
    let paths = [
        "tile/0/x001/234",
        "tile/entries/000.p/5",
        "tile/entries/x001/x002/003",
        "tile/63/000",
    ];
    let bundle = encode_bundle(&[b"abc".as_slice(), b"", &[0xff; 300]])?;
    let bundle = [[0, 3].as_slice(), &bundle].concat();
    let mut targets = vec![
        Target::new("names", names, |input| named(&text(input))),
        Target::new("digests", digests, digested),
        Target::new("tile-paths", paths, |input| tile(&text(input))),
        Target::new("bundles", [bundle], bundled),
        Target::new("readiness-blocks", blocks(), block),
        Target::new("wire-entries", entries()?, entry),
        Target::new("oci-documents", documents(), document),
    ];
    targets.push(notes()?);
    Ok(targets)
}

/// Whatever is taken is shown as it was written and read the same again.
fn round<T>(input: &str) -> String
where
    T: std::str::FromStr<Err: std::fmt::Display> + std::fmt::Display + PartialEq + std::fmt::Debug,
{
    match input.parse::<T>() {
        Ok(value) => {
            let shown = value.to_string();
            assert_eq!(shown, input);
            assert_eq!(shown.parse::<T>().ok(), Some(value));
            "ok".to_owned()
        }
        Err(error) => kind_of(&error),
    }
}

fn named(input: &str) -> String {
    let name = match input.parse::<Name>() {
        Ok(name) => {
            let shown = name.to_string();
            assert_eq!(shown.parse::<Name>().ok().as_ref(), Some(&name));
            if let Name::File(path) = &name {
                assert!(
                    !path
                        .as_str()
                        .split('/')
                        .any(|segment| matches!(segment, "" | "." | ".."))
                );
            }
            format!("{:?}", std::mem::discriminant(&name))
        }
        Err(error) => kind_of(&error),
    };
    let repository = round::<Repository>(input);
    let (tag, path) = (round::<Tag>(input), round::<FilePath>(input));
    format!(
        "{name} {repository} {tag} {path} {}",
        round::<MediaType>(input)
    )
}

fn digested(input: &[u8]) -> String {
    let written = text(input);
    let hex = Digest::from_hex(&written).map_or_else(|error| kind_of(&error), |_| "ok".to_owned());
    let raw = Digest::try_from_slice(input).is_ok();
    format!(
        "{} {hex} {raw} {}",
        round::<Digest>(&written),
        round::<TreeHash>(&written)
    )
}

fn tile(input: &str) -> String {
    let outcome = round::<TilePath>(input);
    if let Ok(path) = input.parse::<TilePath>() {
        assert!(path.width() >= 1 && path.width() <= 256);
        return format!(
            "{outcome} {:?} {}",
            std::mem::discriminant(&path),
            path.is_full()
        );
    }
    outcome
}

/// Two bytes of width, then the bundle.
fn bundled(input: &[u8]) -> String {
    let Some((width, bundle)) = input.split_first_chunk::<2>() else {
        return "short".to_owned();
    };
    let width = u16::from_be_bytes(*width);
    match decode_bundle(bundle, width) {
        Ok(entries) => {
            assert_eq!(entries.len(), usize::from(width));
            assert_eq!(encode_bundle(&entries).ok().as_deref(), Some(bundle));
            format!("ok {}", entries.len().min(8))
        }
        Err(error) => kind_of(&error),
    }
}

const OBJECTS: u32 = 200_000;

/// A byte of block number, then the block.
fn blocks() -> Vec<Vec<u8>> {
    let sets: [Vec<u32>; 4] = [
        vec![1, 5, 70],
        (0..60_000).step_by(3).collect(),
        (65_536..70_000).collect(),
        vec![199_999],
    ];
    let mut seeds = Vec::new();
    for set in sets {
        let position = LogPosition {
            origin: "log.example".to_owned(),
            size: 1,
            root: empty_root(),
        };
        let held = set.into_iter().collect();
        let readiness = Readiness::from_held(&held, OBJECTS, 1, Digest::of(b""), position);
        seeds.extend(readiness.blocks().map(|block| {
            let number = block.block.to_be_bytes()[1];
            [&[number], block.bytes.as_slice()].concat()
        }));
    }
    seeds
}

fn block(input: &[u8]) -> String {
    let Some((number, bytes)) = input.split_first() else {
        return "short".to_owned();
    };
    match decode_block(bytes, u16::from(*number), OBJECTS) {
        Ok(members) => {
            assert!(members.max().is_some_and(|last| last < OBJECTS));
            assert!(
                members
                    .iter()
                    .all(|member| member >> 16 == u32::from(*number))
            );
            format!("ok {}", members.len().ilog2())
        }
        Err(error) => kind_of(&error),
    }
}

fn entries() -> Result<Vec<Vec<u8>>, Box<dyn Error>> {
    let digest = Digest::of(b"content");
    let reason = || "leaks a key".to_owned();
    let entries = [
        Entry::ObjectAdded(Object {
            digest,
            size: 7,
            media_type: MediaType::try_new("application/octet-stream")?,
            children: vec![Digest::of(b"child"), Digest::of(b"other")],
            referrer: Some(Referrer {
                subject: Digest::of(b"subject"),
                artifact_type: "application/spdx+json".to_owned(),
                annotations: [("key".to_owned(), "value".to_owned())].into(),
            }),
            pieces: Some(Digest::of(b"pieces")),
        }),
        Entry::ObjectDescribed(Object {
            digest,
            size: 7,
            media_type: MediaType::try_new("application/vnd.oci.image.index.v1+json")?,
            children: vec![Digest::of(b"child"), Digest::of(b"another")],
            referrer: None,
            pieces: None,
        }),
        Entry::NameSet {
            name: "kops/dns-controller:v1".parse()?,
            digest,
        },
        Entry::NameSet {
            name: format!("kops@{digest}").parse()?,
            digest,
        },
        Entry::NameRemoved {
            name: "binaries/kops/1.0/kops".parse()?,
            reason: reason(),
        },
        Entry::NamePending {
            name: "kops/dns-controller:v2".parse()?,
            digest,
        },
        Entry::NameDropped {
            name: "binaries/kops/1.1/kops".parse()?,
            reason: reason(),
        },
        Entry::Withdrawn {
            digest,
            reason: reason(),
        },
        Entry::Reinstated {
            digest,
            reason: reason(),
        },
        Entry::Commit(Commit {
            revision: Revision::new(3),
            time: 1_700_000_000,
            who: "release".to_owned(),
            why: "1.0".to_owned(),
            source: "0f1e".to_owned(),
            plan: Some(Digest::of(b"plan")),
            operation: "op-1".to_owned(),
        }),
    ];
    let mut seeds = vec![vec![0x9a, 0x06, 0x00]];
    for entry in &entries {
        seeds.push(encode_entry(entry)?.to_vec());
    }
    Ok(seeds)
}

/// What is read can be written and read again.
fn entry(input: &[u8]) -> String {
    match decode_entry(input) {
        Ok(Entry::Unknown) => "unknown".to_owned(),
        Ok(entry) => {
            let again = encode_entry(&entry)
                .ok()
                .map(|bytes| decode_entry(&bytes).ok());
            assert_eq!(again, Some(Some(entry.clone())));
            format!("{:?}", std::mem::discriminant(&entry))
        }
        Err(error) => kind_of(&error),
    }
}

fn documents() -> Vec<String> {
    let descriptor = |media: &str, content: &str| {
        let digest = Digest::of(content.as_bytes());
        let size = content.len();
        format!(r#"{{"mediaType":"{media}","digest":"{digest}","size":{size}}}"#)
    };
    let (config, layer) = (
        descriptor("application/vnd.oci.image.config.v1+json", "{}"),
        descriptor("application/vnd.oci.image.layer.v1.tar", "layer"),
    );
    let child = descriptor(MANIFEST, "child");
    vec![
        format!(
            r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{config},"layers":[{layer}]}}"#
        ),
        format!(
            r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[{child}],"annotations":{{"a":"b"}}}}"#
        ),
        format!(
            r#"{{"schemaVersion":2,"config":{config},"layers":[],"subject":{child},"artifactType":"a/b"}}"#
        ),
        r#"{"schemaVersion":2,"manifests":[]}"#.to_owned(),
    ]
}

fn document(input: &[u8]) -> String {
    match Document::parse(input, None) {
        Ok(document) => {
            let same = Document::parse(input, Some(document.media_type.as_str()));
            assert!(same.is_ok_and(|same| same.children == document.children));
            format!(
                "{:?} {} {} {}",
                document.kind,
                document.children.len().min(4),
                document.foreign.len().min(4),
                document.subject.is_some()
            )
        }
        Err(error) => kind_of(&error),
    }
}

/// Nothing but what was signed is taken.
fn notes() -> Result<Target, Box<dyn Error>> {
    let signer = LogSigner::from_seeds("log.example", [1; 32], [2; 32])?;
    let checkpoint = Checkpoint {
        origin: "log.example".to_owned(),
        size: 42,
        root: TreeHash::from_raw([9; 32]),
    };
    let note = signer.sign(&checkpoint, 1_700_000_000)?;
    let mut seeds = vec![note, checkpoint.text().into_bytes()];
    seeds.extend(
        signer
            .keys()
            .to_strings()
            .into_iter()
            .map(String::into_bytes),
    );
    let keys = signer.keys().clone();
    Ok(Target::new("notes", seeds, move |input| {
        let verified = match keys.verify(input) {
            Ok(signed) => {
                assert_eq!(
                    (&signed.checkpoint, signed.time),
                    (&checkpoint, 1_700_000_000)
                );
                "signed".to_owned()
            }
            Err(error) => kind_of(&error),
        };
        let written = text(input);
        let parsed = match Checkpoint::parse(&written) {
            Ok(checkpoint) => {
                let again = Checkpoint::parse(&checkpoint.text()).ok();
                assert_eq!(again, Some(checkpoint));
                "checkpoint".to_owned()
            }
            Err(error) => kind_of(&error),
        };
        let key = written.parse::<VerifierKey>();
        let key = key.map_or_else(|error| kind_of(&error), |key| format!("{:?}", key.kind()));
        format!("{verified} {parsed} {key}")
    }))
}
