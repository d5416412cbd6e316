//! Serves what is ready of the store: by digest, by path, and as an OCI registry.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Request, State},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
};
use http::{StatusCode, header::RETRY_AFTER};
use landfall_catalog::{Catalog, NameRecord, Ordinal};
use landfall_content::{
    DirectoryStore,
    serve::{self, AccessCounters, Admits, CatalogVisible, Shown},
};
use prometheus::Registry;

use crate::shelf::{SharedShelf, Shelf};

/// For an agent that has just been started and does not yet know what it holds.
const SOON_SECONDS: &str = "1";

/// The routes of the mirror's content, with counters in `registry`. Until the
/// store has been adopted the answer is 503: a 404 would be final for clients.
pub(crate) fn router(
    shelf: &SharedShelf,
    store: &DirectoryStore,
    registry: &Registry,
) -> Result<Router, prometheus::Error> {
    let access = AccessCounters::register(registry)?;
    let visible = CatalogVisible::new(shelf.clone());
    let content = serve::router(store.clone(), visible, Arc::new(access));
    Ok(content.layer(from_fn_with_state(shelf.clone(), unless_adopted)))
}

async fn unless_adopted(
    State(shelf): State<SharedShelf>,
    request: Request,
    next: Next,
) -> Response {
    let is_adopted = shelf.read().adopted;
    if is_adopted {
        next.run(request).await
    } else {
        let headers = [(RETRY_AFTER, SOON_SECONDS)];
        let body = "what is held here is still being read; try again\n";
        (StatusCode::SERVICE_UNAVAILABLE, headers, body).into_response()
    }
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
