//! Which objects a withdrawal takes away and a reinstatement brings back. Pure.
//!
//! Nothing goes that was not named, but what only that needs, unless it is said:
//! other names that mean the same content, and live images that need it, are
//! either said to go along or to stay.
//!
//! Withdrawn is what was chosen, and the OCI manifests below it that nothing else
//! live needs: such a one goes if it has no name and every live object that holds
//! it goes, too. Blobs that nothing else live needs then are live no more, and are
//! purged, without being withdrawn: a repaired image, or somebody else's, may
//! bring the same base again. A blob is withdrawn when it is what was chosen.

use std::collections::{BTreeMap, BTreeSet};

use landfall_catalog::{Catalog, Digest, Name, Ordinal};
use landfall_content::oci::is_manifest;
use roaring::RoaringBitmap;

use super::ChangeError;
use super::choice::{Choice, Chosen};

/// Names and parents that a refusal tells, …
const TOLD: usize = 20;
/// … the names of one parent among them, …
const TOLD_OF_PARENT: usize = 3;
/// … and their bytes: a refusal travels in a header.
const TOLD_BYTES: usize = 3000;

/// What a withdrawal or a reinstatement changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Change {
    /// What is withdrawn or reinstated, by age. Not what is purged with it.
    pub(crate) objects: Vec<Digest>,
    /// Their length in bytes.
    pub(crate) bytes: u64,
    /// Names that were chosen and mean one of them.
    pub(crate) names: Vec<Name>,
    /// Other names that mean one of them, and so share its fate.
    pub(crate) others: Vec<Name>,
    /// Names that were chosen and stay, with their content: other names mean it, too.
    pub(crate) kept: Vec<Name>,
    /// Names that were chosen and go, each with what it means: that stays under its
    /// other names.
    pub(crate) dropped: Vec<(Name, Digest)>,
    /// Live objects that hold one of them and stay, each with its names.
    pub(crate) parents: Vec<(Digest, Vec<Name>)>,
    /// Objects that refer to one of them (signatures, bills of materials) and stay.
    pub(crate) referrers: Vec<Digest>,
    /// Every name by which something that holds one of them is reached: who may
    /// change this has to own all of these.
    pub(crate) reach: BTreeSet<Name>,
    /// What stays withdrawn though it was withdrawn together with what comes back,
    /// or holds it; each with its names.
    pub(crate) still: Vec<(Digest, Vec<Name>)>,
    /// What has to be said before it can be carried out: one sentence each.
    pub(crate) unsaid: Vec<String>,
}

/// What becomes of what was not named and is concerned all the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Terms {
    pub(crate) parents: Parents,
    pub(crate) others: Others,
}

/// Live images that need what goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Parents {
    /// That has to be said.
    #[default]
    Unsaid,
    /// They stay, without it.
    Leave,
    /// They go, too.
    Take,
}

/// Names that were not chosen and mean the content of one that was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Others {
    /// That has to be said.
    #[default]
    Unsaid,
    /// They share its fate.
    Take,
    /// They keep it, and so do the names that were chosen.
    Keep,
    /// They keep it, and the names that were chosen go.
    Drop,
}

