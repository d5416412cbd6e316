//! Serves what is ready of the store: by digest, by path, and as an OCI registry.

use std::sync::Arc;

use axum::Router;
use landfall_catalog::{Catalog, NameRecord, Ordinal};
use landfall_content::{
    DirectoryStore,
    serve::{self, AccessCounters, Admits, CatalogVisible, Shown},
};
use prometheus::Registry;

use crate::shelf::{SharedShelf, Shelf};

/// The routes of the mirror's content, with counters in `registry`.
pub(crate) fn router(
    shelf: &SharedShelf,
    store: &DirectoryStore,
    registry: &Registry,
) -> Result<Router, prometheus::Error> {
    let access = AccessCounters::register(registry)?;
    let visible = CatalogVisible::new(shelf.clone());
    Ok(serve::router(store.clone(), visible, Arc::new(access)))
}

impl Shown for SharedShelf {
    fn look(&self, look: &mut dyn FnMut(&Catalog, &dyn Admits)) {
        let shelf = self.read();
        look(&shelf.catalog, &*shelf);
    }
}

impl Admits for Shelf {
    fn object(&self, ordinal: Ordinal) -> bool {
        self.serves(ordinal)
    }

    fn name(&self, record: NameRecord) -> bool {
        self.serves_name(record)
    }
}
