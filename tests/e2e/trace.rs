//! One promotion is one trace, from the coordinator into every agent.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::any_value::Value,
};
use tonic::{Request, Response, Status};

use crate::support::{
    cluster::{Cluster, Setup},
    eventually, free_port,
};

/// Trace id -> services that sent spans of it, with the spans' names.
type Seen = Arc<Mutex<BTreeMap<Vec<u8>, BTreeSet<(String, String)>>>>;

/// An OTLP collector that remembers who sent spans of which trace.
struct Collector(Seen);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let mut seen = self.0.lock().unwrap();
        for resource in request.into_inner().resource_spans {
            let service = resource
                .resource
                .iter()
                .flat_map(|resource| &resource.attributes)
                .find(|attribute| attribute.key == "service.name")
                .and_then(|attribute| attribute.value.as_ref()?.value.as_ref())
                .map(|value| match value {
                    Value::StringValue(name) => name.clone(),
                    _ => String::new(),
                })
                .unwrap_or_default();
            for span in resource
                .scope_spans
                .into_iter()
                .flat_map(|scope| scope.spans)
            {
                seen.entry(span.trace_id)
                    .or_default()
                    .insert((service.clone(), span.name));
            }
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn collector() -> (String, Seen) {
    let seen = Seen::default();
    let port = free_port("127.0.0.1");
    let service = TraceServiceServer::new(Collector(Arc::clone(&seen)));
    thread::spawn(move || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(
                tonic::transport::Server::builder()
                    .add_service(service)
                    .serve(([127, 0, 0, 1], port).into()),
            )
            .unwrap();
    });
    (format!("http://127.0.0.1:{port}"), seen)
}

#[test]
fn the_trace_of_a_promotion_crosses_grpc_into_the_agents() {
    let (endpoint, seen) = collector();
    let mut cluster = Cluster::start(Setup {
        mirrors: Some(2),
        env: vec![
            ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint),
            ("OTEL_BSP_SCHEDULE_DELAY", "200".into()),
        ],
        ..Setup::default()
    });
    cluster.stage_file("tool", b"a tool");
    cluster.promote();
    cluster.wait_complete(&[0, 1], Duration::from_secs(20));

    eventually("one trace spans both", Duration::from_secs(20), || {
        let seen = seen.lock().unwrap();
        let whole = seen.values().any(|spans| {
            let promoted = spans
                .iter()
                .any(|(service, _)| service == "landfall-coordinator");
            let filled = spans
                .iter()
                .any(|(service, span)| service == "landfall-agent" && span == "fill");
            promoted && filled
        });
        if whole {
            Ok(())
        } else {
            Err(format!("{:?}", seen.values().collect::<Vec<_>>()))
        }
    });
}