/// What withdrawing `choice` comes to. Without anything to withdraw that is not
/// withdrawn already, the change has no objects.
pub(crate) fn withdrawal(
    catalog: &Catalog,
    choice: &Choice,
    terms: Terms,
) -> Result<Change, ChangeError> {
    let chosen = Chosen::of(catalog, choice)?;
    let mut targets: BTreeSet<Ordinal> = chosen
        .objects
        .iter()
        .copied()
        .filter(|ordinal| !catalog.is_withdrawn(*ordinal))
        .collect();
    // Who writes a digest means that content, whatever its names are.
    let shared = match choice {
        Choice::Digest(_) => BTreeMap::new(),
        Choice::Name(_) | Choice::Below(_) => shared(catalog, &targets, &chosen.names),
    };
    let mut kept = BTreeSet::new();
    if matches!(terms.others, Others::Keep | Others::Drop) {
        targets.retain(|ordinal| !shared.contains_key(ordinal));
        let kept_names = shared.keys().flat_map(|ordinal| names(catalog, *ordinal));
        kept.extend(kept_names.filter(|name| chosen.names.contains(name)));
    }
    if terms.parents == Parents::Take {
        targets.extend(ancestors(catalog, &targets, live_edges));
    }
    let closure: BTreeSet<_> = catalog
        .closure(targets.iter().copied())
        .into_iter()
        .collect();
    let holders = holders(catalog, &closure);
    let mut gone = targets.clone();
    // From the roots down: everything that holds one is decided before it.
    for ordinal in catalog.closure(targets.iter().copied()).iter().rev() {
        if targets.contains(ordinal) || !is_document(catalog, *ordinal) {
            continue;
        }
        let is_needed = is_named(catalog, *ordinal)
            || holders
                .get(ordinal)
                .is_some_and(|holders| !holders.is_subset(&gone));
        if !is_needed && !catalog.is_withdrawn(*ordinal) {
            gone.insert(*ordinal);
        }
    }
    let mut change = describe(catalog, &gone, &chosen.names);
    let staying: BTreeSet<Ordinal> = gone
        .iter()
        .filter_map(|ordinal| holders.get(ordinal))
        .flatten()
        .copied()
        .filter(|holder| !gone.contains(holder))
        .collect();
    change.parents = named(catalog, &staying);
    for name in kept {
        match catalog.name(&name).filter(|_| terms.others == Others::Drop) {
            Some(record) => {
                change.reach.insert(name.clone());
                change.dropped.push((name, digest(catalog, record.ordinal)));
            }
            // Also what only waits to be a name.
            None => change.kept.push(name),
        }
    }
    change.reach_up(catalog, &ancestors(catalog, &gone, live_edges));
    if terms.parents == Parents::Unsaid && !change.parents.is_empty() {
        change.unsaid.push(unsaid_parents(&change.parents));
    }
    if terms.others == Others::Unsaid && !shared.is_empty() {
        change.unsaid.push(unsaid_others(&shared));
    }
    Ok(change)
}

/// Of the chosen objects that names mean which were not chosen: these names.
fn shared(
    catalog: &Catalog,
    targets: &BTreeSet<Ordinal>,
    chosen: &BTreeSet<Name>,
) -> BTreeMap<Ordinal, Vec<Name>> {
    let others = targets.iter().map(|ordinal| {
        let names = names(catalog, *ordinal).filter(|name| !chosen.contains(name));
        (*ordinal, names.collect::<Vec<_>>())
    });
    others.filter(|(_, names)| !names.is_empty()).collect()
}

fn unsaid_parents(parents: &[(Digest, Vec<Name>)]) -> String {
    let shown = parents.iter().map(|(parent, names)| {
        let few = names.len().min(TOLD_OF_PARENT);
        shown(parent, &names[..few])
    });
    format!(
        "live images need it: {}; --with-parents withdraws these, too, and --leave-parents leaves them, without it",
        some_of(shown)
    )
}

fn unsaid_others(shared: &BTreeMap<Ordinal, Vec<Name>>) -> String {
    let names: BTreeSet<_> = shared.values().flatten().collect();
    format!(
        "other names mean the same content: {}; --with-other-names withdraws it under these, too, --keep-shared leaves it, under all its names, and --drop-names takes away just the names that were asked for",
        some_of(names.into_iter().map(Name::to_string))
    )
}

/// The first of them, and how many more there are.
fn some_of(all: impl ExactSizeIterator<Item = String>) -> String {
    let count = all.len();
    let mut bytes = 0;
    let mut told: Vec<_> = all
        .take(TOLD)
        .take_while(|one| {
            bytes += one.len();
            bytes <= TOLD_BYTES
        })
        .collect();
    if count > told.len() {
        told.push(format!("and {} more", count - told.len()));
    }
    told.join(", ")
}

