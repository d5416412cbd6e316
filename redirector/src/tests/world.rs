//! A small catalog and a small fleet.

use std::net::IpAddr;
use std::sync::Arc;

use landfall_catalog::{
    Checkpoint, Commit, Digest, Entry, Frontier, LogPosition, LogSigner, MediaType, Name, Object,
    Readiness, Referrer, Revision, SignedCheckpoint, TreeHash, leaf_hash,
};
use landfall_log::{LogDisk, LogReader};
use landfall_proto::model::encode_entry;
use landfall_proto::model::{mirror_to_wire, readiness_to_wire};
use landfall_proto::v1::routing_watch_response::Kind;
use landfall_proto::v1::{
    MirrorReadiness, RoutingBookmark, RoutingCursor, RoutingPolicy, RoutingReset,
    RoutingWatchResponse,
};
use landfall_route::{Locator, MirrorState, MirrorView, Place, Serves, StoreKind};
use roaring::RoaringBitmap;
use tempfile::TempDir;
use tokio::sync::watch;

use crate::fleet::{Fleet, FleetWatch};
use crate::http::client::Client;
use crate::http::reply::Reply;
use crate::http::{Answer, ClientRequest, answer};
use crate::view::View;

pub(crate) const ORIGIN_NAME: &str = "artifacts.example.org";
pub(crate) const ORIGIN_URL: &str = "http://127.0.0.1:7480/origin";
/// Seconds since the epoch at which everything here happens.
pub(crate) const NOW: u64 = 1_760_000_000;

pub(crate) const TOOL: &[u8] = b"a tool";
pub(crate) const BIG: &[u8] = b"stands for five MiB";
pub(crate) const GONE: &[u8] = b"was a mistake";
pub(crate) const CONFIG: &[u8] = b"{}";
pub(crate) const LAYER: &[u8] = b"a layer";
pub(crate) const IMAGE: &[u8] = br#"{"schemaVersion":2,"layers":[]}"#;
pub(crate) const SIGNATURE: &[u8] = br#"{"schemaVersion":2,"subject":{}}"#;
/// Number of objects in [`entries`], whose ordinals are those of the list above.
pub(crate) const OBJECTS: u32 = 7;
/// Number of entries.
pub(crate) const LOG_SIZE: u64 = 17;

pub(crate) const IMAGE_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const SIGNATURE_TYPE: &str = "application/vnd.dev.cosign.simplesigning.v1+json";

pub(crate) fn hex(bytes: &[u8]) -> String {
    Digest::of(bytes).to_hex()
}

fn object(bytes: &[u8], media_type: &str, children: &[&[u8]]) -> Object {
    Object {
        digest: Digest::of(bytes),
        size: bytes.len() as u64,
        media_type: MediaType::try_new(media_type).unwrap(),
        children: children.iter().map(|child| Digest::of(child)).collect(),
        referrer: None,
        pieces: None,
    }
}

fn set(name: &str, bytes: &[u8]) -> Entry {
    Entry::NameSet {
        name: name.parse().unwrap(),
        digest: Digest::of(bytes),
    }
}

pub(crate) fn commit(revision: u64) -> Entry {
    Entry::Commit(Commit {
        revision: Revision::new(revision),
        time: NOW,
        who: "release".to_owned(),
        why: "test".to_owned(),
        source: String::new(),
        plan: None,
        operation: format!("op-{revision}"),
    })
}

/// A file that did not exist in [`entries`], as revision 3.
pub(crate) fn later_entries() -> Vec<Entry> {
    vec![
        Entry::ObjectAdded(object(b"later", "application/octet-stream", &[])),
        set("binaries/tool/v2/tool", b"later"),
        commit(3),
    ]
}

