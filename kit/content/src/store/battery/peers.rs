//! Object stores and a registry that we did not write, each on a port of its
//! own.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use landfall_runtime::dial::http_client;

use super::translator;
use crate::testing::TestServer;

/// The account that azurite has.
const AZURE_ACCOUNT: &str = "devstoreaccount1";
/// Its key, which its documentation tells everybody.
const AZURE_KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
const BUCKET: &str = "battery";

/// A running peer and how it is reached.
pub(super) struct Peer {
    process: Child,
    /// URL of the place where stores may be.
    pub(super) url: String,
    /// The variables that lead there.
    pub(super) environment: Vec<(String, String)>,
    /// Its own address.
    pub(super) address: String,
    _folder: tempfile::TempDir,
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Peer {
    /// S3, as moto has it.
    pub(super) async fn s3() -> Self {
        let port = free_port();
        let mut command = Command::new(prepared("venv/bin/moto_server"));
        command.args(["-H", "127.0.0.1", "-p", &port]);
        let mut peer = Self::start(command, &port).await;
        let created = http_client()
            .unwrap()
            .put(format!("{}/{BUCKET}", peer.address));
        assert_eq!(created.send().await.unwrap().status(), 200);
        peer.url = format!("s3://{BUCKET}");
        peer.environment = variables(&[
            ("AWS_ENDPOINT_URL", &peer.address),
            ("AWS_ALLOW_HTTP", "true"),
            ("AWS_ACCESS_KEY_ID", "testing"),
            ("AWS_SECRET_ACCESS_KEY", "testing"),
            ("AWS_REGION", "us-east-1"),
        ]);
        peer
    }

    /// Azure Blob, as azurite has it.
    pub(super) async fn azure() -> Self {
        let port = free_port();
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("node");
        command
            .arg(prepared("npm/node_modules/azurite/dist/src/blob/main.js"))
            .args(["--blobHost", "127.0.0.1", "--blobPort", &port])
            .args(["--silent", "--skipApiVersionCheck", "-l"])
            .arg(folder.path());
        let mut peer = Self::start(command, &port).await;
        peer._folder = folder;
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/src/store/battery/azure.py");
        let created = Command::new("python3")
            .args([script, &peer.address, AZURE_ACCOUNT, AZURE_KEY])
            .args(["make", BUCKET])
            .output()
            .unwrap();
        assert!(created.status.success(), "{created:?}");
        peer.url = format!("az://{BUCKET}");
        let endpoint = format!("{}/{AZURE_ACCOUNT}", peer.address);
        peer.environment = variables(&[
            ("AZURE_STORAGE_ENDPOINT", &endpoint),
            ("AZURE_ALLOW_HTTP", "true"),
            ("AZURE_STORAGE_ACCOUNT_NAME", AZURE_ACCOUNT),
            ("AZURE_STORAGE_ACCOUNT_KEY", AZURE_KEY),
        ]);
        peer
    }

    /// Google Cloud Storage, as gcp-storage-emulator has it, by way of a
    /// translator that is to be kept.
    pub(super) async fn google() -> (Self, TestServer) {
        let port = free_port();
        let mut command = Command::new(prepared("venv/bin/gcp-storage-emulator"));
        command.args(["start", "--host=127.0.0.1", "--in-memory"]);
        command.arg(format!("--port={port}"));
        let mut peer = Self::start(command, &port).await;
        let created = http_client()
            .unwrap()
            .post(format!("{}/storage/v1/b?project=battery", peer.address))
            .json(&serde_json::json!({"name": BUCKET}));
        assert_eq!(created.send().await.unwrap().status(), 200);
        let translator = TestServer::router(translator::router(&peer.address)).await;
        peer.url = format!("gs://{BUCKET}");
        peer.environment = variables(&[("STORAGE_EMULATOR_HOST", translator.url.as_str())]);
        (peer, translator)
    }

    /// Debian's `docker-registry`.
    pub(super) async fn registry() -> Self {
        let port = free_port();
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("config.yml");
        let settings = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}, delete: {{enabled: true}}}}\nhttp: {{addr: '127.0.0.1:{port}'}}\n",
            folder.path().join("data").display()
        );
        std::fs::write(&config, settings).unwrap();
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(&config);
        let mut peer = Self::start(command, &port).await;
        peer._folder = folder;
        peer.url = peer.address.replace("http", "oci+http");
        peer
    }

    async fn start(mut command: Command, port: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let process = command
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| {
                panic!("cannot start {command:?}: {error}; `tests/peers` prepares it")
            });
        let mut peer = Self {
            process,
            url: String::new(),
            environment: Vec::new(),
            address: format!("http://127.0.0.1:{port}"),
            _folder: folder,
        };
        let client = http_client().unwrap();
        let mut patience = 600;
        while client.get(&peer.address).send().await.is_err() {
            let ended = peer.process.try_wait().unwrap();
            assert!(ended.is_none(), "{command:?} ended: {ended:?}");
            patience -= 1;
            assert!(patience > 0, "{command:?} does not answer");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        peer
    }
}

/// A program that `tests/peers` puts below `target/peers`.
fn prepared(path: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../target/peers")
        .join(path);
    assert!(
        path.try_exists().unwrap(),
        "{} is missing: run `tests/peers`, which prepares it",
        path.display()
    );
    path
}

fn free_port() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port().to_string()
}

fn variables(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}
