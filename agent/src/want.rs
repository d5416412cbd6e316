//! What this mirror wants: all that is live, or what its filter selects (pure).

use landfall_catalog::{Catalog, Digest, FilePath, Hasher, Name, Ordinal, Repository};
use roaring::RoaringBitmap;
use serde::Deserialize;

/// A partial mirror's selection. Without any rule everything is wanted.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
pub struct Filter {
    /// Repositories, whole names; `*` stands for any run of characters.
    #[serde(default)]
    pub repositories: Vec<String>,
    /// Paths of files, as prefixes.
    #[serde(default)]
    pub paths: Vec<String>,
}

impl Filter {
    /// Whether everything is wanted.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.repositories.is_empty() && self.paths.is_empty()
    }

    /// SHA-256 over the rules, in the order they are written; names the filter
    /// that a readiness report is relative to.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let mut hasher = Hasher::new();
        for (kind, rules) in [(b'r', &self.repositories), (b'p', &self.paths)] {
            for rule in rules {
                hasher.update(&[kind]);
                hasher.update(&(rule.len() as u64).to_be_bytes());
                hasher.update(rule.as_bytes());
            }
        }
        hasher.finish()
    }

    fn takes_repository(&self, repository: &Repository) -> bool {
        self.repositories
            .iter()
            .any(|rule| matches_glob(rule, repository.as_str()))
    }

    fn takes(&self, name: &Name) -> bool {
        match name {
            Name::Tag(repository, _) | Name::Root(repository, _) => {
                self.takes_repository(repository)
            }
            Name::File(path) => self.takes_file(path),
        }
    }

    fn takes_file(&self, path: &FilePath) -> bool {
        self.paths
            .iter()
            .any(|prefix| path.as_str().starts_with(prefix.as_str()))
    }
}

/// The objects that a mirror with this filter is to hold: what its names mean,
/// and what those that are pending will. Not what needs something withdrawn:
/// that can be ready nowhere, and would be waited for.
pub(crate) fn wanted(catalog: &Catalog, filter: &Filter) -> RoaringBitmap {
    selected(catalog, filter) - catalog.incomplete()
}

fn selected(catalog: &Catalog, filter: &Filter) -> RoaringBitmap {
    if filter.is_everything() {
        return catalog.live().clone();
    }
    let mut wanted = RoaringBitmap::new();
    for repository in catalog.repositories() {
        if filter.takes_repository(repository) {
            let names = catalog
                .tags(repository.as_str())
                .map(|(_, record)| record.ordinal)
                .chain(
                    catalog
                        .roots(repository.as_str())
                        .map(|(_, record)| record.ordinal),
                );
            for root in names {
                add_closure(catalog, root, &mut wanted);
            }
        }
    }
    for (path, record) in catalog.files() {
        if filter.takes_file(path) {
            add_closure(catalog, record.ordinal, &mut wanted);
        }
    }
    for (name, record) in catalog.pending_names() {
        if filter.takes(name) {
            add_closure(catalog, record.ordinal, &mut wanted);
        }
    }
    wanted & catalog.live()
}

fn add_closure(catalog: &Catalog, root: Ordinal, wanted: &mut RoaringBitmap) {
    let mut open = vec![root];
    while let Some(ordinal) = open.pop() {
        if wanted.insert(ordinal.get())
            && let Some(object) = catalog.object(ordinal)
        {
            open.extend(object.children().iter().copied());
        }
    }
}

