//! The HTTP listener: the log's static files, the origin, the state of the
//! whole for people and programs, health and metrics.

mod origin;
mod page;
mod status_json;

use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use landfall_content::Store;
use landfall_content::serve::{self, AccessCounters};
use landfall_log::LogReader;
use landfall_log::publish::static_router;
use landfall_runtime::ops::{self, Ready};
use prometheus::Registry;

use crate::catalog::SharedCatalog;
use crate::promote::operation::Operations;
use crate::status::Statuses;

/// Where the origin is below the listener's address.
pub(crate) const ORIGIN_PATH: &str = "/origin";
/// Where the log is below the listener's address.
pub(crate) const LOG_PATH: &str = "/.landfall";

/// What the routes need.
pub(crate) struct Web {
    pub(crate) statuses: Statuses,
    pub(crate) operations: Operations,
    pub(crate) catalog: SharedCatalog,
    pub(crate) store: Store,
    pub(crate) log: LogReader,
    pub(crate) ready: Ready,
    pub(crate) registry: Registry,
}

/// What the status handlers need.
#[derive(Clone)]
struct Views {
    statuses: Statuses,
    operations: Operations,
}

/// All routes.
pub(crate) fn router(web: Web) -> Result<Router, prometheus::Error> {
    let access = AccessCounters::register(&web.registry)?;
    let visible = origin::live(web.catalog);
    Ok(Router::new()
        .route("/", get(page::show))
        .route("/status.json", get(status_json::show))
        .with_state(Views {
            statuses: web.statuses,
            operations: web.operations,
        })
        .merge(static_router(web.log))
        .merge(ops::router(web.ready, web.registry))
        .nest(
            ORIGIN_PATH,
            serve::router(web.store, visible, Arc::new(access)),
        ))
}
