//! The staged image: an index over two platforms, and a signature that refers
//! to it (OCI image specification 1.1).

use landfall_catalog::{Catalog, Commit, Digest, Entry, Name, Object, Repository, Revision, Tag};
use landfall_content::{
    DirectoryStore,
    oci::{Descriptor, Document, INDEX, MANIFEST},
};
use serde_json::{Value, json};

use super::{
    staging::{LAYER, media_type},
    tar,
};
use crate::failure::Failure;

/// Architectures of the image; all `linux`.
const ARCHITECTURES: [&str; 2] = ["amd64", "arm64"];
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// OCI image specification, "Guidance for an Empty Descriptor".
const EMPTY: &str = "application/vnd.oci.empty.v1+json";
/// What cosign 3 attaches.
const SIGNATURE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

/// An image that is in the store.
pub(super) struct Image {
    /// Its index.
    pub(super) index: Descriptor,
    /// The OCI manifest of its signature.
    pub(super) signature: Descriptor,
    /// All it is made of, children first, each once.
    objects: Vec<Object>,
}

/// Makes the image around `program`, a layer that is in the store already.
///
/// Both platforms have that layer: a demo has one program to show, and so it
/// also shows that a shared layer is kept and moved once. What differs is a
/// small layer that says which platform it is.
pub(super) fn build(store: &DirectoryStore, program: &Descriptor) -> Result<Image, Failure> {
    let mut builder = Builder {
        store,
        objects: Vec::new(),
    };
    builder.add(leaf(program));
    let platforms = ARCHITECTURES
        .iter()
        .map(|architecture| builder.platform(architecture, program))
        .collect::<Result<Vec<Value>, Failure>>()?;
    let index = builder.document(
        INDEX,
        &json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": platforms}),
    )?;
    let empty = builder.blob(EMPTY, b"{}")?;
    // Nobody's key signs a demo; what matters here is that it travels along.
    let bundle =
        json!({"mediaType": SIGNATURE, "note": "stands for a signature of the demo's image"});
    let bundle = builder.blob(SIGNATURE, &to_bytes(&bundle)?)?;
    let signature = builder.document(
        MANIFEST,
        &json!({"schemaVersion": 2, "mediaType": MANIFEST, "artifactType": SIGNATURE,
            "config": empty, "layers": [bundle], "subject": index}),
    )?;
    Ok(Image {
        index,
        signature,
        objects: builder.objects,
    })
}

impl Image {
    /// What a registry that holds the image as `repository:tag` knows of it.
    pub(super) fn catalog(&self, repository: &str, tag: &str) -> Result<Catalog, Failure> {
        let bad_name = |error| Failure::failed("cannot name the staged image", &error);
        let repository = Repository::try_new(repository).map_err(bad_name)?;
        let tag = Tag::try_new(tag).map_err(bad_name)?;
        let named = [
            (Name::Tag(repository.clone(), tag), self.index.digest),
            (
                Name::Root(repository, self.signature.digest),
                self.signature.digest,
            ),
        ];
        let entries: Vec<Entry> = self
            .objects
            .iter()
            .cloned()
            .map(Entry::ObjectAdded)
            .chain(named.map(|(name, digest)| Entry::NameSet { name, digest }))
            .chain([Entry::Commit(Commit {
                revision: Revision::new(1),
                time: 0,
                who: String::new(),
                why: String::new(),
                source: String::new(),
                plan: None,
                operation: String::new(),
            })])
            .collect();
        let mut catalog = Catalog::default();
        catalog
            .apply(&entries)
            .map_err(|error| Failure::failed("cannot list the staged image", &error))?;
        Ok(catalog)
    }
}

struct Builder<'a> {
    store: &'a DirectoryStore,
    objects: Vec<Object>,
}

