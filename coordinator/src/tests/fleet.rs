//! Agents' sessions, what redirectors are told, and what outlives a restart.

use std::time::Duration;

use landfall_catalog::{Checkpoint, Digest, LogPosition, Readiness, empty_root};
use landfall_proto::model::readiness_to_wire;
use landfall_proto::v1::{
    self, agent_message, coordinator_message, fleet_client::FleetClient,
    mirrors_client::MirrorsClient, routing_client::RoutingClient, routing_watch_response,
};
use roaring::RoaringBitmap;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::running::{Folders, NAME, Running, file_manifests, rule, write};

pub(super) struct Agent {
    messages: mpsc::Sender<v1::AgentMessage>,
    answers: Streaming<v1::CoordinatorMessage>,
}

impl Agent {
    pub(super) async fn join(coordinator: &Running, name: &str) -> (Self, v1::SessionAccepted) {
        Self::holding(coordinator, name, b"").await
    }

    /// Joins and says which checkpoint it holds.
    pub(super) async fn holding(
        coordinator: &Running,
        name: &str,
        note: &[u8],
    ) -> (Self, v1::SessionAccepted) {
        let (messages, upload) = mpsc::channel(8);
        let start = agent_message::Kind::Start(v1::SessionStart {
            mirror: name.into(),
            public_url: format!("http://127.0.0.1:9/{name}/"),
            kind: v1::StoreKind::Files.into(),
            place: Some(v1::Place {
                country: "NO".into(),
                ..v1::Place::default()
            }),
            version: "0.1.0".into(),
            registry_prefix: String::new(),
            checkpoint: note.to_vec().into(),
        });
        messages.send(message(start)).await.unwrap();
        let answers = FleetClient::new(coordinator.channel.clone())
            .session(ReceiverStream::new(upload))
            .await
            .unwrap()
            .into_inner();
        let mut agent = Self { messages, answers };
        match agent.answer().await {
            coordinator_message::Kind::Accepted(accepted) => (agent, accepted),
            other => panic!("{other:?}"),
        }
    }

    async fn answer(&mut self) -> coordinator_message::Kind {
        self.answers.message().await.unwrap().unwrap().kind.unwrap()
    }

    async fn report(&mut self, readiness: &Readiness, wanted: u64) -> u64 {
        for chunk in readiness_to_wire(readiness, wanted) {
            let chunk = agent_message::Kind::Readiness(chunk);
            self.messages.send(message(chunk)).await.unwrap();
        }
        match self.answer().await {
            coordinator_message::Kind::Ack(ack) => ack.routing_revision,
            other => panic!("{other:?}"),
        }
    }

    /// Reports that it holds the first object of this log.
    pub(super) async fn report_first(&mut self, coordinator: &Running) {
        let log = head(coordinator).await;
        self.report(&holding(1, log), 1).await;
    }

    /// Sends a report that ends the session.
    async fn refused(&mut self, readiness: &Readiness) -> tonic::Status {
        for chunk in readiness_to_wire(readiness, 1) {
            let chunk = agent_message::Kind::Readiness(chunk);
            // The session may end before the last chunk.
            let _ = self.messages.send(message(chunk)).await;
        }
        self.answers.message().await.unwrap_err()
    }
}

fn message(kind: agent_message::Kind) -> v1::AgentMessage {
    v1::AgentMessage { kind: Some(kind) }
}

fn holding(through: u32, log: LogPosition) -> Readiness {
    Readiness {
        through,
        missing: RoaringBitmap::new(),
        extra: RoaringBitmap::new(),
        names_through: log.size,
        filter: Digest::of(b"everything"),
        log,
    }
}

/// Where the coordinator's log is.
async fn head(coordinator: &Running) -> LogPosition {
    let url = format!("{}/.landfall/checkpoint", coordinator.http);
    let note = landfall_runtime::dial::http_client()
        .unwrap()
        .get(url)
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    let (text, _signatures) = note.split_once("\n\n").unwrap();
    let checkpoint = Checkpoint::parse(&format!("{text}\n")).unwrap();
    LogPosition {
        origin: checkpoint.origin,
        size: checkpoint.size,
        root: checkpoint.root,
    }
}