/// What reinstating `choice` comes to: the chosen objects that are withdrawn,
/// and of what they need that which was withdrawn for the same reason.
pub(crate) fn reinstatement(catalog: &Catalog, choice: &Choice) -> Result<Change, ChangeError> {
    let chosen = Chosen::of(catalog, choice)?;
    let targets: BTreeSet<Ordinal> = chosen
        .objects
        .iter()
        .copied()
        .filter(|ordinal| catalog.is_withdrawn(*ordinal))
        .collect();
    let reason = |ordinal: &Ordinal| catalog.withdrawn(catalog.object(*ordinal)?.digest());
    let reasons: BTreeSet<&str> = targets.iter().filter_map(reason).collect();
    let mut back = BTreeSet::new();
    for ordinal in catalog.closure(targets) {
        match reason(&ordinal) {
            Some(why) if reasons.contains(why) => {
                back.insert(ordinal);
            }
            Some(why) => {
                return Err(ChangeError::OtherReason {
                    digest: digest(catalog, ordinal),
                    reason: why.to_owned(),
                });
            }
            None => {}
        }
    }
    let mut change = describe(catalog, &back, &chosen.names);
    // Also what is withdrawn itself: who could take it away with its parents can
    // bring it back.
    change.reach_up(catalog, &ancestors(catalog, &back, all_edges));
    Ok(change)
}

impl Change {
    fn reach_up(&mut self, catalog: &Catalog, above: &BTreeSet<Ordinal>) {
        let names = above.iter().flat_map(|above| names(catalog, *above));
        self.reach.extend(names);
    }
}

/// What users pull, or what that consists of: not a blob.
fn is_document(catalog: &Catalog, ordinal: Ordinal) -> bool {
    catalog
        .object(ordinal)
        .is_some_and(|object| is_manifest(object.media_type()) || !object.children().is_empty())
}

/// What stays withdrawn when `back` is reinstated, though it was withdrawn
/// together with some of it, or holds some of it; each with its names.
/// `revision_of` gives the revision of a log index.
pub(crate) fn still_withdrawn(
    catalog: &Catalog,
    back: &[Digest],
    revision_of: impl Fn(u64) -> u64,
) -> Vec<(Digest, Vec<Name>)> {
    let back: BTreeSet<Ordinal> = back
        .iter()
        .filter_map(|digest| catalog.ordinal(digest))
        .collect();
    let revision = |ordinal: Ordinal| catalog.withdrawn_at(ordinal).map(&revision_of);
    let revisions: BTreeSet<u64> = back.iter().copied().filter_map(revision).collect();
    let above = ancestors(catalog, &back, all_edges);
    let stays = |ordinal: &Ordinal| {
        let together = revision(*ordinal).is_some_and(|at| revisions.contains(&at));
        !back.contains(ordinal) && (together || above.contains(ordinal))
    };
    let withdrawn = catalog.all_withdrawn().map(|(ordinal, _)| ordinal);
    named(catalog, &withdrawn.filter(stays).collect())
}

/// What comes back with `objects` when they are reinstated: these, and what they
/// need through nothing that is withdrawn otherwise.
pub(super) fn coming_back(catalog: &Catalog, objects: &[Digest]) -> Vec<Digest> {
    let chosen: BTreeSet<Ordinal> = objects
        .iter()
        .filter_map(|digest| catalog.ordinal(digest))
        .collect();
    let mut back = chosen.clone();
    let mut open: Vec<Ordinal> = chosen.into_iter().collect();
    while let Some(object) = open.pop().and_then(|ordinal| catalog.object(ordinal)) {
        for child in object.children() {
            if !catalog.is_withdrawn(*child) && back.insert(*child) {
                open.push(*child);
            }
        }
    }
    let in_order = catalog.closure(back.iter().copied()).into_iter();
    in_order
        .filter(|ordinal| back.contains(ordinal))
        .map(|ordinal| digest(catalog, ordinal))
        .collect()
}

/// These as far as they are withdrawn, with what nothing live needs since: what
/// nobody is to see any more.
pub(super) fn gone_with(catalog: &Catalog, objects: &[Digest]) -> Vec<Digest> {
    let ordinals = objects.iter().filter_map(|digest| catalog.ordinal(digest));
    let gone = catalog.gone_with(ordinals.filter(|ordinal| catalog.is_withdrawn(*ordinal)));
    gone.iter()
        .map(|number| digest(catalog, Ordinal::new(number)))
        .collect()
}

/// An object and its names, for people.
pub(crate) fn shown(digest: &Digest, names: &[Name]) -> String {
    let names: Vec<_> = names.iter().map(Name::to_string).collect();
    if names.is_empty() {
        digest.to_string()
    } else {
        format!("{digest} ({})", names.join(", "))
    }
}

