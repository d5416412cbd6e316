//! Answers of a staging host that no honest one gives: each entry has its
//! outcome, within bounds, and nothing of it is seen at the origin.

use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use landfall_catalog::Digest;
use landfall_proto::v1;

use super::hostile::{Host, listed, status};
use super::registry::{TestRegistry, digest_of};
use super::running::{Folders, Running, image_manifests, rule, write};

fn with(status: u16, name: &str, value: &str) -> Response {
    Response::builder()
        .status(status)
        .header(name, value)
        .body(Body::empty())
        .unwrap()
}

fn said(media_type: &str, coding: &str, body: Vec<u8>) -> Response {
    let response = Response::builder().header("content-type", media_type);
    let response = match coding {
        "" => response,
        coding => response.header("content-encoding", coding),
    };
    response.body(Body::from(body)).unwrap()
}

/// What is answered for a manifest, and what is told of it.
type Odd = (&'static str, fn() -> Response, &'static str);

const ODD: [Odd; 17] = [
    ("round", || with(307, "location", "?again"), "answered 307"),
    ("nowhere", || status(307), "redirects to nowhere"),
    (
        "to a file",
        || with(307, "location", "file:///etc/passwd"),
        "less secure",
    ),
    (
        "metadata",
        || with(307, "location", "http://169.254.169.254/latest/"),
        "not a public address",
    ),
    (
        "metadata as a number",
        || with(302, "location", "http://2852039166/"),
        "not a public address",
    ),
    (
        "mapped",
        || with(307, "location", "http://[::ffff:10.0.0.1]/"),
        "not a public address",
    ),
    (
        "translated",
        || with(307, "location", "http://[64:ff9b::a9fe:a9fe]/"),
        "not a public address",
    ),
    (
        "6to4",
        || with(308, "location", "http://[2002:a9fe:a9fe::1]/"),
        "not a public address",
    ),
    (
        "link-local",
        || with(307, "location", "http://[fe80::1]/"),
        "not a public address",
    ),
    (
        "unspecified",
        || with(307, "location", "http://0.0.0.0/"),
        "not a public address",
    ),
    (
        "page",
        || said("text/html", "", b"<html>sign in</html>".to_vec()),
        "another document",
    ),
    (
        "bomb",
        || said(landfall_content::oci::MANIFEST, "gzip", vec![0x1f; 5 << 20]),
        "too long a document",
    ),
    (
        "coded",
        || said(landfall_content::oci::MANIFEST, "gzip", vec![0x1f; 500]),
        "another document",
    ),
    (
        "token by http",
        || {
            with(
                401,
                "www-authenticate",
                "Bearer realm=\"http://10.255.255.1/token\"",
            )
        },
        "token server that is not secure",
    ),
    (
        "token from the network",
        || {
            with(
                401,
                "www-authenticate",
                "Bearer realm=\"https://10.255.255.1/token\"",
            )
        },
        "not a public address",
    ),
    (
        "token from the metadata",
        || {
            with(
                401,
                "www-authenticate",
                "Bearer realm=\"https://[::ffff:169.254.169.254]/\"",
            )
        },
        "not a public address",
    ),
    (
        "token from nowhere",
        || with(401, "www-authenticate", "Bearer realm=\"x\",service=\"y\""),
        "has no token server",
    ),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_odd_answer_has_its_outcome_in_time_and_is_never_success() {
    let digest = |name: &str| Digest::of(name.as_bytes());
    let host = Host::start(Box::new(move |line, _| {
        let asked = line.strip_prefix("GET ")?;
        let (_, answer, _) = ODD
            .iter()
            .find(|(name, ..)| asked.ends_with(&format!("/manifests/{}", digest(name))))?;
        Some(answer())
    }))
    .await;
    let good = host.image("good", None);
    let good = digest_of(&good);
    let folders = Folders::new();
    let tree = folders.path("tree");
    let digests = ODD.map(|(name, ..)| digest(name));
    let tags: Vec<String> = (0..ODD.len())
        .map(|number| format!("odd-{number}"))
        .collect();
    let mut rows: Vec<_> = digests
        .iter()
        .zip(&tags)
        .map(|(digest, tag)| (digest, tag.as_str()))
        .collect();
    rows.push((&good, "good"));
    image_manifests(&tree, &rows);
    let config = folders.config(vec![rule("staging.example.org", host.url.clone())]);
    let coordinator = Running::start(config).await;
    let begun = tokio::time::Instant::now();
    let planned = coordinator.plan(&tree, v1::PlanOptions::default()).await;
    assert!(
        begun.elapsed() < Duration::from_secs(30),
        "{:?}",
        begun.elapsed()
    );
    for (tag, (name, _, why)) in tags.iter().zip(ODD) {
        let entry = planned
            .entries
            .iter()
            .find(|entry| entry.name == format!("kops/app:{tag}"))
            .unwrap();
        assert_eq!(entry.state, "refused", "{name}: {entry:?}");
        assert!(entry.detail.contains(why), "{name}: {}", entry.detail);
    }
    let states = planned.states();
    assert!(states.contains(&("kops/app:good", "to-copy")), "{states:?}");
    coordinator.promote(&planned).await;
    for tag in &tags {
        let path = format!("/origin/v2/kops/app/manifests/{tag}");
        assert_eq!(coordinator.get(&path).await.0, 404, "{tag}");
    }
    coordinator.stop().await;
    host.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_wants_to_be_left_alone_for_years_holds_up_nobody_else() {
    for wish in [
        "31536000",
        "18446744073709551616",
        "-5",
        "1e9",
        "Fri, 31 Dec 9999 23:59:59 GMT",
    ] {
        let busy = Host::start(Box::new(move |_, _| Some(with(429, "retry-after", wish)))).await;
        let quick = TestRegistry::start().await;
        let image = quick.image(&[b"app"]);
        quick.name("kops/app", Some("v1"), &image);
        let folders = Folders::new();
        let tree = folders.path("tree");
        image_manifests(&tree, &[(&digest_of(&image), "v1")]);
        write(
            &tree.join("registry/manifests/busy/promoter-manifest.yaml"),
            "registries:\n- name: staging.example.org/busy\n  src: true\n- name: prod.example.org/images/busy\n",
        );
        let never = Digest::of(b"never");
        write(
            &tree.join("registry/images/busy/images.yaml"),
            format!("- name: app\n  dmap:\n    \"{never}\": [\"v1\"]\n"),
        );
        let mut config = folders.config(vec![
            rule("staging.example.org/kops", format!("{}/kops", quick.url)),
            rule("staging.example.org/busy", format!("{}/busy", busy.url)),
        ]);
        config.limits.staging_root_ms = 3_000;
        let coordinator = Running::start(config).await;
        let begun = tokio::time::Instant::now();
        let planned = coordinator.plan(&tree, v1::PlanOptions::default()).await;
        assert!(begun.elapsed() < Duration::from_secs(20), "{wish}");
        assert_eq!(
            planned.states(),
            [("busy/app:v1", "failed"), ("kops/app:v1", "to-copy")],
            "{wish}"
        );
        assert!(busy.count("/v2/") <= 10, "{wish}: {}", busy.count("/v2/"));
        coordinator.stop().await;
        quick.stop().await;
        busy.stop();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_that_never_end_are_given_up_and_cost_no_image() {
    let host = Host::start(Box::new(|line, _| {
        let mut page = if line.contains("/referrers/") {
            listed(&[])
        } else if line.contains("/tags/list") {
            said("application/json", "", br#"{"tags":["v1"]}"#.to_vec())
        } else {
            return None;
        };
        let next = "<?again>; rel=\"next\"".parse().unwrap();
        page.headers_mut().insert("link", next);
        Some(page)
    }))
    .await;
    let images: Vec<_> = (0..8)
        .map(|number| digest_of(&host.image(&number.to_string(), None)))
        .collect();
    let folders = Folders::new();
    let tree = folders.path("tree");
    let tags: Vec<String> = (0..8).map(|number| format!("v{number}")).collect();
    let rows: Vec<_> = images
        .iter()
        .zip(&tags)
        .map(|(image, tag)| (image, tag.as_str()))
        .collect();
    image_manifests(&tree, &rows);
    let config = folders.config(vec![rule("staging.example.org", host.url.clone())]);
    let coordinator = Running::start(config).await;
    let planned = coordinator.plan(&tree, v1::PlanOptions::default()).await;
    assert!(
        planned
            .states()
            .iter()
            .all(|(_, state)| *state == "to-copy"),
        "{planned:?}"
    );
    let told = planned.findings.iter();
    let told = told.filter(|finding| finding.message.contains("too many referrers"));
    assert_eq!(told.count(), images.len(), "{:?}", planned.findings);
    assert!(
        host.count("/tags/list") <= 1_000,
        "{}",
        host.count("/tags/list")
    );
    assert!(host.count("/referrers/") <= 16 * images.len());
    coordinator.stop().await;
    host.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blob_of_another_length_than_the_manifest_says_is_refused() {
    let host = Host::start(Box::new(|line, _| {
        let is_blob = line.starts_with("HEAD ") && line.contains("/blobs/");
        is_blob.then(|| with(200, "content-length", "18446744073709551615"))
    }))
    .await;
    let image = digest_of(&host.image("app", None));
    let folders = Folders::new();
    let tree = folders.path("tree");
    image_manifests(&tree, &[(&image, "v1")]);
    let config = folders.config(vec![rule("staging.example.org", host.url.clone())]);
    let coordinator = Running::start(config).await;
    let planned = coordinator.plan(&tree, v1::PlanOptions::default()).await;
    assert_eq!(
        planned.states(),
        [("kops/app:v1", "refused")],
        "{planned:?}"
    );
    coordinator.stop().await;
    host.stop();
}