/// Two revisions.
pub(crate) fn entries() -> [Vec<Entry>; 2] {
    let plain = "application/octet-stream";
    let mut signature = object(SIGNATURE, IMAGE_TYPE, &[CONFIG]);
    signature.referrer = Some(Referrer {
        subject: Digest::of(IMAGE),
        artifact_type: SIGNATURE_TYPE.to_owned(),
        annotations: [("by".to_owned(), "us".to_owned())].into(),
    });
    let mut big = object(BIG, plain, &[]);
    big.size = 5 << 20;
    big.pieces = Some(Digest::of(b"its pieces"));
    let root = Name::Root("app".parse().unwrap(), Digest::of(SIGNATURE));
    let first = vec![
        Entry::ObjectAdded(object(TOOL, plain, &[])),
        Entry::ObjectAdded(big),
        Entry::ObjectAdded(object(GONE, plain, &[])),
        Entry::ObjectAdded(object(
            CONFIG,
            "application/vnd.oci.image.config.v1+json",
            &[],
        )),
        Entry::ObjectAdded(object(
            LAYER,
            "application/vnd.oci.image.layer.v1.tar+gzip",
            &[],
        )),
        Entry::ObjectAdded(object(IMAGE, IMAGE_TYPE, &[CONFIG, LAYER])),
        Entry::ObjectAdded(signature),
        set("binaries/tool/v1/tool", TOOL),
        set("binaries/big file+x", BIG),
        set("binaries/gone", GONE),
        set("app:v1", IMAGE),
        set("app:v2", IMAGE),
        set("app:v3", IMAGE),
        Entry::NameSet {
            name: root,
            digest: Digest::of(SIGNATURE),
        },
        commit(1),
    ];
    let second = vec![
        Entry::Withdrawn {
            digest: Digest::of(GONE),
            reason: "leaked a key".to_owned(),
        },
        commit(2),
    ];
    [first, second]
}

pub(crate) fn signer() -> LogSigner {
    LogSigner::from_seeds(ORIGIN_NAME, [1; 32], [2; 32]).unwrap()
}

/// A note over `entries` behind those of `frontier`, which takes them up.
pub(crate) fn note<'a>(
    frontier: &mut Frontier,
    entries: impl IntoIterator<Item = &'a Entry>,
    time: u64,
) -> Vec<u8> {
    for entry in entries {
        frontier.push(leaf_hash(&encode_entry(entry).unwrap()));
    }
    let checkpoint = Checkpoint {
        origin: ORIGIN_NAME.to_owned(),
        size: frontier.size(),
        root: frontier.root(),
    };
    signer().sign(&checkpoint, time).unwrap()
}

pub(crate) fn checkpoint(time: u64) -> SignedCheckpoint {
    let all = entries();
    let note = note(&mut Frontier::new(), all.iter().flatten(), time);
    signer().keys().verify(&note).unwrap()
}

/// The log's root when it had `size` entries: those of [`entries`] and [`later_entries`].
pub(crate) fn root_at(size: u64) -> TreeHash {
    let mut frontier = Frontier::new();
    let all = entries().into_iter().flatten().chain(later_entries());
    for entry in all.take(usize::try_from(size).unwrap()) {
        frontier.push(leaf_hash(&encode_entry(&entry).unwrap()));
    }
    assert_eq!(frontier.size(), size);
    frontier.root()
}

/// A log on disk that has [`entries`].
pub(crate) struct Log {
    disk: LogDisk,
    _folder: TempDir,
}

impl Log {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let disk = LogDisk::open(folder.path(), signer().keys()).unwrap();
        let mut this = Self {
            disk,
            _folder: folder,
        };
        for revision in entries() {
            this.commit(&revision);
        }
        this
    }

    pub(crate) fn commit(&mut self, entries: &[Entry]) -> SignedCheckpoint {
        let note = note(&mut self.disk.frontier(), entries, NOW);
        let entries: Vec<_> = entries.iter().map(|it| encode_entry(it).unwrap()).collect();
        self.disk.stage(&entries).unwrap();
        self.disk.commit(&note).unwrap()
    }

    pub(crate) fn reader(&self) -> watch::Receiver<Option<LogReader>> {
        watch::channel(Some(self.disk.reader())).1
    }
}

/// Everything is held and in place, but for `missing`.
pub(crate) fn readiness(missing: &[u32]) -> Readiness {
    Readiness {
        through: OBJECTS,
        missing: missing.iter().copied().collect(),
        extra: RoaringBitmap::new(),
        names_through: LOG_SIZE,
        filter: Digest::of(b""),
        log: LogPosition {
            origin: ORIGIN_NAME.to_owned(),
            size: LOG_SIZE,
            root: root_at(LOG_SIZE),
        },
    }
}

