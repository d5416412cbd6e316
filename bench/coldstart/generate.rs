//! A log like that of a registry, on disk.

use std::path::Path;

use landfall_bench::images::{self, Images};
use landfall_catalog::{Checkpoint, Revision};
use landfall_log::LogDisk;
use landfall_proto::model::encode_entry;

use crate::{Outcome, signer, tell};

/// Objects of a revision, roughly.
const REVISION_OBJECTS: u32 = 1_000;
/// Revisions that are committed at once.
const BATCH: u64 = 10;

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
        while writer.images.objects() < objects {
            for _ in 0..BATCH {
                let end = objects.min(writer.images.objects().saturating_add(REVISION_OBJECTS));
                if writer.images.objects() < end {
                    writer.stage_revision(end)?;
                }
            }
            writer.commit()?;
        }
        Ok::<_, Box<dyn std::error::Error>>(())
    })?;
    tell("writer: one more revision of one entry", || {
        let end = writer.images.objects();
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
        while self.images.objects() < end {
            self.images.next(&mut entries)?;
        }
        self.revision += 1;
        entries.push(images::commit(Revision::new(self.revision)));
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
