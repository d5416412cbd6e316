//! Puts names in place in the store: hard links for files, `index.json` for
//! images. An object is reported only after its names are there.

use landfall_catalog::{MediaType, Name, Ordinal};
use landfall_content::{DirectoryStore, NamesBatch, StoreError, oci::Descriptor};
use roaring::RoaringBitmap;

use crate::shelf::Shelf;

/// Media types of OCI manifests: only these can be references of an OCI layout.
fn is_oci_manifest(media_type: &MediaType) -> bool {
    use landfall_content::oci::{DOCKER_LIST, DOCKER_MANIFEST, INDEX, MANIFEST};
    [MANIFEST, INDEX, DOCKER_MANIFEST, DOCKER_LIST].contains(&media_type.as_str())
}

/// Changes to the store's names, and up to where the names are in place when
/// they have been applied.
pub(crate) struct Placement {
    batch: NamesBatch,
    names: Vec<(Name, u64)>,
    through: u64,
}

impl Placement {
    /// Everything that `newly` ready objects and the changed names need. Takes
    /// the changed names off the shelf; those that fail are put back by
    /// [`Placement::apply`]'s answer.
    pub(crate) fn prepare(
        shelf: &mut Shelf,
        newly: &RoaringBitmap,
        store: &DirectoryStore,
    ) -> Self {
        let mut names: Vec<Name> = std::mem::take(&mut shelf.changed_names);
        for ordinal in newly {
            names.extend(shelf.catalog.names_of(Ordinal::new(ordinal)));
        }
        names.sort();
        names.dedup();
        let mut placement = Self {
            batch: store.names(),
            names: Vec::new(),
            through: shelf.catalog.log_size(),
        };
        for name in names {
            placement.add(shelf, newly, name);
        }
        placement
    }

    fn add(&mut self, shelf: &Shelf, newly: &RoaringBitmap, name: Name) {
        let record = shelf
            .catalog
            .name(&name)
            .filter(|record| !shelf.catalog.is_withdrawn(record.ordinal));
        let Some(record) = record else {
            self.batch.remove(&name);
            self.names.push((name, 0));
            return;
        };
        let ordinal = record.ordinal.get();
        let is_ready = shelf.ready.contains(ordinal) || newly.contains(ordinal);
        let Some(object) = shelf.catalog.object(record.ordinal).filter(|_| is_ready) else {
            // Its turn comes when the object is ready.
            return;
        };
        let target = Descriptor {
            media_type: object.media_type().clone(),
            digest: *object.digest(),
            size: object.size(),
        };
        match &name {
            Name::File(path) => self.batch.link_file(path, object.digest()),
            Name::Tag(repository, tag) if is_oci_manifest(object.media_type()) => {
                self.batch.set_tag(repository, tag, &target);
            }
            Name::Root(repository, _) if is_oci_manifest(object.media_type()) => {
                self.batch.set_root(repository, &target);
            }
            Name::Tag(..) | Name::Root(..) => return,
        }
        self.names.push((name, record.set_at));
    }

    /// Applies the changes durably. Blocking.
    ///
    /// Returns the log size up to which names are in place now, and the names
    /// that could not be placed and are to be tried again.
    pub(crate) fn apply(self) -> Result<(u64, Vec<Name>), (StoreError, Vec<Name>)> {
        let Self {
            batch,
            names,
            mut through,
        } = self;
        match batch.commit() {
            Err(error) => Err((error, names.into_iter().map(|(name, _)| name).collect())),
            Ok(report) => {
                let mut again = Vec::new();
                for (name, error) in report.failed {
                    tracing::error!(
                        %name,
                        error = landfall_proto::status::chain(&error),
                        "a name cannot be put in place; the mirror is not ready for it"
                    );
                    let set_at = names
                        .iter()
                        .find(|(candidate, _)| *candidate == name)
                        .map_or(0, |(_, set_at)| *set_at);
                    through = through.min(set_at);
                    again.push(name);
                }
                Ok((through, again))
            }
        }
    }
}
