//! Promotion onward, from one production prefix to another: from `incubating` to
//! `stable`. The origin has the content already, so the catalog answers for it,
//! and nobody else is asked. Pure.

use landfall_catalog::{Catalog, Digest, Object, Tag};
use landfall_promotion::{Asked, Kind};

use super::resolve::closure_of;
use super::walk::{Attached, COSIGN, Walk, check, check_size};
use crate::config::Limits;

/// What production says of something that is to be promoted onward.
#[derive(Debug)]
pub(super) enum Onward {
    /// All objects, children first, and what speaks about them there.
    Whole(Vec<Object>, Attached),
    /// It does not have that under this name.
    Lost(String),
    /// It was withdrawn.
    Refused(String),
}

/// Looks at what `asked` is in production at `place`: a repository or a path.
pub(super) fn look(catalog: &Catalog, asked: &Asked, place: &str, limits: &Limits) -> Onward {
    let known = catalog.ordinal(&asked.digest);
    let is_there = match asked.kind {
        Kind::Images => known.is_some_and(|ordinal| catalog.contains(place, ordinal)),
        Kind::Files => known.is_some() && catalog.file(place).map(|record| record.ordinal) == known,
    };
    let closure = closure_of(catalog, &asked.digest).filter(|_| is_there);
    let Some(closure) = closure else {
        let digest = asked.digest;
        return Onward::Lost(format!(
            "{place} in production does not have {digest}: promote it there first"
        ));
    };
    if let Some(why) = withdrawn(catalog, &closure) {
        return Onward::Refused(format!("withdrawn: {why}"));
    }
    let attached = match asked.kind {
        Kind::Images => attached(catalog, &closure, place, limits),
        Kind::Files => Attached::default(),
    };
    Onward::Whole(closure, attached)
}

/// What speaks about the documents of an image in its repository, within the
/// bounds of what is taken from staging.
fn attached(catalog: &Catalog, image: &[Object], repository: &str, limits: &Limits) -> Attached {
    let mut walk = Walk::from(image, limits);
    while let Some(subject) = walk.subject() {
        let referrers = catalog.referrers(repository, &subject);
        let referrers = walk.some_of(referrers, &subject);
        let referrers = referrers
            .into_iter()
            .filter_map(|ordinal| Some((None, *catalog.object(ordinal)?.digest())));
        for (tag, digest) in referrers.chain(tagged(catalog, repository, &subject)) {
            if !walk.may_look() {
                continue;
            }
            match artifact(catalog, &subject, tag.as_ref(), &digest, limits) {
                Ok(closure) => walk.take(tag, digest, closure),
                Err(why) => {
                    walk.leave_out(format!("{digest}, which speaks about {subject}: {why}"));
                }
            }
        }
    }
    walk.end()
}

/// Cosign's tags of one subject.
fn tagged(catalog: &Catalog, repository: &str, subject: &Digest) -> Vec<(Option<Tag>, Digest)> {
    let tagged = COSIGN.iter().filter_map(|suffix| {
        let tag = format!("sha256-{}.{suffix}", subject.to_hex());
        let record = catalog.tag(repository, &tag)?;
        let digest = *catalog.object(record.ordinal)?.digest();
        Some((Some(tag.parse().ok()?), digest))
    });
    tagged.collect()
}

fn artifact(
    catalog: &Catalog,
    subject: &Digest,
    tag: Option<&Tag>,
    digest: &Digest,
    limits: &Limits,
) -> Result<Vec<Object>, String> {
    let closure = closure_of(catalog, digest).ok_or("production does not have it whole")?;
    if let Some(why) = withdrawn(catalog, &closure) {
        return Err(format!("withdrawn: {why}"));
    }
    check_size(&closure, limits)?;
    // What a tag of cosign's holds was judged when it came into production.
    if tag.is_none() {
        check(&closure, subject, limits)?;
    }
    Ok(closure)
}

/// What of these objects was withdrawn, and why.
fn withdrawn(catalog: &Catalog, closure: &[Object]) -> Option<String> {
    closure.iter().find_map(|object| {
        let reason = catalog.withdrawn(&object.digest)?;
        Some(format!("{}: {reason}", object.digest))
    })
}

#[cfg(test)]
mod tests;
