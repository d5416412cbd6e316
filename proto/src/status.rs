//! From an error to what the other side is told: one table for gRPC and HTTP.

use std::error::Error;

use http::StatusCode;
use tonic::{Code, Status};

/// What a caller may do about an error. Every public error of Landfall answers
/// this one question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The request is wrong and will be wrong again: fix the input.
    InvalidInput,
    /// There is no such thing.
    NotFound,
    /// There was such a thing; it was taken back on purpose.
    Withdrawn,
    /// The state is not (or no longer) what the request assumes: look again.
    Conflict,
    /// Nobody said who they are, or in a way that does not hold.
    Unauthenticated,
    /// They may not.
    Forbidden,
    /// Too much at once: later, as told.
    Exhausted,
    /// Not now: try again with a growing pause.
    Unavailable,
    /// A defect of ours.
    Bug,
}

impl Fault {
    /// The gRPC code.
    #[must_use]
    pub const fn grpc(self) -> Code {
        match self {
            Self::InvalidInput => Code::InvalidArgument,
            Self::NotFound => Code::NotFound,
            Self::Withdrawn | Self::Conflict => Code::FailedPrecondition,
            Self::Unauthenticated => Code::Unauthenticated,
            Self::Forbidden => Code::PermissionDenied,
            Self::Exhausted => Code::ResourceExhausted,
            Self::Unavailable => Code::Unavailable,
            Self::Bug => Code::Internal,
        }
    }

    /// The HTTP status.
    #[must_use]
    pub const fn http(self) -> StatusCode {
        match self {
            Self::InvalidInput => StatusCode::BAD_REQUEST,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Withdrawn => StatusCode::GONE,
            Self::Conflict => StatusCode::CONFLICT,
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::Exhausted => StatusCode::TOO_MANY_REQUESTS,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Bug => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// An error that knows its [`Fault`].
pub trait Classify: Error {
    /// What the caller may do about it.
    fn fault(&self) -> Fault;
}

/// The whole chain of an error in one line: `outer: cause: cause`.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line.push_str(": ");
        line.push_str(&error.to_string());
        cause = error.source();
    }
    line
}

/// The gRPC status of an error, with its whole chain as the message. A [`Fault::Bug`]
/// says only that, since its causes are nobody else's business: they are in the log.
#[must_use]
pub fn to_status(error: &impl Classify) -> Status {
    let fault = error.fault();
    let message = match fault {
        Fault::Bug => {
            tracing::error!(error = chain(error), "an internal error was answered");
            format!("internal error: {error} (the coordinator's log has the cause)")
        }
        Fault::InvalidInput
        | Fault::NotFound
        | Fault::Withdrawn
        | Fault::Conflict
        | Fault::Unauthenticated
        | Fault::Forbidden
        | Fault::Exhausted
        | Fault::Unavailable => chain(error),
    };
    Status::new(fault.grpc(), message)
}

/// Whether a failed call may be tried again as it is. tonic reports an expired
/// deadline and a connection that broke under a call as `Cancelled` or `Unknown`.
#[must_use]
pub fn is_transient(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Unavailable
            | Code::Cancelled
            | Code::Unknown
            | Code::DeadlineExceeded
            | Code::Aborted
            | Code::ResourceExhausted
    )
}
