//! Registries that want to know who asks: what they are told, and what is said
//! when they refuse.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use base64::prelude::{BASE64_STANDARD, Engine as _};

use super::*;

const SECRET: &str = "user:hunter2";

/// A registry that serves `hello` to whoever has a token, of which each is good
/// for two requests; and its token server, which wants a login.
#[derive(Default)]
struct Guard {
    /// The realm's host, if it is another.
    realm: Option<String>,
    /// Grants nothing that opens.
    wrong: bool,
    /// Bytes that the token server adds to its answer.
    padding: usize,
    granted: usize,
    left: usize,
    log: Vec<String>,
}

async fn guarded(guard: Guard) -> (TestServer, Arc<Mutex<Guard>>) {
    let shared = Arc::new(Mutex::new(guard));
    let of_server = Arc::clone(&shared);
    let server = TestServer::with(move |request: Request| {
        let answer = answer(&mut of_server.lock().unwrap(), &request);
        async move { answer }
    })
    .await;
    (server, shared)
}

fn answer(guard: &mut Guard, request: &Request) -> Response {
    let authorization = header(request.headers(), "authorization").unwrap_or_default();
    let path = request.uri().path().to_owned();
    guard.log.push(format!("{path} {authorization}"));
    let port = header(request.headers(), "host").unwrap();
    let port = port.rsplit(':').next().unwrap().to_owned();
    let reply = Response::builder();
    if path == "/token" {
        if authorization != format!("Basic {}", BASE64_STANDARD.encode(SECRET)) {
            return reply.status(401).body(Body::empty()).unwrap();
        }
        guard.granted += 1;
        guard.left = 2;
        let token = format!("t{}", guard.granted);
        let padding = "x".repeat(guard.padding);
        let granted = format!(r#"{{"token": "{token}", "padding": "{padding}"}}"#);
        return reply.body(Body::from(granted)).unwrap();
    }
    let is_good = authorization == format!("Bearer t{}", guard.granted) && guard.left > 0;
    if is_good && !guard.wrong {
        guard.left -= 1;
        return reply.body(Body::from("hello")).unwrap();
    }
    let host = guard.realm.as_deref().unwrap_or("127.0.0.1");
    let challenge = format!(r#"Bearer realm="http://{host}:{port}/token",service="s""#);
    reply
        .status(401)
        .header("www-authenticate", challenge)
        .body(Body::from(r#"{"errors": [{"code": "UNAUTHORIZED"}]}"#))
        .unwrap()
}

/// Credentials in a file, and the registry for whoever has them.
pub(super) fn logged_in(server: &TestServer, folder: &Path, trusted: &str) -> (Registry, PathBuf) {
    let file = folder.join("auth.json");
    let host = &server.url[url::Position::BeforeHost..url::Position::AfterPort];
    let auth = BASE64_STANDARD.encode(SECRET);
    let text = json!({"auths": {host: {"auth": auth}}}).to_string();
    std::fs::write(&file, text).unwrap();
    let environment = [
        ("REGISTRY_AUTH_FILE", file.display().to_string()),
        ("LANDFALL_TOKEN_SERVERS", trusted.to_owned()),
    ];
    let environment = environment.map(|(key, value)| (key.to_owned(), value));
    let auth = RegistryAuth::Stored(Credentials::of_environment(environment));
    assert!(!format!("{auth:?}").contains("hunter2"));
    (Registry::new(&server.url, auth).unwrap(), file)
}

async fn read(registry: &Registry) -> Result<Bytes, SourceError> {
    let opened = registry
        .blob(&"a/b".parse().unwrap(), &Digest::of(b"hello"))
        .open(0)
        .await?;
    crate::source::read_stream(opened.stream, 5).await
}

/// What was said, which has no secret in it.
fn said(error: &SourceError) -> String {
    let said = format!("{error:?} {error}");
    for secret in ["hunter2", &BASE64_STANDARD.encode(SECRET), "Bearer t1"] {
        assert!(!said.contains(secret), "{said}");
    }
    error.to_string()
}

#[tokio::test]
async fn a_token_that_runs_out_in_the_middle_is_replaced_and_only_its_server_is_told_the_login() {
    let folder = tempfile::tempdir().unwrap();
    let (server, guard) = guarded(Guard::default()).await;
    let (registry, _) = logged_in(&server, folder.path(), "");
    for _ in 0..6 {
        assert_eq!(read(&registry).await.unwrap(), "hello");
    }
    let guard = guard.lock().unwrap();
    assert_eq!(guard.granted, 3);
    for line in &guard.log {
        assert_eq!(line.contains("Basic"), line.starts_with("/token"), "{line}");
    }
}

#[tokio::test]
async fn a_token_server_on_another_host_is_told_nothing_unless_it_is_trusted() {
    let folder = tempfile::tempdir().unwrap();
    let (server, guard) = guarded(Guard {
        realm: Some("localhost".to_owned()),
        ..Guard::default()
    })
    .await;
    let (registry, file) = logged_in(&server, folder.path(), "");
    let error = read(&registry).await.unwrap_err();
    let why = said(&error);
    for part in [
        "another host, localhost",
        "LANDFALL_TOKEN_SERVERS=localhost",
    ] {
        assert!(why.contains(part), "{why}");
    }
    assert!(why.contains(&file.display().to_string()), "{why}");
    assert!(
        !guard
            .lock()
            .unwrap()
            .log
            .iter()
            .any(|line| line.starts_with("/token"))
    );
    let (registry, _) = logged_in(&server, folder.path(), "elsewhere, localhost");
    assert_eq!(read(&registry).await.unwrap(), "hello");
}

#[tokio::test]
async fn who_is_refused_is_told_which_file_was_looked_at_and_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let (server, _) = guarded(Guard {
        wrong: true,
        ..Guard::default()
    })
    .await;
    let host = &server.url[url::Position::BeforeHost..url::Position::AfterPort];
    let (registry, file) = logged_in(&server, folder.path(), "");
    let error = read(&registry).await.unwrap_err();
    assert_eq!(error.kind, SourceErrorKind::Refused);
    let why = said(&error);
    for part in ["401", "UNAUTHORIZED", "ran out", "podman login", host] {
        assert!(why.contains(part), "{part}: {why}");
    }
    assert!(why.contains(&file.display().to_string()), "{why}");
    // Without a login the token server refuses; with one from now on, it counts.
    let (server, _) = guarded(Guard::default()).await;
    let empty = folder.path().join("none.json");
    let named = ("REGISTRY_AUTH_FILE".to_owned(), empty.display().to_string());
    let auth = RegistryAuth::Stored(Credentials::of_environment([named]));
    let registry = Registry::new(&server.url, auth).unwrap();
    let why = said(&read(&registry).await.unwrap_err());
    for part in [
        "token server",
        "there is no login",
        "none.json",
        "podman login",
    ] {
        assert!(why.contains(part), "{part}: {why}");
    }
    let (_, file) = logged_in(&server, folder.path(), "");
    std::fs::rename(file, empty).unwrap();
    assert_eq!(read(&registry).await.unwrap(), "hello");
}

#[tokio::test]
async fn the_answer_of_a_token_server_is_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let (server, _) = guarded(Guard {
        padding: 1 << 20,
        ..Guard::default()
    })
    .await;
    let (registry, _) = logged_in(&server, folder.path(), "");
    let error = read(&registry).await.unwrap_err();
    assert_eq!(error.kind, SourceErrorKind::Broken);
    assert!(said(&error).contains("token server"), "{error}");
}