/// An active mirror that holds everything.
pub(crate) fn mirror(name: &str, country: &str, serves: Serves) -> MirrorView {
    MirrorView {
        name: name.to_owned(),
        public_url: format!("http://{name}.example.net/pub"),
        kind: StoreKind::Files,
        place: Place {
            country: country.parse().ok(),
            ..Place::default()
        }
        .completed(),
        weight: 100,
        state: MirrorState::Active,
        serves,
        readiness: Some(Arc::new(readiness(&[]))),
        ..MirrorView::default()
    }
}

/// Three mirrors: two for everybody, one for clients that check.
pub(crate) fn mirrors() -> Vec<MirrorView> {
    vec![
        mirror("berlin", "DE", Serves::Everything),
        mirror("bergen", "NO", Serves::Verified),
        mirror("oslo", "NO", Serves::Everything),
    ]
}

/// The messages that bring a redirector to this fleet.
pub(crate) fn messages(
    mirrors: &[MirrorView],
    origin_url: &str,
    revision: u64,
) -> Vec<RoutingWatchResponse> {
    let mut kinds = vec![
        Kind::Reset(RoutingReset {}),
        Kind::Policy(RoutingPolicy {
            origin_url: origin_url.to_owned(),
            name: ORIGIN_NAME.to_owned(),
            log_url: String::new(),
        }),
    ];
    for mirror in mirrors {
        kinds.push(Kind::Mirror(mirror_to_wire(mirror)));
        let chunks = mirror
            .readiness
            .iter()
            .flat_map(|readiness| readiness_to_wire(readiness, 0));
        kinds.extend(chunks.map(|chunk| {
            Kind::Readiness(MirrorReadiness {
                mirror: mirror.name.clone(),
                chunk: Some(chunk),
            })
        }));
    }
    kinds.push(Kind::Bookmark(RoutingBookmark {
        cursor: Some(RoutingCursor { epoch: 7, revision }),
    }));
    let wrap = |kind| RoutingWatchResponse { kind: Some(kind) };
    kinds.into_iter().map(wrap).collect()
}

pub(crate) fn fleet(mirrors: &[MirrorView], origin_url: &str) -> Arc<Fleet> {
    let mut watch = FleetWatch::default();
    let mut last = None;
    for message in messages(mirrors, origin_url, 1) {
        last = watch.take(message).unwrap();
    }
    last.unwrap()
}

/// The view of a redirector that knows all of the above.
pub(crate) fn view(mirrors: &[MirrorView]) -> View {
    view_of_log(&Log::new(), mirrors)
}

pub(crate) fn view_of_log(log: &Log, mirrors: &[MirrorView]) -> View {
    let countries = "192.0.2.0/24,NO\n198.51.100.0/24,DE\n203.0.113.0/24,JP\n";
    let locator = Locator {
        countries: landfall_route::ranges::parse_country_csv(countries).unwrap(),
        ..Locator::default()
    };
    let view = View::new(locator, log.reader());
    for revision in entries() {
        view.apply(&revision, NOW).unwrap();
    }
    view.set_checkpoint(checkpoint(NOW), NOW);
    view.set_fleet(fleet(mirrors, ORIGIN_URL));
    view
}

pub(crate) fn request(path: &str) -> ClientRequest<'_> {
    let (path, query) = match path.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (path, None),
    };
    ClientRequest {
        head: false,
        path,
        query,
        client: Client {
            address: "192.0.2.9".parse().unwrap(),
            secure: false,
        },
        agent: None,
    }
}

pub(crate) fn from<'a>(address: &str, request: ClientRequest<'a>) -> ClientRequest<'a> {
    let address: IpAddr = address.parse().unwrap();
    ClientRequest {
        client: Client {
            address,
            ..request.client
        },
        ..request
    }
}

/// The answer, which has to be complete without a fetch.
#[track_caller]
pub(crate) fn reply_to(view: &View, request: &ClientRequest<'_>) -> Reply {
    match answer(view, request) {
        Answer::Reply(reply) => reply,
        other @ (Answer::Manifest(..) | Answer::Internal(_)) => panic!("{other:?}"),
    }
}

#[track_caller]
pub(crate) fn get(view: &View, path: &str) -> Reply {
    reply_to(view, &request(path))
}

pub(crate) fn header<'a>(reply: &'a Reply, name: &str) -> &'a str {
    reply
        .headers
        .get(name)
        .map_or("", |value| value.to_str().unwrap())
}

pub(crate) fn json(reply: &Reply) -> serde_json::Value {
    serde_json::from_slice(&reply.body).unwrap()
}
