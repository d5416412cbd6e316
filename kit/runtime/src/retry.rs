//! The one retry policy: exponential backoff with full jitter and a budget.
//!
//! Each delay is drawn evenly between zero and a ceiling that doubles, so
//! that many who failed together do not come back together. An operation
//! that is retried must be idempotent.

use std::fmt::Display;
use std::future::Future;
use std::time::Duration;

use rand::Rng as _;
use tokio::time::Instant;

/// What an error says about trying again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    /// It would fail in the same way.
    Stop,
    /// It may work after a while.
    Again,
    /// The other side said how long to wait.
    After(Duration),
}

/// An error that knows whether its operation may be tried again.
pub trait Retryable: Display {
    /// What to do after this error.
    fn advice(&self) -> Advice;
}

impl Retryable for tonic::Status {
    fn advice(&self) -> Advice {
        use tonic::Code;
        match self.code() {
            // `Cancelled` without our cancelling is a connection that died.
            Code::Unavailable
            | Code::DeadlineExceeded
            | Code::ResourceExhausted
            | Code::Aborted
            | Code::Cancelled => retry_after_metadata(self).map_or(Advice::Again, Advice::After),
            Code::Ok
            | Code::Unknown
            | Code::InvalidArgument
            | Code::NotFound
            | Code::AlreadyExists
            | Code::PermissionDenied
            | Code::FailedPrecondition
            | Code::OutOfRange
            | Code::Unimplemented
            | Code::Internal
            | Code::DataLoss
            | Code::Unauthenticated => Advice::Stop,
        }
    }
}

fn retry_after_metadata(status: &tonic::Status) -> Option<Duration> {
    let value = status.metadata().get("retry-after")?.to_str().ok()?;
    retry_after_seconds(value)
}

impl Retryable for reqwest::Error {
    fn advice(&self) -> Advice {
        if let Some(status) = self.status() {
            return advice_for_status(status, None);
        }
        if self.is_builder() || self.is_redirect() {
            Advice::Stop
        } else {
            Advice::Again
        }
    }
}

/// What an HTTP status says about trying again, with its `Retry-After` field
/// if there was one (RFC 9110 section 10.2.3; seconds only, a date is taken as no hint).
pub fn advice_for_status(status: http::StatusCode, retry_after: Option<&str>) -> Advice {
    let transient = status.is_server_error() && status != http::StatusCode::NOT_IMPLEMENTED
        || status == http::StatusCode::TOO_MANY_REQUESTS
        || status == http::StatusCode::REQUEST_TIMEOUT;
    if !transient {
        return Advice::Stop;
    }
    retry_after
        .and_then(retry_after_seconds)
        .map_or(Advice::Again, Advice::After)
}

fn retry_after_seconds(value: &str) -> Option<Duration> {
    value.trim().parse().ok().map(Duration::from_secs)
}

/// How often and how long to try.
#[derive(Clone, Copy, Debug)]
pub struct RetryPolicy {
    /// Ceiling of the first delay.
    pub first_delay: Duration,
    /// Ceiling of every delay, also of one that the other side asks for.
    pub max_delay: Duration,
    /// Tries in all, the first one included. At least one is made.
    pub attempts: u32,
    /// No new try begins after this much time; measured from the first.
    pub budget: Duration,
}

impl Default for RetryPolicy {
    /// Five tries within 30 s, delays from 200 ms up to 5 s.
    fn default() -> Self {
        Self {
            first_delay: Duration::from_millis(200),
            max_delay: Duration::from_secs(5),
            attempts: 5,
            budget: Duration::from_secs(30),
        }
    }
}

/// Runs `operation` until it succeeds, its error says stop, or the policy is
/// used up. `name` is what the log calls it.
///
/// # Errors
/// The error of the last try.
pub async fn retry<T, E, F, Fut>(policy: RetryPolicy, name: &str, mut operation: F) -> Result<T, E>
where
    E: Retryable,
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    let started = Instant::now();
    let mut backoff = Backoff::new(policy.first_delay, policy.max_delay);
    let mut tries = 0_u32;
    loop {
        tries += 1;
        let error = match operation().await {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        let delay = match error.advice() {
            Advice::Stop => return Err(error),
            Advice::Again => backoff.next_delay(),
            // Jitter on top, so that those who were told the same do not
            // come back together.
            Advice::After(hint) => hint.min(policy.max_delay) + backoff.next_delay(),
        };
        if tries >= policy.attempts || started.elapsed() + delay > policy.budget {
            return Err(error);
        }
        let delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        tracing::debug!(operation = name, tries, delay_ms, %error, "trying again");
        tokio::time::sleep(delay).await;
    }
}

/// Delays for a loop that reconnects for ever: full jitter below a ceiling
/// that doubles up to a cap, and starts again after [`Backoff::reset`].
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    cap: Duration,
    ceiling: Duration,
}

