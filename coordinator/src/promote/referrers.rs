//! What speaks about an image: signatures, attestations, bills of materials.
//!
//! Staging is not reviewed, and whoever may push there may attach anything. So
//! only known types come along, few enough and small enough. A referrer that does
//! not is named in a warning: attaching things is free to all. A cosign tag that
//! does not is refused by name, because whoever verifies looks for it. Neither
//! holds up the image.

use std::collections::{BTreeSet, VecDeque};

use landfall_catalog::{Digest, Object, Tag};
use landfall_content::oci::{
    Closure, ClosureError, ClosureLimits, Descriptor, Document, is_manifest, resolve_closure,
};

use super::cosign;
use super::patient::documents;
use super::resolve::{Reading, Unread, read_again, who_and_why};
use super::sources::ImageSource;
use super::survey::Survey;
use crate::config::Limits;

/// Referrers of referrers that are followed: a signature of a bill of materials.
pub(super) const DEPTH: usize = 2;
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
    spent: Spent,
    over: Over,
}

/// What one root has cost so far.
#[derive(Debug, Default)]
struct Spent {
    artifacts: usize,
    bytes: u64,
    requests: usize,
}

/// What was not looked at because enough was spent.
#[derive(Debug, Default)]
struct Over {
    artifacts: usize,
    subjects: usize,
}

impl Spent {
    fn is_enough(&self, limits: &Limits) -> bool {
        self.artifacts >= limits.attached
            || self.bytes >= limits.attached_bytes
            || self.requests >= limits.attached_requests
    }
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

/// Finds everything attached to the documents of `image`.
pub(super) async fn attached(
    source: &ImageSource,
    image: &[Object],
    survey: &Survey,
    limits: &Limits,
) -> Result<Attached, Unread> {
    let tags = survey.tags(source).await;
    let may_be = |tag: &Tag| tags.as_ref().is_none_or(|tags| tags.contains(tag));
    let mut found = Attached::default();
    let mut seen = BTreeSet::new();
    let documents = image
        .iter()
        .filter(|object| is_manifest(&object.media_type));
    let mut subjects: VecDeque<(Digest, usize)> =
        documents.map(|object| (object.digest, 0)).collect();
    while let Some((subject, depth)) = subjects.pop_front() {
        if !seen.insert(subject) {
            continue;
        }
        if found.spent.is_enough(limits) {
            found.over.subjects += 1;
            continue;
        }
        let before = found.artifacts.len();
        let listed = found.listed(source, &subject, survey, &may_be).await;
        found.referrers(source, &subject, listed, limits).await?;
        found.cosign(source, &subject, &may_be, limits).await?;
        if depth < DEPTH {
            let new = found.artifacts[before..].iter();
            subjects.extend(new.map(|artifact| (artifact.digest, depth + 1)));
        }
    }
    found.tell_of_excess(limits);
    Ok(found)
}

impl Attached {
    /// What refers to `subject`: from the referrers API, else from the fallback
    /// tag. A host that says twice of an image that it does not know the API is
    /// believed for the rest of that image, and no longer: what stands before a
    /// registry may have answered in its place.
    async fn listed(
        &mut self,
        source: &ImageSource,
        subject: &Digest,
        survey: &Survey,
        may_be: &impl Fn(&Tag) -> bool,
    ) -> Result<Vec<Descriptor>, Reading> {
        let (registry, repository) = (&source.registry, &source.repository);
        for _ in 0..2 {
            if self.without_api {
                break;
            }
            self.spent.requests += 1;
            let listed = read_again(|| registry.listed_referrers(repository, subject)).await?;
            if let Some(listed) = listed {
                survey.note_referrers(source);
                return Ok(listed);
            }
        }
        self.without_api = true;
        let fallback = format!("sha256-{}", subject.to_hex()).parse();
        if fallback.is_ok_and(|tag: Tag| !may_be(&tag)) {
            return Ok(Vec::new());
        }
        self.spent.requests += 1;
        read_again(|| registry.tagged_referrers(repository, subject)).await
    }

    /// Whatever of the image was looked for by tags only is to be told, if its
    /// host answered the API for others.
    pub(super) fn tell_of_silence(&mut self, source: &ImageSource, survey: &Survey) {
        if self.without_api && survey.lists_referrers(source) {
            self.leave_out(format!(
                "its referrers: {} answered 404 for them, and lists those of other images; promote again",
                source.host_name
            ));
        }
    }

    fn tell_of_excess(&mut self, limits: &Limits) {
        let Over {
            artifacts,
            subjects,
        } = self.over;
        if artifacts + subjects > 0 {
            self.leave_out(format!(
                "{artifacts} artifacts, and whatever speaks about {subjects} others: at most {} artifacts of {} bytes together come along with one image, and {} requests are made for them",
                limits.attached, limits.attached_bytes, limits.attached_requests
            ));
        }
    }

