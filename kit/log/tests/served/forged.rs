//! Logs that are not what they should be, each under the name that it is to be
//! refused by, for a reader that holds revision 2 of the honest one.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt as _};
use landfall_catalog::{TILE_WIDTH, TilePath, encode_bundle, new_tiles};
use landfall_log::{LogDisk, Refusal};
use landfall_proto::v1::catalog_server::{Catalog, CatalogServer};
use landfall_proto::v1::{
    CatalogCheckpoint, CatalogEntries, CatalogHello, CatalogWatchRequest, CatalogWatchResponse,
    catalog_watch_response::Kind,
};
use tonic::{Code, Request, Response, Status};

use crate::support::{keys, note, revision, signer, stranger, time_of};

/// Objects of each revision: with their names and commits, a bundle and a half.
const OBJECTS: u64 = 70;

/// A log that somebody serves.
#[derive(Clone)]
pub(crate) struct Forged {
    pub(crate) name: &'static str,
    pub(crate) refusal: Refusal,
    pub(crate) entries: Vec<Bytes>,
    pub(crate) note: Vec<u8>,
    /// What the hash tiles are made of.
    honest: Vec<Bytes>,
}

fn entries_of(revisions: &[(u64, &str)]) -> Vec<Bytes> {
    revisions
        .iter()
        .flat_map(|(number, salt)| revision(*number, salt, OBJECTS))
        .collect()
}

/// The log's entries up to a revision.
pub(crate) fn honest(revisions: u64) -> Vec<Bytes> {
    (1..=revisions)
        .flat_map(|number| revision(number, "honest", OBJECTS))
        .collect()
}

/// The honest log's note of a revision.
pub(crate) fn honest_note(revisions: u64) -> Vec<u8> {
    note(&signer(), &honest(revisions), time_of(revisions))
}

fn forge(name: &'static str, refusal: Refusal, entries: Vec<Bytes>, note: Vec<u8>) -> Forged {
    Forged {
        name,
        refusal,
        honest: entries.clone(),
        entries,
        note,
    }
}

/// All that can be told from the notes and the entries.
pub(crate) fn all() -> Vec<Forged> {
    let signer = signer();
    let held = honest(2).len();

    let mut tampered = honest(3);
    let changed = held + 3;
    let mut bytes = tampered[changed].to_vec();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    tampered[changed] = bytes.into();

    let forked = entries_of(&[(1, "honest"), (2, "other"), (3, "other")]);
    let forked_at_once = entries_of(&[(1, "honest"), (2, "other")]);
    let mut nonsense = honest(2);
    nonsense.extend([
        Bytes::from_static(b"\xff\xff\xff"),
        honest(1).pop().unwrap(),
    ]);
    let mut endless = honest(3);
    endless.pop();
    let sign = |entries: &[Bytes], time| note(&signer, entries, time);

    let mut broken_signature = honest_note(3);
    let within_the_last = broken_signature.len() - 20;
    let flipped = if broken_signature[within_the_last] == b'A' {
        b'B'
    } else {
        b'A'
    };
    broken_signature[within_the_last] = flipped;

    vec![
        Forged {
            honest: honest(3),
            ..forge(
                "an entry is changed",
                Refusal::TamperedEntry,
                tampered,
                honest_note(3),
            )
        },
        forge(
            "the log was cut and signed again",
            Refusal::TruncatedLog,
            honest(1),
            sign(&honest(1), time_of(5)),
        ),
        Forged {
            honest: honest(3),
            ..forge(
                "entries are held back",
                Refusal::TruncatedLog,
                honest(2),
                honest_note(3),
            )
        },
        forge(
            "another past, and longer",
            Refusal::Fork,
            forked.clone(),
            sign(&forked, time_of(3)),
        ),
        forge(
            "another past of the same size",
            Refusal::Fork,
            forked_at_once.clone(),
            sign(&forked_at_once, time_of(3)),
        ),
        forge(
            "an older state",
            Refusal::OlderCheckpoint,
            honest(1),
            honest_note(1),
        ),
        forge(
            "the same state, older",
            Refusal::OlderCheckpoint,
            honest(2),
            sign(&honest(2), time_of(2) - 3_600),
        ),
        forge(
            "somebody else's signature",
            Refusal::UnknownKey,
            honest(3),
            note(&stranger(), &honest(3), time_of(3)),
        ),
        forge(
            "a signature that is none",
            Refusal::BadSignature,
            honest(3),
            broken_signature,
        ),
        forge(
            "an entry that is none",
            Refusal::MalformedEntry,
            nonsense.clone(),
            sign(&nonsense, time_of(3)),
        ),
        forge(
            "a revision without its end",
            Refusal::MalformedEntry,
            endless.clone(),
            sign(&endless, time_of(3)),
        ),
    ]
}

