//! Parsing OCI manifests and indexes.

use std::collections::{BTreeMap, BTreeSet};

use landfall_catalog::{Digest, MediaType, Object, Referrer};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::Descriptor;

/// OCI image manifest.
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// OCI image index.
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// Docker image manifest, schema 2.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Docker manifest list.
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// Longest manifest or index: what every registry has to accept (OCI
/// distribution specification, "Pushing Manifests").
pub const MAX_DOCUMENT_BYTES: u64 = 4 << 20;
/// Most children of one document: their digests fit a log entry.
pub const MAX_CHILDREN: usize = 1_400;
/// Bytes of annotations that are kept, keys and values together.
const MAX_ANNOTATION_BYTES: usize = 8 << 10;

/// Layers that their publisher does not want to be distributed.
const FOREIGN: [&str; 4] = [
    "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
    "application/vnd.oci.image.layer.nondistributable.v1.tar",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
];

/// Which of the two kinds a document is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DocumentKind {
    /// Config and layers.
    Manifest,
    /// Other documents.
    Index,
}

/// A manifest or index, reduced to what distributing it needs.
#[derive(Clone, Debug)]
pub struct Document {
    /// Its media type, one of [`MANIFEST`], [`INDEX`], [`DOCKER_MANIFEST`] and
    /// [`DOCKER_LIST`].
    pub media_type: MediaType,
    /// What that means.
    pub kind: DocumentKind,
    /// What it needs, each once, in the order of the document: config and
    /// layers, or the documents of an index.
    pub children: Vec<Descriptor>,
    /// Layers that need not be there, because their publisher does not want
    /// them distributed.
    pub foreign: Vec<Descriptor>,
    /// What it speaks about, if it is a referrer.
    pub subject: Option<Descriptor>,
    /// `artifactType`, else the media type of a manifest's config.
    pub artifact_type: Option<MediaType>,
    /// Its annotations in the order of their keys, as many as are kept.
    pub annotations: BTreeMap<String, String>,
}

