//! A staging registry and file server in this process, that misbehaves as told
//! and remembers what it was asked for.

use std::{
    collections::HashMap,
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use landfall_catalog::Digest;
use serde_json::{Value, json};

use super::content::noise;

pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
/// Bytes that are sent at a time.
const CHUNK: usize = 16 << 10;

/// What it does instead of answering as it should.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// 429 with `Retry-After` in seconds, so many times.
    Busy { times: u32, retry_after: u64 },
    /// 503, so many times.
    Down { times: u32 },
    /// Promises the whole body and ends in the middle of it, so many times.
    Cut { times: u32 },
    /// Ends each body before its first byte.
    Empty,
    /// One bit in the middle of the body is another.
    FlipBit,
    /// Takes the request and never answers.
    Hang,
    /// Sends half of the body and then nothing more.
    Freeze,
    /// 307 to this URL.
    Redirect(String),
}

/// A request as it was answered.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) at: Instant,
    /// `GET /v2/…`.
    pub(crate) line: String,
    /// Bytes of the body that were sent.
    pub(crate) sent: u64,
}

struct Item {
    media_type: String,
    bytes: Vec<u8>,
}

#[derive(Default)]
struct Shared {
    items: Mutex<HashMap<String, Arc<Item>>>,
    faults: Mutex<Vec<(String, Fault)>>,
    seen: Mutex<Vec<Seen>>,
    sent: AtomicU64,
    requests: AtomicU64,
    /// Bytes a second that each connection is sent; 0: as many as it takes.
    pace: AtomicU64,
    stop: AtomicBool,
}

/// The server. Its content and its faults may change while it runs.
pub(crate) struct Staging {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Staging {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        shared.put("/v2/", "application/json", b"{}".to_vec());
        let serving = Arc::clone(&shared);
        thread::spawn(move || {
            for connection in listener.incoming() {
                if serving.stop.load(Ordering::SeqCst) {
                    return;
                }
                let (Ok(client), shared) = (connection, Arc::clone(&serving)) else {
                    continue;
                };
                thread::spawn(move || {
                    // A broken connection is the client's business.
                    let _ = serve(client, &shared);
                });
            }
        });
        Self { address, shared }
    }

    /// `host:port`.
    pub(crate) fn host(&self) -> String {
        self.address.to_string()
    }

    /// From now on, requests whose `METHOD /path` contains `part` are answered
    /// like this.
    pub(crate) fn misbehave(&self, part: impl Into<String>, fault: Fault) {
        lock(&self.shared.faults).push((part.into(), fault));
    }

    /// Everything is answered as it should be again.
    pub(crate) fn mend(&self) {
        lock(&self.shared.faults).clear();
    }

    /// Bytes a second that each connection is sent from now on.
    pub(crate) fn throttle(&self, bytes_a_second: u64) {
        self.shared.pace.store(bytes_a_second, Ordering::SeqCst);
    }

