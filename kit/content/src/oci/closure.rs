//! Everything that an image consists of.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use futures::future::BoxFuture;
use landfall_catalog::{Digest, Object};

use super::document::{MAX_DOCUMENT_BYTES, is_manifest, kind_of};
use super::{Descriptor, Document, DocumentError, DocumentKind, RawManifest};
use crate::source::SourceError;

/// Where documents are read from, by digest.
pub trait ManifestReader: Send + Sync {
    /// The document `digest`; none if it is not there. Its bytes are checked
    /// by whoever asked.
    fn manifest<'a>(
        &'a self,
        digest: &'a Digest,
    ) -> BoxFuture<'a, Result<Option<RawManifest>, SourceError>>;
}

/// How far a closure may reach.
#[derive(Clone, Debug)]
pub struct ClosureLimits {
    /// Documents in one another, the root counted.
    pub depth: usize,
    /// Objects in all, those that are missing or foreign included.
    pub objects: usize,
    /// Bytes of all documents.
    pub document_bytes: u64,
}

impl Default for ClosureLimits {
    fn default() -> Self {
        Self {
            depth: 4,
            objects: 10_000,
            document_bytes: 64 << 20,
        }
    }
}

/// A root and everything it needs.
#[derive(Clone, Debug, Default)]
pub struct Closure {
    /// Every object once, children before those that need them, the root
    /// last. Piece lists are not known yet.
    pub objects: Vec<Object>,
    /// The bytes of the documents among them.
    pub documents: BTreeMap<Digest, Bytes>,
    /// Layers that their publisher does not want distributed; not among the
    /// objects.
    pub foreign: BTreeSet<Digest>,
    /// Documents that an index names and the registry does not have; not among
    /// the objects, nor among anybody's children.
    pub missing: BTreeSet<Digest>,
}

impl Closure {
    /// Bytes of all objects.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.objects
            .iter()
            .fold(0, |sum, object| sum.saturating_add(object.size))
    }
}

/// Why a closure could not be resolved.
#[derive(Debug, thiserror::Error)]
pub enum ClosureError {
    /// The root is not there.
    #[error("{0} is not there")]
    RootMissing(Digest),
    /// A document could not be read. Worth another try if its source says so.
    #[error("cannot read {digest}")]
    Read {
        /// The document.
        digest: Digest,
        /// Why.
        #[source]
        source: Box<SourceError>,
    },
    /// The bytes that came are not those of the digest, or not as many as the
    /// descriptor says.
    #[error("the bytes for {0} are not what its descriptor says")]
    WrongBytes(Digest),
    /// A document is not usable. The content's fault.
    #[error("{digest} is not usable")]
    Document {
        /// The document.
        digest: Digest,
        /// Why.
        #[source]
        source: DocumentError,
    },
    /// The same digest with two sizes.
    #[error("{0} has two sizes")]
    Sizes(Digest),
    /// More than the limits allow. The content's fault.
    #[error("the image is larger than allowed: {0}")]
    TooLarge(&'static str),
    /// A document that contains itself.
    #[error("{0} contains itself")]
    Cycle(Digest),
}

/// Resolves the closure of `root`, reading documents one after the other.
/// Blobs are listed, not looked for.
///
/// # Errors
///
/// [`ClosureError`].
pub async fn resolve_closure(
    reader: &dyn ManifestReader,
    root: &Digest,
    limits: &ClosureLimits,
) -> Result<Closure, ClosureError> {
    let mut walk = Walk {
        limits,
        closure: Closure::default(),
        sizes: BTreeMap::new(),
        document_bytes: 0,
    };
    let first = walk.read(reader, root, None).await?;
    let first = first.ok_or(ClosureError::RootMissing(*root))?;
    // The documents from the root to where the walk is.
    let mut open = vec![first];
    while let Some(node) = open.last_mut() {
        let Some(child) = node.unvisited.next() else {
            let done = node.object(&walk.closure.missing);
            open.pop();
            walk.add(done)?;
            continue;
        };
        if walk.is_known(&child)? {
            continue;
        }
        let is_document = node.document.kind == DocumentKind::Index
            && kind_of(child.media_type.as_str()).is_some();
        if !is_document {
            walk.add(blob(child))?;
            continue;
        }
        if open.iter().any(|above| above.digest == child.digest) {
            return Err(ClosureError::Cycle(child.digest));
        }
        if open.len() >= limits.depth {
            return Err(ClosureError::TooLarge(
                "documents lie too deep in one another",
            ));
        }
        match walk.read(reader, &child.digest, Some(&child)).await? {
            Some(found) => open.push(found),
            None => walk.miss(child.digest)?,
        }
    }
    Ok(walk.closure)
}

/// A document on the way to being complete.
struct Node {
    digest: Digest,
    size: u64,
    document: Document,
    unvisited: std::vec::IntoIter<Descriptor>,
}

impl Node {
    fn object(&self, missing: &BTreeSet<Digest>) -> Object {
        self.document.object(self.digest, self.size, |child| {
            !missing.contains(&child.digest)
        })
    }
}

fn blob(descriptor: Descriptor) -> Object {
    Object {
        digest: descriptor.digest,
        size: descriptor.size,
        media_type: descriptor.media_type,
        children: Vec::new(),
        referrer: None,
        pieces: None,
    }
}

struct Walk<'a> {
    limits: &'a ClosureLimits,
    closure: Closure,
    /// Of objects that are in the closure already.
    sizes: BTreeMap<Digest, u64>,
    document_bytes: u64,
}

