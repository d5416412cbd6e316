//! Each name asked for: to set, unchanged, waiting, or refused.

use std::collections::HashMap;

use landfall_catalog::{Catalog, Digest, FilePath, Name};

use super::{Plan, PlanOptions};
use crate::asked::Asked;
use crate::finding::{Finding, finding};
use crate::parse::owner;
use crate::plain::quoted;
use crate::project::Kind;
use crate::rules::{self, Rule};

/// What is to become of one claim.
enum Decision {
    Set,
    Unchanged,
    /// It is pending already.
    Waits,
    Refused(String),
    /// Refused for what other manifests ask: worth a finding.
    Contradicts(&'static Rule, String),
}

/// Sorts `claims`, which are ordered by name and digest, into `plan`.
pub(super) fn decide(
    claims: Vec<Asked>,
    catalog: &Catalog,
    options: &PlanOptions,
    plan: &mut Plan,
    findings: &mut Vec<Finding>,
) {
    let mut decisions: Vec<Decision> = Vec::with_capacity(claims.len());
    for rivals in claims.chunk_by(|a, b| a.name == b.name) {
        for asked in rivals {
            decisions.push(judge(asked, rivals, catalog, options));
        }
    }
    refuse_files_that_are_folders(&claims, &mut decisions);
    for (asked, decision) in claims.into_iter().zip(decisions) {
        match decision {
            Decision::Set => plan.set.push(asked),
            Decision::Unchanged => plan.unchanged.push(asked),
            Decision::Waits => plan.waiting.push(asked),
            Decision::Refused(why) => plan.refused.push((asked, why)),
            Decision::Contradicts(rule, why) => {
                findings.push(contradiction(&asked, rule, why.clone()));
                plan.refused.push((asked, format!("{}: {why}", rule.id)));
            }
        }
    }
}

fn judge(asked: &Asked, rivals: &[Asked], catalog: &Catalog, options: &PlanOptions) -> Decision {
    if let Some(reason) = catalog.withdrawn(&asked.digest) {
        return Decision::Refused(format!("withdrawn: {reason}"));
    }
    let current = current(catalog, &asked.name);
    if current == Some(asked.digest) {
        return Decision::Unchanged;
    }
    if let Some(rival) = rivals.iter().find(|rival| rival.digest != asked.digest) {
        let rule = match asked.kind {
            Kind::Images => &rules::CONFLICTING_TAG,
            Kind::Files => &rules::CONFLICTING_HASHES,
        };
        let why = format!(
            "{} is asked to be {}, and {} by {} at {}",
            quoted(&asked.name.to_string()),
            asked.digest,
            rival.digest,
            rival.project,
            rival.at
        );
        return Decision::Contradicts(rule, why);
    }
    if let Some(pending) = pending(catalog, &asked.name) {
        return match pending == asked.digest {
            true => Decision::Waits,
            false => Decision::Refused(format!(
                "pending-name: it waits at the gate of an earlier promotion, and will mean {pending}; open that gate or give it up first"
            )),
        };
    }
    match current {
        Some(current) if !asked.mutable && !options.allow_tag_moves => {
            Decision::Refused(format!("immutable-name: it means {current} in production"))
        }
        Some(_) | None => match colliding(catalog, &asked.name) {
            Some(other) => {
                let why = format!(
                    "{} cannot be there together with {}, which production has",
                    quoted(&asked.name.to_string()),
                    quoted(other.as_str())
                );
                Decision::Contradicts(&rules::COLLIDING_PATHS, why)
            }
            None => Decision::Set,
        },
    }
}

/// What a name means in production.
pub(super) fn current(catalog: &Catalog, name: &Name) -> Option<Digest> {
    let object = catalog.object(catalog.name(name)?.ordinal)?;
    Some(*object.digest())
}

/// What a pending name will mean in production.
fn pending(catalog: &Catalog, name: &Name) -> Option<Digest> {
    let object = catalog.object(catalog.pending_name(name)?.ordinal)?;
    Some(*object.digest())
}

fn colliding(catalog: &Catalog, name: &Name) -> Option<FilePath> {
    match name {
        Name::File(path) => {
            let pending = || catalog.colliding_pending_file(path).cloned();
            catalog.colliding_file(path).or_else(pending)
        }
        Name::Tag(..) | Name::Root(..) => None,
    }
}

/// Of a file `x` and files below `x/`, the one that is refused is `x`: what is
/// below it may be a whole release.
fn refuse_files_that_are_folders(claims: &[Asked], decisions: &mut [Decision]) {
    let mut folders: HashMap<&str, &Asked> = HashMap::new();
    for (asked, decision) in claims.iter().zip(&*decisions) {
        if let (Name::File(path), Decision::Set | Decision::Unchanged | Decision::Waits) =
            (&asked.name, decision)
        {
            for folder in path.folders() {
                folders.entry(folder).or_insert(asked);
            }
        }
    }
    for (asked, decision) in claims.iter().zip(decisions) {
        if let (Name::File(path), Decision::Set) = (&asked.name, &*decision)
            && let Some(below) = folders.get(path.as_str())
        {
            let why = format!(
                "{} is asked to be a file, and a folder by {} at {}",
                quoted(path.as_str()),
                quoted(&below.name.to_string()),
                below.at
            );
            *decision = Decision::Contradicts(&rules::COLLIDING_PATHS, why);
        }
    }
}

fn contradiction(asked: &Asked, rule: &Rule, message: String) -> Finding {
    let owner = owner(&asked.project, asked.kind);
    let name = asked.name.to_string();
    let about = [name.as_str(), &asked.digest.to_string()];
    finding(rule, &asked.at, &owner, message, String::new(), &about)
}
