//! What speaks about an image: signatures, attestations, bills of materials.
//!
//! Staging is not reviewed, and whoever may push there may attach anything. So
//! only known types come along, few enough and small enough. A referrer that does
//! not is named in a warning: attaching things is free to all. A cosign tag that
//! does not is refused by name, because whoever verifies looks for it. Neither
//! holds up the image.

use landfall_catalog::{Digest, Object, Tag};
use landfall_content::oci::{
    Closure, ClosureError, ClosureLimits, Descriptor, Document, resolve_closure,
};

use super::cosign;
use super::patient::documents;
use super::resolve::{Reading, Unread, read_again, who_and_why};
use super::sources::ImageSource;
use super::survey::Survey;
use super::walk::{Attached, COSIGN, RefusedTag, Walk, check, check_size};
use crate::config::Limits;

/// Finds everything attached to the documents of `image`.
pub(super) async fn attached(
    source: &ImageSource,
    image: &[Object],
    survey: &Survey,
    limits: &Limits,
) -> Result<Attached, Unread> {
    let tags = survey.tags(source).await;
    let may_be = |tag: &Tag| tags.as_ref().is_none_or(|tags| tags.contains(tag));
    let mut staged = Staged {
        source,
        limits,
        walk: Walk::from(image, limits),
    };
    while let Some(subject) = staged.walk.subject() {
        let listed = staged.listed(&subject, survey, &may_be).await;
        staged.referrers(&subject, listed).await?;
        staged.cosign(&subject, &may_be).await?;
    }
    Ok(staged.walk.end())
}

impl Attached {
    /// Whatever of the image was looked for by tags only is to be told, if its
    /// host answered the API for others.
    pub(super) fn tell_of_silence(&mut self, source: &ImageSource, survey: &Survey) {
        if self.without_api && survey.lists_referrers(source) {
            self.left_out.push(format!(
                "its referrers: {} answered 404 for them, and lists those of other images; promote again",
                source.host_name
            ));
        }
    }
}

/// A walk in a repository of staging.
struct Staged<'a> {
    source: &'a ImageSource,
    limits: &'a Limits,
    walk: Walk<'a>,
}

impl Staged<'_> {
    /// What refers to `subject`: from the referrers API, else from the fallback
    /// tag. A host that says twice of an image that it does not know the API is
    /// believed for the rest of that image, and no longer: what stands before a
    /// registry may have answered in its place.
    async fn listed(
        &mut self,
        subject: &Digest,
        survey: &Survey,
        may_be: &impl Fn(&Tag) -> bool,
    ) -> Result<Vec<Descriptor>, Reading> {
        let (registry, repository) = (&self.source.registry, &self.source.repository);
        for _ in 0..2 {
            if self.walk.found.without_api {
                break;
            }
            self.walk.requests += 1;
            let listed = read_again(|| registry.listed_referrers(repository, subject)).await?;
            if let Some(listed) = listed {
                survey.note_referrers(self.source);
                return Ok(listed);
            }
        }
        self.walk.found.without_api = true;
        let fallback = format!("sha256-{}", subject.to_hex()).parse();
        if fallback.is_ok_and(|tag: Tag| !may_be(&tag)) {
            return Ok(Vec::new());
        }
        self.walk.requests += 1;
        read_again(|| registry.tagged_referrers(repository, subject)).await
    }

    async fn referrers(
        &mut self,
        subject: &Digest,
        listed: Result<Vec<Descriptor>, Reading>,
    ) -> Result<(), Unread> {
        let listed = match listed {
            Ok(listed) => listed,
            Err(Reading::Transient(why)) => return Err(Unread(why)),
            Err(Reading::Final(why)) => {
                self.walk
                    .leave_out(format!("the referrers of {subject}: {why}"));
                return Ok(());
            }
        };
        for descriptor in self.walk.some_of(listed, subject) {
            if !self.walk.may_look() {
                continue;
            }
            let digest = descriptor.digest;
            let closure = self.closure(&digest).await?;
            let checked = closure.and_then(|closure| {
                check(&closure.objects, subject, self.limits)?;
                Ok(closure.objects)
            });
            match checked {
                Ok(closure) => self.walk.take(None, digest, closure),
                Err(why) => self
                    .walk
                    .leave_out(format!("the referrer {digest} of {subject}: {why}")),
            }
        }
        Ok(())
    }

    async fn cosign(
        &mut self,
        subject: &Digest,
        may_be: &impl Fn(&Tag) -> bool,
    ) -> Result<(), Unread> {
        let (registry, repository) = (&self.source.registry, &self.source.repository);
        let tagged = read_again(|| registry.cosign_among(repository, subject, may_be)).await;
        let tagged = match tagged {
            Ok(tagged) => tagged,
            Err(Reading::Transient(why)) => return Err(Unread(why)),
            Err(Reading::Final(why)) => {
                self.walk
                    .leave_out(format!("the cosign tags of {subject}: {why}"));
                return Ok(());
            }
        };
        self.walk.requests += COSIGN.len();
        for (tag, raw) in tagged {
            if !self.walk.may_look() {
                continue;
            }
            let digest = raw.digest;
            let closure = self.closure(&digest).await?;
            match closure.and_then(|closure| is_cosigns(&tag, subject, closure)) {
                Ok(closure) => self.walk.take(Some(tag), digest, closure.objects),
                Err(why) => self
                    .walk
                    .found
                    .refused
                    .push(RefusedTag { tag, digest, why }),
            }
        }
        Ok(())
    }

    /// The artifact with all it needs, if it is complete and small enough.
    async fn closure(&mut self, digest: &Digest) -> Result<Result<Closure, String>, Unread> {
        let reader = documents(self.source);
        let bounds = ClosureLimits {
            depth: 2,
            objects: 256,
            ..ClosureLimits::default()
        };
        let closure = resolve_closure(&reader, digest, &bounds).await;
        self.walk.requests += reader.asked();
        let closure = match closure.map_err(Reading::from) {
            Ok(closure) => closure,
            Err(Reading::Transient(why)) => return Err(Unread(why)),
            Err(Reading::Final(why)) => return Ok(Err(why)),
        };
        if let Some(missing) = closure.missing.first() {
            return Ok(Err(format!("it needs {missing}, which is missing")));
        }
        Ok(check_size(&closure.objects, self.limits).map(|()| closure))
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
