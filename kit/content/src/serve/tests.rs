use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use landfall_runtime::dial::http_client;
use reqwest::Response as Answer;
use serde_json::{Value, json};

use super::*;
use crate::oci::{INDEX, MANIFEST};
use crate::piece::PieceList;
use crate::store::DirectoryStore;
use crate::testing::{PIECE, TestServer, content, store};

/// Everything that is visible, as lists.
#[derive(Default)]
struct Shelf {
    blobs: Vec<BlobInfo>,
    files: Vec<(&'static str, BlobInfo)>,
    /// Of the one repository, `app/x`.
    tags: Vec<(Tag, BlobInfo)>,
    referrers: Vec<ReferrerInfo>,
}

fn is_app(repository: &Repository) -> bool {
    repository.as_str() == "app/x"
}

impl Visible for Shelf {
    fn blob(&self, digest: &Digest) -> Option<BlobInfo> {
        self.blobs
            .iter()
            .find(|info| info.digest == *digest)
            .cloned()
    }
    fn file(&self, path: &FilePath) -> Option<BlobInfo> {
        let found = self.files.iter().find(|(name, _)| *name == path.as_str());
        found.map(|(_, info)| info.clone())
    }
    fn oci_manifest(&self, repository: &Repository, reference: &Reference) -> Option<BlobInfo> {
        match reference {
            Reference::Tag(tag) => {
                let found = self.tags.iter().find(|(name, _)| name == tag);
                found
                    .filter(|_| is_app(repository))
                    .map(|(_, info)| info.clone())
            }
            Reference::Digest(digest) => self.oci_blob(repository, digest),
        }
    }
    fn oci_blob(&self, repository: &Repository, digest: &Digest) -> Option<BlobInfo> {
        self.blob(digest).filter(|_| is_app(repository))
    }
    fn tags(&self, repository: &Repository, after: Option<&str>, limit: usize) -> Option<Vec<Tag>> {
        let tags = self.tags.iter().map(|(tag, _)| tag.clone());
        let rest = tags.filter(|tag| after.is_none_or(|after| tag.as_str() > after));
        is_app(repository).then(|| rest.take(limit).collect())
    }
    fn referrers(&self, repository: &Repository, _: &Digest) -> Option<Vec<ReferrerInfo>> {
        is_app(repository).then(|| self.referrers.clone())
    }
}

#[derive(Default)]
struct Log {
    requests: Mutex<Vec<(RouteKind, Option<Digest>, u16)>>,
    sent: Mutex<Vec<(RouteKind, u64)>>,
}

impl Access for Log {
    fn request(&self, route: RouteKind, digest: Option<&Digest>, status: u16) {
        self.requests
            .lock()
            .unwrap()
            .push((route, digest.copied(), status));
    }
    fn sent(&self, route: RouteKind, _: &Digest, bytes: u64) {
        self.sent.lock().unwrap().push((route, bytes));
    }
}

struct Site {
    server: TestServer,
    store: DirectoryStore,
    log: Arc<Log>,
    _folder: tempfile::TempDir,
}

impl Site {
    async fn with(fill: impl FnOnce(&DirectoryStore, &mut Shelf)) -> Self {
        let (folder, store) = store();
        let mut shelf = Shelf::default();
        fill(&store, &mut shelf);
        let log = Arc::new(Log::default());
        let router = router(store.clone(), Arc::new(shelf), Arc::clone(&log) as _);
        let server =
            TestServer::router(Router::new().nest("/origin", router.clone()).merge(router)).await;
        Self {
            server,
            store,
            log,
            _folder: folder,
        }
    }

    async fn ask(&self, method: Method, path: &str, headers: &[(&str, &str)]) -> Answer {
        let url = self.server.url.join(path).unwrap();
        let mut request = http_client().unwrap().request(method, url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().await.unwrap()
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path, &[]).await
    }
}

fn put(store: &DirectoryStore, shelf: &mut Shelf, bytes: &[u8], media_type: &str) -> BlobInfo {
    let info = BlobInfo {
        digest: Digest::of(bytes),
        size: bytes.len() as u64,
        media_type: media_type.parse().unwrap(),
    };
    store.put_bytes(&info.digest, bytes).unwrap();
    shelf.blobs.push(info.clone());
    info
}

/// A site with one file, `dir/a file.txt`.
async fn with_file(bytes: &Bytes) -> Site {
    Site::with(|store, shelf| {
        let info = put(store, shelf, bytes, "text/plain");
        shelf.files.push(("dir/a file.txt", info));
    })
    .await
}

const FILE: &str = "/dir/a%20file.txt";

fn field<'a>(answer: &'a Answer, name: &str) -> &'a str {
    answer
        .headers()
        .get(name)
        .map_or("", |value| value.to_str().unwrap())
}

