mod login;

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use landfall_runtime::dial::http_client;
use serde_json::{Value, json};

use super::*;
use crate::oci::{ClosureLimits, resolve_closure};
use crate::testing::{PIECE, TestServer, content, store};
use crate::transfer::{TransferLimits, Want, transfer};

/// A real registry on a port of its own, with its data in a folder of its own.
struct DockerRegistry {
    process: Child,
    url: Url,
    _folder: tempfile::TempDir,
}

impl DockerRegistry {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("config.yml");
        let settings = format!(
            "version: 0.1\nlog: {{level: info}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: '127.0.0.1:0'}}\n",
            folder.path().join("data").display()
        );
        std::fs::write(&config, settings).unwrap();
        let mut process = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .stderr(Stdio::piped())
            .spawn()
            .expect("docker-registry is missing: apt-get install -y docker-registry");
        let mut log = BufReader::new(process.stderr.take().unwrap()).lines();
        let address = log
            .find_map(|line| {
                let line = line.unwrap();
                let (_, rest) = line.split_once("listening on ")?;
                Some(rest.split(['"', ' ', ',']).next().unwrap().to_owned())
            })
            .expect("docker-registry did not start");
        // Keeps the pipe empty; ends with the registry.
        std::thread::spawn(move || log.for_each(drop));
        Self {
            process,
            url: format!("http://{address}/staging").parse().unwrap(),
            _folder: folder,
        }
    }

    fn registry(&self) -> Registry {
        Registry::new(&self.url, RegistryAuth::Anonymous).unwrap()
    }

    async fn push_blob(&self, bytes: &[u8]) -> Value {
        let digest = Digest::of(bytes);
        let client = http_client().unwrap();
        let uploads = self.url.join("/v2/staging/app/blobs/uploads/").unwrap();
        let started = client
            .post(uploads.clone())
            .header("content-length", 0)
            .send()
            .await
            .unwrap();
        assert_eq!(started.status(), 202);
        let mut location = uploads
            .join(started.headers()["location"].to_str().unwrap())
            .unwrap();
        location
            .query_pairs_mut()
            .append_pair("digest", &digest.to_string());
        let done = client
            .put(location)
            .body(bytes.to_vec())
            .send()
            .await
            .unwrap();
        assert_eq!(done.status(), 201);
        json!({"mediaType": "application/vnd.example.layer", "digest": digest, "size": bytes.len()})
    }

    async fn push_manifest(&self, document: &Value, tag: &str) -> Value {
        let bytes = document.to_string();
        let media_type = document["mediaType"].as_str().unwrap();
        let url = self
            .url
            .join(&format!("/v2/staging/app/manifests/{tag}"))
            .unwrap();
        let put = http_client()
            .unwrap()
            .put(url)
            .header("content-type", media_type);
        let done = put.body(bytes.clone()).send().await.unwrap();
        assert_eq!(done.status(), 201, "{}", done.text().await.unwrap());
        json!({"mediaType": media_type, "digest": Digest::of(bytes.as_bytes()), "size": bytes.len()})
    }
}

impl Drop for DockerRegistry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn digest(descriptor: &Value) -> Digest {
    descriptor["digest"].as_str().unwrap().parse().unwrap()
}

fn digests(descriptors: &[Descriptor]) -> Vec<Digest> {
    descriptors
        .iter()
        .map(|descriptor| descriptor.digest)
        .collect()
}

#[tokio::test]
async fn an_image_with_signatures_is_read_from_a_real_registry_and_copied() {
    let peer = DockerRegistry::start();
    let registry = peer.registry();
    let app: Repository = "app".parse().unwrap();

    let layer = content(PIECE + 5);
    let config = peer.push_blob(b"{}").await;
    let layers = [peer.push_blob(&layer).await];
    let manifest =
        json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers});
    let manifest = peer.push_manifest(&manifest, "amd64").await;
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [manifest]});
    let index = peer.push_manifest(&index, "v1").await;
    let signature = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [], "subject": index});
    let signature = peer.push_manifest(&signature, "signature").await;
    let cosign = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": []});
    let cosign = peer
        .push_manifest(&cosign, &format!("sha256-{}.sig", digest(&index).to_hex()))
        .await;
    // This registry has no referrers API: the list lies under the fallback tag.
    let fallback = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [signature]});
    peer.push_manifest(&fallback, &format!("sha256-{}", digest(&index).to_hex()))
        .await;

    let by_tag = registry
        .manifest(&app, &"v1".parse().unwrap())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (by_tag.digest, by_tag.media_type.as_str()),
        (digest(&index), INDEX)
    );
    assert!(
        registry
            .manifest(&app, &"v2".parse().unwrap())
            .await
            .unwrap()
            .is_none()
    );
    assert_eq!(
        digests(&registry.referrers(&app, &by_tag.digest).await.unwrap()),
        [digest(&signature)]
    );
    assert_eq!(
        registry
            .referrers(&app, &Digest::of(b"none"))
            .await
            .unwrap(),
        []
    );
    let tagged = registry.cosign(&app, &by_tag.digest).await.unwrap();
    assert_eq!(
        tagged.iter().map(|(_, raw)| raw.digest).collect::<Vec<_>>(),
        [digest(&cosign)]
    );
    assert_eq!(
        registry.blob_size(&app, &Digest::of(&layer)).await.unwrap(),
        Some(layer.len() as u64)
    );
    assert_eq!(
        registry
            .blob_size(&app, &Digest::of(b"none"))
            .await
            .unwrap(),
        None
    );

    let limits = ClosureLimits::default();
    let closure = resolve_closure(&registry.repository(&app), &by_tag.digest, &limits)
        .await
        .unwrap();
    assert_eq!(closure.objects.len(), 4);
    let (_folder, store) = store();
    for object in &closure.objects {
        let source = if closure.documents.contains_key(&object.digest) {
            registry.document(&app, &object.digest)
        } else {
            registry.blob(&app, &object.digest)
        };
        let want = Want {
            digest: object.digest,
            size: object.size,
            pieces: None,
            make_pieces: true,
        };
        if object.size == layer.len() as u64 {
            // Continues what was begun.
            let partial = store
                .root()
                .join(".landfall/partial")
                .join(object.digest.to_hex());
            std::fs::write(partial, &layer[..PIECE]).unwrap();
        }
        let fetched = transfer(&store, &want, &[source], &TransferLimits::default(), |_| {})
            .await
            .unwrap();
        assert_eq!(fetched.received + fetched.resumed_from, object.size);
        assert!(store.verify(&object.digest).unwrap());
    }
    assert_eq!(store.list().unwrap().len(), 4);
}

