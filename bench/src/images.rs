//! Entries like those of a registry: images for two platforms whose layers are
//! partly shared with the image before, each with a tag.

use landfall_catalog::{
    Commit, Digest, Entry, MediaType, Name, Object, PIECE_SIZE, Repository, Revision, Tag,
};

use crate::Outcome;

/// Objects of one image.
pub const IMAGE_OBJECTS: u32 = PLATFORMS * (OWN_LAYERS + 2) + 1;
const REPOSITORIES: u32 = 1_000;
const PLATFORMS: u32 = 2;
const OWN_LAYERS: u32 = 3;

/// Images, one after the other.
#[derive(Debug, Default)]
pub struct Images {
    count: u32,
    objects: u32,
    /// Layers of the image before, for sharing.
    layers: Vec<Digest>,
}

impl Images {
    /// How many objects there are so far: the next one's number.
    #[must_use]
    pub const fn objects(&self) -> u32 {
        self.objects
    }

    /// Appends the next image: its objects, children first, and its tag.
    ///
    /// # Errors
    /// When a name or a media type is none: a defect.
    pub fn next(&mut self, entries: &mut Vec<Entry>) -> Outcome<()> {
        let shared: Vec<Digest> = self.layers.iter().take(2).copied().collect();
        let mut own = Vec::new();
        let mut manifests = Vec::new();
        for _ in 0..PLATFORMS {
            let mut children = vec![self.add(entries, CONFIG, 4_000, Vec::new())?];
            for layer in 0..OWN_LAYERS {
                let size = 1_000_000 * u64::from(layer * layer * 3 + 1);
                let digest = self.add(entries, LAYER, size, Vec::new())?;
                children.push(digest);
                own.push(digest);
            }
            children.extend(&shared);
            manifests.push(self.add(entries, MANIFEST, 1_500, children)?);
        }
        let index = self.add(entries, INDEX, 700, manifests)?;
        let repository =
            Repository::try_new(format!("project/image-{}", self.count % REPOSITORIES))?;
        let tag = Tag::try_new(format!("v1.{}.0", self.count / REPOSITORIES))?;
        entries.push(Entry::NameSet {
            name: Name::Tag(repository, tag),
            digest: index,
        });
        self.layers = own;
        self.count += 1;
        Ok(())
    }

    fn add(
        &mut self,
        entries: &mut Vec<Entry>,
        media_type: &str,
        size: u64,
        children: Vec<Digest>,
    ) -> Outcome<Digest> {
        let digest = Digest::of(&self.objects.to_be_bytes());
        self.objects += 1;
        entries.push(object(
            digest,
            size,
            MediaType::try_new(media_type)?,
            children,
        ));
        Ok(digest)
    }
}

/// The entry that adds an object.
#[must_use]
pub fn object(digest: Digest, size: u64, media_type: MediaType, children: Vec<Digest>) -> Entry {
    Entry::ObjectAdded(Object {
        digest,
        size,
        media_type,
        children,
        referrer: None,
        pieces: (size > PIECE_SIZE).then(|| Digest::of(digest.as_bytes())),
    })
}

/// The entry that ends a revision.
#[must_use]
pub fn commit(revision: Revision) -> Entry {
    let number = revision.get();
    Entry::Commit(Commit {
        revision,
        time: 1_700_000_000 + number,
        who: "release-managers".to_owned(),
        why: "promotion".to_owned(),
        source: "0123456789abcdef0123456789abcdef01234567".to_owned(),
        plan: Some(Digest::of(&number.to_be_bytes())),
        operation: format!("operation-{number}"),
    })
}

const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
