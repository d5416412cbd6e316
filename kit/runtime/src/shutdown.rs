//! The one signal that says "stop now, in order".

use std::future::Future;
use std::io;
use std::sync::{Arc, OnceLock};

use futures::{Stream, StreamExt as _, stream};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The Unix signal that asked the process to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopSignal {
    /// SIGINT, usually Ctrl-C: exit code 130 when it interrupts.
    Interrupt,
    /// SIGTERM, from a service manager: exit code 0 after an orderly stop.
    Terminate,
}

impl StopSignal {
    /// The exit code of a process that this signal ended at once.
    pub const fn exit_code(self) -> i32 {
        match self {
            Self::Interrupt => 130,
            Self::Terminate => 143,
        }
    }
}

/// A request to stop that every clone sees. It is made once and never taken
/// back.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    token: CancellationToken,
    signal: Arc<OnceLock<StopSignal>>,
}

impl Shutdown {
    /// A shutdown that nobody has requested yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A shutdown that SIGTERM or SIGINT requests. A second signal ends the
    /// process at once, with 130 after SIGINT and 143 after SIGTERM.
    ///
    /// # Errors
    /// When the operating system refuses the signal handlers.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn on_signals() -> io::Result<Self> {
        let shutdown = Self::new();
        let signals = signals_of_process()?;
        let watched = shutdown.clone();
        #[allow(
            clippy::disallowed_methods,
            reason = "the watcher outlives every task: it must end a shutdown that hangs"
        )]
        tokio::spawn(async move {
            let exit_code = watch_signals(watched, signals).await;
            std::process::exit(exit_code);
        });
        Ok(shutdown)
    }

    /// Requests the stop. Idempotent.
    pub fn trigger(&self) {
        self.token.cancel();
    }

    /// Completes once the stop is requested; at once if it already was.
    pub async fn requested(&self) {
        self.token.cancelled().await;
    }

    /// Like [`Shutdown::requested`], as a future that borrows nothing.
    pub fn requested_owned(&self) -> impl Future<Output = ()> + Send + 'static {
        self.token.clone().cancelled_owned()
    }

    /// Whether the stop was requested.
    pub fn is_requested(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Runs `future` until it ends or the stop is requested: `None` when it
    /// was cut short. The future must be safe to drop at any `.await`.
    pub async fn unless_requested<F: Future>(&self, future: F) -> Option<F::Output> {
        self.token.run_until_cancelled(future).await
    }

    /// Which signal asked for the stop; `None` when none did.
    pub fn signal(&self) -> Option<StopSignal> {
        self.signal.get().copied()
    }
}

/// Asks for the stop at the first signal; at the second, says with which code
/// to exit.
async fn watch_signals(shutdown: Shutdown, signals: impl Stream<Item = StopSignal>) -> i32 {
    let mut signals = std::pin::pin!(signals);
    let mut next_signal = async || match signals.next().await {
        Some(signal) => signal,
        None => std::future::pending().await,
    };
    let first = next_signal().await;
    // Only this function sets the cell, and only here.
    let _first_set = shutdown.signal.set(first);
    tracing::info!(signal = ?first, "stopping; a second signal ends the process at once");
    shutdown.trigger();
    next_signal().await.exit_code()
}

fn signals_of_process() -> io::Result<impl Stream<Item = StopSignal> + Send> {
    let interrupts = signal(SignalKind::interrupt())?;
    let terminations = signal(SignalKind::terminate())?;
    Ok(stream::unfold(
        (interrupts, terminations),
        async |(mut interrupts, mut terminations)| {
            let signal = tokio::select! {
                _ = interrupts.recv() => StopSignal::Interrupt,
                _ = terminations.recv() => StopSignal::Terminate,
            };
            Some((signal, (interrupts, terminations)))
        },
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_clone_sees_the_request() {
        let shutdown = Shutdown::new();
        let clone = shutdown.clone();
        assert!(!clone.is_requested());
        clone.trigger();
        assert!(shutdown.is_requested());
        shutdown.requested().await;
        clone.requested_owned().await;
        assert_eq!(shutdown.signal(), None);
    }

    #[tokio::test]
    async fn the_first_signal_asks_for_the_stop_and_the_second_ends_it() {
        use StopSignal::{Interrupt, Terminate};
        for (signals, exit_code) in [
            ([Interrupt, Interrupt], 130),
            ([Terminate, Interrupt], 130),
            ([Interrupt, Terminate], 143),
        ] {
            let shutdown = Shutdown::new();
            let code = watch_signals(shutdown.clone(), stream::iter(signals)).await;
            assert_eq!(code, exit_code);
            assert_eq!(shutdown.signal(), Some(signals[0]));
        }

        let shutdown = Shutdown::new();
        let only_one = stream::iter([Terminate]);
        let watcher = watch_signals(shutdown.clone(), only_one);
        tokio::select! {
            code = watcher => unreachable!("exited with {code} after one signal"),
            () = shutdown.requested() => {}
        }
    }

    #[tokio::test]
    async fn work_is_cut_short_by_the_request_and_only_by_it() {
        let shutdown = Shutdown::new();
        assert_eq!(shutdown.unless_requested(async { 7 }).await, Some(7));
        shutdown.trigger();
        let endless = std::future::pending::<()>();
        assert_eq!(shutdown.unless_requested(endless).await, None);
    }
}