#[tokio::test]
async fn files_and_objects_come_with_everything_to_check_them() {
    for size in [0, 10, 3 << 20] {
        let bytes = content(size);
        let digest = Digest::of(&bytes);
        let site = with_file(&bytes).await;
        let object = format!("/blobs/sha256/{}", digest.to_hex());
        for (path, cache) in [
            (FILE, BRIEFLY),
            (&object, FOREVER),
            (&format!("/origin{FILE}"), BRIEFLY),
        ] {
            let answer = site.get(path).await;
            assert_eq!(answer.status(), 200, "{path}");
            assert_eq!(field(&answer, "content-length"), size.to_string());
            assert_eq!(field(&answer, "content-type"), "text/plain");
            assert_eq!(field(&answer, "etag"), format!("\"{digest}\""));
            assert_eq!(
                field(&answer, "repr-digest"),
                format!("sha-256=:{}:", digest.to_base64())
            );
            assert_eq!(field(&answer, "cache-control"), cache);
            assert_eq!(field(&answer, "accept-ranges"), "bytes");
            let head = site.ask(Method::HEAD, path, &[]).await;
            let names = |answer: &Answer| {
                let mut headers = answer.headers().clone();
                headers.remove("date");
                headers
            };
            assert_eq!(
                (head.status(), names(&head)),
                (answer.status(), names(&answer))
            );
            assert_eq!(answer.bytes().await.unwrap(), bytes);
            assert!(head.bytes().await.unwrap().is_empty());
        }
    }
}

#[tokio::test]
async fn a_range_gives_exactly_those_bytes() {
    let bytes = content(700_000);
    let site = with_file(&bytes).await;
    let all = || (200, bytes.clone(), String::new());
    let part = |from: usize, to: usize| {
        (
            206,
            bytes.slice(from..to),
            format!("bytes {from}-{}/700000", to - 1),
        )
    };
    let etag = format!("\"{}\"", Digest::of(&bytes));
    let cases: &[(&[(&str, &str)], _)] = &[
        (&[("range", "bytes=0-0")], part(0, 1)),
        (&[("range", "bytes=5-600000")], part(5, 600_001)),
        (&[("range", "bytes=262144-")], part(262_144, 700_000)),
        (&[("range", "bytes=-3")], part(699_997, 700_000)),
        (&[("range", "bytes=0-1,3-4")], all()),
        (&[("range", "bytes=9-3")], all()),
        (&[("range", "bytes=0-0"), ("if-range", &etag)], part(0, 1)),
        (&[("range", "bytes=0-0"), ("if-range", "\"other\"")], all()),
        (
            &[
                ("range", "bytes=0-0"),
                ("if-range", "Fri, 20 Nov 2026 00:00:00 GMT"),
            ],
            all(),
        ),
    ];
    for (headers, (status, expected, range)) in cases {
        let answer = site.ask(Method::GET, FILE, headers).await;
        assert_eq!(answer.status(), *status, "{headers:?}");
        assert_eq!(field(&answer, "content-range"), range);
        assert_eq!(field(&answer, "content-length"), expected.len().to_string());
        assert_eq!(answer.bytes().await.unwrap(), expected);
    }
    let beyond = site
        .ask(Method::GET, FILE, &[("range", "bytes=700000-")])
        .await;
    assert_eq!(
        (beyond.status().as_u16(), field(&beyond, "content-range")),
        (416, "bytes */700000")
    );
    let head = site
        .ask(Method::HEAD, FILE, &[("range", "bytes=0-0")])
        .await;
    assert_eq!(
        (head.status().as_u16(), field(&head, "content-length")),
        (200, "700000")
    );
}

