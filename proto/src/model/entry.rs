//! Entries of the log.

use bytes::Bytes;
use landfall_catalog::{
    Commit, Entry, MAX_ENTRY_BYTES, MediaType, Name, Object, Referrer, Repository, Revision, Tag,
};
use prost::Message;

use super::{WireError, digest, digest_to_wire, invalid, optional_digest};
use crate::v1::{self, catalog_entry::Kind};

/// Encodes an entry as it will be stored and hashed for ever.
///
/// # Errors
/// [`WireError::TooLarge`] over [`MAX_ENTRY_BYTES`]; [`WireError::Invalid`] for
/// [`Entry::Unknown`], which nobody may write.
pub fn encode_entry(entry: &Entry) -> Result<Bytes, WireError> {
    let kind = match entry {
        Entry::ObjectAdded(object) => Kind::ObjectAdded(object_to_wire(object)),
        Entry::ObjectDescribed(object) => Kind::ObjectDescribed(object_to_wire(object)),
        Entry::NameSet { name, digest } => Kind::NameSet(v1::NameSet {
            name: Some(name_to_wire(name)),
            digest: digest_to_wire(digest),
        }),
        Entry::NameRemoved { name, reason } => Kind::NameRemoved(v1::NameRemoved {
            name: Some(name_to_wire(name)),
            reason: reason.clone(),
        }),
        Entry::NamePending { name, digest } => Kind::NamePending(v1::NamePending {
            name: Some(name_to_wire(name)),
            digest: digest_to_wire(digest),
        }),
        Entry::NameDropped { name, reason } => Kind::NameDropped(v1::NameDropped {
            name: Some(name_to_wire(name)),
            reason: reason.clone(),
        }),
        Entry::Withdrawn { digest, reason } => Kind::Withdrawn(v1::Withdrawn {
            digest: digest_to_wire(digest),
            reason: reason.clone(),
        }),
        Entry::Reinstated { digest, reason } => Kind::Reinstated(v1::Reinstated {
            digest: digest_to_wire(digest),
            reason: reason.clone(),
        }),
        Entry::Commit(commit) => Kind::Commit(v1::Commit {
            revision: commit.revision.get(),
            time: commit.time,
            who: commit.who.clone(),
            why: commit.why.clone(),
            source: commit.source.clone(),
            plan: commit.plan.as_ref().map(digest_to_wire).unwrap_or_default(),
            operation: commit.operation.clone(),
        }),
        Entry::Unknown => {
            return Err(WireError::Invalid {
                field: "kind",
                why: "an unknown entry cannot be written".into(),
            });
        }
    };
    let bytes = v1::CatalogEntry { kind: Some(kind) }.encode_to_vec();
    if bytes.len() > MAX_ENTRY_BYTES {
        return Err(WireError::TooLarge(bytes.len()));
    }
    Ok(bytes.into())
}

/// Decodes an entry of the log. A kind that this version does not know is
/// [`Entry::Unknown`].
///
/// # Errors
/// [`WireError`] naming the field that is not valid.
pub fn decode_entry(bytes: &[u8]) -> Result<Entry, WireError> {
    if bytes.len() > MAX_ENTRY_BYTES {
        return Err(WireError::TooLarge(bytes.len()));
    }
    Ok(match v1::CatalogEntry::decode(bytes)?.kind {
        None => Entry::Unknown,
        Some(Kind::ObjectAdded(object)) => Entry::ObjectAdded(object_from_wire(object)?),
        Some(Kind::ObjectDescribed(object)) => Entry::ObjectDescribed(object_from_wire(object)?),
        Some(Kind::NameSet(set)) => Entry::NameSet {
            name: name_from_wire(set.name)?,
            digest: digest("name_set.digest", &set.digest)?,
        },
        Some(Kind::NameRemoved(removed)) => Entry::NameRemoved {
            name: name_from_wire(removed.name)?,
            reason: removed.reason,
        },
        Some(Kind::NamePending(pending)) => Entry::NamePending {
            name: name_from_wire(pending.name)?,
            digest: digest("name_pending.digest", &pending.digest)?,
        },
        Some(Kind::NameDropped(dropped)) => Entry::NameDropped {
            name: name_from_wire(dropped.name)?,
            reason: dropped.reason,
        },
        Some(Kind::Withdrawn(withdrawn)) => Entry::Withdrawn {
            digest: digest("withdrawn.digest", &withdrawn.digest)?,
            reason: withdrawn.reason,
        },
        Some(Kind::Reinstated(reinstated)) => Entry::Reinstated {
            digest: digest("reinstated.digest", &reinstated.digest)?,
            reason: reinstated.reason,
        },
        Some(Kind::Commit(commit)) => Entry::Commit(Commit {
            revision: Revision::new(commit.revision),
            time: commit.time,
            who: commit.who,
            why: commit.why,
            source: commit.source,
            plan: optional_digest("commit.plan", &commit.plan)?,
            operation: commit.operation,
        }),
    })
}