/// A registry that wants a token and serves one blob after it.
async fn with_tokens() -> (TestServer, Arc<std::sync::Mutex<Vec<String>>>) {
    let log = Arc::new(std::sync::Mutex::new(Vec::new()));
    let seen = Arc::clone(&log);
    let server = TestServer::with(move |request: Request| {
        let uri = request.uri().to_string();
        let headers = request.headers();
        let authorization = header(headers, "authorization").unwrap_or_default();
        seen.lock().unwrap().push(format!("{uri} {authorization}"));
        let host = header(headers, "host").unwrap();
        let response = Response::builder();
        let response = if uri.starts_with("/token") {
            response.body(Body::from(r#"{"token":"abc"}"#))
        } else if authorization == "Bearer abc" {
            response.body(Body::from("hello"))
        } else {
            let challenge = format!(r#"Bearer realm="http://{host}/token",service="s""#);
            response
                .status(401)
                .header("www-authenticate", challenge)
                .body(Body::empty())
        };
        async move { response.unwrap() }
    })
    .await;
    (server, log)
}

#[tokio::test]
async fn tokens_are_fetched_when_asked_for_and_kept() {
    let (server, log) = with_tokens().await;
    let registry = Registry::new(&server.url, RegistryAuth::Anonymous).unwrap();
    let repository: Repository = "a/b".parse().unwrap();
    for _ in 0..2 {
        let opened = registry
            .blob(&repository, &Digest::of(b"hello"))
            .open(0)
            .await
            .unwrap();
        assert_eq!(
            crate::source::read_stream(opened.stream, 5).await.unwrap(),
            "hello"
        );
    }
    let log = log.lock().unwrap();
    let digest = Digest::of(b"hello");
    assert_eq!(
        *log,
        [
            format!("/v2/a/b/blobs/{digest} "),
            "/token?scope=repository%3Aa%2Fb%3Apull&service=s ".to_owned(),
            format!("/v2/a/b/blobs/{digest} Bearer abc"),
            format!("/v2/a/b/blobs/{digest} Bearer abc"),
        ]
    );
}

#[tokio::test]
async fn credentials_do_not_follow_a_redirect_to_somebody_else() {
    let (elsewhere, log) = with_tokens().await;
    let target = elsewhere.url.clone();
    let server = TestServer::with(move |request: Request| {
        let response = if header(request.headers(), "authorization").is_none() {
            Response::builder()
                .status(401)
                .header("www-authenticate", "Basic realm=\"r\"")
                .body(Body::empty())
        } else {
            Response::builder()
                .status(307)
                .header("location", target.as_str())
                .body(Body::empty())
        };
        async move { response.unwrap() }
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let (registry, _) = login::logged_in(&server, folder.path(), "");
    let source = registry.blob(&"a".parse().unwrap(), &Digest::of(b"x"));
    let Err(error) = source.open(0).await else {
        panic!("the other server wants a token of its own");
    };
    assert_eq!(error.kind, SourceErrorKind::Refused);
    assert_eq!(*log.lock().unwrap(), ["/ "]);
}

#[tokio::test]
async fn documents_that_are_too_long_or_not_the_ones_asked_for_are_refused() {
    let document = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": []}).to_string();
    let right = Digest::of(document.as_bytes());
    for (body, reference, accepted) in [
        (document.clone(), right.to_string(), true),
        (document.clone(), Digest::of(b"other").to_string(), false),
        (document.clone(), "tag".to_owned(), true),
        (
            document.clone() + &" ".repeat(MAX_DOCUMENT),
            "tag".to_owned(),
            false,
        ),
        ("<html>".to_owned(), "tag".to_owned(), false),
    ] {
        let body = Bytes::from(body);
        let server = TestServer::start(&body, crate::testing::Behaviour::Honest).await;
        let registry = Registry::new(&server.url, RegistryAuth::Anonymous).unwrap();
        let answer = registry
            .manifest(&"a".parse().unwrap(), &reference.parse().unwrap())
            .await;
        match answer {
            Ok(found) => assert!(accepted && found.unwrap().digest == right),
            Err(error) => {
                assert_eq!(error.kind, SourceErrorKind::Broken);
                assert!(!accepted, "{error}");
            }
        }
    }
}

#[test]
fn plain_http_is_for_this_machine_and_prefixes_are_repositories() {
    for (url, accepted) in [
        ("https://gcr.io/k8s-staging-kops", true),
        ("https://registry.example.org", true),
        ("http://127.0.0.1:5000/a/b/", true),
        ("http://gcr.io/x", false),
        ("https://gcr.io/UPPER", false),
        ("https://gcr.io/a%2fb", false),
        ("ftp://gcr.io/", false),
    ] {
        let registry = Registry::new(&url.parse().unwrap(), RegistryAuth::Anonymous);
        assert_eq!(registry.is_ok(), accepted, "{url}");
    }
}