#[tokio::test]
async fn what_the_client_has_is_not_sent_again() {
    let bytes = content(10);
    let site = with_file(&bytes).await;
    let etag = format!("\"a\", W/\"{}\"", Digest::of(&bytes));
    for method in [Method::GET, Method::HEAD] {
        let answer = site
            .ask(
                method.clone(),
                FILE,
                &[("if-none-match", &etag), ("range", "bytes=0-0")],
            )
            .await;
        assert_eq!(answer.status(), 304);
        assert_eq!(
            field(&answer, "etag"),
            format!("\"{}\"", Digest::of(&bytes))
        );
        let answer = site.ask(method, FILE, &[("if-none-match", "\"a\"")]).await;
        assert_eq!(answer.status(), 200);
    }
}

#[tokio::test]
async fn only_what_is_visible_is_there() {
    let hidden = content(10);
    let site = Site::with(|store, _| store.put_bytes(&Digest::of(&hidden), &hidden).unwrap()).await;
    std::fs::write(site.store.root().join("stray"), "x").unwrap();
    let object = format!("/blobs/sha256/{}", Digest::of(&hidden).to_hex());
    for path in [
        &object,
        "/stray",
        "/index.json",
        "/oci-layout",
        "/.landfall/lock",
        "/",
        "/dir/%2e%2e/stray",
    ] {
        let answer = site.get(path).await;
        assert_eq!(answer.status(), 404, "{path}");
        assert_eq!(answer.text().await.unwrap(), "not found\n");
    }
    assert_eq!(site.get("/a%2fb").await.status(), 400);
    let post = site.ask(Method::POST, &object, &[]).await;
    assert_eq!(
        (post.status().as_u16(), field(&post, "allow")),
        (405, "GET, HEAD")
    );
}

#[tokio::test]
async fn what_is_visible_but_not_in_the_store_is_an_error_and_never_content() {
    let bytes = content(10);
    let site = with_file(&bytes).await;
    let blob = site
        .store
        .root()
        .join("blobs/sha256")
        .join(Digest::of(&bytes).to_hex());
    std::fs::remove_file(&blob).unwrap();
    assert_eq!(site.get(FILE).await.status(), 500);
    std::fs::write(&blob, "short").unwrap();
    assert_eq!(site.ask(Method::HEAD, FILE, &[]).await.status(), 500);
}

#[tokio::test]
async fn requests_and_bytes_are_counted() {
    let bytes = content(1 << 20);
    let digest = Digest::of(&bytes);
    let site = with_file(&bytes).await;
    site.get(FILE).await.bytes().await.unwrap();
    site.ask(Method::GET, FILE, &[("range", "bytes=0-9")])
        .await
        .bytes()
        .await
        .unwrap();
    site.ask(Method::HEAD, FILE, &[]).await;
    site.get("/nothing").await;
    let requests = site.log.requests.lock().unwrap().clone();
    let file = |status| (RouteKind::File, Some(digest), status);
    assert_eq!(
        requests,
        [
            file(200),
            file(206),
            file(200),
            (RouteKind::File, None, 404)
        ]
    );
    // The server learns of the end after the client.
    let counted = async {
        while site.log.sent.lock().unwrap().len() < 2 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), counted)
        .await
        .unwrap();
    let mut sent = site.log.sent.lock().unwrap().clone();
    sent.sort_unstable();
    assert_eq!(sent, [(RouteKind::File, 10), (RouteKind::File, 1 << 20)]);
}

#[tokio::test]
async fn piece_lists_of_visible_objects_are_served() {
    let bytes = content(PIECE + 1);
    let digest = Digest::of(&bytes);
    let list = PieceList::of(&bytes);
    let site = Site::with(|store, shelf| {
        put(store, shelf, &bytes, "a/b");
        store.put_pieces(&digest, &list).unwrap();
        store.put_pieces(&Digest::of(b"hidden"), &list).unwrap();
    })
    .await;
    let answer = site
        .get(&format!("/.landfall/pieces/{}", digest.to_hex()))
        .await;
    assert_eq!(answer.bytes().await.unwrap(), list.encode());
    let hidden = site
        .get(&format!(
            "/.landfall/pieces/{}",
            Digest::of(b"hidden").to_hex()
        ))
        .await;
    assert_eq!(hidden.status(), 404);
}

/// An image with real enough content for real clients.
struct Image {
    site: Site,
    manifest: Digest,
    layer: Digest,
    index: Digest,
}