/// Everything up to the next bookmark.
async fn next_state(
    watch: &mut Streaming<v1::RoutingWatchResponse>,
) -> (Vec<routing_watch_response::Kind>, v1::RoutingCursor) {
    let mut messages = Vec::new();
    loop {
        let message = watch.message().await.unwrap().unwrap().kind.unwrap();
        if let routing_watch_response::Kind::Bookmark(bookmark) = message {
            return (messages, bookmark.cursor.unwrap());
        }
        messages.push(message);
    }
}

async fn watch_from(
    coordinator: &Running,
    cursor: Option<v1::RoutingCursor>,
) -> Streaming<v1::RoutingWatchResponse> {
    RoutingClient::new(coordinator.channel.clone())
        .watch(v1::RoutingWatchRequest {
            checkpoint: bytes::Bytes::new(),
            cursor,
            redirector: "test".into(),
        })
        .await
        .unwrap()
        .into_inner()
}

fn is_reset(messages: &[routing_watch_response::Kind]) -> bool {
    matches!(
        messages.first(),
        Some(routing_watch_response::Kind::Reset(_))
    )
}

/// The mirrors whose readiness is among the messages.
fn reported(messages: &[routing_watch_response::Kind]) -> Vec<&str> {
    let mut mirrors: Vec<_> = messages
        .iter()
        .filter_map(|message| {
            if let routing_watch_response::Kind::Readiness(readiness) = message {
                Some(readiness.mirror.as_str())
            } else {
                None
            }
        })
        .collect();
    mirrors.dedup();
    mirrors
}

