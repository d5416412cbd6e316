//! How commands reach the coordinator and the redirector.

use std::time::Duration;

use bytes::Bytes;
use landfall_runtime::{
    bounded,
    dial::{self, http_client, refuse_plain_text_elsewhere},
};
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::Channel,
};
use url::Url;

use crate::{failure::Failure, output};

/// Longest wait for one HTTP answer of a command.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// Names the token that commands present.
const TOKEN_VARIABLE: &str = "LANDFALL_TOKEN";

/// A channel that presents the token, if there is one.
pub(crate) type Connection = InterceptedService<Channel, Bearer>;

/// Presents `LANDFALL_TOKEN` with every call. Not printable: it holds a secret.
#[derive(Clone)]
pub(crate) struct Bearer(Option<MetadataValue<Ascii>>);

impl Bearer {
    fn from_environment() -> Result<Self, Failure> {
        let token = std::env::var(TOKEN_VARIABLE).unwrap_or_default();
        if token.trim().is_empty() {
            return Ok(Self(None));
        }
        let value = format!("Bearer {}", token.trim());
        let mut value = MetadataValue::try_from(value)
            .map_err(|_| Failure::Usage(format!("{TOKEN_VARIABLE} does not hold a token")))?;
        value.set_sensitive(true);
        Ok(Self(Some(value)))
    }
}

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            let metadata = request.metadata_mut();
            metadata.insert("authorization", token.clone());
        }
        Ok(request)
    }
}

/// Whether commands present a token.
pub(crate) fn has_token() -> bool {
    std::env::var(TOKEN_VARIABLE).is_ok_and(|token| !token.trim().is_empty())
}

/// The coordinator that the environment names, where an option outweighs it.
pub(crate) fn from_environment() -> Option<String> {
    std::env::var("LANDFALL_COORDINATOR")
        .ok()
        .filter(|coordinator| !coordinator.is_empty())
}

/// A connection to the coordinator; it is made at the first call.
pub(crate) fn connection(coordinator: &str) -> Result<Connection, Failure> {
    let bearer = Bearer::from_environment()?;
    Ok(InterceptedService::new(channel(coordinator)?, bearer))
}

/// The same without a token.
pub(crate) fn channel(coordinator: &str) -> Result<Channel, Failure> {
    let url = parse(coordinator)?;
    dial::grpc_channel(&url).map_err(|error| {
        Failure::Usage(format!(
            "cannot use {coordinator}: {}",
            landfall_proto::status::chain(&error)
        ))
    })
}

/// A URL given on the command line.
pub(crate) fn parse(url: &str) -> Result<Url, Failure> {
    Url::parse(url).map_err(|error| {
        Failure::Usage(format!(
            "{url} is not a URL ({error}); expected http://127.0.0.1:PORT"
        ))
    })
}

/// What the coordinator's refusal means to the person who asked.
pub(crate) fn refused(coordinator: &str, status: &Status) -> Failure {
    match status.code() {
        tonic::Code::Unavailable => Failure::Failed(format!(
            "the coordinator at {coordinator} is out of reach: {}",
            status.message()
        )),
        tonic::Code::Cancelled | tonic::Code::Unknown => Failure::Failed(format!(
            "what answers at {coordinator} is no coordinator, or it broke off: {}",
            status.message()
        )),
        tonic::Code::Ok
        | tonic::Code::InvalidArgument
        | tonic::Code::DeadlineExceeded
        | tonic::Code::NotFound
        | tonic::Code::AlreadyExists
        | tonic::Code::PermissionDenied
        | tonic::Code::ResourceExhausted
        | tonic::Code::FailedPrecondition
        | tonic::Code::Aborted
        | tonic::Code::OutOfRange
        | tonic::Code::Unimplemented
        | tonic::Code::Internal
        | tonic::Code::DataLoss
        | tonic::Code::Unauthenticated => Failure::Failed(format!(
            "the coordinator refused: {}",
            output::plain(status.message())
        )),
    }
}

/// An HTTP answer that was read whole.
pub(crate) struct Answer {
    pub(crate) status: reqwest::StatusCode,
    pub(crate) body: Bytes,
}

/// GETs a URL and reads at most `limit` bytes.
pub(crate) async fn get(url: &Url, limit: usize) -> Result<Answer, Failure> {
    let shown = dial::without_secrets(url);
    let out_of_reach =
        |error: &dyn std::error::Error| Failure::failed(&format!("cannot read {shown}"), error);
    refuse_plain_text_elsewhere(url).map_err(|error| Failure::Usage(error.to_string()))?;
    let response = http_client()
        .map_err(|error| out_of_reach(&error))?
        .get(url.clone())
        .timeout(ANSWER_TIMEOUT)
        .send()
        .await
        .map_err(|error| out_of_reach(&error))?;
    let status = response.status();
    let body = bounded::read_response(response, limit, &bounded::Arrival::default())
        .await
        .map_err(|error| out_of_reach(&error))?;
    Ok(Answer { status, body })
}
