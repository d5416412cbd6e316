//! Who speaks about an image: one walk from its documents to what refers to them,
//! and on to what refers to that, within what one image may cost. Pure: staging
//! (`referrers`) or production (`channel`) is asked by whoever walks.

use std::collections::{BTreeSet, VecDeque};

use landfall_catalog::{Digest, Object, Tag};
use landfall_content::oci::is_manifest;

use crate::config::Limits;

/// Referrers of referrers that are followed: a signature of a bill of materials.
const DEPTH: usize = 2;
/// What cosign appends to `sha256-<hex>` for a tag.
pub(super) const COSIGN: [&str; 3] = ["sig", "att", "sbom"];

/// What speaks about an image, and is to be promoted with it.
#[derive(Debug, Default)]
pub(crate) struct Attached {
    pub(crate) artifacts: Vec<Artifact>,
    /// Cosign tags that are there and are not what they should be.
    pub(crate) refused: Vec<RefusedTag>,
    /// What was left out, and why: for people.
    pub(crate) left_out: Vec<String>,
    /// The host does not know the referrers API, it said.
    pub(crate) without_api: bool,
}

/// A cosign tag that does not come along.
#[derive(Debug)]
pub(crate) struct RefusedTag {
    pub(crate) tag: Tag,
    pub(crate) digest: Digest,
    pub(crate) why: String,
}

/// One artifact.
#[derive(Debug)]
pub(crate) struct Artifact {
    /// The cosign tag that names it; none: it is named by its digest.
    pub(crate) tag: Option<Tag>,
    pub(crate) digest: Digest,
    /// Children first, the artifact's OCI manifest last.
    pub(crate) closure: Vec<Object>,
}

/// A walk under way.
pub(super) struct Walk<'a> {
    limits: &'a Limits,
    pub(super) found: Attached,
    /// Requests that were made so far.
    pub(super) requests: usize,
    to_ask: VecDeque<(Digest, usize)>,
    seen: BTreeSet<Digest>,
    depth: usize,
    looked_at: usize,
    bytes: u64,
    over: Over,
}

/// What was not looked at because enough was spent.
#[derive(Default)]
struct Over {
    artifacts: usize,
    subjects: usize,
}

impl<'a> Walk<'a> {
    /// Begins at the documents of an image.
    pub(super) fn from(image: &[Object], limits: &'a Limits) -> Self {
        let documents = image
            .iter()
            .filter(|object| is_manifest(&object.media_type));
        Self {
            limits,
            found: Attached::default(),
            requests: 0,
            to_ask: documents.map(|object| (object.digest, 0)).collect(),
            seen: BTreeSet::new(),
            depth: 0,
            looked_at: 0,
            bytes: 0,
            over: Over::default(),
        }
    }

    /// What is to be asked about next.
    pub(super) fn subject(&mut self) -> Option<Digest> {
        while let Some((subject, depth)) = self.to_ask.pop_front() {
            if !self.seen.insert(subject) {
                continue;
            }
            if self.is_enough() {
                self.over.subjects += 1;
                continue;
            }
            self.depth = depth;
            return Some(subject);
        }
        None
    }

    /// As many of the referrers of a subject as are taken.
    pub(super) fn some_of<T>(&mut self, mut referrers: Vec<T>, subject: &Digest) -> Vec<T> {
        let (count, most) = (referrers.len(), self.limits.referrers);
        if count > most {
            self.leave_out(format!(
                "{} of the {count} referrers of {subject}: at most {most} are taken",
                count - most
            ));
        }
        referrers.truncate(most);
        referrers
    }

    /// Whether another artifact may be looked at; it counts as soon as it may.
    pub(super) fn may_look(&mut self) -> bool {
        if self.is_enough() {
            self.over.artifacts += 1;
            return false;
        }
        self.looked_at += 1;
        true
    }

    /// Takes an artifact about the last subject, unless that would be too much.
    pub(super) fn take(&mut self, tag: Option<Tag>, digest: Digest, closure: Vec<Object>) {
        let mut artifacts = self.found.artifacts.iter();
        if artifacts.any(|artifact| artifact.digest == digest && artifact.tag == tag) {
            return;
        }
        let bytes = self.bytes.saturating_add(bytes_of(&closure));
        if bytes > self.limits.attached_bytes {
            self.over.artifacts += 1;
            return;
        }
        self.bytes = bytes;
        if self.depth < DEPTH {
            self.to_ask.push_back((digest, self.depth + 1));
        }
        self.found.artifacts.push(Artifact {
            tag,
            digest,
            closure,
        });
    }

    /// Notes for people that something does not come along.
    pub(super) fn leave_out(&mut self, what: String) {
        self.found.left_out.push(what);
    }

    /// What was found, when there is nothing left to ask.
    pub(super) fn end(mut self) -> Attached {
        let Over {
            artifacts,
            subjects,
        } = self.over;
        if artifacts + subjects > 0 {
            let limits = self.limits;
            self.leave_out(format!(
                "{artifacts} artifacts, and whatever speaks about {subjects} others: at most {} artifacts of {} bytes together come along with one image, and {} requests are made for them",
                limits.attached, limits.attached_bytes, limits.attached_requests
            ));
        }
        self.found
    }

    fn is_enough(&self) -> bool {
        self.looked_at >= self.limits.attached
            || self.bytes >= self.limits.attached_bytes
            || self.requests >= self.limits.attached_requests
    }
}

fn bytes_of(closure: &[Object]) -> u64 {
    let sizes = closure.iter().map(|object| object.size);
    sizes.fold(0, u64::saturating_add)
}

/// Whether an artifact with all it needs is small enough.
pub(super) fn check_size(closure: &[Object], limits: &Limits) -> Result<(), String> {
    let bytes = bytes_of(closure);
    if bytes > limits.referrer_bytes {
        return Err(format!(
            "it has {bytes} bytes; at most {} are taken",
            limits.referrer_bytes
        ));
    }
    Ok(())
}

/// Whether a referrer is what it was listed as, and of a type that is taken.
pub(super) fn check(closure: &[Object], subject: &Digest, limits: &Limits) -> Result<(), String> {
    let referrer = closure
        .last()
        .and_then(|root| root.referrer.as_ref())
        .ok_or("it has no subject")?;
    if referrer.subject != *subject {
        return Err(format!("its subject is {}", referrer.subject));
    }
    if !limits.artifact_types.contains(&referrer.artifact_type) {
        return Err(format!(
            "the artifact type \"{}\" is not taken",
            referrer.artifact_type.escape_default()
        ));
    }
    Ok(())
}
