//! The endpoints that operators and their machines look at, and the HTTP
//! server loop under them and under everything else.
//!
//! `/healthz` says that the process answers; `/readyz` whether every named
//! condition of its work holds; `/metrics` is Prometheus text. None of them
//! says anything secret, and none needs a principal.

mod serve;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus::{Registry, TextEncoder};

pub use serve::{ServeLimits, serve, serve_within};

/// Whether a program can do its work: it can when every named condition
/// holds. Clones share the conditions.
#[derive(Clone, Debug, Default)]
pub struct Ready {
    conditions: Arc<Mutex<BTreeMap<String, bool>>>,
}

impl Ready {
    /// No conditions yet, which is ready.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a condition that does not hold yet, and gives the handle by which
    /// its owner says when it does.
    pub fn condition(&self, name: impl Into<String>) -> Condition {
        let condition = Condition {
            name: name.into(),
            ready: self.clone(),
        };
        condition.set(false);
        condition
    }

    /// The names of the conditions that do not hold, sorted.
    pub fn unmet(&self) -> Vec<String> {
        let conditions = self.lock();
        let unmet = conditions.iter().filter(|(_, holds)| !**holds);
        unmet.map(|(name, _)| name.clone()).collect()
    }

    /// Whether every condition holds.
    pub fn is_ready(&self) -> bool {
        self.lock().values().all(|holds| *holds)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, bool>> {
        // Nothing panics while it holds this lock, so the map is whole.
        self.conditions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// One condition of a [`Ready`].
#[derive(Clone, Debug)]
pub struct Condition {
    name: String,
    ready: Ready,
}

impl Condition {
    /// Says whether the condition holds.
    pub fn set(&self, holds: bool) {
        let before = self.ready.lock().insert(self.name.clone(), holds);
        if before.is_some_and(|before| before != holds) {
            tracing::info!(condition = self.name, holds, "readiness changed");
        }
    }
}

#[derive(Clone)]
struct Ops {
    ready: Ready,
    registry: Registry,
}

/// The routes `/healthz`, `/readyz` and `/metrics`, to be merged into a
/// program's own or nested below a path.
pub fn router(ready: Ready, registry: Registry) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(Ops { ready, registry })
}

async fn readyz(State(ops): State<Ops>) -> Response {
    let unmet = ops.ready.unmet();
    if unmet.is_empty() {
        return "ready\n".into_response();
    }
    let body = format!("not ready: {}\n", unmet.join(", "));
    (StatusCode::SERVICE_UNAVAILABLE, body).into_response()
}

async fn metrics(State(ops): State<Ops>) -> Response {
    match TextEncoder::new().encode_to_string(&ops.registry.gather()) {
        Ok(text) => {
            let content_type = [(header::CONTENT_TYPE, "text/plain; version=0.0.4")];
            (content_type, text).into_response()
        }
        Err(error) => {
            tracing::error!(%error, "metrics cannot be encoded");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use http::Request;
    use http_body_util::BodyExt as _;
    use prometheus::IntCounter;
    use tower::ServiceExt as _;

    use super::*;

    async fn get(router: &Router, path: &str) -> (StatusCode, String) {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn ready_means_that_every_condition_holds_and_the_others_are_named() {
        let ready = Ready::new();
        let router = router(ready.clone(), Registry::new());
        assert_eq!(get(&router, "/readyz").await.0, StatusCode::OK);

        let (log, feed) = (ready.condition("log"), ready.condition("feed"));
        let (status, body) = get(&router, "/readyz").await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(body, "not ready: feed, log\n");

        log.set(true);
        assert_eq!(ready.unmet(), ["feed"]);
        feed.set(true);
        assert_eq!(get(&router, "/readyz").await.1, "ready\n");
        feed.set(false);
        assert!(!ready.is_ready());
        assert_eq!(get(&router, "/healthz").await.0, StatusCode::OK);
    }

    #[tokio::test]
    async fn metrics_are_those_of_the_registry_also_below_a_path() {
        let registry = Registry::new();
        let counter = IntCounter::new("landfall_things_total", "things").unwrap();
        registry.register(Box::new(counter.clone())).unwrap();
        counter.inc_by(3);
        let router = Router::new().nest("/.landfall", router(Ready::new(), registry));
        let (status, body) = get(&router, "/.landfall/metrics").await;
        assert_eq!(status, StatusCode::OK);
        assert!(body.contains("\nlandfall_things_total 3\n"), "{body}");
    }
}