async fn image() -> Image {
    let (mut manifest, mut layer, mut index) = (None, None, None);
    let site = Site::with(|store, shelf| {
        let descriptor = |info: &BlobInfo| json!({"mediaType": info.media_type, "digest": info.digest, "size": info.size});
        let tar = put(store, shelf, &content(300_000), "application/vnd.oci.image.layer.v1.tar");
        let diff_id = tar.digest;
        let config = json!({"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": [diff_id]}});
        let config = put(store, shelf, config.to_string().as_bytes(), "application/vnd.oci.image.config.v1+json");
        let document = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": descriptor(&config), "layers": [descriptor(&tar)]});
        let image = put(store, shelf, document.to_string().as_bytes(), MANIFEST);
        let mut listed = descriptor(&image);
        listed["platform"] = json!({"architecture": "amd64", "os": "linux"});
        let document = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [listed]});
        let both = put(store, shelf, document.to_string().as_bytes(), INDEX);
        let mut names = store.names();
        for (tag, info) in [("v1", &both), ("v2", &image), ("v3", &image)] {
            let tag: Tag = tag.parse().unwrap();
            let target = crate::oci::Descriptor { media_type: info.media_type.clone(), digest: info.digest, size: info.size };
            names.set_tag(&"app/x".parse().unwrap(), &tag, &target);
            shelf.tags.push((tag, info.clone()));
        }
        assert!(names.commit().unwrap().failed.is_empty());
        for kind in ["example/sbom", "example/signature"] {
            let annotations = BTreeMap::from([("k".to_owned(), kind.to_owned())]);
            shelf.referrers.push(ReferrerInfo { blob: image.clone(), artifact_type: kind.to_owned(), annotations });
        }
        (manifest, layer, index) = (Some(image.digest), Some(tar.digest), Some(both.digest));
    })
    .await;
    Image {
        site,
        manifest: manifest.unwrap(),
        layer: layer.unwrap(),
        index: index.unwrap(),
    }
}

async fn error_code(answer: Answer) -> (u16, String) {
    let status = answer.status().as_u16();
    assert_eq!(field(&answer, "content-type"), "application/json");
    let body: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    (
        status,
        body["errors"][0]["code"].as_str().unwrap().to_owned(),
    )
}

#[tokio::test]
async fn manifests_come_by_tag_and_digest_with_their_own_type() {
    let Image {
        site,
        manifest,
        index,
        ..
    } = image().await;
    for (reference, digest, media_type, cache) in [
        ("v1".to_owned(), index, INDEX, NEVER),
        (manifest.to_string(), manifest, MANIFEST, FOREVER),
    ] {
        for method in [Method::GET, Method::HEAD] {
            let answer = site
                .ask(
                    method.clone(),
                    &format!("/v2/app/x/manifests/{reference}"),
                    &[],
                )
                .await;
            assert_eq!(answer.status(), 200);
            assert_eq!(field(&answer, "content-type"), media_type);
            assert_eq!(field(&answer, "docker-content-digest"), digest.to_string());
            assert_eq!(
                field(&answer, "docker-distribution-api-version"),
                "registry/2.0"
            );
            assert_eq!(field(&answer, "cache-control"), cache);
            let bytes = site.store.read(&digest, 1 << 20).unwrap();
            assert_eq!(field(&answer, "content-length"), bytes.len().to_string());
            if method == Method::GET {
                assert_eq!(answer.bytes().await.unwrap(), bytes);
            }
        }
    }
}