    /// What it was asked for so far and has answered.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        lock(&self.shared.seen).clone()
    }

    /// The answered requests whose `METHOD /path` contains `part`.
    pub(crate) fn seen_of(&self, part: &str) -> Vec<Seen> {
        let mut seen = self.seen();
        seen.retain(|seen| seen.line.contains(part));
        seen
    }

    /// Bytes of bodies sent so far, also of answers that are still being sent.
    pub(crate) fn sent(&self) -> u64 {
        self.shared.sent.load(Ordering::SeqCst)
    }

    /// Requests so far.
    pub(crate) fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::SeqCst)
    }

    /// Puts a file at `/{path}`; returns its digest.
    pub(crate) fn file(&self, path: &str, bytes: Vec<u8>) -> Digest {
        let digest = Digest::of(&bytes);
        self.shared
            .put(&format!("/{path}"), "application/octet-stream", bytes);
        digest
    }

    /// Puts a blob into `repository`; returns its descriptor.
    pub(crate) fn blob(&self, repository: &str, media_type: &str, bytes: Vec<u8>) -> Value {
        let descriptor = descriptor(media_type, &bytes);
        let path = format!("/v2/{repository}/blobs/{}", Digest::of(&bytes));
        self.shared.put(&path, "application/octet-stream", bytes);
        descriptor
    }

    /// Puts an OCI manifest or index into `repository`; returns its descriptor.
    pub(crate) fn document(&self, repository: &str, document: &Value) -> Value {
        self.document_bytes(repository, serde_json::to_vec(document).unwrap(), None)
    }

    /// Puts bytes where an OCI manifest is expected, under their own digest or
    /// another one.
    pub(crate) fn document_bytes(
        &self,
        repository: &str,
        bytes: Vec<u8>,
        digest: Option<Digest>,
    ) -> Value {
        let document: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let media_type = document["mediaType"].as_str().unwrap_or(MANIFEST);
        let descriptor = descriptor(media_type, &bytes);
        let digest = digest.unwrap_or_else(|| Digest::of(&bytes));
        self.shared.put(
            &format!("/v2/{repository}/manifests/{digest}"),
            media_type,
            bytes,
        );
        descriptor
    }

    /// Puts an OCI manifest under a tag, too.
    pub(crate) fn tag(&self, repository: &str, tag: &str, document: &Value) {
        let bytes = serde_json::to_vec(document).unwrap();
        let path = format!("/v2/{repository}/manifests/{tag}");
        self.shared.put(&path, MANIFEST, bytes);
    }

    /// Puts an image with layers of these sizes into `repository`; returns the
    /// descriptor of its OCI manifest.
    pub(crate) fn image(&self, repository: &str, seed: u64, layers: &[usize]) -> Value {
        let layers: Vec<Value> = (0..)
            .zip(layers)
            .map(|(number, size)| self.blob(repository, LAYER, noise(seed * 1_000 + number, *size)))
            .collect();
        let config = json!({"architecture": "amd64", "os": "linux", "seed": seed,
            "rootfs": {"type": "layers", "diff_ids": layers.iter().map(|layer| &layer["digest"]).collect::<Vec<_>>()}});
        let config = self.blob(repository, CONFIG, serde_json::to_vec(&config).unwrap());
        self.document(
            repository,
            &json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers}),
        )
    }

    /// The paths that contain `part`.
    pub(crate) fn paths(&self, part: &str) -> Vec<String> {
        let items = lock(&self.shared.items);
        let paths = items.keys().filter(|path| path.contains(part));
        paths.cloned().collect()
    }

    /// Bytes of what is at a path.
    pub(crate) fn size(&self, path: &str) -> u64 {
        lock(&self.shared.items)[path].bytes.len() as u64
    }

    /// Takes away what is at paths that contain `part`.
    pub(crate) fn lose(&self, part: &str) {
        lock(&self.shared.items).retain(|path, _| !path.contains(part));
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
    }
}

/// Media type, digest and size of bytes.
pub(crate) fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": Digest::of(bytes), "size": bytes.len()})
}

/// The digest in a descriptor.
pub(crate) fn digest(descriptor: &Value) -> String {
    descriptor["digest"].as_str().unwrap().to_owned()
}

impl Shared {
    fn put(&self, path: &str, media_type: &str, bytes: Vec<u8>) {
        let item = Item {
            media_type: media_type.to_owned(),
            bytes,
        };
        lock(&self.items).insert(path.to_owned(), Arc::new(item));
    }

    /// The fault of a request, if one is left for it.
    fn fault(&self, line: &str) -> Option<Fault> {
        lock(&self.faults)
            .iter_mut()
            .filter(|(part, _)| line.contains(part.as_str()))
            .find_map(|(_, fault)| match fault {
                Fault::Busy { times, .. } | Fault::Down { times } | Fault::Cut { times } => {
                    *times = times.checked_sub(1)?;
                    Some(fault.clone())
                }
                Fault::Empty
                | Fault::FlipBit
                | Fault::Hang
                | Fault::Freeze
                | Fault::Redirect(_) => Some(fault.clone()),
            })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Requests of one connection, until it is closed or an answer ends it.
fn serve(client: TcpStream, shared: &Shared) -> io::Result<()> {
    client.set_nodelay(true)?;
    let mut reader = BufReader::new(client.try_clone()?);
    let mut client = client;
    loop {
        let mut request = String::new();
        if reader.read_line(&mut request)? == 0 {
            return Ok(());
        }
        let mut from = 0;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 || line == "\r\n" {
                break;
            }
            if let Some(range) = line.to_ascii_lowercase().strip_prefix("range: bytes=") {
                from = range.trim().trim_end_matches('-').parse().unwrap_or(0);
            }
        }
        let mut words = request.split(' ');
        let (Some(method), Some(target)) = (words.next(), words.next()) else {
            return Ok(());
        };
        let path = target.split('?').next().unwrap_or_default();
        let line = format!("{method} {path}");
        let at = Instant::now();
        shared.requests.fetch_add(1, Ordering::SeqCst);
        let mut answer = Answer {
            client: &mut client,
            shared,
            sent: 0,
        };
        let goes_on = answer.give(&line, path, method == "HEAD", from);
        let sent = answer.sent;
        lock(&shared.seen).push(Seen { at, line, sent });
        if !goes_on? {
            // Waits for the client to be done with what it got.
            client.shutdown(std::net::Shutdown::Write)?;
            return io::copy(&mut reader, &mut io::sink()).map(drop);
        }
    }
}

struct Answer<'a> {
    client: &'a mut TcpStream,
    shared: &'a Shared,
    sent: u64,
}

