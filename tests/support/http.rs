//! A GET without a program of its own: for tests that ask thousands of times.

use std::{
    io::{BufReader, Read, Write},
    net::TcpStream,
    time::Duration,
};

/// Status and body of `http://{host}{path}`; redirects are not followed.
pub(crate) fn get(host: &str, path: &str) -> Result<(u16, Vec<u8>), String> {
    get_as(host, path, "*/*")
}

/// The same, of these media types alone.
pub(crate) fn get_as(host: &str, path: &str, accept: &str) -> Result<(u16, Vec<u8>), String> {
    let ask = || {
        let mut stream = TcpStream::connect(host)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept: {accept}\r\nConnection: close\r\n\r\n"
        )?;
        let mut answer = Vec::new();
        BufReader::new(stream).read_to_end(&mut answer)?;
        Ok::<_, std::io::Error>(answer)
    };
    let answer = ask().map_err(|error| format!("http://{host}{path}: {error}"))?;
    let split = answer
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .ok_or_else(|| format!("http://{host}{path}: no answer"))?;
    let head = String::from_utf8_lossy(&answer[..split]).to_ascii_lowercase();
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .ok_or_else(|| format!("http://{host}{path}: {head}"))?;
    let body = answer[split + 4..].to_vec();
    let chunked = head.contains("transfer-encoding: chunked");
    Ok((status, if chunked { joined(&body) } else { body }))
}

/// The chunks of a chunked body as one (RFC 9112 section 7.1).
fn joined(mut body: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    while let Some(end) = body.windows(2).position(|window| window == b"\r\n") {
        let size = std::str::from_utf8(&body[..end]).unwrap_or_default();
        let size = usize::from_str_radix(size.trim(), 16).unwrap_or(0);
        let Some(chunk) = body.get(end + 2..end + 2 + size) else {
            break;
        };
        whole.extend_from_slice(chunk);
        if size == 0 {
            break;
        }
        body = &body[(end + 4 + size).min(body.len())..];
    }
    whole
}
