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
    /// Who has a prefix of files at or below a path.
    folders: HashMap<&'a str, Vec<Owner>>,
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
        let mut folders: HashMap<&str, Vec<Owner>> = HashMap::new();
        let mut add = |kind, prefix: &'a str, owner| {
            if kind == Kind::Files {
                let mut folder = prefix;
                while !folder.is_empty() {
                    folders.entry(folder).or_default().push(owner);
                    folder = folder.rsplit_once('/').map_or("", |(above, _)| above);
                }
            }
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
            folders,
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

    /// Why a repository or path is others' instead of the project's with that
    /// index, which has a prefix above it; none if it is (also) the project's.
    /// A file where another project has its folder, or a folder above that, is
    /// that project's: it would leave no place for what is below.
    pub(super) fn others(&self, kind: Kind, name: &str, project: usize) -> Option<String> {
        let own = Owner::Project(project);
        let mut names = BTreeSet::new();
        if let (Kind::Files, Some(owners)) = (kind, self.folders.get(name)) {
            let others = owners.iter().filter(|owner| **owner != own);
            names.extend(others.map(|owner| self.project(*owner)));
        }
        let mut place = "at or above the folder";
        if names.is_empty() {
            place = "below a prefix";
            let (_, owners) = self.of(kind, name)?;
            if owners.contains(&own) {
                return None;
            }
            names.extend(owners.iter().map(|owner| self.project(*owner)));
        }
        let names: Vec<&str> = names.into_iter().collect();
        Some(format!("{place} of {}", names.join(", ")))
    }

    fn project(&self, owner: Owner) -> &str {
        match owner {
            Owner::Project(index) => &self.parsed.projects[index].name,
            Owner::Neighbour(index) => &self.options.neighbours[index].project,
        }
    }
}