impl Forged {
    /// Writes static files of what it has, as an honest log would.
    pub(crate) fn write_honest(&self, dir: &Path) {
        let honest = Self {
            honest: self.entries.clone(),
            ..self.clone()
        };
        honest.write(dir);
    }

    /// Writes it as static files.
    pub(crate) fn write(&self, dir: &Path) {
        let mut disk = LogDisk::open(dir, &keys()).unwrap();
        disk.stage(&self.honest).unwrap();
        disk.commit(&note(&signer(), &self.honest, 1)).unwrap();
        drop(disk);
        for path in new_tiles(0, self.honest.len() as u64) {
            let TilePath::Entries { index, width } = path else {
                continue;
            };
            let first = usize::try_from(index).unwrap() * usize::from(TILE_WIDTH);
            let file = dir.join(path.to_string());
            match self.entries.get(first..first + usize::from(width)) {
                Some(entries) => fs::write(file, encode_bundle(entries).unwrap()).unwrap(),
                None => fs::remove_file(file).unwrap(),
            }
        }
        fs::write(dir.join("checkpoint"), &self.note).unwrap();
    }

    /// The gRPC service that it is streamed by.
    pub(crate) fn service(&self) -> CatalogServer<Stream> {
        CatalogServer::new(Stream(Arc::new(self.clone())))
    }
}

pub(crate) struct Stream(Arc<Forged>);

#[tonic::async_trait]
impl Catalog for Stream {
    type WatchStream = BoxStream<'static, Result<CatalogWatchResponse, Status>>;

    async fn watch(
        &self,
        request: Request<CatalogWatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let forged = &self.0;
        let from = request.get_ref().from_size;
        let Some(entries) = forged.entries.get(usize::try_from(from).unwrap()..) else {
            let note = Bytes::from(forged.note.clone());
            return Err(Status::with_details(
                Code::FailedPrecondition,
                "behind",
                note,
            ));
        };
        let mut messages = vec![Kind::Hello(CatalogHello {
            origin: keys().origin().to_owned(),
            verifier_keys: keys().to_strings(),
        })];
        let mut first = from;
        for part in entries.chunks(50) {
            messages.push(Kind::Entries(CatalogEntries {
                first,
                entries: part.to_vec(),
            }));
            first += part.len() as u64;
        }
        messages.push(Kind::Checkpoint(CatalogCheckpoint {
            note: Bytes::from(forged.note.clone()),
            trace_parent: String::new(),
        }));
        let messages = messages
            .into_iter()
            .map(|kind| Ok(CatalogWatchResponse { kind: Some(kind) }));
        let stream = futures::stream::iter(messages).chain(futures::stream::pending());
        Ok(Response::new(stream.boxed()))
    }
}

/// An honest log whose stream breaks after a hundred entries.
pub(crate) struct Flaky {
    entries: Vec<Bytes>,
    note: Vec<u8>,
    asked: Mutex<Vec<u64>>,
}

impl Flaky {
    pub(crate) fn new(entries: Vec<Bytes>, note: Vec<u8>) -> Self {
        Self {
            entries,
            note,
            asked: Mutex::default(),
        }
    }

    /// Where each reader began.
    pub(crate) fn asked(&self) -> Vec<u64> {
        self.asked.lock().unwrap().clone()
    }
}

#[tonic::async_trait]
impl Catalog for Flaky {
    type WatchStream = BoxStream<'static, Result<CatalogWatchResponse, Status>>;

    async fn watch(
        &self,
        request: Request<CatalogWatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let first = request.get_ref().from_size;
        self.asked.lock().unwrap().push(first);
        let rest = &self.entries[usize::try_from(first).unwrap()..];
        let kind = if rest.is_empty() {
            Kind::Checkpoint(CatalogCheckpoint {
                note: Bytes::from(self.note.clone()),
                trace_parent: String::new(),
            })
        } else {
            Kind::Entries(CatalogEntries {
                first,
                entries: rest[..rest.len().min(100)].to_vec(),
            })
        };
        let message = CatalogWatchResponse { kind: Some(kind) };
        Ok(Response::new(futures::stream::iter([Ok(message)]).boxed()))
    }
}