fn object_to_wire(object: &Object) -> v1::ObjectAdded {
    v1::ObjectAdded {
        digest: digest_to_wire(&object.digest),
        size: object.size,
        media_type: object.media_type.as_str().to_owned(),
        children: object.children.iter().map(digest_to_wire).collect(),
        referrer: object.referrer.as_ref().map(|referrer| v1::Referrer {
            subject: digest_to_wire(&referrer.subject),
            artifact_type: referrer.artifact_type.clone(),
            annotations: referrer
                .annotations
                .iter()
                .map(|(key, value)| v1::Annotation {
                    key: key.clone(),
                    value: value.clone(),
                })
                .collect(),
        }),
        pieces: object
            .pieces
            .as_ref()
            .map(digest_to_wire)
            .unwrap_or_default(),
    }
}

fn object_from_wire(object: v1::ObjectAdded) -> Result<Object, WireError> {
    Ok(Object {
        digest: digest("object_added.digest", &object.digest)?,
        size: object.size,
        media_type: MediaType::try_new(object.media_type)
            .map_err(invalid("object_added.media_type"))?,
        children: object
            .children
            .iter()
            .map(|child| digest("object_added.children", child))
            .collect::<Result<_, _>>()?,
        referrer: match object.referrer {
            None => None,
            Some(referrer) => Some(Referrer {
                subject: digest("object_added.referrer.subject", &referrer.subject)?,
                artifact_type: referrer.artifact_type,
                annotations: referrer
                    .annotations
                    .into_iter()
                    .map(|annotation| (annotation.key, annotation.value))
                    .collect(),
            }),
        },
        pieces: optional_digest("object_added.pieces", &object.pieces)?,
    })
}

fn name_to_wire(name: &Name) -> v1::Name {
    use v1::name::Kind;
    let kind = match name {
        Name::Tag(repository, tag) => Kind::Image(v1::ImageName {
            repository: repository.as_str().to_owned(),
            tag: tag.as_str().to_owned(),
            root: Bytes::new(),
        }),
        Name::Root(repository, root) => Kind::Image(v1::ImageName {
            repository: repository.as_str().to_owned(),
            tag: String::new(),
            root: digest_to_wire(root),
        }),
        Name::File(path) => Kind::Path(path.as_str().to_owned()),
    };
    v1::Name { kind: Some(kind) }
}

