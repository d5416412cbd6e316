//! What the origin shows: everything that is live and not withdrawn.

use std::sync::Arc;

use landfall_catalog::{Catalog, NameRecord, Ordinal};
use landfall_content::serve::{Admits, CatalogVisible, Shown, Visible};

use crate::catalog::SharedCatalog;

/// The origin's content by way of the catalog.
pub(super) fn live(catalog: SharedCatalog) -> Arc<dyn Visible> {
    CatalogVisible::new(Live(catalog))
}

struct Live(SharedCatalog);

impl Shown for Live {
    fn look(&self, look: &mut dyn FnMut(&Catalog, &dyn Admits)) {
        self.0.read(|catalog| look(catalog, &LiveOnly(catalog)));
    }
}

struct LiveOnly<'a>(&'a Catalog);

impl Admits for LiveOnly<'_> {
    fn object(&self, ordinal: Ordinal) -> bool {
        self.0.is_live(ordinal)
    }

    fn name(&self, _: NameRecord) -> bool {
        true
    }
}
