//! A coordinator that runs, its folders, and clients of it.

use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use futures::StreamExt;
use landfall_proto::v1::{self, operation_event, plan_event, promotion_client::PromotionClient};
use landfall_runtime::config::HttpUrl;
use landfall_runtime::dial::{grpc_channel, http_client};
use landfall_runtime::{OnError, Shutdown, Tasks};
use tokio::sync::oneshot;
use tonic::service::{Interceptor, interceptor::InterceptedService};
use tonic::transport::Channel;
use tonic::{Request, Status, Streaming};

use crate::config::{Config, Limits, Listen, MirrorPolicy, Origin, ServesPolicy};
use crate::promote::staging::StagingRule;
use crate::{RunOptions, run};

pub(super) const NAME: &str = "artifacts.example.org";

/// What one run of a coordinator keeps on disk.
pub(super) struct Folders {
    pub(super) root: tempfile::TempDir,
}

impl Folders {
    pub(super) fn new() -> Self {
        Self {
            root: tempfile::tempdir().unwrap(),
        }
    }

    pub(super) fn path(&self, name: &str) -> std::path::PathBuf {
        self.root.path().join(name)
    }

    pub(super) fn config(&self, staging: Vec<StagingRule>) -> Config {
        Config {
            name: NAME.into(),
            data_dir: self.path("coordinator"),
            public_url: HttpUrl::try_new("http://127.0.0.1:7680").unwrap(),
            listen: Listen {
                grpc: "127.0.0.1:0".parse().unwrap(),
                http: "127.0.0.1:0".parse().unwrap(),
            },
            state: "sqlite".into(),
            origin: Origin {
                store: format!("file://{}", self.path("origin").display()),
                public_url: None,
            },
            production: toml::from_str::<Rules>(
                r#"
[[production]]
registries = ["prod.example.org/images"]
[[production]]
filestores = ["gs://prod/binaries/"]
path_prefix = "binaries/"
"#,
            )
            .unwrap()
            .production,
            staging,
            mutable: landfall_promotion::MutableNames::default(),
            mirror: vec![MirrorPolicy {
                name: "aws-east".into(),
                serves: ServesPolicy::Everything,
                weight: 50,
            }],
            allow_private: Vec::new(),
            limits: Limits {
                report_delay: Duration::from_millis(20),
                bookmark: Duration::from_secs(1),
                // Mirrors of tests come back when the tests say so.
                muster: Duration::ZERO,
                ..Limits::default()
            },
        }
    }
}

#[derive(serde::Deserialize)]
struct Rules {
    production: Vec<landfall_promotion::ProductionRule>,
}

pub(super) fn rule(prefix: &str, endpoint: impl Into<String>) -> StagingRule {
    StagingRule {
        prefix: prefix.into(),
        endpoint: endpoint.into(),
    }
}

/// A coordinator that runs.
pub(super) struct Running {
    pub(super) http: String,
    pub(super) grpc: url::Url,
    pub(super) channel: Channel,
    /// Presented with every promotion call.
    pub(super) token: Option<String>,
    shutdown: Shutdown,
    tasks: Tasks,
}

impl Running {
    pub(super) async fn start(config: Config) -> Self {
        Self::start_as(config, false).await
    }

    /// Starts with an origin that is known to be lost.
    pub(super) async fn start_with_lost_origin(config: Config) -> Self {
        Self::start_as(config, true).await
    }

    async fn start_as(config: Config, origin_is_lost: bool) -> Self {
        let shutdown = Shutdown::new();
        let (ready, announced) = oneshot::channel();
        let ready = Mutex::new(Some(ready));
        let options = RunOptions {
            insecure_loopback: true,
            origin_is_lost,
            announce: Box::new(move |line| {
                if let Some(ready) = ready.lock().unwrap().take() {
                    ready.send(line.to_owned()).unwrap();
                }
            }),
        };
        let tasks = Tasks::new(Shutdown::new());
        let running = run(config, options, shutdown.clone());
        tasks.spawn("coordinator", OnError::Fail, Box::pin(running));
        let line = tokio::time::timeout(Duration::from_secs(20), announced)
            .await
            .expect("the coordinator gets ready")
            .expect("the coordinator did not start");
        let addresses = line.strip_prefix("coordinator ready grpc=").unwrap();
        let (grpc, http) = addresses.split_once(" http=").unwrap();
        let url: url::Url = format!("http://{grpc}").parse().unwrap();
        Self {
            http: format!("http://{http}"),
            channel: grpc_channel(&url).unwrap(),
            grpc: url,
            token: None,
            shutdown,
            tasks,
        }
    }

