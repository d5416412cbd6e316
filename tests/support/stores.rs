//! Object stores of three kinds, by programs that we did not write: moto's S3,
//! azurite, and the Google Cloud Storage emulator behind the translator that the
//! stores' own tests use (it speaks JSON, `object_store` XML).

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use tokio::sync::oneshot;

use super::{
    eventually, finish, free_port, ok,
    peers::{Bucket, Peer, curl_status, prepared, start},
    sha256sum, stdout,
};

#[path = "../../kit/content/src/store/battery/translator.rs"]
mod translator;

/// The account that azurite has, and its key, which its documentation tells
/// everybody.
const ACCOUNT: &str = "devstoreaccount1";
const KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// As one of the S3 bucket's own operators.
const SIGNED: [&str; 4] = [
    "--aws-sigv4",
    "aws:amz:us-east-1:s3",
    "--user",
    "testing:testing",
];

/// The three, each with one bucket for what is staged and one for an origin.
#[derive(Debug)]
pub(crate) struct Stores {
    dir: PathBuf,
    s3: Bucket,
    azure: String,
    google: String,
    translated: String,
    _peers: [Peer; 2],
    _translator: Serving,
}

/// A kind of object store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    S3,
    Azure,
    Google,
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::S3, Self::Azure, Self::Google];

    pub(crate) const fn scheme(self) -> &'static str {
        match self {
            Self::S3 => "s3",
            Self::Azure => "az",
            Self::Google => "gs",
        }
    }
}

impl Stores {
    /// Where files wait for their promotion; the other bucket is
    /// [`Bucket::NAME`].
    pub(crate) const STAGING: &str = "staging";

