//! What the manifests ask for, compared with what production holds.

use landfall_catalog::{Catalog, Digest, Name};

use crate::asked::Asked;
use crate::canonical::Canonical;
use crate::finding::{Finding, sort};
use crate::mutable::MutableNames;
use crate::parse::Parsed;
use crate::production::ProductionRule;
use crate::project::Kind;

mod asking;
mod decide;
mod owners;
mod prune;

use owners::Owners;

/// What a plan may do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlanOptions {
    /// Names that may move.
    pub mutable: MutableNames,
    /// Any name may move, this once.
    pub allow_tag_moves: bool,
    /// Names that production has and the manifests no longer list are removed.
    pub prune: bool,
    /// Where others publish who are not in the tree: what is theirs is neither set
    /// nor removed.
    pub neighbours: Vec<Neighbour>,
}

/// A public prefix of a project that is not in the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// The project.
    pub project: String,
    /// Whether it publishes images or files.
    pub kind: Kind,
    /// The prefix, as [`public_prefixes`](crate::public_prefixes) gives it.
    pub prefix: String,
}

/// What is asked for, against a state of the catalog. Everything is in a stable
/// order: by name, findings by file and line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Names to set: new ones, and such as may move.
    pub set: Vec<Asked>,
    /// Names that mean in production what is asked for already.
    pub unchanged: Vec<Asked>,
    /// Names that are pending, and will mean what is asked for: they wait at the
    /// gate of an earlier promotion, and need nothing more.
    pub waiting: Vec<Asked>,
    /// What a rule forbids, each with `code: why`. The codes are `withdrawn`,
    /// `immutable-name`, `pending-name`, and those of the rules `outside-project`,
    /// `conflicting-tag`, `conflicting-hashes` and `colliding-paths`.
    pub refused: Vec<(Asked, String)>,
    /// Names to remove.
    pub removed: Vec<Name>,
    /// Everything found: what [`parse`](crate::parse) found and then what
    /// planning did.
    pub findings: Vec<Finding>,
    /// Projects that ask, counted per kind.
    pub projects: usize,
    /// Public names asked for: set, unchanged, waiting and refused.
    pub entries: usize,
    /// [`Figures::destination_edges`](crate::Figures::destination_edges).
    pub destination_edges: u64,
}

impl Plan {
    /// SHA-256 over the canonical encoding (length-prefixed fields in a fixed
    /// order) of the label `landfall plan 1`, what is set, what is unchanged, what
    /// is refused and why, what is removed, and what waits, if anything does. Neither findings nor places in
    /// manifests are part of it: a comment changes no plan.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let mut canonical = Canonical::new("landfall plan 1");
        let asked = |canonical: &mut Canonical, asked: &Asked| asked.encode(canonical);
        canonical.list(&self.set, asked);
        canonical.list(&self.unchanged, asked);
        canonical.list(&self.refused, |canonical, (asked, why)| {
            asked.encode(canonical);
            canonical.text(why);
        });
        canonical.list(&self.removed, |canonical, name| {
            canonical.text(&name.to_string());
        });
        if !self.waiting.is_empty() {
            canonical.list(&self.waiting, asked);
        }
        canonical.finish()
    }

    /// Whether executing it would change anything.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.set.is_empty() && self.removed.is_empty()
    }
}

/// Compares what is asked for with the catalog. Nothing makes this fail: what a
/// rule forbids is refused, and everything else goes on.
///
/// Against the empty catalog this is also the second half of a validation: its
/// findings include those that only public names show, across projects.
#[must_use]
pub fn plan(
    parsed: &Parsed,
    rules: &[ProductionRule],
    catalog: &Catalog,
    options: &PlanOptions,
) -> Plan {
    let mut findings = parsed.findings.clone();
    let prefixes = asking::publish(parsed, rules, &mut findings);
    let owners = Owners::new(parsed, &prefixes, options);
    let asking = asking::ask(parsed, &prefixes, &owners, &options.mutable);
    findings.extend(asking.findings);
    let removed = if options.prune {
        prune::removed(parsed, &owners, &asking.claims, catalog, &mut findings)
    } else {
        Vec::new()
    };
    let mut plan = Plan {
        removed,
        projects: parsed.projects.len(),
        entries: asking.claims.len() + asking.outside.len(),
        destination_edges: parsed.stats.destination_edges,
        ..Plan::default()
    };
    decide::decide(asking.claims, catalog, options, &mut plan, &mut findings);
    plan.refused.extend(asking.outside);
    plan.refused.sort_by(|(a, _), (b, _)| {
        (&a.name, &a.digest, &a.project).cmp(&(&b.name, &b.digest, &b.project))
    });
    sort(&mut findings);
    plan.findings = findings;
    plan
}
