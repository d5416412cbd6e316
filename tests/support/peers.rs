//! Programs that we did not write: registry, reverse proxy, container runtimes.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use super::{eventually, free_port};

/// A process that is killed with the value that holds it.
#[derive(Debug)]
pub(crate) struct Peer(Child);

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A program that `tests/peers` puts below `target/peers`.
#[track_caller]
pub(super) fn prepared(path: &str) -> PathBuf {
    let peers = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/peers");
    let program = peers.join(path);
    assert!(
        program.try_exists().unwrap(),
        "{} is missing: run `tests/peers`, which prepares it",
        program.display()
    );
    program
}

#[track_caller]
pub(super) fn start(command: &mut Command, log: &Path) -> Peer {
    let log = fs::File::create(log).expect("cannot create a log");
    let child = command
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("cannot share a log"))
        .stderr(log)
        .spawn()
        .unwrap_or_else(|error| {
            panic!(
                "cannot start {:?}: {error}; `tests/run` installs what the tests need",
                command.get_program()
            )
        });
    Peer(child)
}

/// Setting of a registry that deletes what it is asked to; below `storage`, and first.
const DELETES: &str = "  delete: { enabled: true }\n";

/// Debian's `docker-registry`.
#[derive(Debug)]
pub(crate) struct Registry {
    /// `127.0.0.1:port`.
    pub(crate) host: String,
    _peer: Peer,
}

impl Registry {
    #[track_caller]
    pub(crate) fn start(dir: &Path) -> Self {
        Self::start_at(dir, &free_host())
    }

    /// One that refuses every deletion, as many are configured.
    #[track_caller]
    pub(crate) fn that_keeps_everything(dir: &Path) -> Self {
        Self::start_with(dir, &free_host(), "", 200)
    }

    /// At an address that the test knows before, with what `dir` holds.
    #[track_caller]
    pub(crate) fn start_at(dir: &Path, host: &str) -> Self {
        Self::start_with(dir, host, DELETES, 200)
    }

    /// As [`Self::start`], for `user` with the password `hunter2` alone. What an
    /// open one left in `dir` is there.
    #[track_caller]
    pub(crate) fn start_locked(dir: &Path) -> Self {
        fs::create_dir_all(dir).expect("cannot create the registry's folder");
        let users = dir.join("htpasswd");
        let user = "user:$2b$04$abcdefghijklmnopqrstuuV3duMsC0HpUex6N9qapiuOHHWkwRXVm\n";
        fs::write(&users, user).expect("cannot write the registry's users");
        let auth = format!(
            "{DELETES}auth: {{ htpasswd: {{ realm: staging, path: {} }} }}\n",
            users.display()
        );
        let host = free_host();
        Self::start_with(dir, &host, &auth, 401)
    }

    #[track_caller]
    fn start_with(dir: &Path, host: &str, settings: &str, answers: u16) -> Self {
        fs::create_dir_all(dir).expect("cannot create the registry's folder");
        let host = host.to_owned();
        let config = dir.join("config.yml");
        fs::write(
            &config,
            format!(
                "version: 0.1\nlog: {{ level: warn }}\nstorage:\n  filesystem: {{ rootdirectory: {} }}\n{settings}http: {{ addr: {host} }}\n",
                dir.join("data").display()
            ),
        )
        .expect("cannot write the registry's configuration");
        let peer = start(
            Command::new("docker-registry").arg("serve").arg(&config),
            &dir.join("log"),
        );
        eventually("the registry answers", Duration::from_secs(20), || {
            curl_status(&format!("http://{host}/v2/"), &[]).and_then(|status| {
                if status == answers {
                    Ok(())
                } else {
                    Err(format!("status {status}"))
                }
            })
        });
        Self { host, _peer: peer }
    }
}

fn free_host() -> String {
    format!("127.0.0.1:{}", free_port("127.0.0.1"))
}

/// S3 with one bucket that anybody may read, as moto has it.
#[derive(Debug)]
pub(crate) struct Bucket {
    /// Where anybody reads the bucket.
    pub(crate) url: String,
    /// The variables that a program needs to write into it.
    pub(crate) env: Vec<(&'static str, String)>,
    _peer: Peer,
}

impl Bucket {
    /// Its name.
    pub(crate) const NAME: &str = "origin";

    #[track_caller]
    pub(crate) fn start(dir: &Path) -> Self {
        fs::create_dir_all(dir).expect("cannot create the bucket's folder");
        let host = format!("127.0.0.1:{}", free_port("127.0.0.1"));
        let (_, port) = host.split_once(':').unwrap();
        let peer = start(
            Command::new(prepared("venv/bin/moto_server")).args(["-H", "127.0.0.1", "-p", port]),
            &dir.join("log"),
        );
        let url = format!("http://{host}/{}", Self::NAME);
        eventually(
            "the bucket is made",
            Duration::from_secs(60),
            || match put(&url, "") {
                Ok(200) => Ok(()),
                other => Err(format!("{other:?}")),
            },
        );
        // S3 lets whoever may get an object ask for its head; moto wants it said.
        let policy = format!(
            r#"{{"Version": "2012-10-17", "Statement": [{{"Effect": "Allow", "Principal": "*",
            "Action": ["s3:GetObject", "s3:HeadObject"], "Resource": ["arn:aws:s3:::{}/*"]}}]}}"#,
            Self::NAME
        );
        assert_eq!(put(&format!("{url}?policy"), &policy), Ok(200));
        Self {
            env: vec![
                ("AWS_ENDPOINT_URL", format!("http://{host}")),
                ("AWS_ALLOW_HTTP", "true".to_owned()),
                ("AWS_ACCESS_KEY_ID", "testing".to_owned()),
                ("AWS_SECRET_ACCESS_KEY", "testing".to_owned()),
                ("AWS_REGION", "us-east-1".to_owned()),
            ],
            url,
            _peer: peer,
        }
    }
}