impl Backoff {
    /// Delays from below `first` up to below `cap`.
    pub fn new(first: Duration, cap: Duration) -> Self {
        let first = first.min(cap);
        Self {
            first,
            cap,
            ceiling: first,
        }
    }

    /// For connections between our own programs: up to 0.5 s at first, up to 30 s after.
    pub fn for_reconnects() -> Self {
        Self::new(Duration::from_millis(500), Duration::from_secs(30))
    }

    /// The next delay.
    pub fn next_delay(&mut self) -> Duration {
        let delay = self.ceiling.mul_f64(rand::rng().random::<f64>());
        self.ceiling = self.ceiling.saturating_mul(2).min(self.cap);
        delay
    }

    /// To be called when the connection has proven itself.
    pub fn reset(&mut self) {
        self.ceiling = self.first;
    }
}

impl Iterator for Backoff {
    type Item = Duration;

    /// Never ends.
    fn next(&mut self) -> Option<Duration> {
        Some(self.next_delay())
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[derive(Debug, PartialEq, thiserror::Error)]
    #[error("told {0:?}")]
    struct Told(Advice);

    impl Retryable for Told {
        fn advice(&self) -> Advice {
            self.0
        }
    }

    async fn tries_until(policy: RetryPolicy, advice: Advice, succeed_at: u32) -> (u32, bool) {
        let tries = Cell::new(0);
        let result = retry(policy, "test", || {
            tries.set(tries.get() + 1);
            let outcome = if tries.get() == succeed_at {
                Ok(())
            } else {
                Err(Told(advice))
            };
            async move { outcome }
        })
        .await;
        (tries.get(), result.is_ok())
    }

    /// Real time passes in these tests, so the delays are tiny.
    const QUICK: RetryPolicy = RetryPolicy {
        first_delay: Duration::from_micros(10),
        max_delay: Duration::from_millis(20),
        attempts: 5,
        budget: Duration::from_secs(30),
    };

    #[tokio::test]
    async fn it_tries_until_success_stop_or_the_end_of_its_attempts() {
        assert_eq!(tries_until(QUICK, Advice::Again, 3).await, (3, true));
        assert_eq!(tries_until(QUICK, Advice::Stop, 3).await, (1, false));
        assert_eq!(tries_until(QUICK, Advice::Again, 99).await, (5, false));
    }

    #[tokio::test]
    async fn a_hint_is_waited_for_but_never_past_the_cap_or_the_budget() {
        let started = Instant::now();
        let ten_ms = Advice::After(Duration::from_millis(10));
        assert_eq!(tries_until(QUICK, ten_ms, 2).await, (2, true));
        assert!(started.elapsed() >= Duration::from_millis(10));

        let an_hour = Advice::After(Duration::from_secs(3600));
        assert_eq!(tries_until(QUICK, an_hour, 2).await, (2, true));

        let impatient = RetryPolicy {
            budget: Duration::from_millis(19),
            ..QUICK
        };
        assert_eq!(tries_until(impatient, an_hour, 2).await, (1, false));
    }

    #[test]
    fn delays_stay_below_a_ceiling_that_doubles_up_to_the_cap() {
        let (first, cap) = (Duration::from_millis(100), Duration::from_millis(450));
        let mut backoff = Backoff::new(first, cap);
        for _ in 0..2 {
            for ceiling_ms in [100, 200, 400, 450, 450] {
                assert!(backoff.next_delay() <= Duration::from_millis(ceiling_ms));
            }
            backoff.reset();
        }
        let distinct: std::collections::BTreeSet<Duration> =
            Backoff::new(cap, cap).take(20).collect();
        assert!(distinct.len() > 10, "delays are drawn at random");
    }

    #[test]
    fn http_and_grpc_answers_are_read_the_same_way() {
        use http::StatusCode;
        let status = |code, hint| advice_for_status(StatusCode::from_u16(code).unwrap(), hint);
        assert_eq!(status(404, None), Advice::Stop);
        assert_eq!(status(501, Some("3")), Advice::Stop);
        assert_eq!(status(500, None), Advice::Again);
        let three_seconds = Advice::After(Duration::from_secs(3));
        assert_eq!(status(503, Some(" 3 ")), three_seconds);
        assert_eq!(
            status(429, Some("Wed, 21 Oct 2026 07:28:00 GMT")),
            Advice::Again
        );

        assert_eq!(tonic::Status::not_found("x").advice(), Advice::Stop);
        let mut busy = tonic::Status::unavailable("x");
        assert_eq!(busy.advice(), Advice::Again);
        busy.metadata_mut()
            .insert("retry-after", "3".parse().unwrap());
        assert_eq!(busy.advice(), three_seconds);
    }
}