    #[track_caller]
    pub(crate) fn start(dir: &Path) -> Self {
        fs::create_dir_all(dir.join("azure")).expect("cannot create a folder");
        let [azure, google] = [(); 2].map(|()| free_port("127.0.0.1").to_string());
        let azurite = start(
            Command::new("node")
                .arg(prepared("npm/node_modules/azurite/dist/src/blob/main.js"))
                .args(["--blobHost", "127.0.0.1", "--blobPort", &azure])
                .args(["--silent", "--skipApiVersionCheck", "-l"])
                .arg(dir.join("azure")),
            &dir.join("azurite.log"),
        );
        let emulator = start(
            Command::new(prepared("venv/bin/gcp-storage-emulator"))
                .args(["start", "--host=127.0.0.1", "--in-memory"])
                .arg(format!("--port={google}")),
            &dir.join("gcp-storage-emulator.log"),
        );
        let s3 = Bucket::start(&dir.join("s3"));
        let [azure, google] = [azure, google].map(|port| format!("http://127.0.0.1:{port}"));
        for url in [&azure, &google] {
            eventually("the emulator answers", Duration::from_secs(60), || {
                curl_status(url, &[])
            });
        }
        let (translated, translator) = Serving::start(&google);
        let stores = Self {
            dir: dir.to_owned(),
            s3,
            azure,
            google,
            translated,
            _peers: [azurite, emulator],
            _translator: translator,
        };
        let s3 = stores.s3.url.replace(Bucket::NAME, Self::STAGING);
        ok(Command::new("curl").args(["-sSf", "-X", "PUT", &s3]));
        for bucket in [Self::STAGING, Bucket::NAME] {
            assert!(stores.azure(&["make", bucket]));
            let made = format!(r#"{{"name": "{bucket}"}}"#);
            let url = format!("{}/storage/v1/b?project=test", stores.google);
            ok(Command::new("curl")
                .args(["-sSf", "-H", "Content-Type: application/json", "-d", &made])
                .arg(&url));
        }
        stores
    }

    /// What a program needs to read and write all of them.
    pub(crate) fn env(&self) -> Vec<(&'static str, String)> {
        let mut env = self.s3.env.clone();
        env.extend([
            (
                "AZURE_STORAGE_ENDPOINT",
                format!("{}/{ACCOUNT}", self.azure),
            ),
            ("AZURE_ALLOW_HTTP", "true".to_owned()),
            ("AZURE_STORAGE_ACCOUNT_NAME", ACCOUNT.to_owned()),
            ("AZURE_STORAGE_ACCOUNT_KEY", KEY.to_owned()),
            ("STORAGE_EMULATOR_HOST", self.translated.clone()),
        ]);
        env
    }

    /// Puts a file where it waits for its promotion.
    #[track_caller]
    pub(crate) fn stage(&self, kind: Kind, key: &str, file: &Path) {
        self.put(kind, Self::STAGING, key, file);
    }

    /// Puts a file into a bucket, over whatever is there, as its operators may.
    #[track_caller]
    pub(crate) fn put(&self, kind: Kind, bucket: &str, key: &str, file: &Path) {
        let file = file.display().to_string();
        let mut curl = Command::new("curl");
        curl.args(["-sSf", "-H", "Content-Type: application/octet-stream"]);
        curl.args(["-X", "PUT", "--data-binary", &format!("@{file}")]);
        match kind {
            Kind::S3 => drop(ok(curl.args(SIGNED).arg(self.s3(bucket, key)))),
            Kind::Azure => assert!(self.azure(&["put", &format!("{bucket}/{key}"), &file])),
            Kind::Google => drop(ok(curl.arg(self.google(bucket, key)))),
        }
    }

    /// Takes a file out of a bucket, as its operators may.
    #[track_caller]
    pub(crate) fn delete(&self, kind: Kind, bucket: &str, key: &str) {
        let mut curl = Command::new("curl");
        curl.args(["-sSf", "-X", "DELETE"]);
        match kind {
            Kind::S3 => drop(ok(curl.args(SIGNED).arg(self.s3(bucket, key)))),
            Kind::Azure => assert!(self.azure(&["delete", &format!("{bucket}/{key}")])),
            Kind::Google => drop(ok(curl.arg(self.google(bucket, key)))),
        }
    }

    /// The digest of what a bucket has, if it has it.
    #[track_caller]
    pub(crate) fn digest(&self, kind: Kind, bucket: &str, key: &str) -> Option<String> {
        let file = self.dir.join(format!("{}-digest", kind.scheme()));
        let url = match kind {
            Kind::S3 => self.s3(bucket, key),
            Kind::Google => self.google(bucket, key),
            Kind::Azure => {
                let (name, to) = (format!("{bucket}/{key}"), file.display().to_string());
                return self.azure(&["get", &name, &to]).then(|| sha256sum(&file));
            }
        };
        let mut curl = Command::new("curl");
        curl.args(["-sS", "-w", "%{http_code}", "-o"]).arg(&file);
        if kind == Kind::S3 {
            curl.args(SIGNED);
        }
        match stdout(curl.arg(&url)).as_str() {
            "200" => Some(sha256sum(&file)),
            "404" => None,
            status => panic!("{url}: status {status}"),
        }
    }

    /// Moves what the S3 bucket has to where it has to be restored from before it
    /// can be read.
    #[track_caller]
    pub(crate) fn archive(&self, bucket: &str, key: &str, file: &Path) {
        let body = format!("@{}", file.display());
        let mut curl = Command::new("curl");
        curl.args(["-sSf", "-H", "x-amz-storage-class: GLACIER"]);
        curl.args(["-X", "PUT", "--data-binary", &body]);
        ok(curl.args(SIGNED).arg(self.s3(bucket, key)));
    }

    fn s3(&self, bucket: &str, key: &str) -> String {
        format!("{}/{key}", self.s3.url.replace(Bucket::NAME, bucket))
    }

    fn google(&self, bucket: &str, key: &str) -> String {
        format!("{}/{bucket}/{key}", self.translated)
    }

    /// False if there is no such blob.
    #[track_caller]
    fn azure(&self, what: &[&str]) -> bool {
        let script = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../kit/content/src/store/battery/azure.py"
        );
        let mut python = Command::new("python3");
        python.current_dir(&self.dir);
        let output = finish(python.args([script, &self.azure, ACCOUNT, KEY]).args(what));
        match output.status.code() {
            Some(0) => true,
            Some(3) => false,
            _ => panic!("{what:?}: {output:?}"),
        }
    }
}

/// The translator on a thread of its own, until it is dropped.
#[derive(Debug)]
struct Serving {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Serving {
    fn start(emulator: &str) -> (String, Self) {
        landfall_runtime::install_crypto();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("no runtime");
        let listener = runtime
            .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
            .expect("no free port");
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = translator::router(emulator);
        let (stop, stopped) = oneshot::channel();
        let thread = thread::spawn(move || {
            runtime.block_on(async move {
                tokio::select! {
                    served = axum::serve(listener, router) => served.expect("cannot serve"),
                    _ = stopped => {}
                }
            });
        });
        let serving = Self {
            stop: Some(stop),
            thread: Some(thread),
        };
        (url, serving)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