impl Builder<'_> {
    /// One platform's manifest, as the index lists it.
    fn platform(&mut self, architecture: &str, program: &Descriptor) -> Result<Value, Failure> {
        let text = format!("linux/{architecture}\n");
        let small = tar::archive("etc/landfall-platform", 0o644, text.as_bytes())
            .ok_or_else(|| Failure::Failed("cannot make a layer".into()))?;
        let small = self.blob(LAYER, &small)?;
        let config = json!({"architecture": architecture, "os": "linux",
            "config": {"Entrypoint": ["/usr/local/bin/landfall"]},
            "rootfs": {"type": "layers", "diff_ids": [program.digest, small.digest]}});
        let config = self.blob(CONFIG, &to_bytes(&config)?)?;
        let manifest = self.document(
            MANIFEST,
            &json!({"schemaVersion": 2, "mediaType": MANIFEST,
                "config": config, "layers": [program, small]}),
        )?;
        Ok(
            json!({"mediaType": manifest.media_type, "digest": manifest.digest,
            "size": manifest.size, "platform": {"architecture": architecture, "os": "linux"}}),
        )
    }

    fn blob(&mut self, kind: &str, bytes: &[u8]) -> Result<Descriptor, Failure> {
        let descriptor = self.put(kind, bytes)?;
        self.add(leaf(&descriptor));
        Ok(descriptor)
    }

    fn document(&mut self, kind: &str, document: &Value) -> Result<Descriptor, Failure> {
        let bytes = to_bytes(document)?;
        let descriptor = self.put(kind, &bytes)?;
        let document = Document::parse(&bytes, Some(kind))
            .map_err(|error| Failure::failed("the image that was made is none", &error))?;
        self.add(document.object(descriptor.digest, descriptor.size, |_| true));
        Ok(descriptor)
    }

    fn put(&self, kind: &str, bytes: &[u8]) -> Result<Descriptor, Failure> {
        let digest = Digest::of(bytes);
        self.store
            .put_bytes(&digest, bytes)
            .map_err(|error| Failure::failed("cannot fill the staging registry", &error))?;
        Ok(Descriptor {
            media_type: media_type(kind)?,
            digest,
            size: bytes.len() as u64,
        })
    }

    fn add(&mut self, object: Object) {
        if self
            .objects
            .iter()
            .all(|known| known.digest != object.digest)
        {
            self.objects.push(object);
        }
    }
}

/// An object that needs no other.
fn leaf(descriptor: &Descriptor) -> Object {
    Object {
        digest: descriptor.digest,
        size: descriptor.size,
        media_type: descriptor.media_type.clone(),
        children: Vec::new(),
        referrer: None,
        pieces: None,
    }
}

fn to_bytes(document: &Value) -> Result<Vec<u8>, Failure> {
    serde_json::to_vec(document)
        .map_err(|error| Failure::failed("cannot write a document of the image", &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_image_is_whole_and_its_signature_refers_to_it() {
        let dir = tempfile::tempdir().unwrap();
        let store = DirectoryStore::open(dir.path()).unwrap();
        let bytes = tar::archive("usr/local/bin/landfall", 0o755, b"program").unwrap();
        let program = Descriptor {
            media_type: media_type(LAYER).unwrap(),
            digest: Digest::of(&bytes),
            size: bytes.len() as u64,
        };
        store.put_bytes(&program.digest, &bytes).unwrap();
        let image = build(&store, &program).unwrap();
        let catalog = image.catalog("staging/landfall", "v1").unwrap();
        // Index; two each of manifest, config, small layer; program; signature,
        // its bundle and its empty config.
        assert_eq!(catalog.live_count(), 11);
        for object in &image.objects {
            assert!(store.has(&object.digest, object.size).unwrap());
        }
        let referrers = catalog.referrers("staging/landfall", &image.index.digest);
        let found: Vec<_> = referrers
            .iter()
            .map(|ordinal| *catalog.object(*ordinal).unwrap().digest())
            .collect();
        assert_eq!(found, [image.signature.digest]);
        let platforms = catalog.ordinal(&image.index.digest).unwrap();
        assert_eq!(catalog.object(platforms).unwrap().children().len(), 2);
    }
}