    async fn referrers(
        &mut self,
        source: &ImageSource,
        subject: &Digest,
        listed: Result<Vec<Descriptor>, Reading>,
        limits: &Limits,
    ) -> Result<(), Unread> {
        let listed = match listed {
            Ok(listed) => listed,
            Err(Reading::Transient(why)) => return Err(Unread(why)),
            Err(Reading::Final(why)) => {
                self.leave_out(format!("the referrers of {subject}: {why}"));
                return Ok(());
            }
        };
        if listed.len() > limits.referrers {
            let more = listed.len() - limits.referrers;
            self.leave_out(format!(
                "{more} of {} referrers of {subject}: more than {} are not taken",
                listed.len(),
                limits.referrers
            ));
        }
        for descriptor in listed.into_iter().take(limits.referrers) {
            let digest = descriptor.digest;
            if self.spent.is_enough(limits) {
                self.over.artifacts += 1;
                continue;
            }
            match self.closure(source, &digest, limits).await? {
                Ok(closure) => match check(&closure.objects, subject, limits) {
                    Ok(()) => self.take(None, digest, closure, limits),
                    Err(why) => {
                        self.leave_out(format!("the referrer {digest} of {subject}: {why}"))
                    }
                },
                Err(why) => self.leave_out(format!("the referrer {digest} of {subject}: {why}")),
            }
        }
        Ok(())
    }

    async fn cosign(
        &mut self,
        source: &ImageSource,
        subject: &Digest,
        may_be: &impl Fn(&Tag) -> bool,
        limits: &Limits,
    ) -> Result<(), Unread> {
        let (registry, repository) = (&source.registry, &source.repository);
        let tagged = read_again(|| registry.cosign_among(repository, subject, may_be)).await;
        let tagged = match tagged {
            Ok(tagged) => tagged,
            Err(Reading::Transient(why)) => return Err(Unread(why)),
            Err(Reading::Final(why)) => {
                self.leave_out(format!("the cosign tags of {subject}: {why}"));
                return Ok(());
            }
        };
        self.spent.requests += COSIGN.len();
        for (tag, raw) in tagged {
            let digest = raw.digest;
            if self.spent.is_enough(limits) {
                self.over.artifacts += 1;
                continue;
            }
            let closure = self.closure(source, &digest, limits).await?;
            match closure.and_then(|closure| is_cosigns(&tag, subject, closure)) {
                Ok(closure) => self.take(Some(tag), digest, closure, limits),
                Err(why) => self.refused.push(RefusedTag { tag, digest, why }),
            }
        }
        Ok(())
    }

    /// The artifact with all it needs, if it is complete and small enough.
    async fn closure(
        &mut self,
        source: &ImageSource,
        digest: &Digest,
        limits: &Limits,
    ) -> Result<Result<Closure, String>, Unread> {
        self.spent.artifacts += 1;
        let reader = documents(source);
        let bounds = ClosureLimits {
            depth: 2,
            objects: 256,
            ..ClosureLimits::default()
        };
        let closure = resolve_closure(&reader, digest, &bounds).await;
        self.spent.requests += reader.asked();
        let closure = match closure.map_err(Reading::from) {
            Ok(closure) => closure,
            Err(Reading::Transient(why)) => return Err(Unread(why)),
            Err(Reading::Final(why)) => return Ok(Err(why)),
        };
        if let Some(missing) = closure.missing.first() {
            return Ok(Err(format!("it needs {missing}, which is missing")));
        }
        Ok(check_size(&closure.objects, limits).map(|()| closure))
    }

    fn take(&mut self, tag: Option<Tag>, digest: Digest, closure: Closure, limits: &Limits) {
        let is_known = self
            .artifacts
            .iter()
            .any(|artifact| artifact.digest == digest && artifact.tag == tag);
        if is_known {
            return;
        }
        let bytes = self.spent.bytes.saturating_add(closure.bytes());
        if bytes > limits.attached_bytes {
            self.over.artifacts += 1;
        } else {
            self.spent.bytes = bytes;
            self.artifacts.push(Artifact {
                tag,
                digest,
                closure: closure.objects,
            });
        }
    }

    fn leave_out(&mut self, what: String) {
        self.left_out.push(what);
    }
}

/// The closure again, if cosign keeps such things under `tag`.
fn is_cosigns(tag: &Tag, subject: &Digest, closure: Closure) -> Result<Closure, String> {
    let suffix = tag.as_str().rsplit('.').next().unwrap_or_default();
    let root = closure.objects.last().ok_or("it is empty")?;
    let bytes = closure.documents.get(&root.digest).ok_or("it is empty")?;
    let document = Document::parse(bytes, Some(root.media_type.as_str()))
        .map_err(|error| landfall_proto::status::chain(&error))?;
    cosign::check(suffix, subject, &document)?;
    Ok(closure)
}

/// Whether an artifact with all it needs is small enough.
pub(super) fn check_size(closure: &[Object], limits: &Limits) -> Result<(), String> {
    let sizes = closure.iter().map(|object| object.size);
    let bytes = sizes.fold(0, u64::saturating_add);
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

impl From<ClosureError> for Reading {
    fn from(error: ClosureError) -> Self {
        let why = landfall_proto::status::chain(&error);
        match &error {
            ClosureError::Read { source, .. } => Self::of(source.kind, who_and_why(source)),
            ClosureError::RootMissing(_)
            | ClosureError::WrongBytes(_)
            | ClosureError::Document { .. }
            | ClosureError::Sizes(_)
            | ClosureError::TooLarge(_)
            | ClosureError::Cycle(_) => Self::Final(why),
        }
    }
}
