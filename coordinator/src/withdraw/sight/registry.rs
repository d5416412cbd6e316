//! A registry keeps what is withdrawn in repositories of its own; tags, manifests
//! and blobs go from where people pull.

use std::collections::{BTreeMap, BTreeSet};

use landfall_catalog::{Catalog, Digest, Name, Ordinal, Repository, Tag};
use landfall_content::{Item, NameChange, RegistryStore, StoreError};
use landfall_proto::status::chain;

use roaring::RoaringBitmap;

use super::super::Withdrawals;
use super::exposed::Seen;

/// An object in one repository.
struct Place {
    repository: Repository,
    /// What it needs, parts before those that need them; itself the last.
    closure: Vec<Item>,
    /// Those that mean it there.
    tags: Vec<Tag>,
}

impl Withdrawals {
    pub(super) async fn hide_in_registry(
        &self,
        registry: &RegistryStore,
        objects: &[Digest],
    ) -> Vec<Seen> {
        let mut seen = Vec::new();
        for place in self.places(objects) {
            let Some(item) = place.closure.last() else {
                continue;
            };
            let withheld = registry.withhold(item, &place.closure, &place.tags).await;
            if let Err(error) = withheld {
                let name = Name::Root(place.repository.clone(), item.digest);
                seen.push(Seen {
                    digest: item.digest,
                    repository: Some(place.repository),
                    why: format!("{name}: {}", chain(&error)),
                });
            }
        }
        seen
    }

    pub(super) async fn bring_back_in_registry(
        &self,
        registry: &RegistryStore,
        objects: &[Digest],
    ) -> Result<(), StoreError> {
        for place in self.places(objects) {
            if let Some(item) = place.closure.last() {
                registry.restore(item).await?;
            }
        }
        Ok(())
    }

    pub(super) fn tags_of(&self, objects: &[Digest]) -> Vec<NameChange> {
        let mut changes = Vec::new();
        for place in self.places(objects) {
            changes.extend(place.tags.into_iter().map(|tag| NameChange {
                name: Name::Tag(place.repository.clone(), tag),
                target: place.closure.last().cloned(),
            }));
        }
        changes
    }

    /// Where each object is, what others need before them. What was seen somewhere
    /// may still be there, whatever the catalog says of that repository by now.
    fn places(&self, objects: &[Digest]) -> Vec<Place> {
        self.catalog.read(|catalog| {
            let announced = catalog.announced();
            let ordinals = objects.iter().filter_map(|digest| catalog.ordinal(digest));
            let wanted: BTreeSet<Ordinal> = ordinals.collect();
            let in_order = catalog.closure(wanted.iter().copied()).into_iter();
            let ordinals = in_order.filter(|ordinal| wanted.contains(ordinal));
            let places = |ordinal| {
                let digest = catalog.object(ordinal).map(|object| *object.digest());
                let seen = digest.map(|digest| self.exposed.repositories(&digest));
                places(catalog, &announced, seen.unwrap_or_default(), ordinal)
            };
            ordinals.flat_map(places).collect()
        })
    }
}

fn places(
    catalog: &Catalog,
    announced: &BTreeMap<&Repository, RoaringBitmap>,
    mut repositories: BTreeSet<Repository>,
    ordinal: Ordinal,
) -> Vec<Place> {
    let closure = catalog.closure([ordinal]);
    let in_force = catalog.repositories();
    let in_force = in_force.filter(|one| catalog.contains(one.as_str(), ordinal));
    let announced = announced.iter();
    let announced = announced.filter(|(_, reached)| reached.contains(ordinal.get()));
    repositories.extend(in_force.chain(announced.map(|(one, _)| *one)).cloned());
    let mut places = Vec::new();
    for repository in repositories {
        let items = closure.iter().filter_map(|ordinal| {
            let object = catalog.object(*ordinal)?;
            Some(Item {
                digest: *object.digest(),
                size: object.size(),
                media_type: object.media_type().clone(),
                repository: Some(repository.clone()),
            })
        });
        let tags = catalog.names_of(ordinal).filter_map(|name| match name {
            Name::Tag(of, tag) if of == repository => Some(tag),
            Name::Tag(..) | Name::Root(..) | Name::File(_) => None,
        });
        places.push(Place {
            closure: items.collect(),
            tags: tags.collect(),
            repository,
        });
    }
    places
}
