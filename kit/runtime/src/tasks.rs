//! Named background tasks that are awaited at shutdown.
//!
//! A [`Tasks`] owns everything a program runs beside its main line. Each task
//! has a name and says what its failure means ([`OnError`]); a panic is a
//! failure like any other. Whoever holds the last word calls
//! [`Tasks::join`], which ends only when all of them have, or when the
//! deadline after the shutdown request has passed.

use std::any::Any;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::error::Error;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use crate::Shutdown;

/// Any error, as tasks hand it over.
pub type BoxError = Box<dyn Error + Send + Sync + 'static>;

/// What a task's failure means for the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnError {
    /// The program cannot do its job without this task: the failure is
    /// logged, requests the shutdown, and [`Tasks::join`] returns it.
    Fail,
    /// The failure is logged and everything else goes on.
    Log,
}

/// Why [`Tasks::join`] did not end well.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TaskFailure {
    /// A task with [`OnError::Fail`] returned an error.
    #[error("task {task} failed")]
    Failed {
        /// The task's name.
        task: String,
        /// What it returned.
        #[source]
        source: BoxError,
    },
    /// A task with [`OnError::Fail`] panicked.
    #[error("task {task} panicked: {message}")]
    Panicked {
        /// The task's name.
        task: String,
        /// The panic's message.
        message: String,
    },
    /// Some tasks had not ended when the deadline passed. They
    /// were aborted; blocking ones may still be running.
    #[error("tasks did not stop in time: {}", tasks.join(", "))]
    Unfinished {
        /// Their names, sorted.
        tasks: Vec<String>,
    },
}

/// What a task may return: nothing, or a result with any error.
pub trait TaskOutput {
    /// The same as a result.
    ///
    /// # Errors
    /// What the task returned as its error.
    fn into_result(self) -> Result<(), BoxError>;
}

impl TaskOutput for () {
    fn into_result(self) -> Result<(), BoxError> {
        Ok(())
    }
}

impl TaskOutput for Infallible {
    fn into_result(self) -> Result<(), BoxError> {
        match self {}
    }
}

impl<E: Into<BoxError>> TaskOutput for Result<(), E> {
    fn into_result(self) -> Result<(), BoxError> {
        self.map_err(Into::into)
    }
}

/// A handle to a program's background tasks. Clones share them.
#[derive(Clone, Debug)]
pub struct Tasks {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    shutdown: Shutdown,
    state: Mutex<State>,
    /// Woken when a task ends.
    ended: Notify,
}

#[derive(Debug, Default)]
struct State {
    next_id: u64,
    running: BTreeMap<u64, Running>,
    /// The first failure of a task with [`OnError::Fail`].
    failure: Option<TaskFailure>,
    /// Set when `join` has ended: nothing starts any more.
    closed: bool,
}

#[derive(Debug)]
struct Running {
    name: String,
    /// Absent until the task is spawned.
    abort: Option<AbortHandle>,
}

impl Tasks {
    /// No tasks yet. A failure of one with [`OnError::Fail`] triggers
    /// `shutdown`; tasks are expected to end soon after it is requested.
    pub fn new(shutdown: Shutdown) -> Self {
        Self {
            shared: Arc::new(Shared {
                shutdown,
                state: Mutex::new(State::default()),
                ended: Notify::new(),
            }),
        }
    }

    /// The shutdown that these tasks listen to.
    pub fn shutdown(&self) -> &Shutdown {
        &self.shared.shutdown
    }

