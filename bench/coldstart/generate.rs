//! A log like that of a registry: images for two platforms whose layers are
//! partly shared with the image before, each with a tag.

use std::path::Path;

use landfall_catalog::{
    Checkpoint, Commit, Digest, Entry, MediaType, Name, Object, PIECE_SIZE, Repository, Revision,
    Tag,
};
use landfall_log::LogDisk;
use landfall_proto::model::encode_entry;

use crate::{Outcome, signer, tell};

/// Objects of a revision, roughly.
const REVISION_OBJECTS: u32 = 1_000;
/// Revisions that are committed at once.
const BATCH: u64 = 10;
const REPOSITORIES: u32 = 1_000;
const PLATFORMS: u32 = 2;
const OWN_LAYERS: u32 = 3;

/// Appends revisions until there are `objects` objects, then one small revision
/// by itself.
pub(crate) fn append(dir: &Path, objects: u32) -> Outcome<()> {
    let mut writer = Writer {
        disk: LogDisk::open(dir, signer()?.keys())?,
        images: Images::default(),
        revision: 0,
    };
    let step = format!("writer: append, commit every {BATCH} revisions");
    tell(step, || {
        while writer.images.objects < objects {
            for _ in 0..BATCH {
                let end = objects.min(writer.images.objects.saturating_add(REVISION_OBJECTS));
                if writer.images.objects < end {
                    writer.stage_revision(end)?;
                }
            }
            writer.commit()?;
        }
        Ok::<_, Box<dyn std::error::Error>>(())
    })?;
    tell("writer: one more revision of one entry", || {
        let end = writer.images.objects;
        writer.stage_revision(end)?;
        writer.commit()
    })
}

struct Writer {
    disk: LogDisk,
    images: Images,
    revision: u64,
}

impl Writer {
    /// Images until there are `end` objects, and the commit.
    fn stage_revision(&mut self, end: u32) -> Outcome<()> {
        let mut entries = Vec::new();
        while self.images.objects < end {
            self.images.next(&mut entries)?;
        }
        self.revision += 1;
        entries.push(Entry::Commit(Commit {
            revision: Revision::new(self.revision),
            time: 1_700_000_000 + self.revision,
            who: "release-managers".to_owned(),
            why: "promotion".to_owned(),
            source: "0123456789abcdef0123456789abcdef01234567".to_owned(),
            plan: Some(Digest::of(&self.revision.to_be_bytes())),
            operation: format!("operation-{}", self.revision),
        }));
        let mut encoded = Vec::with_capacity(entries.len());
        for entry in &entries {
            encoded.push(encode_entry(entry)?);
        }
        Ok(self.disk.stage(&encoded)?)
    }

    fn commit(&mut self) -> Outcome<()> {
        let signer = signer()?;
        let checkpoint = Checkpoint {
            origin: signer.origin().to_owned(),
            size: self.disk.staged_size(),
            root: self.disk.staged_root(),
        };
        let note = signer.sign(&checkpoint, 1_700_000_000 + self.revision)?;
        self.disk.commit(&note)?;
        Ok(())
    }
}

#[derive(Default)]
struct Images {
    count: u32,
    objects: u32,
    /// Layers of the image before, for sharing.
    layers: Vec<Digest>,
}

impl Images {
    fn next(&mut self, entries: &mut Vec<Entry>) -> Outcome<()> {
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
        entries.push(Entry::ObjectAdded(Object {
            digest,
            size,
            media_type: MediaType::try_new(media_type)?,
            children,
            referrer: None,
            pieces: (size > PIECE_SIZE).then(|| Digest::of(digest.as_bytes())),
        }));
        Ok(digest)
    }
}

const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