fn describe(catalog: &Catalog, objects: &BTreeSet<Ordinal>, chosen: &BTreeSet<Name>) -> Change {
    let mut change = Change::default();
    let mut referrers = BTreeSet::new();
    for ordinal in objects {
        let Some(object) = catalog.object(*ordinal) else {
            continue;
        };
        change.objects.push(*object.digest());
        change.bytes = change.bytes.saturating_add(object.size());
        for name in names(catalog, *ordinal) {
            change.reach.insert(name.clone());
            if chosen.contains(&name) {
                change.names.push(name);
            } else {
                change.others.push(name);
            }
        }
        let speaking = catalog.referring_to(object.digest()).iter().copied();
        referrers.extend(speaking.filter(|by| catalog.is_live(*by) && !objects.contains(by)));
    }
    change.names.sort();
    change.others.sort();
    change.referrers = referrers
        .into_iter()
        .map(|ordinal| digest(catalog, ordinal))
        .collect();
    change
}

/// What means the object, or will: a pending name is somebody's, too.
fn names(catalog: &Catalog, ordinal: Ordinal) -> impl Iterator<Item = Name> {
    let pending = catalog.pending_of(ordinal).cloned();
    catalog.names_of(ordinal).chain(pending)
}

fn is_named(catalog: &Catalog, ordinal: Ordinal) -> bool {
    names(catalog, ordinal).next().is_some()
}

/// Of each of these objects, the live ones that hold it.
fn holders(catalog: &Catalog, of: &BTreeSet<Ordinal>) -> BTreeMap<Ordinal, BTreeSet<Ordinal>> {
    let of = bitmap(of);
    let mut holders: BTreeMap<Ordinal, BTreeSet<Ordinal>> = BTreeMap::new();
    for (holder, children) in live_edges(catalog) {
        for child in children.iter().filter(|child| of.contains(child.get())) {
            holders.entry(*child).or_default().insert(holder);
        }
    }
    holders
}

/// The objects that reach one of these through those edges, without these.
fn ancestors<'c, Edges: Iterator<Item = (Ordinal, &'c [Ordinal])>>(
    catalog: &'c Catalog,
    of: &BTreeSet<Ordinal>,
    edges: impl Fn(&'c Catalog) -> Edges,
) -> BTreeSet<Ordinal> {
    let of = bitmap(of);
    let mut reaching = of.clone();
    let mut before = 0;
    // Parents mostly have larger ordinals: a pass upwards mostly finds all.
    while reaching.len() > before {
        before = reaching.len();
        for (ordinal, children) in edges(catalog) {
            if children.iter().any(|child| reaching.contains(child.get())) {
                reaching.insert(ordinal.get());
            }
        }
    }
    (reaching - of).iter().map(Ordinal::new).collect()
}

/// All live objects with their children, by ordinal.
fn live_edges(catalog: &Catalog) -> impl Iterator<Item = (Ordinal, &[Ordinal])> {
    let live = catalog.live().iter().map(Ordinal::new);
    live.filter_map(|ordinal| Some((ordinal, catalog.object(ordinal)?.children())))
}

/// All objects with their children, by ordinal.
fn all_edges(catalog: &Catalog) -> impl Iterator<Item = (Ordinal, &[Ordinal])> {
    let all = (0..catalog.object_count()).map(Ordinal::new);
    all.filter_map(|ordinal| Some((ordinal, catalog.object(ordinal)?.children())))
}

/// Looked up once for every edge of the catalog: that has to be quick.
fn bitmap(ordinals: &BTreeSet<Ordinal>) -> RoaringBitmap {
    ordinals.iter().map(|ordinal| ordinal.get()).collect()
}

fn named(catalog: &Catalog, objects: &BTreeSet<Ordinal>) -> Vec<(Digest, Vec<Name>)> {
    objects
        .iter()
        .map(|ordinal| {
            let names: BTreeSet<_> = names(catalog, *ordinal).collect();
            let names = names.into_iter().collect();
            (digest(catalog, *ordinal), names)
        })
        .collect()
}

fn digest(catalog: &Catalog, ordinal: Ordinal) -> Digest {
    catalog
        .object(ordinal)
        .map_or(Digest::from_raw([0; 32]), |object| *object.digest())
}

#[cfg(test)]
mod tests;