/// Puts `body` and returns the status.
fn put(url: &str, body: &str) -> Result<u16, String> {
    let output = super::finish(
        Command::new("curl")
            .args(["-sS", "-m", "5", "-o", "/dev/null", "-w", "%{http_code}"])
            .args(["-X", "PUT", "-H", "Content-Type: application/json"])
            .args(["-d", body, url]),
    );
    let text = String::from_utf8_lossy(&output.stdout);
    text.parse()
        .map_err(|_| String::from_utf8_lossy(&output.stderr).into_owned())
}

/// nginx in front of the redirector, one port a place: what reaches the
/// redirector carries the address of a client there, as from any load balancer.
#[derive(Debug)]
pub(crate) struct Fronts {
    ports: Vec<(&'static str, u16)>,
    _peer: Peer,
}

impl Fronts {
    /// `places`: a name and the client address that stands for it.
    #[track_caller]
    pub(crate) fn start(dir: &Path, redirector: &str, places: &[(&'static str, &str)]) -> Self {
        fs::create_dir_all(dir).expect("cannot create nginx's folder");
        let mut ports = Vec::new();
        let mut servers = String::new();
        for (place, client) in places {
            let port = free_port("127.0.0.1");
            ports.push((*place, port));
            servers.push_str(&format!(
                "server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://{redirector}; \
                 proxy_set_header Host $http_host; proxy_set_header X-Forwarded-For {client}; \
                 proxy_redirect off; proxy_connect_timeout 2s; }} }}\n"
            ));
        }
        let config = dir.join("nginx.conf");
        fs::write(
            &config,
            format!(
                "daemon off; worker_processes 1; pid {dir}/pid; error_log {dir}/error.log;\n\
                 events {{ worker_connections 256; }}\n\
                 http {{ access_log off; client_body_temp_path {dir}/b; proxy_temp_path {dir}/p; \
                 fastcgi_temp_path {dir}/f; uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s;\n{servers}}}\n",
                dir = dir.display()
            ),
        )
        .expect("cannot write nginx's configuration");
        let peer = start(
            Command::new("nginx")
                .arg("-c")
                .arg(&config)
                .arg("-p")
                .arg(dir),
            &dir.join("log"),
        );
        let fronts = Self { ports, _peer: peer };
        for (place, _) in places {
            eventually("nginx answers", Duration::from_secs(10), || {
                curl_status(&format!("http://{}/v2/", fronts.host(place)), &[])
            });
        }
        fronts
    }

    /// `127.0.0.1:port` for clients of a place.
    #[track_caller]
    pub(crate) fn host(&self, place: &str) -> String {
        let (_, port) = self
            .ports
            .iter()
            .find(|(name, _)| *name == place)
            .expect("no such place");
        format!("127.0.0.1:{port}")
    }
}

/// containerd on a socket of its own.
#[derive(Debug)]
pub(crate) struct Containerd {
    socket: String,
    _peer: Peer,
}

impl Containerd {
    #[track_caller]
    pub(crate) fn start(dir: &Path) -> Self {
        fs::create_dir_all(dir).expect("cannot create containerd's folder");
        let socket = dir.join("containerd.sock").display().to_string();
        let config = dir.join("config.toml");
        fs::write(
            &config,
            "version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n",
        )
        .expect("cannot write containerd's configuration");
        let peer = start(
            Command::new("containerd")
                .arg("--config")
                .arg(&config)
                .arg("--root")
                .arg(dir.join("root"))
                .arg("--state")
                .arg(dir.join("state"))
                .arg("--address")
                .arg(&socket),
            &dir.join("log"),
        );
        let containerd = Self {
            socket,
            _peer: peer,
        };
        eventually("containerd answers", Duration::from_secs(30), || {
            let output = super::finish(containerd.ctr().arg("version"));
            if output.status.success() {
                Ok(())
            } else {
                Err(String::from_utf8_lossy(&output.stderr).into_owned())
            }
        });
        containerd
    }

    /// `ctr` talking to it.
    pub(crate) fn ctr(&self) -> Command {
        let mut command = Command::new("ctr");
        command.args(["--address", &self.socket, "--namespace", "landfall-test"]);
        command
    }
}

/// The status that `curl` gets, without following redirects.
pub(crate) fn curl_status(url: &str, headers: &[&str]) -> Result<u16, String> {
    let mut command = Command::new("curl");
    command.args(["-sS", "-m", "5", "-o", "/dev/null", "-w", "%{http_code}"]);
    for header in headers {
        command.args(["-H", header]);
    }
    let output = super::finish(command.arg(url));
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    String::from_utf8_lossy(&output.stdout)
        .parse()
        .map_err(|error| format!("{error}"))
}
