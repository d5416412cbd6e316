use std::sync::Arc;

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::trace::v1::Span as ExportedSpan;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::TcpListenerStream;
use tracing::Instrument as _;

use super::*;
use crate::{OnError, Shutdown, Tasks};

const TRACE_PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

#[test]
fn options_come_from_the_environment_and_empty_variables_are_absent() {
    let from = |pairs: &[(&str, &str)]| {
        let pairs = pairs.iter().map(|(k, v)| ((*k).into(), (*v).into()));
        TelemetryOptions::from_environment(pairs.collect::<Vec<_>>())
    };
    let none = from(&[("LANDFALL_LOG", ""), ("OTEL_EXPORTER_OTLP_ENDPOINT", "")]);
    assert_eq!(
        (none.filter.as_str(), none.format),
        ("info", LogFormat::Text)
    );
    assert_eq!(none.otlp_endpoint, None);

    let all = from(&[
        ("LANDFALL_LOG", "landfall=debug"),
        ("LANDFALL_LOG_FORMAT", "json"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4317"),
    ]);
    assert_eq!(
        (all.filter.as_str(), all.format),
        ("landfall=debug", LogFormat::Json)
    );
    assert_eq!(all.otlp_endpoint.as_deref(), Some("http://127.0.0.1:4317"));
}

#[tokio::test]
async fn it_can_be_set_up_twice_in_one_process_and_a_bad_filter_is_refused() {
    let options = TelemetryOptions {
        filter: "off".to_owned(),
        ..TelemetryOptions::default()
    };
    let first = init("one", &options).unwrap();
    let second = init("two", &options).unwrap();
    second.shutdown().await;
    first.shutdown().await;
    let malformed = TelemetryOptions {
        filter: "landfall=loud".to_owned(),
        ..options
    };
    let error = init("three", &malformed).unwrap_err();
    assert!(error.to_string().contains("landfall=loud"));
}

struct Collector(mpsc::UnboundedSender<ExportedSpan>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
        let resources = request.into_inner().resource_spans.into_iter();
        let scopes = resources.flat_map(|resource| resource.scope_spans);
        for span in scopes.flat_map(|scope| scope.spans) {
            self.0.send(span).unwrap();
        }
        Ok(tonic::Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_reach_the_collector_with_the_parent_that_came_from_outside() {
    let (sender, mut spans) = mpsc::unbounded_channel();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let tasks = Tasks::new(Shutdown::new());
    let stop = tasks.shutdown().requested_owned();
    tasks.spawn("collector", OnError::Fail, async move {
        tonic::transport::Server::builder()
            .add_service(TraceServiceServer::new(Collector(sender)))
            .serve_with_incoming_shutdown(TcpListenerStream::new(listener), stop)
            .await
    });

    let options = TelemetryOptions {
        filter: "off".to_owned(),
        otlp_endpoint: Some(endpoint),
        ..TelemetryOptions::default()
    };
    let (subscriber, provider) = build("test", &options).unwrap();
    let dispatch =
        tracing::Dispatch::from(Arc::new(subscriber) as Arc<dyn Subscriber + Send + Sync>);
    let sent_on = tracing::dispatcher::with_default(&dispatch, || {
        let call = http::Request::builder()
            .uri("http://test/landfall.v1.Catalog/Watch")
            .header("traceparent", TRACE_PARENT)
            .body(())
            .unwrap();
        grpc_server_span(&call).in_scope(|| {
            let mut metadata = tonic::metadata::MetadataMap::new();
            inject_trace_parent_into(&mut metadata);
            extract_trace_parent(&metadata).unwrap()
        })
    });
    Telemetry { provider }.shutdown().await;

    let exported = spans.recv().await.unwrap();
    assert_eq!(exported.name, "/landfall.v1.Catalog/Watch");
    assert_eq!(hex(&exported.trace_id), "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(hex(&exported.parent_span_id), "b7ad6b7169203331");
    let own = format!(
        "00-{}-{}-01",
        hex(&exported.trace_id),
        hex(&exported.span_id)
    );
    assert_eq!(sent_on, own);
    tasks.shutdown().trigger();
    tasks.join(Duration::from_secs(60)).await.unwrap();
}

#[tokio::test]
async fn outside_a_trace_nothing_is_handed_on_and_garbage_changes_nothing() {
    let work = async {
        set_parent(&tracing::Span::current(), "not a trace parent");
        let mut metadata = tonic::metadata::MetadataMap::new();
        inject_trace_parent_into(&mut metadata);
        (trace_parent(), extract_trace_parent(&metadata))
    };
    let handed_on = work.instrument(tracing::info_span!("work")).await;
    assert_eq!(handed_on, (None, None));
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