/// Why bytes are not a manifest or index that can be distributed. The
/// content's fault.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// More than [`MAX_DOCUMENT_BYTES`].
    #[error("the document is longer than 4 MiB")]
    TooLong,
    /// Not JSON of that shape.
    #[error("the document is not a manifest or index")]
    Json(#[source] serde_json::Error),
    /// Schema 1, or a media type that is not known.
    #[error("a document of type {0:?} is not supported")]
    Unsupported(String),
    /// It says to be one thing and looks like another, or like both.
    #[error("the document is ambiguous: {0}")]
    Ambiguous(&'static str),
    /// More than [`MAX_CHILDREN`].
    #[error("the document has {0} children")]
    TooManyChildren(usize),
    /// A manifest's config or layer that says to be a document: only an index
    /// holds documents.
    #[error("its part {digest} says to be a document ({media_type}), which only an index may hold")]
    Misplaced {
        /// The part.
        digest: Digest,
        /// What it says to be.
        media_type: MediaType,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    schema_version: u32,
    media_type: Option<String>,
    artifact_type: Option<MediaType>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
    fs_layers: Option<IgnoredAny>,
    subject: Option<Descriptor>,
    annotations: Option<BTreeMap<String, String>>,
}

impl Document {
    /// Parses `bytes`, which a registry called `declared` if it is known.
    ///
    /// # Errors
    ///
    /// [`DocumentError`].
    pub fn parse(bytes: &[u8], declared: Option<&str>) -> Result<Self, DocumentError> {
        if bytes.len() as u64 > MAX_DOCUMENT_BYTES {
            return Err(DocumentError::TooLong);
        }
        let raw: Raw = serde_json::from_slice(bytes).map_err(DocumentError::Json)?;
        if raw.schema_version != 2 || raw.fs_layers.is_some() {
            return Err(DocumentError::Unsupported("schema 1".to_owned()));
        }
        let kind = match (&raw.manifests, &raw.config, &raw.layers) {
            (Some(_), None, None) => DocumentKind::Index,
            (None, Some(_), Some(_)) => DocumentKind::Manifest,
            (Some(_), ..) => return Err(DocumentError::Ambiguous("both manifest and index")),
            (None, ..) => return Err(DocumentError::Ambiguous("neither manifest nor index")),
        };
        let media_type = media_type(kind, raw.media_type.as_deref(), declared)?;
        let parts = raw.config.iter().chain(raw.layers.iter().flatten());
        if let Some(part) = parts.into_iter().find(|part| is_manifest(&part.media_type)) {
            return Err(DocumentError::Misplaced {
                digest: part.digest,
                media_type: part.media_type.clone(),
            });
        }

        let artifact_type = match kind {
            DocumentKind::Manifest => raw
                .artifact_type
                .or_else(|| Some(raw.config.as_ref()?.media_type.clone())),
            DocumentKind::Index => raw.artifact_type,
        };
        let listed = raw.config.into_iter();
        let listed = listed.chain(raw.layers.into_iter().flatten());
        let listed = listed.chain(raw.manifests.into_iter().flatten());
        let (foreign, children): (Vec<_>, Vec<_>) = listed.partition(is_foreign);
        let children = once_each(children)?;
        if children.len() > MAX_CHILDREN {
            return Err(DocumentError::TooManyChildren(children.len()));
        }
        Ok(Self {
            media_type,
            kind,
            children,
            foreign,
            subject: raw.subject,
            artifact_type,
            annotations: kept(raw.annotations.unwrap_or_default()),
        })
    }

    /// The object that this document is, `digest` and `size` being those of
    /// its bytes. It needs those of its children that `is_there` admits.
    #[must_use]
    pub fn object(
        &self,
        digest: Digest,
        size: u64,
        is_there: impl Fn(&Descriptor) -> bool,
    ) -> Object {
        Object {
            digest,
            size,
            media_type: self.media_type.clone(),
            children: self
                .children
                .iter()
                .filter(|child| is_there(child))
                .map(|child| child.digest)
                .collect(),
            referrer: self.subject.as_ref().map(|subject| Referrer {
                subject: subject.digest,
                artifact_type: self
                    .artifact_type
                    .as_ref()
                    .map_or_else(String::new, ToString::to_string),
                annotations: self.annotations.clone(),
            }),
            pieces: None,
        }
    }
}

/// The document's own word and the registry's have to agree with each other
/// and with its shape; if both are silent (OCI allows it) the shape decides.
fn media_type(
    kind: DocumentKind,
    own: Option<&str>,
    declared: Option<&str>,
) -> Result<MediaType, DocumentError> {
    // Parameters and generic types say nothing.
    let declared = declared
        .map(|text| text.split(';').next().unwrap_or_default().trim())
        .filter(|text| kind_of(text).is_some());
    let text = match (own, declared) {
        (Some(own), Some(declared)) if own != declared => {
            return Err(DocumentError::Ambiguous(
                "media type and Content-Type differ",
            ));
        }
        (Some(text), _) | (None, Some(text)) => text,
        (None, None) => match kind {
            DocumentKind::Manifest => MANIFEST,
            DocumentKind::Index => INDEX,
        },
    };
    match kind_of(text) {
        Some(named) if named == kind => text
            .parse()
            .map_err(|_| DocumentError::Unsupported(text.to_owned())),
        Some(_) => Err(DocumentError::Ambiguous("media type and content differ")),
        None => Err(DocumentError::Unsupported(text.chars().take(100).collect())),
    }
}

/// What a media type means, if it is that of a document.
pub(super) fn kind_of(media_type: &str) -> Option<DocumentKind> {
    match media_type {
        MANIFEST | DOCKER_MANIFEST => Some(DocumentKind::Manifest),
        INDEX | DOCKER_LIST => Some(DocumentKind::Index),
        _ => None,
    }
}

/// True if objects of that media type are manifests or indexes.
#[must_use]
pub fn is_manifest(media_type: &MediaType) -> bool {
    kind_of(media_type.as_str()).is_some()
}

fn is_foreign(descriptor: &Descriptor) -> bool {
    FOREIGN.contains(&descriptor.media_type.as_str())
}

fn once_each(children: Vec<Descriptor>) -> Result<Vec<Descriptor>, DocumentError> {
    let mut sizes = BTreeMap::new();
    for child in &children {
        if *sizes.entry(child.digest).or_insert(child.size) != child.size {
            return Err(DocumentError::Ambiguous("one digest with two sizes"));
        }
    }
    let mut seen = BTreeSet::new();
    Ok(children
        .into_iter()
        .filter(|child| seen.insert(child.digest))
        .collect())
}

fn kept(annotations: BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut left = MAX_ANNOTATION_BYTES;
    annotations
        .into_iter()
        .filter(
            |(key, value)| match left.checked_sub(key.len() + value.len()) {
                Some(rest) => {
                    left = rest;
                    true
                }
                None => false,
            },
        )
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn descriptor(media_type: &str, content: &str) -> Value {
        json!({"mediaType": media_type, "digest": Digest::of(content.as_bytes()).to_string(), "size": content.len()})
    }

    fn manifest() -> Value {
        json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": descriptor("application/vnd.oci.image.config.v1+json", "config"),
            "layers": [
                descriptor("application/vnd.oci.image.layer.v1.tar+gzip", "layer"),
                descriptor("application/vnd.oci.image.layer.v1.tar+gzip", "layer"),
                descriptor(FOREIGN[0], "windows"),
            ],
        })
    }

    fn index() -> Value {
        json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [descriptor(MANIFEST, "m")]})
    }

    fn parse(document: &Value, declared: Option<&str>) -> Result<Document, DocumentError> {
        Document::parse(document.to_string().as_bytes(), declared)
    }

    #[test]
    fn a_manifest_needs_its_config_and_layers_once_each_but_no_foreign_ones() {
        let document = parse(
            &manifest(),
            Some("application/vnd.oci.image.manifest.v1+json; charset=utf-8"),
        )
        .unwrap();
        assert_eq!(document.kind, DocumentKind::Manifest);
        let children: Vec<_> = document.children.iter().map(|child| child.digest).collect();
        assert_eq!(children, [Digest::of(b"config"), Digest::of(b"layer")]);
        assert_eq!(document.foreign.len(), 1);
        assert_eq!(
            document.artifact_type.unwrap().as_str(),
            "application/vnd.oci.image.config.v1+json"
        );
        assert!(document.subject.is_none());
    }

    #[test]
    fn media_types_come_from_the_document_the_registry_or_the_shape() {
        let mut silent = manifest();
        silent.as_object_mut().unwrap().remove("mediaType");
        for (declared, expected) in [
            (None, MANIFEST),
            (Some("application/json"), MANIFEST),
            (Some(DOCKER_MANIFEST), DOCKER_MANIFEST),
        ] {
            assert_eq!(
                parse(&silent, declared).unwrap().media_type.as_str(),
                expected
            );
        }
        assert_eq!(parse(&index(), None).unwrap().media_type.as_str(), INDEX);
    }

    #[test]
    fn what_is_ambiguous_or_unknown_is_refused() {
        let with = |mut document: Value, key: &str, value: Value| {
            document[key] = value;
            document
        };
        let other_size = json!([descriptor("a/b", "config"), {"mediaType": "a/b", "digest": Digest::of(b"config").to_string(), "size": 1}]);
        for document in [
            with(manifest(), "manifests", json!([])),
            with(index(), "config", descriptor("a/b", "c")),
            with(index(), "mediaType", json!(MANIFEST)),
            with(
                manifest(),
                "mediaType",
                json!("application/vnd.oci.artifact.manifest.v1+json"),
            ),
            with(manifest(), "schemaVersion", json!(1)),
            with(manifest(), "fsLayers", json!([])),
            with(manifest(), "layers", Value::Null),
            with(manifest(), "layers", other_size),
            with(
                manifest(),
                "layers",
                json!([{"mediaType": "a/b", "digest": "sha512:00", "size": 1}]),
            ),
            with(
                manifest(),
                "layers",
                json!([{"mediaType": "a/b", "digest": Digest::of(b"x").to_string(), "size": -1}]),
            ),
            json!([]),
        ] {
            assert!(parse(&document, None).is_err(), "{document}");
        }
        assert!(parse(&manifest(), Some(DOCKER_MANIFEST)).is_err());
        assert!(parse(&manifest(), Some(INDEX)).is_err());
        let deep = "[".repeat(100_000);
        assert!(Document::parse(deep.as_bytes(), None).is_err());
        let long = vec![b' '; (4 << 20) + 1];
        assert!(matches!(
            Document::parse(&long, None),
            Err(DocumentError::TooLong)
        ));
    }

    #[test]
    fn children_and_annotations_are_bounded() {
        let many: Vec<Value> = (0..=MAX_CHILDREN)
            .map(|i| descriptor(MANIFEST, &i.to_string()))
            .collect();
        let document = json!({"schemaVersion": 2, "manifests": many});
        assert!(matches!(
            parse(&document, None),
            Err(DocumentError::TooManyChildren(_))
        ));

        let mut document = manifest();
        document["annotations"] = json!({"a": "x".repeat(8000), "b": "y".repeat(8000), "c": "z"});
        let kept = parse(&document, None).unwrap().annotations;
        assert_eq!(kept.keys().collect::<Vec<_>>(), ["a", "c"]);
    }

    #[test]
    fn a_document_with_a_subject_is_a_referrer() {
        let mut document = manifest();
        document["subject"] = descriptor(MANIFEST, "subject");
        document["artifactType"] = json!("application/vnd.example.signature");
        document["annotations"] = json!({"k": "v"});
        let object = parse(&document, None)
            .unwrap()
            .object(Digest::of(b"m"), 1, |_| true);
        let referrer = object.referrer.unwrap();
        assert_eq!(referrer.subject, Digest::of(b"subject"));
        assert_eq!(referrer.artifact_type, "application/vnd.example.signature");
        assert_eq!(referrer.annotations["k"], "v");
        assert_eq!(object.children.len(), 2);
    }
}