impl Walk<'_> {
    fn is_known(&self, child: &Descriptor) -> Result<bool, ClosureError> {
        if self.closure.missing.contains(&child.digest) {
            return Ok(true);
        }
        match self.sizes.get(&child.digest) {
            Some(size) if *size != child.size => Err(ClosureError::Sizes(child.digest)),
            found => Ok(found.is_some()),
        }
    }

    fn add(&mut self, object: Object) -> Result<(), ClosureError> {
        if is_manifest(&object.media_type) && object.size > MAX_DOCUMENT_BYTES {
            return Err(ClosureError::Document {
                digest: object.digest,
                source: DocumentError::TooLong,
            });
        }
        self.sizes.insert(object.digest, object.size);
        self.closure.objects.push(object);
        self.count()
    }

    fn miss(&mut self, digest: Digest) -> Result<(), ClosureError> {
        self.closure.missing.insert(digest);
        self.count()
    }

    fn count(&self) -> Result<(), ClosureError> {
        let Closure {
            objects,
            missing,
            foreign,
            ..
        } = &self.closure;
        if objects.len() + missing.len() + foreign.len() > self.limits.objects {
            return Err(ClosureError::TooLarge("it has too many objects"));
        }
        Ok(())
    }

    async fn read(
        &mut self,
        reader: &dyn ManifestReader,
        digest: &Digest,
        descriptor: Option<&Descriptor>,
    ) -> Result<Option<Node>, ClosureError> {
        if descriptor.is_some_and(|descriptor| descriptor.size > MAX_DOCUMENT_BYTES) {
            return Err(ClosureError::Document {
                digest: *digest,
                source: DocumentError::TooLong,
            });
        }
        let found = reader.manifest(digest).await;
        let found = found.map_err(|source| ClosureError::Read {
            digest: *digest,
            source: Box::new(source),
        })?;
        let Some(raw) = found else {
            return Ok(None);
        };
        let size = raw.bytes.len() as u64;
        let right_size = descriptor.is_none_or(|descriptor| descriptor.size == size);
        if !right_size || Digest::of(&raw.bytes) != *digest {
            return Err(ClosureError::WrongBytes(*digest));
        }
        self.document_bytes += size;
        if self.document_bytes > self.limits.document_bytes {
            return Err(ClosureError::TooLarge("its documents are too long"));
        }
        let declared = descriptor.map_or(&raw.media_type, |descriptor| &descriptor.media_type);
        let document = Document::parse(&raw.bytes, Some(declared.as_str()));
        let document = document.map_err(|source| ClosureError::Document {
            digest: *digest,
            source,
        })?;
        let foreign = document.foreign.iter().map(|layer| layer.digest);
        self.closure.foreign.extend(foreign);
        self.count()?;
        self.closure.documents.insert(*digest, raw.bytes);
        Ok(Some(Node {
            digest: *digest,
            size,
            unvisited: document.children.clone().into_iter(),
            document,
        }))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::{INDEX, MANIFEST};
    use super::*;

    #[derive(Default)]
    struct Memory(BTreeMap<Digest, RawManifest>);

    impl Memory {
        /// Keeps a document and gives its descriptor.
        fn put(&mut self, document: &Value) -> Value {
            let bytes = Bytes::from(document.to_string());
            let digest = Digest::of(&bytes);
            let media_type = document["mediaType"].as_str().unwrap();
            let size = bytes.len();
            let raw = RawManifest {
                digest,
                media_type: media_type.parse().unwrap(),
                bytes,
            };
            self.0.insert(digest, raw);
            json!({"mediaType": media_type, "digest": digest, "size": size})
        }

        async fn resolve(&self, root: &Value) -> Result<Closure, ClosureError> {
            let limits = ClosureLimits {
                objects: 10,
                ..ClosureLimits::default()
            };
            resolve_closure(self, &digest(root), &limits).await
        }
    }

    impl ManifestReader for Memory {
        fn manifest<'a>(
            &'a self,
            digest: &'a Digest,
        ) -> BoxFuture<'a, Result<Option<RawManifest>, SourceError>> {
            Box::pin(async { Ok(self.0.get(digest).cloned()) })
        }
    }

    fn digest(descriptor: &Value) -> Digest {
        descriptor["digest"].as_str().unwrap().parse().unwrap()
    }

    fn blob(content: &str) -> Value {
        json!({"mediaType": "a/b", "digest": Digest::of(content.as_bytes()), "size": content.len()})
    }

    fn manifest(layers: &[&str]) -> Value {
        let layers: Vec<Value> = layers.iter().map(|layer| blob(layer)).collect();
        json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": blob("config"), "layers": layers})
    }

    fn index(manifests: &[Value]) -> Value {
        json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests})
    }

    #[tokio::test]
    async fn children_come_first_and_shared_ones_once() {
        let mut memory = Memory::default();
        let (one, two) = (
            memory.put(&manifest(&["base", "one"])),
            memory.put(&manifest(&["base", "two"])),
        );
        let root = memory.put(&index(&[one.clone(), two.clone(), one.clone()]));
        let closure = memory.resolve(&root).await.unwrap();
        let order: Vec<Digest> = closure.objects.iter().map(|object| object.digest).collect();
        let of = |text: &str| Digest::of(text.as_bytes());
        assert_eq!(
            order,
            [
                of("config"),
                of("base"),
                of("one"),
                digest(&one),
                of("two"),
                digest(&two),
                digest(&root)
            ]
        );
        assert_eq!(closure.objects[6].children, [digest(&one), digest(&two)]);
        assert_eq!(closure.documents.len(), 3);
        for (position, object) in closure.objects.iter().enumerate() {
            let before = &order[..position];
            assert!(object.children.iter().all(|child| before.contains(child)));
        }
    }

    #[tokio::test]
    async fn a_sparse_index_is_resolved_without_what_is_missing() {
        let mut memory = Memory::default();
        let here = memory.put(&manifest(&["a"]));
        let gone = json!({"mediaType": MANIFEST, "digest": Digest::of(b"gone"), "size": 4});
        let root = memory.put(&index(&[gone.clone(), here.clone(), gone]));
        let closure = memory.resolve(&root).await.unwrap();
        assert_eq!(closure.missing.len(), 1);
        assert_eq!(closure.objects.last().unwrap().children, [digest(&here)]);
        assert!(matches!(
            memory.resolve(&blob("nothing")).await,
            Err(ClosureError::RootMissing(_))
        ));
    }

    #[tokio::test]
    async fn what_is_missing_counts_as_if_it_were_there() {
        let mut memory = Memory::default();
        let gone =
            |number: u8| json!({"mediaType": MANIFEST, "digest": Digest::of(&[number]), "size": 1});
        let few: Vec<Value> = (0..9).map(gone).collect();
        let root = memory.put(&index(&few));
        assert_eq!(memory.resolve(&root).await.unwrap().missing.len(), 9);
        let many: Vec<Value> = (0..11).map(gone).collect();
        let root = memory.put(&index(&many));
        assert!(matches!(
            memory.resolve(&root).await,
            Err(ClosureError::TooLarge(_))
        ));
    }

    #[tokio::test]
    async fn a_document_is_neither_a_layer_nor_longer_than_documents_are() {
        let mut memory = Memory::default();
        let inner = memory.put(&manifest(&["a"]));
        let mut long = inner.clone();
        long["size"] = json!(MAX_DOCUMENT_BYTES + 1);
        for (layer, root) in [(true, &inner), (true, &long), (false, &long)] {
            let root = if layer {
                json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": blob("config"), "layers": [root]})
            } else {
                index(std::slice::from_ref(root))
            };
            let root = memory.put(&root);
            let refused = memory.resolve(&root).await.unwrap_err();
            let ClosureError::Document { source, .. } = refused else {
                panic!("{refused}");
            };
            if layer {
                let named = source.to_string().contains(&digest(&inner).to_string());
                assert!(named, "{source}");
            } else {
                assert!(matches!(source, DocumentError::TooLong), "{source}");
            }
        }
    }

    #[tokio::test]
    async fn depth_number_and_sizes_are_limited() {
        let mut memory = Memory::default();
        let mut root = memory.put(&manifest(&["a"]));
        for _ in 0..3 {
            root = memory.put(&index(&[root]));
        }
        assert!(memory.resolve(&root).await.is_ok());
        root = memory.put(&index(&[root]));
        assert!(matches!(
            memory.resolve(&root).await,
            Err(ClosureError::TooLarge(_))
        ));

        let layers = ["1", "2", "3", "4", "5", "6", "7", "8", "9"];
        let wide = memory.put(&manifest(&layers));
        assert!(matches!(
            memory.resolve(&wide).await,
            Err(ClosureError::TooLarge(_))
        ));

        let mut lying = memory.put(&manifest(&["a"]));
        lying["size"] = json!(1);
        let root = memory.put(&index(&[lying]));
        assert!(matches!(
            memory.resolve(&root).await,
            Err(ClosureError::WrongBytes(_))
        ));
    }

    #[tokio::test]
    async fn a_reader_that_gives_other_bytes_is_found_out() {
        let mut memory = Memory::default();
        let root = memory.put(&manifest(&["a"]));
        let other = memory.put(&manifest(&["b"]));
        let swapped = memory.0[&digest(&other)].clone();
        memory.0.insert(digest(&root), swapped);
        assert!(matches!(
            memory.resolve(&root).await,
            Err(ClosureError::WrongBytes(_))
        ));
    }
}