    pub(super) async fn stop(self) {
        self.shutdown.trigger();
        self.tasks.shutdown().trigger();
        self.tasks.join(Duration::from_secs(20)).await.unwrap();
    }

    pub(super) fn promotion(&self) -> PromotionClient<InterceptedService<Channel, Presents>> {
        PromotionClient::new(self.as_holder())
    }

    /// The channel of whoever has the token.
    pub(super) fn as_holder(&self) -> InterceptedService<Channel, Presents> {
        InterceptedService::new(self.channel.clone(), Presents(self.token.clone()))
    }

    pub(super) async fn get(&self, path: &str) -> (u16, bytes::Bytes) {
        let response = http_client()
            .unwrap()
            .get(format!("{}{path}", self.http))
            .send()
            .await
            .unwrap();
        let status = response.status().as_u16();
        (status, response.bytes().await.unwrap())
    }

    pub(super) async fn status(&self) -> serde_json::Value {
        serde_json::from_slice(&self.get("/status.json").await.1).unwrap()
    }

    /// Registers the projects below `tree`.
    pub(super) async fn apply(
        &self,
        tree: &Path,
        options: v1::PlanOptions,
    ) -> Result<Vec<v1::AppliedProject>, Status> {
        let upload = futures::stream::iter(upload(tree, options));
        let response = self.promotion().apply_projects(upload).await?;
        Ok(response.into_inner().projects)
    }

    /// Plans the manifests below `tree`.
    pub(super) async fn plan(&self, tree: &Path, options: v1::PlanOptions) -> Planned {
        let events = self
            .promotion()
            .plan(futures::stream::iter(upload(tree, options)))
            .await
            .unwrap()
            .into_inner();
        Planned::collect(events).await
    }

    /// Executes a plan to its end.
    pub(super) async fn promote(&self, planned: &Planned) -> Watched {
        let operation = self.start_promotion(planned).await;
        self.watch(&operation).await
    }

    pub(super) async fn start_promotion(&self, planned: &Planned) -> String {
        let request = v1::PromoteRequest {
            plan: planned.summary().plan.clone(),
            why: "a test".into(),
            source: "0f1e2d".into(),
            gate: None,
        };
        let response = self.promotion().promote(request).await.unwrap();
        response.into_inner().operation
    }

    /// Follows an operation from its beginning to its end.
    pub(super) async fn watch(&self, operation: &str) -> Watched {
        let request = v1::WatchOperationRequest {
            operation: operation.into(),
        };
        let events = self.promotion().watch_operation(request).await.unwrap();
        let events: Vec<_> = events.into_inner().collect().await;
        let mut outcomes = Vec::new();
        let mut done = None;
        for event in events {
            match event.unwrap().kind.unwrap() {
                operation_event::Kind::Outcome(outcome) => {
                    outcomes.push((outcome.name, outcome.outcome, outcome.detail));
                }
                operation_event::Kind::Done(end) => done = Some(end),
                operation_event::Kind::Progress(_) | operation_event::Kind::Gate(_) => {}
            }
        }
        Watched {
            outcomes,
            done: done.expect("an operation ends"),
        }
    }
}

#[derive(Clone)]
pub(super) struct Presents(Option<String>);

impl Interceptor for Presents {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            let value = format!("Bearer {token}").parse().unwrap();
            request.metadata_mut().insert("authorization", value);
        }
        Ok(request)
    }
}

#[derive(Debug, Default)]
pub(super) struct Planned {
    pub(super) findings: Vec<v1::Finding>,
    pub(super) entries: Vec<v1::PlannedEntry>,
    summary: Option<v1::PlanSummary>,
}

