//! The staging registry: a small registry that hands out what the project
//! pushed, to whoever resolves and copies a promotion.

use std::{net::Ipv4Addr, sync::Arc};

use landfall_catalog::{Catalog, NameRecord, Ordinal};
use landfall_content::serve::{self, Admits, CatalogVisible, Shown};
use landfall_runtime::{Shutdown, ops};
use tokio::net::TcpListener;

use super::{programs::Program, staging::StagedRegistry};
use crate::failure::Failure;

/// Everything of a catalog that does not change.
struct All(Catalog);

impl Shown for All {
    fn look(&self, look: &mut dyn FnMut(&Catalog, &dyn Admits)) {
        look(&self.0, &Anything);
    }
}

struct Anything;

impl Admits for Anything {
    fn object(&self, _: Ordinal) -> bool {
        true
    }

    fn name(&self, _: NameRecord) -> bool {
        true
    }
}

/// Serves the staged image on a free port of 127.0.0.1; returns `host:port`.
pub(super) async fn start(registry: StagedRegistry) -> Result<(Program, String), Failure> {
    let cannot = |error| Failure::failed("cannot start the staging registry", &error);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .map_err(cannot)?;
    let host = listener.local_addr().map_err(cannot)?.to_string();
    let visible = CatalogVisible::new(All(registry.catalog));
    let router = serve::router(registry.store, visible, Arc::new(()));
    let program = Program::spawn("staging registry", |shutdown: Shutdown| async move {
        ops::serve(listener, router, shutdown).await;
        Ok::<(), std::convert::Infallible>(())
    });
    Ok((program, host))
}