impl Answer<'_> {
    /// True if the connection can be used again.
    fn give(&mut self, line: &str, path: &str, is_head: bool, from: usize) -> io::Result<bool> {
        let fault = self.shared.fault(line);
        match &fault {
            Some(Fault::Busy { retry_after, .. }) => {
                return self.short(
                    "429 Too Many Requests",
                    &format!("Retry-After: {retry_after}\r\n"),
                );
            }
            Some(Fault::Down { .. }) => return self.short("503 Service Unavailable", ""),
            Some(Fault::Redirect(to)) => {
                return self.short("307 Temporary Redirect", &format!("Location: {to}\r\n"));
            }
            Some(Fault::Hang) => return self.hang(),
            Some(Fault::Cut { .. } | Fault::Empty | Fault::FlipBit | Fault::Freeze) | None => {}
        }
        if path.contains("/referrers/") {
            let none =
                format!("{{\"schemaVersion\":2,\"mediaType\":\"{INDEX}\",\"manifests\":[]}}");
            let head = format!("Content-Type: {INDEX}\r\n");
            return self.whole("200 OK", &head, none.as_bytes(), is_head);
        }
        let item = lock(&self.shared.items).get(path).cloned();
        let Some(item) = item else {
            return self.short("404 Not Found", "");
        };
        let mut body = item.bytes.clone();
        if matches!(fault, Some(Fault::FlipBit))
            && let Some(byte) = body.get_mut(item.bytes.len() / 2)
        {
            *byte ^= 1;
        }
        let (status, range) = if from > 0 && from < body.len() {
            let range = format!(
                "Content-Range: bytes {from}-{}/{}\r\n",
                body.len() - 1,
                body.len()
            );
            body.drain(..from);
            ("206 Partial Content", range)
        } else {
            ("200 OK", String::new())
        };
        let head = format!("Content-Type: {}\r\n{range}", item.media_type);
        if is_head {
            return self.whole(status, &head, &body, true);
        }
        let stops_at = match fault {
            Some(Fault::Cut { .. } | Fault::Freeze) => body.len() / 2,
            Some(Fault::Empty) => 0,
            _ => return self.whole(status, &head, &body, false),
        };
        self.head(status, &head, body.len())?;
        self.body(&body[..stops_at])?;
        if matches!(fault, Some(Fault::Freeze)) {
            return self.hang();
        }
        Ok(false)
    }

    fn head(&mut self, status: &str, head: &str, length: usize) -> io::Result<()> {
        write!(
            self.client,
            "HTTP/1.1 {status}\r\n{head}Content-Length: {length}\r\n\r\n"
        )
    }

    fn short(&mut self, status: &str, head: &str) -> io::Result<bool> {
        self.whole(status, head, b"", false)
    }

    fn whole(&mut self, status: &str, head: &str, body: &[u8], is_head: bool) -> io::Result<bool> {
        self.head(status, head, body.len())?;
        if !is_head {
            self.body(body)?;
        }
        Ok(true)
    }

    fn body(&mut self, body: &[u8]) -> io::Result<()> {
        for chunk in body.chunks(CHUNK) {
            self.client.write_all(chunk)?;
            self.sent += chunk.len() as u64;
            self.shared
                .sent
                .fetch_add(chunk.len() as u64, Ordering::SeqCst);
            let pace = self.shared.pace.load(Ordering::SeqCst);
            if pace > 0 {
                thread::sleep(Duration::from_secs_f64(chunk.len() as f64 / pace as f64));
            }
        }
        Ok(())
    }

    /// Until the client has had enough.
    fn hang(&mut self) -> io::Result<bool> {
        let mut rest = [0; 512];
        while self.client.read(&mut rest)? > 0 {}
        Ok(false)
    }
}
