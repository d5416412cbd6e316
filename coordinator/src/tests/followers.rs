//! Many clients that follow one operation.

use std::time::Duration;

use futures::StreamExt as _;
use landfall_proto::v1::{self, operation_event, promotion_client::PromotionClient};
use landfall_runtime::dial::grpc_channel;
use landfall_runtime::{OnError, Shutdown, Tasks, ops};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tonic::Streaming;

use super::restart::{FIRST, REST, slow_staging};
use super::running::{Folders, Running, file_manifests, rule};

const FOLLOWERS: usize = 200;
/// Fewer than a connection may have.
const OF_A_CONNECTION: usize = 50;
/// Reads and writes of the database that an operation and its followers may cost.
const BOUND: u64 = 40;

type Events = Streaming<v1::OperationEvent>;

/// How often the database was asked so far.
async fn asked(coordinator: &Running) -> u64 {
    let (_, metrics) = coordinator.get("/metrics").await;
    let metrics = String::from_utf8(metrics.to_vec()).unwrap();
    let line = metrics
        .lines()
        .find_map(|line| line.strip_prefix("landfall_database_jobs_total "));
    line.unwrap().parse().unwrap()
}

async fn follow(coordinator: &Running, operation: &str) -> Vec<Events> {
    let mut followers = Vec::new();
    while followers.len() < FOLLOWERS {
        let channel = grpc_channel(&coordinator.grpc).unwrap();
        for _ in 0..OF_A_CONNECTION {
            let request = v1::WatchOperationRequest {
                operation: operation.to_owned(),
            };
            let mut client = PromotionClient::new(channel.clone());
            let events = client.watch_operation(request).await.unwrap();
            followers.push(events.into_inner());
        }
    }
    followers
}

async fn until_bytes_are_told(events: &mut Events) {
    loop {
        let event = events.message().await.unwrap().unwrap().kind.unwrap();
        if let operation_event::Kind::Progress(progress) = event
            && progress.bytes_done > 0
        {
            return;
        }
    }
}

/// What a follower that stays was told of the end.
async fn end(events: Events) -> (usize, Option<v1::OperationDone>) {
    let events: Vec<_> = events.collect().await;
    let kinds = events.into_iter().map(|event| event.unwrap().kind.unwrap());
    let mut outcomes = 0;
    let mut done = None;
    for kind in kinds {
        match kind {
            operation_event::Kind::Outcome(_) => outcomes += 1,
            operation_event::Kind::Done(end) => done = Some(end),
            operation_event::Kind::Progress(_) | operation_event::Kind::Gate(_) => {}
        }
    }
    (outcomes, done)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_follow_an_operation_and_half_leave_at_the_cost_of_one() {
    let folders = Folders::new();
    let tree = folders.path("tree");
    file_manifests(&tree, &[("1.0/slow", &[FIRST, REST].concat())]);
    let (open, is_open) = watch::channel(false);
    let tasks = Tasks::new(Shutdown::new());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let staging = format!("http://{}/kops", listener.local_addr().unwrap());
    let serving = ops::serve(listener, slow_staging(is_open), tasks.shutdown().clone());
    tasks.spawn("staging", OnError::Fail, serving);
    let config = folders.config(vec![rule("gs://staging/kops", staging)]);
    let coordinator = Running::start(config).await;
    let planned = coordinator.plan(&tree, v1::PlanOptions::default()).await;

    let before = asked(&coordinator).await;
    let operation = coordinator.start_promotion(&planned).await;
    let mut followers = follow(&coordinator, &operation).await;
    for events in &mut followers {
        until_bytes_are_told(events).await;
    }
    let stay = followers.split_off(FOLLOWERS / 2);
    drop(followers);
    open.send(true).unwrap();
    let ends = futures::future::join_all(stay.into_iter().map(end));
    let ends = tokio::time::timeout(Duration::from_secs(30), ends).await;
    for (outcomes, done) in ends.expect("all hear of the end") {
        let done = done.expect("an operation ends");
        assert_eq!((outcomes, done.copied, done.revision), (1, 1, 1));
    }
    let cost = asked(&coordinator).await - before;
    println!("{FOLLOWERS} followers: the database was asked {cost} times");
    assert!(cost < BOUND, "the database was asked {cost} times");
    coordinator.stop().await;
    tasks.shutdown().trigger();
    tasks.join(Duration::from_secs(20)).await.unwrap();
}
