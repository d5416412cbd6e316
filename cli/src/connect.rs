//! How commands reach the coordinator and the redirector.

use std::time::Duration;

use bytes::Bytes;
use landfall_runtime::{
    bounded,
    dial::{self, http_client, refuse_plain_text_elsewhere},
};
use tonic::{Status, transport::Channel};
use url::Url;

use crate::failure::Failure;

/// Longest wait for one HTTP answer of a command.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// A channel to the coordinator; connects at the first call.
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
        tonic::Code::Ok
        | tonic::Code::Cancelled
        | tonic::Code::Unknown
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
            "the coordinator refused ({}): {}",
            status.code().description(),
            status.message()
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
    let body = bounded::read_response(response, limit)
        .await
        .map_err(|error| out_of_reach(&error))?;
    Ok(Answer { status, body })
}