#[tokio::test]
async fn blobs_are_no_manifests_and_manifests_no_blobs() {
    let Image {
        site,
        manifest,
        layer,
        ..
    } = image().await;
    let ranged = site
        .ask(
            Method::GET,
            &format!("/v2/app/x/blobs/{layer}"),
            &[("range", "bytes=299999-")],
        )
        .await;
    assert_eq!(ranged.status(), 206);
    let none = Digest::of(b"none");
    for (path, expected) in [
        (format!("/v2/app/x/blobs/{manifest}"), (404, "BLOB_UNKNOWN")),
        (
            format!("/v2/app/x/manifests/{layer}"),
            (404, "MANIFEST_UNKNOWN"),
        ),
        (format!("/v2/app/x/blobs/{none}"), (404, "BLOB_UNKNOWN")),
        (format!("/v2/other/blobs/{layer}"), (404, "BLOB_UNKNOWN")),
        (
            "/v2/app/x/manifests/v9".to_owned(),
            (404, "MANIFEST_UNKNOWN"),
        ),
        (
            "/v2/app/x/blobs/sha512:00".to_owned(),
            (400, "DIGEST_INVALID"),
        ),
        ("/v2/APP/manifests/v1".to_owned(), (400, "NAME_INVALID")),
        ("/v2/other/tags/list".to_owned(), (404, "NAME_UNKNOWN")),
        (format!("/v2/other/referrers/{none}"), (404, "NAME_UNKNOWN")),
        (
            "/v2/app/x/tags/list?n=x".to_owned(),
            (400, "PAGINATION_NUMBER_INVALID"),
        ),
        ("/v2/_catalog".to_owned(), (404, "UNSUPPORTED")),
    ] {
        let (status, code) = error_code(site.get(&path).await).await;
        assert_eq!((status, code.as_str()), expected, "{path}");
    }
    let push = site
        .ask(Method::POST, "/v2/app/x/blobs/uploads/", &[])
        .await;
    assert_eq!(error_code(push).await, (405, "UNSUPPORTED".to_owned()));
    let base = site.get("/v2/").await;
    assert_eq!(
        (
            base.status().as_u16(),
            field(&base, "docker-distribution-api-version")
        ),
        (200, "registry/2.0")
    );
}

#[tokio::test]
async fn tags_are_listed_in_pages() {
    let Image { site, .. } = image().await;
    for (query, tags, link) in [
        ("", json!(["v1", "v2", "v3"]), ""),
        ("?n=3", json!(["v1", "v2", "v3"]), ""),
        (
            "?n=2",
            json!(["v1", "v2"]),
            "</v2/app/x/tags/list?n=2&last=v2>; rel=\"next\"",
        ),
        ("?n=2&last=v2", json!(["v3"]), ""),
        ("?n=0", json!([]), ""),
        ("?last=v1", json!(["v2", "v3"]), ""),
    ] {
        let answer = site.get(&format!("/v2/app/x/tags/list{query}")).await;
        assert_eq!(field(&answer, "link"), link, "{query}");
        let body: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
        assert_eq!(body, json!({"name": "app/x", "tags": tags}));
    }
    let nested = site.get("/origin/v2/app/x/tags/list?n=1").await;
    assert!(field(&nested, "link").starts_with("</origin/v2/app/x/"));
}

#[tokio::test]
async fn referrers_are_listed_and_filtered() {
    let Image { site, index, .. } = image().await;
    for (query, expected, applied) in [
        ("", 2, ""),
        ("?artifactType=example%2Fsbom", 1, "artifactType"),
        ("?artifactType=none", 0, "artifactType"),
    ] {
        let answer = site
            .get(&format!("/v2/app/x/referrers/{index}{query}"))
            .await;
        assert_eq!(field(&answer, "content-type"), INDEX);
        assert_eq!(field(&answer, "oci-filters-applied"), applied);
        let body: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
        let found = body["manifests"].as_array().unwrap();
        assert_eq!(found.len(), expected);
        if let Some(first) = found.first() {
            assert_eq!(first["artifactType"], "example/sbom");
            assert_eq!(first["annotations"]["k"], "example/sbom");
        }
    }
}

#[tokio::test]
async fn skopeo_copies_from_the_server_and_from_the_folder_itself() {
    let Image { site, index, .. } = image().await;
    let target = tempfile::tempdir().unwrap();
    let server = site.server.url.authority();
    let folder = site.store.root().display();
    for (number, source) in [
        format!("docker://{server}/app/x:v1"),
        format!("oci:{folder}:app/x:v1"),
    ]
    .into_iter()
    .enumerate()
    {
        let copy = target.path().join(number.to_string());
        let mut command = Command::new("skopeo");
        command.args([
            "copy",
            "--insecure-policy",
            "--src-tls-verify=false",
            "--all",
            "--preserve-digests",
        ]);
        command.arg(&source).arg(format!("oci:{}", copy.display()));
        let output = tokio::task::spawn_blocking(move || command.output())
            .await
            .unwrap();
        let output = output.expect("skopeo is missing: apt-get install -y skopeo");
        assert!(
            output.status.success(),
            "{source}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let copied = DirectoryStore::open(&copy).unwrap();
        assert!(copied.verify(&index).unwrap());
        assert_eq!(copied.list().unwrap().len(), 4);
    }
}
