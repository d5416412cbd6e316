//! An HTTP proxy that stands in front of a store and misbehaves as told.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

/// What it does to the bodies of answers to `/blobs/…`.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Mischief {
    /// Flips one bit in the middle.
    FlipBit,
    /// Lets this many bytes pass a second.
    Throttle(u64),
}

/// Its counters and its life.
#[derive(Debug)]
pub(crate) struct Proxy {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    blobs: Arc<AtomicU64>,
    bytes: Arc<AtomicU64>,
}

impl Proxy {
    /// Listens on a free port and forwards to `upstream` (`host:port`), which
    /// may be started later.
    pub(crate) fn start(upstream: &str, mischief: Mischief) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let proxy = Self {
            address: listener.local_addr().unwrap(),
            stop: Arc::default(),
            blobs: Arc::default(),
            bytes: Arc::default(),
        };
        let (stop, blobs, bytes) = (
            Arc::clone(&proxy.stop),
            Arc::clone(&proxy.blobs),
            Arc::clone(&proxy.bytes),
        );
        let upstream = upstream.to_owned();
        thread::spawn(move || {
            for connection in listener.incoming() {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                let (Ok(client), upstream) = (connection, upstream.clone()) else {
                    continue;
                };
                let (stop, blobs, bytes) =
                    (Arc::clone(&stop), Arc::clone(&blobs), Arc::clone(&bytes));
                thread::spawn(move || {
                    // A broken connection is the client's business.
                    let _ = forward(client, &upstream, mischief, &stop, &blobs, &bytes);
                });
            }
        });
        proxy
    }

    /// `host:port`.
    pub(crate) fn host(&self) -> String {
        self.address.to_string()
    }

    /// Requests for blobs with a body that it has passed on.
    pub(crate) fn blobs(&self) -> u64 {
        self.blobs.load(Ordering::SeqCst)
    }

    /// Bytes of such bodies that it has passed on.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
    }
}

/// One request a connection: simple, and enough for a test.
fn forward(
    client: TcpStream,
    upstream: &str,
    mischief: Mischief,
    stop: &AtomicBool,
    blobs: &AtomicU64,
    bytes: &AtomicU64,
) -> io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let mut request = String::new();
    let mut head = String::new();
    reader.read_line(&mut request)?;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line == "\r\n" {
            break;
        }
        if !line.to_ascii_lowercase().starts_with("connection:") {
            head.push_str(&line);
        }
    }
    let mut server = TcpStream::connect(upstream)?;
    write!(server, "{request}{head}Connection: close\r\n\r\n")?;
    let mut answer = BufReader::new(server);
    let mut client = client;
    let mut length = 0_u64;
    let mut head = String::new();
    loop {
        let mut line = String::new();
        if answer.read_line(&mut line)? == 0 || line == "\r\n" {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
        if !line.to_ascii_lowercase().starts_with("connection:") {
            head.push_str(&line);
        }
    }
    write!(client, "{head}Connection: close\r\n\r\n")?;
    let is_blob = request.starts_with("GET") && request.contains("/blobs/");
    if is_blob && length > 0 {
        blobs.fetch_add(1, Ordering::SeqCst);
    }
    let mut passed = 0_u64;
    let mut chunk = vec![0; 64 << 10];
    while !stop.load(Ordering::SeqCst) {
        let read = answer.read(&mut chunk)?;
        if read == 0 {
            break;
        }
        if is_blob {
            match mischief {
                Mischief::FlipBit => {
                    let middle = length / 2;
                    if (passed..passed + read as u64).contains(&middle) {
                        chunk[(middle - passed) as usize] ^= 1;
                    }
                }
                Mischief::Throttle(per_second) => {
                    thread::sleep(Duration::from_secs_f64(read as f64 / per_second as f64));
                }
            }
        }
        client.write_all(&chunk[..read])?;
        passed += read as u64;
        if is_blob {
            bytes.fetch_add(read as u64, Ordering::SeqCst);
        }
    }
    Ok(())
}
