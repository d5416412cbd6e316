//! The programs of the demo, each a library in this process: started one after
//! the other, watched, and stopped in the opposite order.

use std::{error::Error, future::Future, sync::Arc, time::Duration};

use landfall_runtime::{OnError, Shutdown, Tasks};
use tokio::sync::Notify;

use crate::failure::Failure;

/// How long a program may take until it is ready.
const READY_WITHIN: Duration = Duration::from_secs(20);
/// How long it may take to stop.
const STOPPED_WITHIN: Duration = Duration::from_secs(10);

/// Called by a program with its line of addresses when it is ready.
pub(super) type Announce = Box<dyn Fn(&str) + Send + Sync>;

/// A program that runs.
#[derive(Debug)]
pub(super) struct Program {
    name: String,
    shutdown: Shutdown,
    tasks: Tasks,
}

impl Program {
    /// Starts a program that needs no time to get ready.
    pub(super) fn spawn<F, E>(name: impl Into<String>, run: impl FnOnce(Shutdown) -> F) -> Self
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Error + Send + Sync + 'static,
    {
        let name = name.into();
        let shutdown = Shutdown::new();
        let tasks = Tasks::new(shutdown.clone());
        let running = run(shutdown.clone());
        let ended = shutdown.clone();
        tasks.spawn(name.clone(), OnError::Fail, async move {
            let result = running.await;
            // Whoever watches learns of an end without a failure, too.
            ended.trigger();
            result
        });
        Self {
            name,
            shutdown,
            tasks,
        }
    }

    async fn stop(self) -> Result<(), Failure> {
        self.shutdown.trigger();
        self.tasks
            .join(STOPPED_WITHIN)
            .await
            .map_err(|error| Failure::failed(&format!("{} did not end well", self.name), &error))
    }
}

/// All that run, in the order in which they were started.
#[derive(Debug, Default)]
pub(super) struct Programs(Vec<Program>);

impl Programs {
    /// Adds one that needs no time to get ready.
    pub(super) fn push(&mut self, program: Program) {
        self.0.push(program);
    }

    /// Starts the next one and waits until it says that it is ready. It is
    /// among those that [`Self::stop`] stops whatever happens, and why it
    /// could not start is told there.
    pub(super) async fn start<F, E>(
        &mut self,
        name: impl Into<String>,
        run: impl FnOnce(Announce, Shutdown) -> F,
    ) -> Result<(), Failure>
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Error + Send + Sync + 'static,
    {
        let ready = Arc::new(Notify::new());
        let announced = Arc::clone(&ready);
        let announce: Announce = Box::new(move |_| announced.notify_one());
        let program = Program::spawn(name, |shutdown| run(announce, shutdown));
        let name = program.name.clone();
        let ended = program.shutdown.requested_owned();
        self.push(program);
        tokio::select! {
            () = ready.notified() => Ok(()),
            () = ended => Err(Failure::Failed(format!("the {name} stopped before it was ready"))),
            () = tokio::time::sleep(READY_WITHIN) => Err(Failure::Failed(format!(
                "the {name} was not ready within {} s",
                READY_WITHIN.as_secs()
            ))),
        }
    }

    /// Completes when one of them ends; says which.
    pub(super) fn any_ended(&self) -> impl Future<Output = String> + use<> {
        let ends: Vec<_> = self
            .0
            .iter()
            .map(|program| {
                let name = program.name.clone();
                let shutdown = program.shutdown.clone();
                Box::pin(async move {
                    shutdown.requested().await;
                    name
                })
            })
            .collect();
        async move {
            if ends.is_empty() {
                return std::future::pending().await;
            }
            futures::future::select_all(ends).await.0
        }
    }

    /// Stops all, those started last first; tells every one that did not end well.
    pub(super) async fn stop(self) -> Vec<Failure> {
        let mut failures = Vec::new();
        for program in self.0.into_iter().rev() {
            failures.extend(program.stop().await.err());
        }
        failures
    }
}

#[cfg(test)]
mod tests {
    use std::{io, sync::Mutex};

    use super::*;

    #[tokio::test]
    async fn programs_stop_in_the_opposite_order() {
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut programs = Programs::default();
        for name in ["one", "two", "three"] {
            let order = Arc::clone(&order);
            let started = programs.start(name, |announce, shutdown: Shutdown| async move {
                announce("ready");
                shutdown.requested().await;
                order.lock().unwrap().push(name);
                Ok::<(), io::Error>(())
            });
            started.await.unwrap();
        }
        assert!(programs.stop().await.is_empty());
        assert_eq!(*order.lock().unwrap(), ["three", "two", "one"]);
    }

    #[tokio::test]
    async fn a_program_that_cannot_start_says_why() {
        let mut programs = Programs::default();
        let failed = programs.start("it", |_, _| async { Err(io::Error::other("no port")) });
        failed.await.unwrap_err();
        let failures = programs.stop().await;
        assert!(failures[0].message().contains("no port"), "{failures:?}");
    }

    #[tokio::test]
    async fn it_is_noticed_when_a_program_ends_by_itself() {
        let mut programs = Programs::default();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        programs.push(Program::spawn("it", |_| async move {
            stopped.await.map_err(io::Error::other)
        }));
        let ended = programs.any_ended();
        drop(stop);
        assert_eq!(ended.await, "it");
        assert_eq!(programs.stop().await.len(), 1);
    }
}
