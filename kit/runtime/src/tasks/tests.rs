use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

const LONG: Duration = Duration::from_secs(60);

#[tokio::test]
async fn join_waits_for_what_tasks_do_after_the_request() {
    let tasks = Tasks::new(Shutdown::new());
    let flushed = Arc::new(AtomicBool::new(false));
    let (shutdown, flag) = (tasks.shutdown().clone(), Arc::clone(&flushed));
    tasks.spawn("flusher", OnError::Fail, async move {
        shutdown.requested().await;
        tokio::task::yield_now().await;
        flag.store(true, Ordering::SeqCst);
    });
    assert_eq!(tasks.running(), ["flusher"]);
    tasks.shutdown().trigger();
    tasks.join(LONG).await.unwrap();
    assert!(flushed.load(Ordering::SeqCst));
}

#[tokio::test]
async fn a_failure_that_matters_stops_the_others_and_is_returned() {
    let tasks = Tasks::new(Shutdown::new());
    let shutdown = tasks.shutdown().clone();
    tasks.spawn("waiter", OnError::Fail, async move {
        shutdown.requested().await;
    });
    tasks.spawn("writer", OnError::Fail, async {
        Err::<(), _>(io::Error::other("disk is full"))
    });
    let failure = tasks.join(LONG).await.unwrap_err();
    assert_eq!(failure.to_string(), "task writer failed");
    assert_eq!(failure.source().unwrap().to_string(), "disk is full");
}

#[tokio::test]
async fn a_failure_that_is_only_logged_stops_nothing() {
    let tasks = Tasks::new(Shutdown::new());
    tasks.spawn("probe", OnError::Log, async { Err::<(), _>("no answer") });
    tasks.join(LONG).await.unwrap();
    assert!(!tasks.shutdown().is_requested());
}

#[tokio::test]
async fn a_panic_is_a_failure() {
    let tasks = Tasks::new(Shutdown::new());
    tasks.spawn("async", OnError::Fail, async {
        assert_eq!(1, 2, "sum is off");
    });
    let failure = tasks.join(LONG).await.unwrap_err();
    assert!(failure.to_string().contains("task async panicked"));
    assert!(failure.to_string().contains("sum is off"));
}

#[tokio::test]
async fn a_task_that_ignores_the_request_is_named_and_aborted() {
    struct SetOnDrop(Arc<Notify>);
    impl Drop for SetOnDrop {
        fn drop(&mut self) {
            self.0.notify_one();
        }
    }
    let tasks = Tasks::new(Shutdown::new());
    let dropped = Arc::new(Notify::new());
    let guard = SetOnDrop(Arc::clone(&dropped));
    tasks.spawn("deaf", OnError::Fail, async move {
        let _guard = guard;
        std::future::pending::<()>().await;
    });
    tasks.shutdown().trigger();
    let failure = tasks.join(Duration::ZERO).await.unwrap_err();
    assert_eq!(failure.to_string(), "tasks did not stop in time: deaf");
    dropped.notified().await;
}

#[tokio::test]
async fn nothing_starts_after_the_end() {
    let tasks = Tasks::new(Shutdown::new());
    tasks.join(LONG).await.unwrap();
    tasks.spawn("late", OnError::Fail, std::future::pending::<()>());
    assert!(tasks.running().is_empty());
}