    /// Starts an asynchronous task. After [`Tasks::join`] has ended, the
    /// future is dropped instead.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn spawn<F>(&self, name: impl Into<String>, on_error: OnError, future: F)
    where
        F: Future + Send + 'static,
        F::Output: TaskOutput,
    {
        let Some(registration) = self.register(name.into()) else {
            return;
        };
        let shared = Arc::clone(&self.shared);
        let id = registration.id;
        let task = async move {
            let result = AssertUnwindSafe(future.map(TaskOutput::into_result))
                .catch_unwind()
                .await;
            registration.finish(on_error, result);
        };
        #[allow(
            clippy::disallowed_methods,
            reason = "this is the one place that everything else spawns through"
        )]
        let handle = tokio::spawn(task);
        shared.remember_abort_handle(id, handle.abort_handle());
    }

    /// The names of the tasks that are running, sorted.
    pub fn running(&self) -> Vec<String> {
        self.shared.running_names()
    }

    /// Waits until every task has ended. Once the shutdown is requested, the
    /// rest get `deadline` to do so; what then still runs is aborted.
    ///
    /// # Errors
    /// The first failure of a task with [`OnError::Fail`]; else, which tasks
    /// did not stop in time.
    pub async fn join(&self, deadline: Duration) -> Result<(), TaskFailure> {
        let all_ended = self.shared.all_ended();
        tokio::pin!(all_ended);
        let in_time = tokio::select! {
            () = &mut all_ended => true,
            () = self.shared.shutdown.requested() => {
                tokio::time::timeout(deadline, &mut all_ended).await.is_ok()
            }
        };
        self.shared.close(in_time)
    }

    fn register(&self, name: String) -> Option<Registration> {
        let mut state = self.shared.state();
        if state.closed {
            tracing::debug!(task = name, "not started: the program has stopped");
            return None;
        }
        let id = state.next_id;
        state.next_id += 1;
        state.running.insert(
            id,
            Running {
                name: name.clone(),
                abort: None,
            },
        );
        drop(state);
        Some(Registration {
            id,
            name,
            shared: Arc::clone(&self.shared),
        })
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds this lock, so the state is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remember_abort_handle(&self, id: u64, handle: AbortHandle) {
        if let Some(running) = self.state().running.get_mut(&id) {
            running.abort = Some(handle);
        }
    }

    fn running_names(&self) -> Vec<String> {
        let mut names: Vec<String> = self
            .state()
            .running
            .values()
            .map(|running| running.name.clone())
            .collect();
        names.sort();
        names
    }

    async fn all_ended(&self) {
        loop {
            let mut ended = std::pin::pin!(self.ended.notified());
            // Registered before the look, so that no end is missed.
            ended.as_mut().enable();
            if self.state().running.is_empty() {
                return;
            }
            ended.await;
        }
    }

    fn close(&self, in_time: bool) -> Result<(), TaskFailure> {
        let unfinished = self.running_names();
        let (failure, aborts) = {
            let mut state = self.state();
            state.closed = true;
            let aborts: Vec<AbortHandle> = state
                .running
                .values_mut()
                .filter_map(|running| running.abort.take())
                .collect();
            (state.failure.take(), aborts)
        };
        for abort in aborts {
            abort.abort();
        }
        match failure {
            Some(failure) => Err(failure),
            None if in_time => Ok(()),
            None => Err(TaskFailure::Unfinished { tasks: unfinished }),
        }
    }
}

/// Keeps a task in the list of running ones for as long as it lives.
struct Registration {
    id: u64,
    name: String,
    shared: Arc<Shared>,
}

impl Registration {
    fn finish(self, on_error: OnError, result: Result<Result<(), BoxError>, Box<dyn Any + Send>>) {
        let failure = match result {
            Ok(Ok(())) => {
                tracing::debug!(task = self.name, "task ended");
                return;
            }
            Ok(Err(source)) => TaskFailure::Failed {
                task: self.name.clone(),
                source,
            },
            Err(panic) => TaskFailure::Panicked {
                task: self.name.clone(),
                message: panic_message(panic.as_ref()),
            },
        };
        tracing::error!(
            task = self.name,
            error = &failure as &dyn Error,
            "task failed"
        );
        if on_error == OnError::Fail {
            self.shared.state().failure.get_or_insert(failure);
            self.shared.shutdown.trigger();
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.shared.state().running.remove(&self.id);
        self.shared.ended.notify_waiters();
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    if let Some(message) = panic.downcast_ref::<&str>() {
        (*message).to_owned()
    } else if let Some(message) = panic.downcast_ref::<String>() {
        message.clone()
    } else {
        "no message".to_owned()
    }
}

#[cfg(test)]
mod tests;
