//! Whose names are below which public prefix.
//!
//! A name belongs to the projects with the longest prefix above it, in the tree or
//! beside it. Others may neither set it nor, by listing it, keep it.

use std::collections::{BTreeSet, HashMap};

use super::PlanOptions;
use crate::parse::Parsed;
use crate::project::Kind;

/// The prefixes of all projects.
pub(super) struct Owners<'a> {
    by_kind: HashMap<Kind, HashMap<&'a str, Vec<Owner>>>,
    parsed: &'a Parsed,
    options: &'a PlanOptions,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    /// Index of a project of the tree.
    Project(usize),
    /// Index of a neighbour.
    Neighbour(usize),
}

impl<'a> Owners<'a> {
    /// `prefixes` are those of the tree's projects, in their order.
    pub(super) fn new(
        parsed: &'a Parsed,
        prefixes: &'a [Vec<String>],
        options: &'a PlanOptions,
    ) -> Self {
        let mut by_kind: HashMap<Kind, HashMap<&str, Vec<Owner>>> = HashMap::new();
        let mut add = |kind, prefix: &'a str, owner| {
            let by_prefix = by_kind.entry(kind).or_default();
            by_prefix.entry(prefix).or_default().push(owner);
        };
        for (index, (project, prefixes)) in parsed.projects.iter().zip(prefixes).enumerate() {
            for prefix in prefixes {
                add(project.kind, prefix, Owner::Project(index));
            }
        }
        for (index, neighbour) in options.neighbours.iter().enumerate() {
            add(neighbour.kind, &neighbour.prefix, Owner::Neighbour(index));
        }
        Self {
            by_kind,
            parsed,
            options,
        }
    }

    /// Whose the longest prefix strictly above a name is, and whether that is
    /// the empty one.
    pub(super) fn of(&self, kind: Kind, name: &str) -> Option<(bool, &[Owner])> {
        let by_prefix = self.by_kind.get(&kind)?;
        let mut above = name;
        loop {
            above = above.rsplit_once('/').map_or("", |(above, _)| above);
            if let Some(owners) = by_prefix.get(above) {
                return Some((above.is_empty(), owners));
            }
            if above.is_empty() {
                return None;
            }
        }
    }

    /// Whose a repository or path is instead of the project's with that index,
    /// which has a prefix above it; none if it is (also) the project's.
    pub(super) fn others(&self, kind: Kind, name: &str, project: usize) -> Option<String> {
        let (_, owners) = self.of(kind, name)?;
        if owners.contains(&Owner::Project(project)) {
            return None;
        }
        let names: BTreeSet<&str> = owners
            .iter()
            .map(|owner| match *owner {
                Owner::Project(index) => self.parsed.projects[index].name.as_str(),
                Owner::Neighbour(index) => self.options.neighbours[index].project.as_str(),
            })
            .collect();
        let names: Vec<&str> = names.into_iter().collect();
        Some(names.join(", "))
    }
}
