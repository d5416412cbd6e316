//! Requests that a registry was sent, by kind: from its access log.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Seek as _, SeekFrom};
use std::path::Path;

use crate::Outcome;

/// How many requests there were of each kind.
#[derive(Clone, Debug, Default)]
pub(crate) struct Requests(BTreeMap<String, usize>);

impl Requests {
    /// Those in the part of an access log from one byte to another.
    pub(crate) fn read(log: &Path, from: u64, to: u64) -> Outcome<Self> {
        let mut file = File::open(log)?;
        file.seek(SeekFrom::Start(from))?;
        let mut requests = Self::default();
        let part = std::io::Read::take(BufReader::new(file), to.saturating_sub(from));
        for line in BufReader::new(part).lines() {
            if let Some(kind) = kind(&line?) {
                *requests.0.entry(kind).or_default() += 1;
            }
        }
        Ok(requests)
    }

    pub(crate) fn all(&self) -> usize {
        self.0.values().sum()
    }

    /// Prints what was asked of `host` in two stages, and how often for a row.
    pub(crate) fn print(host: &str, planning: &Self, executing: &Self, rows: usize) {
        let mut kinds: Vec<&String> = planning.0.keys().chain(executing.0.keys()).collect();
        kinds.sort();
        kinds.dedup();
        if kinds.is_empty() {
            return;
        }
        let line = |name: &str, plan: usize, execution: usize| {
            let per_row = |count: usize| count as f64 / rows.max(1) as f64;
            println!(
                "  {name:<36} {plan:>8} {:>6.2}   {execution:>8} {:>6.2}",
                per_row(plan),
                per_row(execution)
            );
        };
        println!(
            "  {:<36} {:>8} {:>6}   {:>8} {:>6}",
            format!("requests to {host}"),
            "plan",
            "a row",
            "execute",
            "a row"
        );
        let of = |requests: &Self, kind: &String| requests.0.get(kind).copied().unwrap_or_default();
        for kind in kinds {
            line(kind, of(planning, kind), of(executing, kind));
        }
        line("all", planning.all(), executing.all());
    }
}

/// What a line of an access log (Apache's common format) tells of, if it is a
/// request to a registry: what was asked for and how it ended.
fn kind(line: &str) -> Option<String> {
    let (_, rest) = line.split_once('"')?;
    let (request, rest) = rest.split_once('"')?;
    let status = rest.split_whitespace().next()?;
    let mut words = request.split(' ');
    let (method, target) = (words.next()?, words.next()?);
    let path = target.split('?').next()?.strip_prefix("/v2/")?;
    let mut segments = path.rsplit('/');
    let (last, before) = (segments.next()?, segments.next().unwrap_or_default());
    let what = match (before, last) {
        ("tags", "list") => "list of tags",
        ("referrers", _) => "referrers",
        ("blobs", "uploads") => "begin of an upload",
        ("uploads", "") => {
            if target.contains("mount=") {
                "mount"
            } else {
                "begin of an upload"
            }
        }
        ("uploads", _) => "upload",
        ("blobs", _) => "blob",
        ("manifests", reference) if reference.starts_with("sha256:") => "OCI manifest",
        ("manifests", tag) if tag.starts_with("sha256-") && tag.contains('.') => "cosign tag",
        ("manifests", tag) if tag.starts_with("sha256-") => "fallback tag",
        ("manifests", _) => "tag",
        _ => "other",
    };
    Some(format!("{method} {what} ({status})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_log_tells_what_was_asked_for() {
        let hex = "0".repeat(64);
        for (request, status, expected) in [
            (
                format!("GET /v2/a/b/manifests/sha256:{hex} HTTP/1.1"),
                200,
                Some("GET OCI manifest (200)"),
            ),
            (
                format!("HEAD /v2/a/blobs/sha256:{hex} HTTP/1.1"),
                404,
                Some("HEAD blob (404)"),
            ),
            (
                format!("GET /v2/a/manifests/sha256-{hex}.sig HTTP/1.1"),
                404,
                Some("GET cosign tag (404)"),
            ),
            (
                format!("GET /v2/a/manifests/sha256-{hex} HTTP/1.1"),
                404,
                Some("GET fallback tag (404)"),
            ),
            (
                format!("GET /v2/a/referrers/sha256:{hex} HTTP/1.1"),
                404,
                Some("GET referrers (404)"),
            ),
            (
                "GET /v2/a/tags/list?n=1000 HTTP/1.1".to_owned(),
                200,
                Some("GET list of tags (200)"),
            ),
            (
                "POST /v2/a/blobs/uploads/?mount=x&from=b HTTP/1.1".to_owned(),
                201,
                Some("POST mount (201)"),
            ),
            (
                "POST /v2/a/blobs/uploads/ HTTP/1.1".to_owned(),
                202,
                Some("POST begin of an upload (202)"),
            ),
            (
                "PUT /v2/a/blobs/uploads/0c?digest=x HTTP/1.1".to_owned(),
                201,
                Some("PUT upload (201)"),
            ),
            (
                "PUT /v2/a/manifests/v1 HTTP/1.1".to_owned(),
                201,
                Some("PUT tag (201)"),
            ),
            ("GET /metrics HTTP/1.1".to_owned(), 200, None),
        ] {
            let line = format!(
                "127.0.0.1 - - [20/Nov/2026:15:00:00 +0000] \"{request}\" {status} 2 \"\" \"landfall\""
            );
            assert_eq!(kind(&line).as_deref(), expected, "{request}");
        }
        assert_eq!(kind("time=\"2026\" level=error"), None);
    }
}
