//! How commands reach the coordinator and the redirector.

use std::time::Duration;

use bytes::Bytes;
use landfall_runtime::{
    bounded,
    dial::{self, http_client, refuse_plain_text_elsewhere},
};
use tonic::{
    Code, Request, Status,
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

/// What the coordinator's refusal means to the person who asked: the one table
/// from a gRPC status to a message and an exit code.
///
/// Wrong use is what no other day and nobody else's rights would make right. Who
/// may not, or may not any more, has typed nothing wrong: the command was not done.
pub(crate) fn refused(coordinator: &str, status: &Status) -> Failure {
    let why = output::plain(status.message());
    match status.code() {
        Code::InvalidArgument | Code::OutOfRange => {
            Failure::Usage(format!("the coordinator cannot use this: {why}"))
        }
        Code::Unavailable => Failure::Failed(format!(
            "the coordinator at {coordinator} is out of reach: {why}"
        )),
        Code::Cancelled | Code::Unknown => Failure::Failed(format!(
            "what answers at {coordinator} is no coordinator, or it broke off: {why}"
        )),
        Code::Unimplemented => Failure::Failed(format!(
            "what answers at {coordinator} does not know this command; is it of the same version? {why}"
        )),
        Code::Unauthenticated => Failure::Failed(format!(
            "the coordinator does not know who asks: {why}; {TOKEN_VARIABLE} presents a token"
        )),
        Code::Ok
        | Code::DeadlineExceeded
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::Internal
        | Code::DataLoss => Failure::Failed(format!("the coordinator refused: {why}")),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_asked_wrongly_is_wrong_use() {
        for number in 0..=16 {
            let code = Code::from_i32(number);
            let is_wrong_use = matches!(code, Code::InvalidArgument | Code::OutOfRange);
            let expected = if is_wrong_use { 2 } else { 1 };
            let failure = refused("http://127.0.0.1:1", &Status::new(code, "why\u{1b}[2J\nso"));
            assert_eq!(failure.code(), expected, "{code:?}");
            let message = failure.message();
            assert!(
                message.contains("why") && !message.contains('\u{1b}'),
                "{message}"
            );
        }
    }
}
