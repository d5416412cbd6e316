//! From what succeeded to the entries of one revision. Pure.
//!
//! This is the last look: a name is set only if it still means what it meant
//! when the plan was made. What other people promoted in between does not
//! matter otherwise: of what they recorded of an object nothing is lost, and what
//! they did not know of it is added.
//!
//! A promotion with a gate comes here twice: first its names become pending,
//! later they are set, or dropped.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use landfall_catalog::{Catalog, Digest, Entry, FilePath, Name, Object};
use landfall_proto::model::encode_entry;

use super::facts::added;
use crate::state::operations::Decision;

/// A change of one name, whose content the origin holds.
#[derive(Clone, Debug)]
pub(crate) struct Proposal {
    /// The entry's position in its operation.
    pub(crate) position: u32,
    pub(crate) name: Name,
    /// What the name meant when the plan was made.
    pub(crate) expected: Option<Digest>,
    pub(crate) change: Change,
}

/// What becomes of the name.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    /// It means the last of these objects; children come first.
    Set {
        objects: Vec<Arc<Object>>,
        /// Whether anything had to be copied for it.
        copied: bool,
    },
    /// It means nothing.
    Remove { reason: String },
    /// It will mean the last of these objects, and waits. Not decided yet.
    Announce {
        objects: Vec<Arc<Object>>,
        copied: bool,
    },
    /// It will mean nothing, and waits. Not decided yet.
    RemoveLater,
    /// It was announced, and means the last of these objects now.
    Open {
        objects: Vec<Arc<Object>>,
        copied: bool,
    },
    /// It was to change later, and will not.
    Drop {
        /// What it was announced to mean, if it was.
        announced: Option<Digest>,
        outcome: &'static str,
        reason: String,
    },
}

/// What the revision is made of, before its commit entry.
#[derive(Debug, Default)]
pub(crate) struct Composed {
    /// In the order of the log: objects before the names that need them.
    pub(crate) entries: Vec<Entry>,
    /// The same, encoded.
    pub(crate) encoded: Vec<Bytes>,
    /// One for each proposal but those that wait.
    pub(crate) decisions: Vec<Decision>,
}

impl Composed {
    fn push(&mut self, entry: Entry, encoded: Bytes) {
        self.entries.push(entry);
        self.encoded.push(encoded);
    }
}

/// Decides each proposal by itself; what goes first, so that a path may take
/// the place of a folder that is going.
pub(crate) fn compose(catalog: &Catalog, proposals: &[Proposal]) -> Composed {
    let mut draft = Draft {
        catalog,
        facts: HashMap::new(),
        names: HashMap::new(),
        waiting: HashMap::new(),
        leaving: HashSet::new(),
        new_paths: BTreeSet::new(),
        composed: Composed::default(),
    };
    let goes = |proposal: &&Proposal| match proposal.change {
        Change::Remove { .. } | Change::RemoveLater | Change::Drop { .. } => true,
        Change::Set { .. } | Change::Announce { .. } | Change::Open { .. } => false,
    };
    let going = proposals.iter().filter(goes);
    let coming = proposals.iter().filter(|proposal| !goes(proposal));
    for proposal in going.chain(coming) {
        let (outcome, detail) = match draft.take(proposal) {
            Ok(Taken::Waits) => continue,
            Ok(Taken::As(outcome)) => (outcome, String::new()),
            Ok(Taken::Dropped(outcome, why)) => (outcome, why),
            Err(why) => ("refused", why),
        };
        draft.composed.decisions.push(Decision {
            position: proposal.position,
            outcome,
            detail,
        });
    }
    draft.composed
}

/// What became of a proposal that nothing forbids.
enum Taken {
    /// Its outcome.
    As(&'static str),
    /// It is decided when the gate is.
    Waits,
    /// It was given up: its outcome, and why.
    Dropped(&'static str, String),
}

/// Whether a name is set, or announced to be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Set,
    Announce,
    Open,
}

/// What a revision has to say of objects before it names them.
#[derive(Default)]
struct News {
    entries: Vec<(Entry, Bytes)>,
    facts: HashMap<Digest, Arc<Object>>,
}

struct Draft<'a> {
    catalog: &'a Catalog,
    /// What the objects are that this revision adds or describes.
    facts: HashMap<Digest, Arc<Object>>,
    /// Names that this revision changes, and what they mean after it.
    names: HashMap<Name, Option<Digest>>,
    /// Names that this revision announces, sets or drops, and what they wait to
    /// mean after it.
    waiting: HashMap<Name, Option<Digest>>,
    /// Names that go when others come that are announced: their places are free
    /// then.
    leaving: HashSet<Name>,
    /// Paths that this revision adds.
    new_paths: BTreeSet<String>,
    composed: Composed,
}

