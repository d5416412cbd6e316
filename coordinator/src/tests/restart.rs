//! A coordinator that is killed in the middle of something.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::header::CONTENT_LENGTH;
use axum::response::IntoResponse;
use axum::routing::get;
use landfall_proto::v1::{self, operation_event};
use landfall_runtime::{OnError, Shutdown, Tasks, ops};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use super::running::{Folders, Running, file_manifests, rule, write};
use crate::{RunError, RunOptions, run};

pub(super) const FIRST: &[u8] = &[7; 100_000];
pub(super) const REST: &[u8] = &[9; 50_000];

/// Serves one file, of which the rest comes once `open` says so.
pub(super) fn slow_staging(open: watch::Receiver<bool>) -> Router {
    let open = Arc::new(open);
    let answer = move || {
        let mut open = open.as_ref().clone();
        async move {
            let rest = async move {
                open.wait_for(|open| *open).await.unwrap();
                Ok(bytes::Bytes::from_static(REST))
            };
            let first =
                std::future::ready(Ok::<_, std::io::Error>(bytes::Bytes::from_static(FIRST)));
            let body = futures::StreamExt::chain(
                futures::stream::once(first),
                futures::stream::once(rest),
            );
            let length = (FIRST.len() + REST.len()).to_string();
            ([(CONTENT_LENGTH, length)], Body::from_stream(body)).into_response()
        }
    };
    Router::new().route("/kops/1.0/slow", get(answer))
}

#[derive(Clone, Copy, PartialEq)]
enum End {
    Killed,
    Stopped,
}

#[test]
fn a_killed_operation_is_resumed_and_ends_as_it_would_have() {
    interrupted(End::Killed);
}

#[test]
fn a_stop_leaves_an_operation_to_the_next_start() {
    interrupted(End::Stopped);
}

fn interrupted(end: End) {
    let folders = Folders::new();
    let content = [FIRST, REST].concat();
    let tree = folders.path("tree");
    file_manifests(&tree, &[("1.0/slow", &content)]);
    let (open, is_open) = watch::channel(false);
    let outside = Runtime::new().unwrap();
    let tasks = Tasks::new(Shutdown::new());
    let address = outside.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = ops::serve(listener, slow_staging(is_open), tasks.shutdown().clone());
        tasks.spawn("staging", OnError::Fail, serving);
        address
    });
    let config = || {
        folders.config(vec![rule(
            "gs://staging/kops",
            format!("http://{address}/kops"),
        )])
    };

    let doomed = Runtime::new().unwrap();
    let operation = doomed.block_on(async {
        let coordinator = Running::start(config()).await;
        let planned = coordinator.plan(&tree, v1::PlanOptions::default()).await;
        let operation = coordinator.start_promotion(&planned).await;
        let request = v1::WatchOperationRequest {
            operation: operation.clone(),
        };
        let mut events = coordinator
            .promotion()
            .watch_operation(request)
            .await
            .unwrap()
            .into_inner();
        loop {
            let event = events.message().await.unwrap().unwrap().kind.unwrap();
            if let operation_event::Kind::Progress(progress) = event
                && progress.bytes_done > 0
            {
                assert_eq!(progress.bytes_total, content.len() as u64);
                break;
            }
        }
        drop(events);
        if end == End::Stopped {
            coordinator.stop().await;
        }
        operation
    });
    // Every task is dropped where it stands.
    doomed.shutdown_timeout(Duration::from_secs(20));

    open.send(true).unwrap();
    outside.block_on(async {
        let coordinator = Running::start(config()).await;
        let ended = coordinator.watch(&operation).await;
        assert_eq!(ended.outcome("binaries/kops/1.0/slow"), "copied");
        assert_eq!((ended.done.revision, ended.done.copied), (1, 1));
        let (status, body) = coordinator.get("/origin/binaries/kops/1.0/slow").await;
        assert_eq!((status, &body[..]), (200, &content[..]));
        coordinator.stop().await;
        tasks.shutdown().trigger();
        tasks.join(Duration::from_secs(20)).await.unwrap();
    });
}

