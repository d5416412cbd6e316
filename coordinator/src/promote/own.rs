//! What a project has in production already: under names of its own, and of the
//! same kind. Only that needs no staging behind it; that somebody else publishes
//! the same bytes says nothing about this project's. Pure.

use landfall_catalog::{Catalog, MediaType, Name, Object, Repository};
use landfall_content::oci::is_manifest;
use landfall_promotion::{Asked, Kind};

use super::bounds::Bounds;
use super::resolve::closure_of;

/// All objects of what is asked for, children first, if names in force reach it
/// that belong to the project: files for a file, repositories for an image.
pub(super) fn owned(catalog: &Catalog, bounds: &Bounds, asked: &Asked) -> Option<Vec<Object>> {
    let ordinal = catalog.ordinal(&asked.digest)?;
    let is_own = |name: &Name| {
        let owners = bounds.owners(name);
        owners.is_some_and(|owners| owners.contains(&asked.project))
    };
    match asked.kind {
        Kind::Files => {
            let mut names = catalog.names_of(ordinal);
            let is_there = names.any(|name| matches!(name, Name::File(_)) && is_own(&name));
            let known = catalog.facts(ordinal).filter(|_| is_there)?;
            // A file is bytes, whatever else they are somewhere else.
            Some(vec![Object {
                media_type: MediaType::octet_stream(),
                children: Vec::new(),
                referrer: None,
                ..known
            }])
        }
        Kind::Images => {
            let has = |repository: &&Repository| {
                let name = || Name::Root(Repository::clone(repository), asked.digest);
                catalog.contains(repository.as_str(), ordinal) && is_own(&name())
            };
            let nearest = match &asked.name {
                Name::Tag(repository, _) | Name::Root(repository, _) => Some(repository),
                Name::File(_) => None,
            };
            let mut repositories = nearest.into_iter().chain(catalog.repositories());
            repositories.find(has)?;
            closure_of(catalog, &asked.digest).filter(|closure| is_image(closure))
        }
    }
}

/// Whether the last of these, which needs the others, was read as a document.
fn is_image(closure: &[Object]) -> bool {
    closure
        .last()
        .is_some_and(|root| is_manifest(&root.media_type))
}
