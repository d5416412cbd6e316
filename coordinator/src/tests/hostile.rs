//! Staging hosts that are scripted to do harm.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::response::Response;
use futures::{StreamExt, stream};
use landfall_catalog::Digest;
use landfall_content::oci::{INDEX, MANIFEST};
use landfall_proto::v1;
use landfall_runtime::config::HttpUrl;
use landfall_runtime::{OnError, Shutdown, Tasks, ops};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::registry::{TestRegistry, digest_of};
use super::running::{Folders, Planned, Running, image_manifests, rule};

const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const FOREIGN: &str = "application/vnd.oci.image.layer.nondistributable.v1.tar";

type Documents = BTreeMap<String, (String, Bytes)>;

/// What a host says of a request (method and path) before its documents are looked up.
pub(super) type Script = Box<dyn Fn(&str, &[String]) -> Option<Response> + Send + Sync>;

/// A registry of documents; every blob is there, as long as it is said to be.
pub(super) struct Host {
    pub(super) url: String,
    documents: Arc<Mutex<Documents>>,
    asked: Arc<Mutex<Vec<String>>>,
    tasks: Tasks,
}

impl Host {
    pub(super) async fn start(script: Script) -> Self {
        let documents = Arc::new(Mutex::new(Documents::new()));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (has, log) = (Arc::clone(&documents), Arc::clone(&asked));
        let script = Arc::new(script);
        let router = Router::new().fallback(move |request: Request| {
            let path = request.uri().path().to_owned();
            let line = format!("{} {path}", request.method());
            let before = log.lock().unwrap().clone();
            log.lock().unwrap().push(line.clone());
            let answer = script(&line, &before).unwrap_or_else(|| {
                let last = path.rsplit('/').next().unwrap();
                match has.lock().unwrap().get(last) {
                    Some((media_type, bytes)) => typed(media_type, bytes.clone()),
                    None => status(404),
                }
            });
            async move { answer }
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let tasks = Tasks::new(Shutdown::new());
        let serving = ops::serve(listener, router, tasks.shutdown().clone());
        tasks.spawn("hostile host", OnError::Fail, serving);
        Self {
            url,
            documents,
            asked,
            tasks,
        }
    }

    fn put(&self, media_type: &str, bytes: impl Into<Bytes>) -> Value {
        let bytes = bytes.into();
        let digest = Digest::of(&bytes);
        let size = bytes.len();
        let item = (media_type.to_owned(), bytes);
        self.documents
            .lock()
            .unwrap()
            .insert(digest.to_string(), item);
        json!({"mediaType": media_type, "digest": digest, "size": size})
    }

    pub(super) fn image(&self, content: &str, subject: Option<&Value>) -> Value {
        let mut document = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": "text/spdx",
            "config": self.put("a/config", "{}"), "layers": [self.put(LAYER, content.to_owned())],
        });
        if let Some(subject) = subject {
            document["subject"] = subject.clone();
        }
        self.put(MANIFEST, document.to_string())
    }

    pub(super) fn count(&self, part: &str) -> usize {
        let asked = self.asked.lock().unwrap();
        asked.iter().filter(|path| path.contains(part)).count()
    }

    pub(super) fn stop(&self) {
        self.tasks.shutdown().trigger();
    }
}

pub(super) fn status(status: u16) -> Response {
    Response::builder()
        .status(status)
        .body(Body::empty())
        .unwrap()
}

fn typed(media_type: &str, bytes: Bytes) -> Response {
    Response::builder()
        .header("content-type", media_type)
        .header("content-length", bytes.len())
        .body(Body::from(bytes))
        .unwrap()
}

pub(super) fn listed(manifests: &[Value]) -> Response {
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests});
    typed(INDEX, index.to_string().into())
}

/// A byte now and then, for hours.
fn drip(status: u16) -> Response {
    let bytes = stream::unfold((), |()| async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        Some((Ok::<_, Infallible>(Bytes::from_static(b" ")), ()))
    });
    Response::builder()
        .status(status)
        .header("content-length", 16_000)
        .body(Body::from_stream(bytes.boxed()))
        .unwrap()
}

