//! The gRPC listener: one file a service. Wire types stop here.
//!
//! Streams are cursors, not queues: each asks the shared state for what is newer
//! than what it sent, when the transport has room. So a slow reader costs no
//! memory, and a stream that is dropped leaves nothing behind. What goes on is read
//! once for all that follow it (`following.rs`).

mod audit;
mod fleet;
mod following;
mod gates;
mod history;
mod lookup;
mod mirrors;
mod operation;
mod page;
mod projects;
mod promotion;
mod routing;
mod telling;
mod tokens;
pub(crate) mod trace;
pub(crate) mod upload;
mod withdraw;

use std::sync::Arc;
use std::time::Duration;

use landfall_log::publish::{CatalogService, Publisher};
use landfall_proto::FILE_DESCRIPTOR_SET;
use landfall_proto::v1::{
    audit_server::AuditServer, fleet_server::FleetServer, mirrors_server::MirrorsServer,
    promotion_server::PromotionServer, routing_server::RoutingServer, tokens_server::TokensServer,
};
use landfall_runtime::clock::Clock;
use landfall_runtime::{Shutdown, Tasks, telemetry};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Status};

use following::Feeds;

use crate::audit::Audits;
use crate::behind::Signature;
use crate::catalog::SharedCatalog;
use crate::config::Limits;
use crate::fleet::Fleet;
use crate::history::History;
use crate::principal::{Action, Gate};
use crate::promote::operation::Operations;
use crate::promote::plan::Planner;
use crate::status::Statuses;
use crate::text::cut;
use crate::tokens::Tokens;
use crate::withdraw::Withdrawals;

/// Largest message that is taken in; what is sent has at most 64 KiB.
const MAX_MESSAGE_BYTES: usize = 1 << 20;
/// How often an idle connection is pinged: without it a peer that vanished is
/// never noticed.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// How long the answer to a ping may take.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// How long streams may take to end after the request to stop. Their ends are
/// told at once; a peer that does not read them is not waited for.
const DRAIN: Duration = Duration::from_secs(4);
/// Largest unary answer that every client takes: gRPC's usual bound.
#[cfg(test)]
const MAX_ANSWER_BYTES: usize = 4 << 20;
/// Streams on one connection.
const MAX_STREAMS: u32 = 64;

/// Why nothing is begun any more.
const STOPPING: &str = "the coordinator is stopping";

/// Why the listener ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GrpcError {
    /// The transport failed.
    #[error("the gRPC listener failed")]
    Transport(#[from] tonic::transport::Error),
    /// The schema's descriptors cannot be served.
    #[error("the reflection service cannot be set up")]
    Reflection(#[from] tonic_reflection::server::Error),
}

/// What the services share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) catalog: SharedCatalog,
    pub(crate) publisher: Publisher,
    pub(crate) signature: Signature,
    pub(crate) fleet: Fleet,
    pub(crate) operations: Operations,
    pub(crate) history: History,
    pub(crate) planner: Planner,
    pub(crate) withdrawals: Withdrawals,
    pub(crate) audits: Audits,
    pub(crate) tokens: Tokens,
    pub(crate) gate: Gate,
    pub(crate) statuses: Statuses,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) tasks: Tasks,
    pub(crate) shutdown: Shutdown,
    pub(crate) limits: Arc<Limits>,
    pub(crate) urls: Arc<Urls>,
}

impl Shared {
    /// What `receive` gives, unless the stop comes first: then nobody is waited for.
    async fn unless_stopping<T>(
        &self,
        receive: impl Future<Output = Result<T, Status>>,
    ) -> Result<T, Status> {
        self.shutdown
            .unless_requested(receive)
            .await
            .unwrap_or_else(|| Err(Status::unavailable(STOPPING)))
    }
}

/// Where things are, as agents, redirectors and commands are told.
#[derive(Clone, Debug)]
pub(crate) struct Urls {
    /// Public name of the catalog.
    pub(crate) name: String,
    /// Where redirectors answer.
    pub(crate) public: String,
    /// Where the origin's store is served, without a slash at the end.
    pub(crate) origin: String,
    /// Where the log's static files are.
    pub(crate) log: String,
}

/// Serves until the stop, and a moment longer for what is under way.
pub(crate) async fn serve(listener: TcpListener, shared: Shared) -> Result<(), GrpcError> {
    let (health, health_service) = tonic_health::server::health_reporter();
    health
        .set_serving::<PromotionServer<promotion::Service>>()
        .await;
    health.set_serving::<FleetServer<fleet::Service>>().await;
    health
        .set_serving::<RoutingServer<routing::Service>>()
        .await;
    health
        .set_serving::<MirrorsServer<mirrors::Service>>()
        .await;
    health.set_serving::<TokensServer<tokens::Service>>().await;
    health.set_serving::<AuditServer<audit::Service>>().await;
    health.set_serving::<CatalogService>().await;
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()?;
    let gate = shared.gate.clone();
    let catalog = InterceptedService::new(
        CatalogService::new(
            shared.publisher.clone(),
            Arc::clone(&shared.clock),
            shared.shutdown.clone(),
        ),
        move |request: Request<()>| {
            gate.admit(&request, Action::ReadCatalog)?;
            Ok(request)
        },
    );
    let bookmark = shared.limits.bookmark;
    let promotion = PromotionServer::new(promotion::Service {
        feeds: Feeds::new(shared.operations.clone(), shared.tasks.clone(), bookmark),
        plans: Arc::new(Semaphore::new(shared.limits.concurrent_plans)),
        shared: shared.clone(),
    });
    let fleet = FleetServer::new(fleet::Service {
        shared: shared.clone(),
    });
    let routing = RoutingServer::new(routing::Service {
        shared: shared.clone(),
    });
    let tokens = TokensServer::new(tokens::Service {
        shared: shared.clone(),
    });
    let audit = AuditServer::new(audit::Service {
        feeds: Feeds::new(shared.audits.clone(), shared.tasks.clone(), bookmark),
        shared: shared.clone(),
    });
    let mirrors = MirrorsServer::new(mirrors::Service {
        shared: shared.clone(),
    });
    let incoming = TcpIncoming::from(listener)
        .with_nodelay(Some(true))
        .with_keepalive(Some(KEEPALIVE));
    let shutdown = shared.shutdown.clone();
    let server = Server::builder()
        .trace_fn(telemetry::grpc_server_span)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .max_concurrent_streams(Some(MAX_STREAMS))
        .add_service(health_service)
        .add_service(reflection)
        .add_service(catalog)
        .add_service(promotion.max_decoding_message_size(MAX_MESSAGE_BYTES))
        .add_service(fleet.max_decoding_message_size(MAX_MESSAGE_BYTES))
        .add_service(routing.max_decoding_message_size(MAX_MESSAGE_BYTES))
        .add_service(tokens.max_decoding_message_size(MAX_MESSAGE_BYTES))
        .add_service(audit.max_decoding_message_size(MAX_MESSAGE_BYTES))
        .add_service(mirrors.max_decoding_message_size(MAX_MESSAGE_BYTES))
        .serve_with_incoming_shutdown(incoming, shutdown.requested_owned());
    let drained = async {
        shutdown.requested().await;
        tokio::time::sleep(DRAIN).await;
    };
    tokio::select! {
        ended = server => ended?,
        () = drained => tracing::warn!("connections closed that did not end in time"),
    }
    Ok(())
}