impl Planned {
    pub(super) async fn collect(mut events: Streaming<v1::PlanEvent>) -> Self {
        let mut planned = Self::default();
        while let Some(event) = events.message().await.unwrap() {
            match event.kind.unwrap() {
                plan_event::Kind::Finding(finding) => planned.findings.push(finding),
                plan_event::Kind::Entry(entry) => planned.entries.push(entry),
                plan_event::Kind::Summary(summary) => planned.summary = Some(summary),
                plan_event::Kind::Progress(_) => {}
            }
        }
        planned
    }

    pub(super) fn summary(&self) -> &v1::PlanSummary {
        self.summary.as_ref().expect("a plan ends with its summary")
    }

    pub(super) fn states(&self) -> Vec<(&str, &str)> {
        let mut states: Vec<_> = self
            .entries
            .iter()
            .map(|entry| (entry.name.as_str(), entry.state.as_str()))
            .collect();
        states.sort_unstable();
        states
    }
}

#[derive(Debug, PartialEq)]
pub(super) struct Watched {
    /// Name, outcome, detail, in the order of the decisions.
    pub(super) outcomes: Vec<(String, String, String)>,
    pub(super) done: v1::OperationDone,
}

impl Watched {
    pub(super) fn outcome(&self, name: &str) -> &str {
        let found = self.outcomes.iter().find(|(seen, _, _)| seen == name);
        &found.unwrap_or_else(|| panic!("{name} in {self:?}")).1
    }
}

/// Writes a file and the folders above it.
pub(super) fn write(path: &Path, content: impl AsRef<[u8]>) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}

fn upload(tree: &Path, options: v1::PlanOptions) -> Vec<v1::PlanRequest> {
    let first = v1::PlanRequest {
        kind: Some(v1::plan_request::Kind::Options(options)),
    };
    let files = files_below(tree, tree);
    let chunks = files.iter().flat_map(|(path, data)| {
        let empty = data.is_empty().then_some(&[][..]);
        empty
            .into_iter()
            .chain(data.chunks(64 << 10))
            .map(|data| v1::PlanRequest {
                kind: Some(v1::plan_request::Kind::File(v1::FileChunk {
                    path: path.clone(),
                    data: data.to_vec().into(),
                })),
            })
    });
    std::iter::once(first).chain(chunks).collect()
}

fn files_below(folder: &Path, root: &Path) -> Vec<(String, Vec<u8>)> {
    let mut entries: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    entries.sort();
    let mut files = Vec::new();
    for path in entries {
        if path.is_dir() {
            files.extend(files_below(&path, root));
        } else {
            let relative = path.strip_prefix(root).unwrap().to_str().unwrap();
            files.push((relative.to_owned(), std::fs::read(&path).unwrap()));
        }
    }
    files
}

/// Manifests that promote files of the project `kops`.
pub(super) fn file_manifests(tree: &Path, files: &[(&str, &[u8])]) {
    write(
        &tree.join("artifacts/filestores/kops/filepromoter-manifest.yaml"),
        "filestores:\n- base: gs://staging/kops\n  src: true\n- base: gs://prod/binaries/kops\n  service-account: a@example.org\n",
    );
    let mut list = String::from("files:\n");
    for (name, content) in files {
        let digest = landfall_catalog::Digest::of(content).to_hex();
        list += &format!("- name: {name}\n  sha256: {digest}\n");
    }
    write(&tree.join("artifacts/manifests/kops/files.yaml"), list);
}

/// Manifests that promote the image `kops/app` of the project `kops`.
pub(super) fn image_manifests(tree: &Path, tags: &[(&landfall_catalog::Digest, &str)]) {
    write(
        &tree.join("registry/manifests/kops/promoter-manifest.yaml"),
        "registries:\n- name: staging.example.org/kops\n  src: true\n- name: prod.example.org/images/kops\n  service-account: a@example.org\n",
    );
    let mut list = String::from("- name: app\n  dmap:\n");
    for (digest, tag) in tags {
        list += &format!("    \"{digest}\": [\"{tag}\"]\n");
    }
    write(&tree.join("registry/images/kops/images.yaml"), list);
}