fn name_from_wire(name: Option<v1::Name>) -> Result<Name, WireError> {
    use v1::name::Kind;
    match name.and_then(|name| name.kind) {
        None => Err(WireError::Missing("name")),
        Some(Kind::Path(path)) => path.parse().map(Name::File).map_err(invalid("name.path")),
        Some(Kind::Image(image)) => {
            let repository =
                Repository::try_new(image.repository).map_err(invalid("name.repository"))?;
            if image.tag.is_empty() {
                Ok(Name::Root(repository, digest("name.root", &image.root)?))
            } else if image.root.is_empty() {
                let tag = Tag::try_new(image.tag).map_err(invalid("name.tag"))?;
                Ok(Name::Tag(repository, tag))
            } else {
                Err(WireError::Invalid {
                    field: "name.root",
                    why: "a name has a tag or a root, not both".into(),
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use landfall_catalog::Digest;
    use std::collections::BTreeMap;

    fn every_kind() -> Vec<Entry> {
        let digest = Digest::of(b"content");
        let repository = Repository::try_new("kops/dns-controller").unwrap();
        let tag = Tag::try_new("v1.2.3").unwrap();
        vec![
            Entry::ObjectAdded(Object {
                digest,
                size: 7,
                media_type: MediaType::try_new("application/octet-stream").unwrap(),
                children: vec![Digest::of(b"child")],
                referrer: Some(Referrer {
                    subject: Digest::of(b"subject"),
                    artifact_type: "application/spdx+json".into(),
                    annotations: BTreeMap::from([("key".into(), "value".into())]),
                }),
                pieces: Some(Digest::of(b"pieces")),
            }),
            Entry::ObjectDescribed(Object {
                digest,
                size: 7,
                media_type: MediaType::try_new("application/vnd.oci.image.index.v1+json").unwrap(),
                children: vec![Digest::of(b"child"), Digest::of(b"another")],
                referrer: None,
                pieces: None,
            }),
            Entry::NameSet {
                name: Name::Tag(repository.clone(), tag),
                digest,
            },
            Entry::NameSet {
                name: Name::Root(repository.clone(), digest),
                digest,
            },
            Entry::NamePending {
                name: Name::Root(repository, digest),
                digest,
            },
            Entry::NameDropped {
                name: Name::File("binaries/kops/1.1/kops".parse().unwrap()),
                reason: "no region was ready".into(),
            },
            Entry::NameRemoved {
                name: Name::File("binaries/kops/1.0/kops".parse().unwrap()),
                reason: "not listed".into(),
            },
            Entry::Withdrawn {
                digest,
                reason: "leaks a key".into(),
            },
            Entry::Reinstated {
                digest,
                reason: "it was a test key".into(),
            },
            Entry::Commit(Commit {
                revision: Revision::new(3),
                time: 1_700_000_000,
                who: "release".into(),
                why: "1.0".into(),
                source: "0f1e".into(),
                plan: Some(Digest::of(b"plan")),
                operation: "op-1".into(),
            }),
        ]
    }

    #[test]
    fn every_entry_survives_the_wire() {
        for entry in every_kind() {
            let bytes = encode_entry(&entry).unwrap();
            assert_eq!(decode_entry(&bytes).unwrap(), entry);
        }
    }

    #[test]
    fn pending_names_have_these_bytes_for_ever() {
        let digest = Digest::from_raw([0x11; 32]);
        let eleven = "11".repeat(32);
        let pending = |name: &str| Entry::NamePending {
            name: name.parse().unwrap(),
            digest,
        };
        let dropped = Entry::NameDropped {
            name: "f/x".parse().unwrap(),
            reason: "no".into(),
        };
        for (entry, expected) in [
            (
                pending("a:v1"),
                format!("3a2d0a090a070a0161120276311220{eleven}"),
            ),
            (pending("f/x"), format!("3a290a051203662f781220{eleven}")),
            (dropped, "420b0a051203662f7812026e6f".to_owned()),
        ] {
            let bytes = encode_entry(&entry).unwrap();
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(hex, expected);
            assert_eq!(decode_entry(&bytes).unwrap(), entry);
        }
    }

    #[test]
    fn a_description_has_these_bytes_for_ever() {
        let entry = Entry::ObjectDescribed(Object {
            digest: Digest::from_raw([0x11; 32]),
            size: 7,
            media_type: "a/b".parse().unwrap(),
            children: vec![Digest::from_raw([0x22; 32])],
            referrer: None,
            pieces: None,
        });
        let expected = format!(
            "4a4b0a20{}10071a03612f622220{}",
            "11".repeat(32),
            "22".repeat(32)
        );
        let bytes = encode_entry(&entry).unwrap();
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, expected);
        assert_eq!(decode_entry(&bytes).unwrap(), entry);
    }

    #[test]
    fn a_kind_of_the_future_is_unknown_and_not_an_error() {
        // Field 99, length-delimited, empty.
        let bytes = [0x9a, 0x06, 0x00];
        assert_eq!(decode_entry(&bytes).unwrap(), Entry::Unknown);
    }

    #[test]
    fn a_short_digest_is_refused_by_field() {
        let entry = v1::CatalogEntry {
            kind: Some(Kind::Withdrawn(v1::Withdrawn {
                digest: Bytes::from_static(b"short"),
                reason: String::new(),
            })),
        };
        let error = decode_entry(&entry.encode_to_vec()).unwrap_err();
        assert!(error.to_string().starts_with("withdrawn.digest"), "{error}");
    }

    #[test]
    fn a_name_with_a_tag_and_a_root_is_refused() {
        let entry = v1::CatalogEntry {
            kind: Some(Kind::NameSet(v1::NameSet {
                name: Some(v1::Name {
                    kind: Some(v1::name::Kind::Image(v1::ImageName {
                        repository: "a".into(),
                        tag: "v1".into(),
                        root: digest_to_wire(&Digest::of(b"")),
                    })),
                }),
                digest: digest_to_wire(&Digest::of(b"")),
            })),
        };
        assert!(decode_entry(&entry.encode_to_vec()).is_err());
    }

    #[test]
    fn an_entry_over_the_limit_is_refused_both_ways() {
        let entry = Entry::Withdrawn {
            digest: Digest::of(b""),
            reason: "x".repeat(MAX_ENTRY_BYTES),
        };
        assert!(matches!(encode_entry(&entry), Err(WireError::TooLarge(_))));
        assert!(matches!(
            decode_entry(&vec![0; MAX_ENTRY_BYTES + 1]),
            Err(WireError::TooLarge(_))
        ));
    }
}