#[tokio::test]
async fn nothing_runs_without_identity_unless_loopback_is_asked_for() {
    let folders = Folders::new();
    let options = RunOptions {
        insecure_loopback: false,
        origin_is_lost: false,
        announce: Box::new(|line| panic!("{line}")),
    };
    let refused = run(folders.config(Vec::new()), options, Shutdown::new()).await;
    assert!(matches!(refused, Err(RunError::NoIdentity)));
    assert!(!folders.path("coordinator").try_exists().unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_with_open_streams_is_prompt_and_orderly() {
    let folders = Folders::new();
    let coordinator = Running::start(folders.config(Vec::new())).await;
    let watching = v1::CatalogWatchRequest { from_size: 0 };
    let mut catalog = v1::catalog_client::CatalogClient::new(coordinator.channel.clone());
    let mut stream = catalog.watch(watching).await.unwrap().into_inner();
    stream.message().await.unwrap().unwrap();
    tokio::time::timeout(Duration::from_secs(10), coordinator.stop())
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_outlives_a_restart_and_its_trace_reaches_the_readers() {
    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let folders = Folders::new();
    let (tree, staging) = (folders.path("tree"), folders.path("kops"));
    write(&staging.join("1.0/a"), b"a");
    file_manifests(&tree, &[("1.0/a", b"a")]);
    let config = || {
        let endpoint = format!("file://{}", staging.display());
        folders.config(vec![rule("gs://staging/kops", endpoint)])
    };
    let coordinator = Running::start(config()).await;
    let planned = coordinator.plan(&tree, v1::PlanOptions::default()).await;
    coordinator.stop().await;

    let coordinator = Running::start(config()).await;
    let mut request = tonic::Request::new(v1::PromoteRequest {
        plan: planned.summary().plan.clone(),
        why: String::new(),
        source: String::new(),
        gate: None,
    });
    request
        .metadata_mut()
        .insert("traceparent", PARENT.parse().unwrap());
    let started = coordinator.promotion().promote(request).await.unwrap();
    let ended = coordinator.watch(&started.into_inner().operation).await;
    assert_eq!((ended.done.revision, ended.done.copied), (1, 1));

    let watching = v1::CatalogWatchRequest { from_size: 0 };
    let mut catalog = v1::catalog_client::CatalogClient::new(coordinator.channel.clone());
    let mut stream = catalog.watch(watching).await.unwrap().into_inner();
    let checkpoint = loop {
        let message = stream.message().await.unwrap().unwrap();
        if let Some(v1::catalog_watch_response::Kind::Checkpoint(checkpoint)) = message.kind {
            break checkpoint;
        }
    };
    assert_eq!(checkpoint.trace_parent, PARENT);
    coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operation_ends_as_soon_as_its_rows_can_be_written_again() {
    let folders = Folders::new();
    let tree = folders.path("tree");
    write(&folders.path("staging").join("1.0/a"), "a");
    file_manifests(&tree, &[("1.0/a", b"a")]);
    let staging = format!("file://{}/", folders.path("staging").display());
    let config = folders.config(vec![rule("gs://staging/kops", staging)]);
    let database = config.data_dir.join("coordinator.sqlite");
    let coordinator = Running::start(config).await;
    let planned = coordinator.plan(&tree, v1::PlanOptions::default()).await;

    // What a full disk says, and for as long as it is full.
    let disk = rusqlite::Connection::open(&database).unwrap();
    for table in ["operation", "operation_entry"] {
        disk.execute_batch(&format!(
            "CREATE TRIGGER full_{table} BEFORE UPDATE ON {table} \
             BEGIN SELECT RAISE(ABORT, 'database or disk is full'); END;"
        ))
        .unwrap();
    }
    let operation = coordinator.start_promotion(&planned).await;
    let request = v1::WatchOperationRequest {
        operation: operation.clone(),
    };
    let events = coordinator.promotion().watch_operation(request).await;
    let mut events = events.unwrap().into_inner();
    let trouble = loop {
        let event = futures::StreamExt::next(&mut events).await;
        let event = event.expect("it does not end before it can").unwrap();
        if let Some(operation_event::Kind::Progress(now)) = event.kind
            && !now.trouble.is_empty()
        {
            break now.trouble;
        }
    };
    assert!(trouble.contains("disk is full"), "{trouble}");

    disk.execute_batch("DROP TRIGGER full_operation; DROP TRIGGER full_operation_entry;")
        .unwrap();
    let ended = coordinator.watch(&operation).await;
    assert!(
        ended.done.error.contains("disk is full"),
        "{:?}",
        ended.done
    );
    assert_eq!(ended.done.revision, 0);
    // And is done like any other when it is asked for again.
    let planned = coordinator.plan(&tree, v1::PlanOptions::default()).await;
    assert_eq!(coordinator.promote(&planned).await.done.revision, 1);
    coordinator.stop().await;
}