/// Matches a whole text against a pattern in which `*` is any run of characters.
fn matches_glob(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else {
        return rest.is_empty();
    };
    for part in parts {
        let Some(at) = rest.find(part) else {
            return false;
        };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{catalog_of_image_and_file, ordinals, with_commit};
    use landfall_catalog::Entry;

    #[test]
    fn a_star_stands_for_any_run_of_characters() {
        for (pattern, text, expect) in [
            ("kube-*", "kube-proxy", true),
            ("kube-*", "kube", false),
            ("*", "a/b", true),
            ("a*b*c", "aXXbYYc", true),
            ("a*b*c", "aXXc", false),
            ("exact", "exact", true),
            ("exact", "exactly", false),
            ("*-amd64", "pause-amd64", true),
            ("a*a", "a", false),
        ] {
            assert_eq!(matches_glob(pattern, text), expect, "{pattern} on {text}");
        }
    }

    #[test]
    fn a_filter_takes_whole_closures_and_nothing_else() {
        // Objects 0..=2 are the image `kube-proxy`, 3 is the file `binaries/a/b`.
        let catalog = catalog_of_image_and_file();
        let of = |repositories: &[&str], paths: &[&str]| {
            let filter = Filter {
                repositories: repositories.iter().map(|rule| (*rule).into()).collect(),
                paths: paths.iter().map(|rule| (*rule).into()).collect(),
            };
            ordinals(&wanted(&catalog, &filter))
        };
        assert_eq!(of(&[], &[]), [0, 1, 2, 3]);
        assert_eq!(of(&["kube-*"], &[]), [0, 1, 2]);
        assert_eq!(of(&[], &["binaries/"]), [3]);
        assert_eq!(of(&["other"], &["elsewhere/"]), [0_u32; 0]);
    }

    #[test]
    fn what_is_pending_is_wanted_by_who_wants_its_name() {
        let mut catalog = catalog_of_image_and_file();
        let names = ["kube-proxy:v1", "binaries/a/b"].map(|name| name.parse::<Name>().unwrap());
        let gone = names.map(|name| Entry::NameRemoved {
            name,
            reason: String::new(),
        });
        catalog.apply(&with_commit(gone.into(), 2)).unwrap();
        let [image, file] = ["manifest", "file"].map(|content| Digest::of(content.as_bytes()));
        let pending = [("new/tool:v2", image), ("binaries/c", file)].map(|(name, digest)| {
            let name = name.parse().unwrap();
            Entry::NamePending { name, digest }
        });
        catalog.apply(&with_commit(pending.into(), 3)).unwrap();
        let of = |repositories: &[&str], paths: &[&str]| {
            let filter = Filter {
                repositories: repositories.iter().map(|rule| (*rule).into()).collect(),
                paths: paths.iter().map(|rule| (*rule).into()).collect(),
            };
            ordinals(&wanted(&catalog, &filter))
        };
        assert_eq!(of(&[], &[]), [0, 1, 2, 3]);
        assert_eq!(of(&["new/*"], &[]), [0, 1, 2]);
        assert_eq!(of(&["kube-*"], &["binaries/"]), [3]);
        assert_eq!(of(&["kube-*"], &[]), [0_u32; 0]);
    }

    #[test]
    fn what_needs_something_withdrawn_is_not_waited_for() {
        // Layer 0, config 1, manifest 2, file 3.
        let mut catalog = catalog_of_image_and_file();
        let layer = Digest::of(b"layer");
        let withdrawn = Entry::Withdrawn {
            digest: layer,
            reason: "cve".into(),
        };
        catalog.apply(&with_commit(vec![withdrawn], 2)).unwrap();
        let images = Filter {
            repositories: vec!["kube-*".into()],
            paths: vec![],
        };
        assert_eq!(ordinals(&wanted(&catalog, &Filter::default())), [1, 3]);
        assert_eq!(ordinals(&wanted(&catalog, &images)), [1]);
        let back = Entry::Reinstated {
            digest: layer,
            reason: String::new(),
        };
        catalog.apply(&with_commit(vec![back], 3)).unwrap();
        assert_eq!(ordinals(&wanted(&catalog, &images)), [0, 1, 2]);
    }

    #[test]
    fn different_filters_have_different_digests() {
        let one = Filter {
            repositories: vec!["ab".into()],
            paths: vec![],
        };
        let two = Filter {
            repositories: vec!["a".into(), "b".into()],
            paths: vec![],
        };
        let three = Filter {
            repositories: vec![],
            paths: vec!["ab".into()],
        };
        assert_ne!(one.digest(), two.digest());
        assert_ne!(one.digest(), three.digest());
        assert_ne!(one.digest(), Filter::default().digest());
    }
}
