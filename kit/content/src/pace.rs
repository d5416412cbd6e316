//! How many requests one host is sent at a time: more while it answers, half
//! as many when it says that it is too much or does not answer, none while it
//! asked to be left alone. All who talk to a host share its pace.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use url::Url;

/// Requests at a time to begin with.
const FIRST_WINDOW: f64 = 8.0;
/// Requests at a time at most.
const LARGEST_WINDOW: f64 = 64.0;
/// Longest silence that a host may ask for at once.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Pause after a refusal that does not say how long.
const USUAL_PAUSE: Duration = Duration::from_millis(500);

/// The paces of all hosts. Cloning gives another handle to the same.
#[derive(Clone, Debug, Default)]
pub struct Paces {
    hosts: Arc<Mutex<HashMap<String, Pace>>>,
}

impl Paces {
    /// The pace of the host (scheme, name and port) of `url`.
    #[must_use]
    pub fn of(&self, url: &Url) -> Pace {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        let host = url.origin().ascii_serialization();
        hosts.entry(host).or_default().clone()
    }
}

/// The pace of one host. Cloning gives another handle to the same.
#[derive(Clone, Debug, Default)]
pub struct Pace {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug)]
struct State {
    window: f64,
    under_way: usize,
    not_before: Option<Instant>,
    last_cut: Option<Instant>,
}

impl State {
    /// Halves the window, once for all that was under way.
    fn cut(&mut self, began: Instant, now: Instant) {
        // What was sent before the last cut says nothing new.
        if self.last_cut.is_none_or(|cut| began > cut) {
            self.window = (self.window / 2.0).max(1.0);
            self.last_cut = Some(now);
        }
    }
}

impl Default for State {
    fn default() -> Self {
        Self {
            window: FIRST_WINDOW,
            under_way: 0,
            not_before: None,
            last_cut: None,
        }
    }
}

/// How a host took a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It answered, whatever it said.
    Answered,
    /// It was too much (429, 503).
    TooMuch {
        /// How long it wants to be left alone.
        retry_after: Option<Duration>,
    },
    /// Nothing came back.
    Failed,
}

/// The right to one request, until it is told how that went. Dropped, it says
/// nothing about the host.
#[derive(Debug)]
pub struct Turn {
    pace: Pace,
    began: Instant,
}

impl Pace {
    /// Waits until another request may be sent.
    pub async fn turn(&self) -> Turn {
        loop {
            // Registered before looking, so that no change is missed.
            let mut changed = std::pin::pin!(self.shared.changed.notified());
            changed.as_mut().enable();
            let now = Instant::now();
            let pause = {
                let mut state = self.state();
                match state.not_before {
                    Some(until) if until > now => Some(until),
                    _ if (state.under_way as f64) < state.window.floor() => {
                        state.under_way += 1;
                        return Turn {
                            pace: self.clone(),
                            began: now,
                        };
                    }
                    _ => None,
                }
            };
            match pause {
                Some(until) => sleep_until(until).await,
                None => changed.await,
            }
        }
    }

    /// Requests that may be under way at a time just now.
    #[must_use]
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 1 and 64"
    )]
    pub fn window(&self) -> usize {
        self.state().window.floor() as usize
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn {
    /// Tells how the request was taken.
    pub fn end(self, taken: Taken) {
        let mut state = self.pace.state();
        match taken {
            Taken::Answered => {
                state.window = (state.window + 1.0 / state.window).min(LARGEST_WINDOW);
            }
            Taken::TooMuch { retry_after } => {
                let now = Instant::now();
                state.cut(self.began, now);
                let pause = retry_after.unwrap_or(USUAL_PAUSE).min(LONGEST_PAUSE);
                state.not_before = state.not_before.max(Some(now + pause));
            }
            Taken::Failed => state.cut(self.began, Instant::now()),
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.pace.state().under_way -= 1;
        self.pace.shared.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::FutureExt as _;

    use super::*;

    const TOO_MUCH: Taken = Taken::TooMuch {
        retry_after: Some(Duration::from_millis(30)),
    };

    #[tokio::test]
    async fn the_window_grows_by_one_a_round_and_is_halved_once_for_a_burst_of_refusals() {
        let pace = Pace::default();
        let mut round = Vec::new();
        for _ in 0..8 {
            round.push(pace.turn().await);
        }
        assert!(pace.turn().now_or_never().is_none(), "the window is full");
        round.drain(..).for_each(|turn| turn.end(Taken::Answered));
        assert_eq!(pace.window(), 8 + usize::from(pace.state().window >= 9.0));
        pace.turn().await.end(Taken::Answered);
        assert_eq!(pace.window(), 9);

        for _ in 0..9 {
            round.push(pace.turn().await);
        }
        round.drain(..).for_each(|turn| turn.end(TOO_MUCH));
        assert_eq!(pace.window(), 4);
        pace.shared.state.lock().unwrap().not_before = None;
        pace.turn().await.end(Taken::Failed);
        assert_eq!(pace.window(), 2);
    }

    #[tokio::test]
    async fn a_host_that_asked_for_it_is_left_alone_by_everybody() {
        let paces = Paces::default();
        let url = "http://127.0.0.1:5000/a".parse().unwrap();
        let same = "http://127.0.0.1:5000/b?c".parse().unwrap();
        let other = "http://127.0.0.1:5001/a".parse().unwrap();
        let began = Instant::now();
        paces.of(&url).turn().await.end(TOO_MUCH);
        assert!(paces.of(&other).turn().now_or_never().is_some());
        assert!(paces.of(&same).turn().now_or_never().is_none());
        drop(paces.of(&same).turn().await);
        assert!(began.elapsed() >= Duration::from_millis(30));
    }

    #[tokio::test]
    async fn at_least_one_request_is_always_possible() {
        let pace = Pace::default();
        for _ in 0..10 {
            let refused = Taken::TooMuch {
                retry_after: Some(Duration::from_micros(1)),
            };
            pace.turn().await.end(refused);
        }
        assert_eq!(pace.window(), 1);
        let only = pace.turn().await;
        assert!(pace.turn().now_or_never().is_none());
        drop(only);
        pace.turn().await.end(Taken::Failed);
    }
}