/// The plan that puts these digests in production as `v0`, `v1`, and so on.
async fn planned(host: &Host, digests: &[Digest]) -> Planned {
    planned_by(host, digests, |_| ()).await
}

async fn planned_by(
    host: &Host,
    digests: &[Digest],
    limits: impl Fn(&mut crate::config::Limits),
) -> Planned {
    let folders = Folders::new();
    let tree = folders.path("tree");
    let tags: Vec<String> = (0..digests.len()).map(|tag| format!("v{tag}")).collect();
    let rows: Vec<_> = digests
        .iter()
        .zip(&tags)
        .map(|(digest, tag)| (digest, tag.as_str()))
        .collect();
    image_manifests(&tree, &rows);
    let mut config = folders.config(vec![rule("staging.example.org", host.url.clone())]);
    limits(&mut config.limits);
    let coordinator = Running::start(config).await;
    let planned = coordinator.plan(&tree, v1::PlanOptions::default()).await;
    coordinator.stop().await;
    planned
}

fn told<'a>(planned: &'a Planned, rule: &str) -> Vec<&'a str> {
    let findings = planned.findings.iter();
    let found = findings.filter(|finding| finding.rule == rule);
    found.map(|finding| finding.message.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_a_host_drips_is_given_up_and_holds_up_nobody_else() {
    for code in [200, 404] {
        let host = Host::start(Box::new(move |path, _| {
            path.contains("/manifests/").then(|| drip(code))
        }))
        .await;
        let folders = Folders::new();
        let tree = folders.path("tree");
        let image = Digest::of(b"never");
        image_manifests(&tree, &[(&image, "v1")]);
        let mut config = folders.config(vec![rule("staging.example.org", host.url.clone())]);
        config.limits.staging_window_ms = 300;
        let coordinator = Running::start(config).await;
        let planning = coordinator.plan(&tree, v1::PlanOptions::default());
        let planned = tokio::time::timeout(Duration::from_secs(30), planning).await;
        let planned = planned.expect("a drip is given up");
        let unread = code == 200;
        let is_failed = planned.entries[0].state == "failed";
        assert_eq!(is_failed, unread, "{planned:?}");
        coordinator.stop().await;
        host.stop();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_takes_too_long_fails_and_what_was_read_by_then_does_not() {
    for (root_ms, plan_ms, why) in [
        (700, 60_000, "took more than"),
        (60_000, 3_000, "the time for the plan was over"),
    ] {
        let host = Host::start(Box::new(|path, _| {
            path.contains("/slow/").then(|| drip(200))
        }))
        .await;
        let quick = TestRegistry::start().await;
        let image = quick.image(&[b"app"]);
        quick.name("kops/app", Some("v1"), &image);
        let folders = Folders::new();
        let tree = folders.path("tree");
        image_manifests(&tree, &[(&digest_of(&image), "v1")]);
        super::running::write(
            &tree.join("registry/manifests/slow/promoter-manifest.yaml"),
            "registries:\n- name: staging.example.org/slow\n  src: true\n- name: prod.example.org/images/slow\n  service-account: a@example.org\n",
        );
        let never = Digest::of(b"never");
        super::running::write(
            &tree.join("registry/images/slow/images.yaml"),
            format!("- name: app\n  dmap:\n    \"{never}\": [\"v1\"]\n"),
        );
        let rules = vec![
            rule("staging.example.org/kops", format!("{}/kops", quick.url)),
            rule("staging.example.org/slow", format!("{}/slow", host.url)),
        ];
        let mut config = folders.config(rules);
        config.limits.staging_root_ms = root_ms;
        config.limits.plan_ms = plan_ms;
        let coordinator = Running::start(config).await;
        let planned = coordinator.plan(&tree, v1::PlanOptions::default()).await;
        assert_eq!(
            planned.states(),
            [("kops/app:v1", "to-copy"), ("slow/app:v1", "failed")]
        );
        let slow = planned
            .entries
            .iter()
            .find(|entry| entry.state == "failed")
            .unwrap();
        assert!(slow.detail.contains(why), "{}", slow.detail);
        let ended = coordinator.promote(&planned).await;
        assert_eq!(
            (ended.outcome("kops/app:v1"), ended.outcome("slow/app:v1")),
            ("copied", "failed")
        );
        coordinator.stop().await;
        quick.stop().await;
        host.stop();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_speaks_about_what_speaks_about_an_image_has_one_budget() {
    // Whatever is asked about has thirty referrers.
    let grown: Arc<Mutex<Option<Arc<Host>>>> = Arc::default();
    let grows = Arc::clone(&grown);
    let host = Host::start(Box::new(move |path, _| {
        let (_, subject) = path.split_once("/referrers/")?;
        let host = grows.lock().unwrap().clone()?;
        let size = host.documents.lock().unwrap().get(subject)?.1.len();
        let subject = json!({"mediaType": MANIFEST, "digest": subject, "size": size});
        let artifacts: Vec<Value> = (0..30)
            .map(|number: u8| host.image(&number.to_string(), Some(&subject)))
            .collect();
        Some(listed(&artifacts))
    }))
    .await;
    let host = Arc::new(host);
    *grown.lock().unwrap() = Some(Arc::clone(&host));
    let image = digest_of(&host.image("app", None));
    let by_number = planned_by(&host, &[image], |limits| limits.attached = 40).await;
    assert_eq!(by_number.entries.len(), 41);
    let left_out = told(&by_number, "referrer-left-out");
    assert_eq!(left_out.len(), 1, "{left_out:?}");
    // Of the first referrer's thirty, twenty are over, and nobody else is asked about.
    assert!(
        left_out[0].contains("20 artifacts, and whatever speaks about 39 others"),
        "{left_out:?}"
    );
    let by_requests = planned_by(&host, &[image], |limits| limits.attached_requests = 20).await;
    assert!(
        by_requests.entries.len() < 22,
        "{}",
        by_requests.entries.len()
    );
    let by_bytes = planned_by(&host, &[image], |limits| limits.attached_bytes = 2_000).await;
    assert!(by_bytes.entries.len() < 5, "{}", by_bytes.entries.len());
    assert_eq!(told(&by_bytes, "referrer-left-out").len(), 1);
    grown.lock().unwrap().take();
    host.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_once_denies_its_list_of_referrers_is_asked_again() {
    let signature: Arc<Mutex<Option<Value>>> = Arc::default();
    let signed = Arc::clone(&signature);
    let host = Host::start(Box::new(move |path, before| {
        let (_, subject) = path.split_once("/referrers/")?;
        let signature = signed.lock().unwrap().clone()?;
        let asked = before.iter().any(|before| before == path);
        Some(if !asked {
            status(404)
        } else if signature["about"] == subject {
            listed(&[signature["it"].clone()])
        } else {
            listed(&[])
        })
    }))
    .await;
    let image = host.image("app", None);
    let it = host.image("signature", Some(&image));
    *signature.lock().unwrap() = Some(json!({"about": image["digest"], "it": it}));
    let planned = planned(&host, &[digest_of(&image)]).await;
    assert_eq!(planned.entries.len(), 2, "{:?}", planned.states());
    host.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_that_a_listing_host_had_no_list_for_is_told_of() {
    let denied: Arc<Mutex<String>> = Arc::default();
    let denies = Arc::clone(&denied);
    let host = Host::start(Box::new(move |path, _| {
        let (_, subject) = path.split_once("/referrers/")?;
        Some(if subject == *denies.lock().unwrap() {
            status(404)
        } else {
            listed(&[])
        })
    }))
    .await;
    let images = [host.image("a", None), host.image("b", None)];
    let images: Vec<Digest> = images.iter().map(digest_of).collect();
    assert!(told(&planned(&host, &images).await, "referrer-left-out").is_empty());
    *denied.lock().unwrap() = images[0].to_string();
    let planned = planned(&host, &images).await;
    let left_out = told(&planned, "referrer-left-out");
    assert_eq!(left_out.len(), 1, "{left_out:?}");
    assert!(left_out[0].contains("answered 404"), "{left_out:?}");
    assert!(host.count(&format!("/referrers/{}", images[1])) >= 2);
    host.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manifest_for_a_layer_is_refused_and_what_is_left_out_is_counted() {
    let host = Host::start(Box::new(|path, _| {
        path.contains("/referrers/").then(|| listed(&[]))
    }))
    .await;
    let config = host.put("a/config", "{}");
    let large = json!({"mediaType": MANIFEST, "digest": Digest::of(b"large"), "size": 6_u64 << 30});
    let bomb =
        json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [large]});
    let bomb = host.put(MANIFEST, bomb.to_string());
    let windows = json!({"mediaType": FOREIGN, "digest": Digest::of(b"windows"), "size": 9});
    let layers = json!([host.put(LAYER, "app"), windows]);
    let foreign =
        json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers});
    let foreign = host.put(MANIFEST, foreign.to_string());
    let gone: Vec<Value> = (0..700_u32)
        .map(|number| json!({"mediaType": MANIFEST, "digest": Digest::of(&number.to_le_bytes()), "size": 4}))
        .chain([foreign.clone()])
        .collect();
    let sparse = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": gone});
    let sparse = host.put(INDEX, sparse.to_string());
    let roots = [digest_of(&bomb), digest_of(&foreign), digest_of(&sparse)];
    let planned = planned(&host, &roots).await;
    let bomb = planned
        .entries
        .iter()
        .find(|entry| entry.name == "kops/app:v0");
    let bomb = bomb.unwrap();
    assert_eq!(bomb.state, "refused");
    assert!(
        bomb.detail.contains(&Digest::of(b"large").to_string()),
        "{}",
        bomb.detail
    );
    let left_out = told(&planned, "foreign-layers");
    assert_eq!(left_out.len(), 2, "{left_out:?}");
    assert!(
        left_out.iter().all(|message| message.contains(" 1 layers")),
        "{left_out:?}"
    );
    let missing = told(&planned, "sparse-index");
    assert_eq!(missing.len(), 1, "{missing:?}");
    assert!(
        missing[0].contains("700 documents") && missing[0].contains("697 more"),
        "{missing:?}"
    );
    host.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_the_origin_did_not_take_is_set_after_a_restart() {
    // A registry that is staging and origin in one, and takes no tag at first.
    let takes = Arc::new(AtomicBool::new(false));
    let may = Arc::clone(&takes);
    let host = Host::start(Box::new(move |line, _| {
        if line.contains("/referrers/") {
            return Some(listed(&[]));
        }
        let taken = may.load(Ordering::SeqCst);
        (line.starts_with("PUT ") && line.ends_with("/manifests/v1"))
            .then(|| status(if taken { 201 } else { 400 }))
    }))
    .await;
    let image = digest_of(&host.image("app", None));
    let folders = Folders::new();
    let tree = folders.path("tree");
    image_manifests(&tree, &[(&image, "v1")]);
    let config = || {
        let mut config = folders.config(vec![rule("staging.example.org", host.url.clone())]);
        config.origin.store = format!("oci+{}/public", host.url);
        config.origin.public_url = Some(HttpUrl::try_new(&host.url).unwrap());
        config
    };
    let coordinator = Running::start(config()).await;
    let planned = coordinator.plan(&tree, v1::PlanOptions::default()).await;
    let ended = coordinator.promote(&planned).await;
    // The catalog decides what a name means; the registry only comes after it.
    assert_eq!(ended.done.revision, 1, "{ended:?}");
    assert_eq!(host.count("PUT /v2/public/kops/app/manifests/v1"), 1);
    coordinator.stop().await;

    takes.store(true, Ordering::SeqCst);
    let coordinator = Running::start(config()).await;
    tokio::time::timeout(Duration::from_secs(20), async {
        while host.count("PUT /v2/public/kops/app/manifests/v1") < 2 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .expect("the name is set");
    coordinator.stop().await;
    let coordinator = Running::start(config()).await;
    let again = coordinator.plan(&tree, v1::PlanOptions::default()).await;
    assert_eq!(again.summary().unchanged, 1);
    coordinator.stop().await;
    assert_eq!(host.count("PUT /v2/public/kops/app/manifests/v1"), 2);
    host.stop();
}
