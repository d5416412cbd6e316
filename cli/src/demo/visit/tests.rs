//! A redirector and mirrors that lie, each in its own way.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener},
    thread,
};

use landfall_runtime::install_crypto;
use serde_json::json;

use super::*;
use crate::demo::{places::PLACES, staging::StagedFile};

/// Header lines and content, by path.
type Answers = BTreeMap<String, (String, Vec<u8>)>;

/// Answers a fixed set of paths for as long as the test process lives; all
/// else is 404.
fn serve(at: SocketAddr, answers: Answers) {
    let listener = TcpListener::bind(at).unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let request = lines.next().unwrap().unwrap();
            while lines.next().is_some_and(|line| !line.unwrap().is_empty()) {}
            let path = request.split(' ').nth(1).unwrap();
            let path = path.split('?').next().unwrap();
            let (head, content) = answers
                .get(path)
                .cloned()
                .unwrap_or_else(|| ("404 Not Found".into(), Vec::new()));
            let head = format!(
                "HTTP/1.1 {head}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                content.len()
            );
            stream.write_all(head.as_bytes()).unwrap();
            stream.write_all(&content).unwrap();
        }
    });
}

fn staged() -> Staged {
    let file = |path: &str| StagedFile {
        path: path.into(),
        digest: Digest::of(b"the program"),
        size: 11,
    };
    Staged {
        tag: "v1".into(),
        image_name: "landfall".into(),
        index: Digest::of(b"index"),
        signature: Digest::of(b"signature"),
        program: file("v1/landfall"),
        checksum: file("v1/landfall.sha256"),
    }
}

/// What a download of the file finds, from a redirector that sends Norway to
/// `mirror` at `host`, where `content` is.
async fn faults(mirror: &str, host: &str, content: &[u8], reasons: &[&str]) -> Vec<String> {
    install_crypto();
    let at = Addresses::reserve().unwrap();
    let staged = staged();
    let path = format!("/{}", staged.public_file(&staged.program));
    let location = format!("{}{}", at.mirror_url(host).unwrap(), &path[1..]);
    let explanation = json!({
        "name": "n", "digest": "d", "size": 1, "place": {}, "mirror": mirror,
        "url": location, "reason": "nearest-ready", "decision": "1",
        "candidates": [
            {"mirror": "uni-oslo", "tier": "same-country", "eligible": reasons.is_empty(), "reasons": reasons},
            {"mirror": mirror, "tier": "anywhere", "eligible": true, "reasons": []},
        ],
    });
    let redirect = format!(
        "302 Found\r\nlocation: {location}\r\nlandfall-mirror: {mirror}\r\nlandfall-decision: 1"
    );
    serve(
        at.public(),
        BTreeMap::from([
            (path.clone(), (redirect, Vec::new())),
            (
                "/.landfall/explain".to_owned(),
                ("200 OK".to_owned(), explanation.to_string().into_bytes()),
            ),
        ]),
    );
    serve(
        at.mirror(host).unwrap(),
        BTreeMap::from([(path, ("200 OK".to_owned(), content.to_vec()))]),
    );
    let norway = &PLACES[2];
    let [file, image] = visit(&at, &staged, norway).await.unwrap();
    // There is no image at all, which never goes unnoticed.
    assert!(image.faults[0].contains("404"), "{image:?}");
    let is_right = mirror == host && content == b"the program";
    assert_eq!(file.digests, usize::from(is_right));
    file.faults
}

#[tokio::test]
async fn the_right_bytes_from_the_nearest_mirror_are_no_fault() {
    let faults = faults("uni-oslo", "uni-oslo", b"the program", &[]).await;
    assert_eq!(faults, Vec::<String>::new());
}

#[tokio::test]
async fn wrong_bytes_are_a_fault() {
    let faults = faults("uni-oslo", "uni-oslo", b"another one", &[]).await;
    assert!(faults[0].contains("wrong bytes"), "{faults:?}");
}

#[tokio::test]
async fn another_mirror_than_the_nearest_is_a_fault() {
    let faults = faults("aws-east", "aws-east", b"the program", &[]).await;
    assert!(
        faults[0].contains("must not be sent to aws-east"),
        "{faults:?}"
    );
}

#[tokio::test]
async fn another_mirror_is_right_while_the_nearest_is_down_but_never_one_that_is_not_trusted() {
    let there = faults("aws-east", "aws-east", b"the program", &["down"]).await;
    assert_eq!(there, Vec::<String>::new());
    let untrusted = faults("gcp-west", "gcp-west", b"the program", &["down"]).await;
    assert!(
        untrusted[0].contains("must not be sent to gcp-west"),
        "{untrusted:?}"
    );
}

#[tokio::test]
async fn a_redirect_to_another_host_than_it_names_is_a_fault() {
    let faults = faults("uni-oslo", "gcp-west", b"the program", &[]).await;
    assert!(
        faults[0].contains("which is not the uni-oslo"),
        "{faults:?}"
    );
}
