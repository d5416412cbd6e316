//! Traces across processes: the `traceparent` field of W3C Trace Context.
//!
//! Nothing here fails. Without a collector there is no trace to hand on, and
//! a malformed field from outside starts a new trace, as the specification
//! asks (section 3.2).

use std::collections::HashMap;

use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry::trace::TraceContextExt as _;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tonic::metadata::MetadataMap;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

const FIELD: &str = "traceparent";

/// The current span as a `traceparent` value; `None` outside a trace.
pub fn trace_parent() -> Option<String> {
    let context = Span::current().context();
    let mut fields = HashMap::new();
    TraceContextPropagator::new().inject_context(&context, &mut fields);
    fields.remove(FIELD)
}

/// Makes the span that `trace_parent` names the parent of `span`. To be
/// called before `span` is entered for the first time.
pub fn set_parent(span: &Span, trace_parent: &str) {
    let fields = HashMap::from([(FIELD.to_owned(), trace_parent.to_owned())]);
    let context = TraceContextPropagator::new().extract(&fields);
    if !context.span().span_context().is_valid() {
        tracing::debug!("a trace parent that is not one was left out");
        return;
    }
    if let Err(error) = span.set_parent(context) {
        tracing::trace!(?error, "no trace to continue");
    }
}

/// Adds the current span to a request's or a response's metadata.
pub fn inject_trace_parent_into(metadata: &mut MetadataMap) {
    if let Some(value) = trace_parent().and_then(|value| value.parse().ok()) {
        metadata.insert(FIELD, value);
    }
}

/// The `traceparent` in metadata, as it came; [`set_parent`] checks it.
pub fn extract_trace_parent(metadata: &MetadataMap) -> Option<String> {
    let value = metadata.get(FIELD)?.to_str().ok()?;
    Some(value.to_owned())
}

/// The span of a call on the server's side, a child of the caller's span: for
/// `tonic::transport::Server::trace_fn`.
pub fn grpc_server_span(request: &http::Request<()>) -> Span {
    let method = request.uri().path();
    let span = tracing::info_span!("grpc", otel.name = method, otel.kind = "server");
    let sent = request.headers().get(FIELD);
    if let Some(trace_parent) = sent.and_then(|value| value.to_str().ok()) {
        set_parent(&span, trace_parent);
    }
    span
}