async fn promoted(folders: &Folders) -> Running {
    let (tree, staging) = (folders.path("tree"), folders.path("kops"));
    write(&staging.join("1.0/a"), b"a");
    file_manifests(&tree, &[("1.0/a", b"a")]);
    let rules = vec![rule(
        "gs://staging/kops",
        format!("file://{}", staging.display()),
    )];
    let coordinator = Running::start(folders.config(rules)).await;
    let planned = coordinator.plan(&tree, v1::PlanOptions::default()).await;
    assert_eq!(coordinator.promote(&planned).await.done.revision, 1);
    coordinator
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_report_is_told_to_redirectors_and_outlives_session_and_restart() {
    let folders = Folders::new();
    let coordinator = promoted(&folders).await;
    let mut watch = watch_from(&coordinator, None).await;
    let (messages, _) = next_state(&mut watch).await;
    assert!(is_reset(&messages));
    let log_url = format!("{}/.landfall", coordinator.http);
    assert!(
        messages.iter().any(|message| matches!(
            message,
            routing_watch_response::Kind::Policy(policy) if policy.log_url == log_url
        )),
        "{messages:?}"
    );

    let (mut agent, accepted) = Agent::join(&coordinator, "aws-east").await;
    assert_eq!(accepted.state(), v1::MirrorState::Active);
    assert_eq!(accepted.public_url, "http://127.0.0.1:7680");
    assert_eq!(accepted.origin_url, format!("{}/origin", coordinator.http));
    assert_eq!(accepted.log_url, log_url);
    let (messages, _) = next_state(&mut watch).await;
    let [routing_watch_response::Kind::Mirror(mirror)] = &messages[..] else {
        panic!("{messages:?}");
    };
    assert_eq!(mirror.public_url, "http://127.0.0.1:9/aws-east");
    assert_eq!(
        (mirror.weight, mirror.serves()),
        (50, v1::Serves::Everything)
    );
    let status = coordinator.status().await;
    assert_eq!(status["mirrors"][0]["ready_objects"], 0);
    assert!(
        status["mirrors"][0]["last_report"].is_null(),
        "not reported is never empty"
    );

    let shown_in = agent.report(&holding(1, head(&coordinator).await), 1).await;
    let (messages, cursor) = next_state(&mut watch).await;
    assert_eq!(reported(&messages), ["aws-east"]);
    assert_eq!(cursor.revision, shown_in);
    let mirror = coordinator.status().await["mirrors"][0].clone();
    assert_eq!(
        (
            &mirror["name"],
            &mirror["state"],
            &mirror["ready_objects"],
            &mirror["wanted_objects"],
            &mirror["names_revision"]
        ),
        (
            &"aws-east".into(),
            &"active".into(),
            &1.into(),
            &1.into(),
            &1.into()
        )
    );
    assert!(mirror["healthy"].is_null());

    drop(agent);
    while coordinator.status().await["mirrors"][0]["connected"] == true {
        tokio::task::yield_now().await;
    }
    let mut resumed = watch_from(&coordinator, Some(cursor)).await;
    let (messages, same) = next_state(&mut resumed).await;
    assert!(
        messages.is_empty(),
        "the end of a session changes nothing: {messages:?}"
    );
    assert_eq!(same, cursor);
    drop((watch, resumed));
    coordinator.stop().await;

    let coordinator = Running::start(folders.config(Vec::new())).await;
    let status = coordinator.status().await;
    assert_eq!(status["mirrors"][0]["ready_objects"], 1, "{status}");
    let mut watch = watch_from(&coordinator, Some(cursor)).await;
    let (messages, after) = next_state(&mut watch).await;
    assert!(is_reset(&messages), "another epoch starts over");
    assert_eq!(reported(&messages), ["aws-east"]);
    assert_ne!(after.epoch, cursor.epoch);
    drop(watch);
    coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_report_that_cannot_be_true_ends_the_session_and_changes_nothing() {
    let folders = Folders::new();
    let coordinator = promoted(&folders).await;
    let head = head(&coordinator).await;
    let (mut agent, _) = Agent::join(&coordinator, "oslo").await;
    agent.report(&holding(1, head.clone()), 1).await;
    for bad in [
        holding(2, head.clone()),
        Readiness {
            names_through: 4,
            ..holding(1, head)
        },
    ] {
        let (mut agent, _) = Agent::join(&coordinator, "oslo").await;
        agent.refused(&bad).await;
    }
    let status = coordinator.status().await;
    assert_eq!(status["mirrors"][0]["ready_objects"], 1, "{status}");
    coordinator.stop().await;
}

/// What a mirror cannot be of this log's story, and what follows from it.
fn other_stories(head: &LogPosition) -> [LogPosition; 3] {
    let other = |origin: &str, size, root| LogPosition {
        origin: origin.into(),
        size,
        root,
    };
    [
        other("elsewhere.example.org", 3, head.root),
        other(NAME, 4, head.root),
        other(NAME, 3, empty_root()),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mirror_that_follows_another_log_counts_as_not_reported() {
    let folders = Folders::new();
    let coordinator = promoted(&folders).await;
    let head = head(&coordinator).await;
    for other in other_stories(&head) {
        let (mut agent, _) = Agent::join(&coordinator, "oslo").await;
        agent.report(&holding(1, head.clone()), 1).await;
        let mut watch = watch_from(&coordinator, None).await;
        let (messages, _) = next_state(&mut watch).await;
        assert_eq!(reported(&messages), ["oslo"]);
        // More objects than this log has: it is the log that is told of.
        let refused = agent.refused(&holding(9, other)).await;
        assert_eq!(refused.code(), tonic::Code::FailedPrecondition);
        let (messages, _) = next_state(&mut watch).await;
        let [
            routing_watch_response::Kind::Removed(removed),
            routing_watch_response::Kind::Mirror(mirror),
        ] = &messages[..]
        else {
            panic!("{messages:?}");
        };
        assert_eq!(
            (removed.mirror.as_str(), mirror.name.as_str()),
            ("oslo", "oslo")
        );
        let status = coordinator.status().await;
        assert!(status["mirrors"][0]["last_report"].is_null(), "{status}");
    }
    coordinator.stop().await;
    let coordinator = Running::start(folders.config(Vec::new())).await;
    let status = coordinator.status().await;
    assert!(status["mirrors"][0]["last_report"].is_null(), "{status}");
    coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stored_report_of_another_log_is_dropped_at_the_start() {
    let folders = Folders::new();
    let coordinator = promoted(&folders).await;
    let head = head(&coordinator).await;
    let (mut agent, _) = Agent::join(&coordinator, "oslo").await;
    agent.report(&holding(1, head.clone()), 1).await;
    drop(agent);
    coordinator.stop().await;
    // As if the log had been another one when the report came.
    let database = folders.path("coordinator").join("coordinator.sqlite");
    let connection = rusqlite::Connection::open(&database).unwrap();
    let body: Vec<u8> = connection
        .query_row("SELECT body FROM report", (), |row| row.get(0))
        .unwrap();
    let at = body
        .windows(32)
        .position(|bytes| bytes == head.root.as_bytes())
        .unwrap();
    let mut other = body;
    other[at] ^= 1;
    connection
        .execute("UPDATE report SET body = ?1", [other])
        .unwrap();
    drop(connection);

    let coordinator = Running::start(folders.config(Vec::new())).await;
    let mut watch = watch_from(&coordinator, None).await;
    let (messages, _) = next_state(&mut watch).await;
    assert!(reported(&messages).is_empty(), "{messages:?}");
    let status = coordinator.status().await;
    assert!(status["mirrors"][0]["last_report"].is_null(), "{status}");
    drop(watch);
    coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newer_session_of_the_same_mirror_takes_over() {
    let folders = Folders::new();
    let coordinator = promoted(&folders).await;
    let (mut old, _) = Agent::join(&coordinator, "oslo").await;
    let (mut new, _) = Agent::join(&coordinator, "oslo").await;
    let ended = old.answers.message().await.unwrap_err();
    assert_eq!(ended.code(), tonic::Code::Aborted);
    new.report(&holding(1, head(&coordinator).await), 1).await;
    let status = coordinator.status().await;
    assert_eq!(status["mirrors"].as_array().unwrap().len(), 1);
    assert_eq!(status["mirrors"][0]["connected"], true);
    coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn probes_and_incidents_are_shown() {
    let folders = Folders::new();
    let coordinator = promoted(&folders).await;
    let (agent, _) = Agent::join(&coordinator, "oslo").await;
    let incident = agent_message::Kind::Incident(v1::Incident {
        code: "wrong-bytes".into(),
        detail: "a piece did not hash".into(),
        digest: bytes::Bytes::new(),
        source: "aws-east".into(),
    });
    agent.messages.send(message(incident)).await.unwrap();
    let mut routing = RoutingClient::new(coordinator.channel.clone());
    for (health, shown) in [(v1::Health::Down, false), (v1::Health::Up, true)] {
        let verdict = |mirror: &str| v1::ProbeVerdict {
            mirror: mirror.into(),
            health: health.into(),
            detail: String::new(),
        };
        let report = v1::RoutingReportRequest {
            redirector: "r1".into(),
            verdicts: vec![verdict("oslo"), verdict("nobody")],
            catalog_size: 3,
            routing_revision: 1,
        };
        routing.report(report).await.unwrap();
        assert_eq!(coordinator.status().await["mirrors"][0]["healthy"], shown);
    }
    let mut mirrors = MirrorsClient::new(coordinator.channel.clone());
    let listed = tokio::time::timeout(Duration::from_secs(10), async {
        loop {
            let request = v1::ListMirrorsRequest::default();
            let listed = mirrors.list(request).await.unwrap().into_inner();
            if !listed.mirrors[0].incidents.is_empty() {
                return listed;
            }
        }
    })
    .await
    .unwrap();
    assert!(listed.mirrors[0].incidents[0].contains("wrong-bytes"));
    assert_eq!(listed.mirrors[0].health(), v1::Health::Up);
    assert_eq!(
        (listed.name.as_str(), listed.revision, listed.log_size),
        (NAME, 1, 3)
    );
    assert_eq!(listed.log_url, format!("{}/.landfall", coordinator.http));
    assert_eq!(listed.verifier_keys.len(), 2);
    coordinator.stop().await;
}

#[tokio::test]
async fn a_heartbeat_is_answered_so_that_an_idle_session_is_not_taken_for_a_dead_one() {
    let folders = Folders::new();
    let coordinator = promoted(&folders).await;
    let (mut agent, _) = Agent::join(&coordinator, "uni-oslo").await;
    let beat = agent_message::Kind::Heartbeat(v1::Heartbeat::default());
    agent.messages.send(message(beat)).await.unwrap();
    assert!(matches!(
        agent.answer().await,
        coordinator_message::Kind::Ack(_)
    ));
    coordinator.stop().await;
}
