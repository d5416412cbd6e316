//! Logs on stderr, and traces over OTLP when a collector is configured.
//!
//! Logs and traces are filtered apart: `LANDFALL_LOG` decides what is logged,
//! while spans of our own crates are always exported, if anything is.

mod propagation;

use std::io::IsTerminal as _;
use std::time::Duration;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::filter::{EnvFilter, FilterFn, ParseError};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer, fmt};

pub use propagation::{
    extract_trace_parent, grpc_server_span, inject_trace_parent_into, set_parent, trace_parent,
};

/// How long one export of spans, and the flush at the end, may take.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people; in colour on a terminal.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// What to log and where to send traces.
#[derive(Clone, Debug)]
pub struct TelemetryOptions {
    /// A filter in the syntax of `tracing_subscriber::EnvFilter`.
    pub filter: String,
    /// How log lines look.
    pub format: LogFormat,
    /// A collector that speaks OTLP over gRPC; without it, no traces.
    pub otlp_endpoint: Option<String>,
}

impl Default for TelemetryOptions {
    /// Text from level INFO on, no traces.
    fn default() -> Self {
        Self {
            filter: "info".to_owned(),
            format: LogFormat::Text,
            otlp_endpoint: None,
        }
    }
}

impl TelemetryOptions {
    /// From `LANDFALL_LOG` (default `info`), `LANDFALL_LOG_FORMAT` (`json`, or
    /// anything else for text) and `OTEL_EXPORTER_OTLP_ENDPOINT`. Empty
    /// variables count as absent.
    pub fn from_environment(env: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut options = Self::default();
        for (name, value) in env {
            if value.is_empty() {
                continue;
            }
            match name.as_str() {
                "LANDFALL_LOG" => options.filter = value,
                "LANDFALL_LOG_FORMAT" if value == "json" => options.format = LogFormat::Json,
                "OTEL_EXPORTER_OTLP_ENDPOINT" => options.otlp_endpoint = Some(value),
                _ => {}
            }
        }
        options
    }
}

/// Why logs and traces could not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TelemetryError {
    /// The log filter has a syntax error.
    #[error("log filter {filter:?} cannot be read")]
    Filter {
        /// The filter.
        filter: String,
        /// What is wrong with it.
        #[source]
        source: ParseError,
    },
    /// The exporter does not take the endpoint.
    #[error("cannot export traces to the configured OTLP endpoint")]
    Exporter(#[source] opentelemetry_otlp::ExporterBuildError),
}

/// Keeps the exporter; hand it to [`Telemetry::shutdown`] at the end.
#[derive(Debug)]
#[must_use = "spans of the last seconds are lost without a shutdown"]
pub struct Telemetry {
    provider: Option<SdkTracerProvider>,
}

impl Telemetry {
    /// Sends the spans that are still here, within a few seconds.
    pub async fn shutdown(self) {
        let Some(provider) = self.provider else {
            return;
        };
        // The exporter blocks its caller and needs the runtime's threads.
        let flushed =
            tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(EXPORT_TIMEOUT))
                .await;
        match flushed {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "last spans were not exported"),
            Err(error) => tracing::warn!(%error, "last spans were not exported"),
        }
    }
}

/// Sets up logs and traces for the process, under the name of `service`. If
/// that was done before, by another program in the same process, the first
/// set-up stays and the guard does nothing.
///
/// # Errors
/// [`TelemetryError`], before anything is set up.
///
/// # Panics
/// Outside a tokio runtime, if there is an OTLP endpoint.
pub fn init(service: &str, options: &TelemetryOptions) -> Result<Telemetry, TelemetryError> {
    let (subscriber, provider) = build(service, options)?;
    if subscriber.try_init().is_err() {
        return Ok(Telemetry { provider: None });
    }
    Ok(Telemetry { provider })
}

fn build(
    service: &str,
    options: &TelemetryOptions,
) -> Result<(impl Subscriber + Send + Sync, Option<SdkTracerProvider>), TelemetryError> {
    let filter = EnvFilter::builder()
        .parse(&options.filter)
        .map_err(|source| TelemetryError::Filter {
            filter: options.filter.clone(),
            source,
        })?;
    let provider = match &options.otlp_endpoint {
        Some(endpoint) => Some(tracer_provider(service, endpoint)?),
        None => None,
    };
    let logs = match options.format {
        LogFormat::Text => fmt::layer()
            .with_writer(std::io::stderr)
            .with_ansi(std::io::stderr().is_terminal())
            .boxed(),
        LogFormat::Json => fmt::layer().with_writer(std::io::stderr).json().boxed(),
    };
    let logs = logs.with_filter(filter);
    let traces = provider.as_ref().map(|provider| {
        tracing_opentelemetry::layer()
            .with_tracer(provider.tracer("landfall"))
            .with_filter(FilterFn::new(is_traced))
    });
    let subscriber = tracing_subscriber::registry().with(logs).with(traces);
    Ok((subscriber, provider))
}

/// Spans of our own crates only: those of the HTTP/2 library would make each
/// export cause the next.
fn is_traced(metadata: &Metadata<'_>) -> bool {
    metadata.target().starts_with("landfall") && *metadata.level() <= Level::INFO
}

fn tracer_provider(service: &str, endpoint: &str) -> Result<SdkTracerProvider, TelemetryError> {
    let exporter = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .with_timeout(EXPORT_TIMEOUT)
        .build()
        .map_err(TelemetryError::Exporter)?;
    let resource = Resource::builder()
        .with_service_name(service.to_owned())
        .build();
    Ok(SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(resource)
        .build())
}

#[cfg(test)]
mod tests;