impl Draft<'_> {
    fn take(&mut self, proposal: &Proposal) -> Result<Taken, String> {
        let name = &proposal.name;
        match &proposal.change {
            Change::Set { objects, copied } => self.come(proposal, objects, *copied, Way::Set),
            Change::Announce { objects, copied } => {
                self.come(proposal, objects, *copied, Way::Announce)
            }
            Change::Open { objects, copied } => {
                let root = objects.last().map(|root| root.digest);
                if root.is_none() || self.announced(name) != root {
                    return Err("it does not wait any more".into());
                }
                let come = self.come(proposal, objects, *copied, Way::Open);
                let (Err(why) | Ok(Taken::Dropped(_, why))) = &come else {
                    return come;
                };
                self.drop_announced(name, why)?;
                come
            }
            Change::Remove { reason } => {
                let current = self.meaning(name);
                if current.is_none() {
                    return Ok(Taken::As("removed"));
                }
                unchanged(proposal, current)?;
                self.record(Entry::NameRemoved {
                    name: name.clone(),
                    reason: reason.clone(),
                })?;
                self.names.insert(name.clone(), None);
                Ok(Taken::As("removed"))
            }
            Change::RemoveLater => {
                unchanged(proposal, self.meaning(name))?;
                self.leaving.insert(name.clone());
                Ok(Taken::Waits)
            }
            Change::Drop {
                announced,
                outcome,
                reason,
            } => {
                if announced.is_some() && self.announced(name) == *announced {
                    self.drop_announced(name, reason)?;
                }
                Ok(Taken::Dropped(outcome, reason.clone()))
            }
        }
    }

    /// A name that is to mean something, now or later.
    fn come(
        &mut self,
        proposal: &Proposal,
        objects: &[Arc<Object>],
        copied: bool,
        way: Way,
    ) -> Result<Taken, String> {
        let current = self.meaning(&proposal.name);
        let root = objects.last().ok_or("nothing is to be promoted")?;
        let outcome = if copied { "copied" } else { "present" };
        self.refuse_withdrawn(objects)?;
        if current == Some(root.digest) {
            let new = self.news(objects)?;
            self.tell(new);
            return Ok(match way {
                Way::Set | Way::Announce => Taken::As(outcome),
                Way::Open => Taken::Dropped(outcome, "it was set meanwhile".into()),
            });
        }
        unchanged(proposal, current)?;
        if way != Way::Open
            && let Some(pending) = self.announced(&proposal.name)
        {
            return Err(format!(
                "it waits at the gate of another promotion, and will mean {pending}"
            ));
        }
        self.name(&proposal.name, objects, way)?;
        Ok(match way {
            Way::Set | Way::Open => Taken::As(outcome),
            Way::Announce => Taken::Waits,
        })
    }

    /// What the name is announced to mean.
    fn announced(&self, name: &Name) -> Option<Digest> {
        if let Some(changed) = self.waiting.get(name) {
            return *changed;
        }
        let record = self.catalog.pending_name(name)?;
        Some(*self.catalog.object(record.ordinal)?.digest())
    }

    fn drop_announced(&mut self, name: &Name, reason: &str) -> Result<(), String> {
        self.waiting.insert(name.clone(), None);
        self.record(Entry::NameDropped {
            name: name.clone(),
            reason: reason.to_owned(),
        })
    }

    fn record(&mut self, entry: Entry) -> Result<(), String> {
        let encoded = encode_entry(&entry).map_err(|error| error.to_string())?;
        self.composed.push(entry, encoded);
        Ok(())
    }

    fn meaning(&self, name: &Name) -> Option<Digest> {
        if let Some(changed) = self.names.get(name) {
            return *changed;
        }
        let record = self.catalog.name(name)?;
        Some(*self.catalog.object(record.ordinal)?.digest())
    }

    fn refuse_withdrawn(&self, objects: &[Arc<Object>]) -> Result<(), String> {
        let withdrawn = objects.iter().find_map(|object| {
            let reason = self.catalog.withdrawn(&object.digest)?;
            Some(format!("{} is withdrawn: {reason}", object.digest))
        });
        withdrawn.map_or(Ok(()), Err)
    }

    /// What these objects say that is not known yet; changes nothing.
    fn news(&self, objects: &[Arc<Object>]) -> Result<News, String> {
        let mut news = News::default();
        for object in objects {
            let known = news.facts.get(&object.digest).cloned();
            let (entry, now) = match known.or_else(|| self.known(&object.digest)) {
                None => {
                    let entry = Entry::ObjectAdded(Object::clone(object));
                    (entry, Arc::clone(object))
                }
                Some(known) => {
                    let Some(now) = added(&known, object)? else {
                        continue;
                    };
                    (Entry::ObjectDescribed(now.clone()), Arc::new(now))
                }
            };
            for child in &now.children {
                if !self.is_known(child) && !news.facts.contains_key(child) {
                    return Err(format!("{} needs {child}, which is missing", object.digest));
                }
            }
            let encoded = encode_entry(&entry)
                .map_err(|error| format!("{} cannot be recorded: {error}", object.digest))?;
            news.entries.push((entry, encoded));
            news.facts.insert(object.digest, now);
        }
        Ok(news)
    }

    fn tell(&mut self, news: News) {
        for (entry, encoded) in news.entries {
            self.composed.push(entry, encoded);
        }
        self.facts.extend(news.facts);
    }

    fn name(&mut self, name: &Name, objects: &[Arc<Object>], way: Way) -> Result<(), String> {
        let root = objects.last().ok_or("nothing is to be promoted")?.digest;
        if let Name::Root(_, digest) = name
            && *digest != root
        {
            return Err(format!("{name} cannot mean {root}"));
        }
        if let Name::File(path) = name {
            self.check_collisions(path, way)?;
        }
        let news = self.news(objects)?;
        let (name_meant, digest) = (name.clone(), root);
        let named = match way {
            Way::Set | Way::Open => Entry::NameSet {
                name: name_meant,
                digest,
            },
            Way::Announce => Entry::NamePending {
                name: name_meant,
                digest,
            },
        };
        let encoded = encode_entry(&named).map_err(|error| error.to_string())?;
        // Nothing below fails: an entry is taken whole or not at all.
        self.tell(news);
        self.composed.push(named, encoded);
        if let Name::File(path) = name {
            self.new_paths.insert(path.as_str().to_owned());
        }
        match way {
            Way::Set => {}
            Way::Open => {
                self.waiting.insert(name.clone(), None);
            }
            Way::Announce => {
                self.waiting.insert(name.clone(), Some(root));
                return Ok(());
            }
        }
        self.names.insert(name.clone(), Some(root));
        Ok(())
    }

    /// What is known of an object by now.
    fn known(&self, digest: &Digest) -> Option<Arc<Object>> {
        let recorded = || self.catalog.facts(self.catalog.ordinal(digest)?);
        let told = self.facts.get(digest).cloned();
        told.or_else(|| recorded().map(Arc::new))
    }

    fn is_known(&self, digest: &Digest) -> bool {
        self.facts.contains_key(digest) || self.catalog.ordinal(digest).is_some()
    }

    /// `x` and `x/y` cannot both be files.
    fn check_collisions(&self, path: &FilePath, way: Way) -> Result<(), String> {
        let collides = |other: &str| format!("{path} collides with {other}");
        // A folder goes only when the last of its files does.
        let stays = |other: &FilePath| {
            let name = Name::File(other.clone());
            let has_gone = matches!(self.names.get(&name), Some(None));
            let will_have_gone = way == Way::Announce && self.leaving.contains(&name);
            !has_gone && !will_have_gone
        };
        let above = path.folders().filter_map(|folder| {
            self.catalog.file(folder)?;
            folder.parse::<FilePath>().ok()
        });
        let below = self.catalog.files_below(path.as_str());
        let below = below.map(|(path, _)| path.clone());
        if let Some(other) = above.chain(below).find(stays) {
            return Err(collides(other.as_str()));
        }
        // Those that wait together with it were looked at when they were announced.
        if way != Way::Open
            && let Some(other) = self.catalog.colliding_pending_file(path)
        {
            return Err(format!(
                "{}, which waits at the gate of another promotion",
                collides(other.as_str())
            ));
        }
        if let Some(folder) = path
            .folders()
            .find(|folder| self.new_paths.contains(*folder))
        {
            return Err(collides(folder));
        }
        let below = format!("{path}/");
        match self.new_paths.range(below.clone()..).next() {
            Some(other) if other.starts_with(&below) => Err(collides(other)),
            Some(_) | None => Ok(()),
        }
    }
}

fn unchanged(proposal: &Proposal, current: Option<Digest>) -> Result<(), String> {
    if current == proposal.expected {
        return Ok(());
    }
    let shown =
        |digest: Option<Digest>| digest.map_or("nothing".into(), |digest| digest.to_string());
    Err(format!(
        "the name moved since the plan was made: it meant {}, and means {} now",
        shown(proposal.expected),
        shown(current)
    ))
}

#[cfg(test)]
mod tests;
