//! Many destinations, one production: under which public names a project's
//! content is published.

use std::collections::HashSet;

use crate::project::{Kind, Project};

/// Public prefixes that a project may have. Everything that it promotes has a name
/// under each of them; today's largest has 3.
pub const MAX_PUBLIC_PREFIXES: usize = 64;

/// A `[[production]]` rule of the configuration: destinations below one of its
/// prefixes are published, with that prefix replaced. Prefixes match whole
/// segments; of all rules' prefixes the longest that matches wins, of equally
/// long ones the first.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProductionRule {
    /// Prefixes of registries: `host/path`.
    pub registries: Vec<String>,
    /// Prefixes of file stores: `scheme://bucket/path`.
    pub filestores: Vec<String>,
    /// What takes the place of a registry's prefix in a repository's name.
    pub repository_prefix: String,
    /// What takes the place of a file store's prefix in a path.
    pub path_prefix: String,
}

impl ProductionRule {
    /// What is wrong with the rule; empty if nothing is.
    #[must_use]
    pub fn check(&self) -> Vec<String> {
        let registries = self.registries.iter().filter_map(|registry| {
            let fault = registry.contains("://") || registry.trim_matches('/').is_empty();
            fault.then(|| format!("registry prefix \"{registry}\" is not host/path"))
        });
        let filestores = self.filestores.iter().filter_map(|store| {
            let bucket = store.split_once("://").map(|(_, rest)| rest);
            let fault = bucket.is_none_or(|rest| rest.trim_matches('/').is_empty());
            fault.then(|| format!("file store prefix \"{store}\" is not scheme://bucket/path"))
        });
        registries.chain(filestores).collect()
    }
}

/// Under what a project is published.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Published {
    /// Public prefixes, each once, in the order of the destinations. Without
    /// slashes at either end; may be empty.
    pub(crate) prefixes: Vec<String>,
    /// Destinations that no rule publishes.
    pub(crate) unmatched: Vec<String>,
}

/// The public prefixes of a project: an image or path of it is published under
/// each of them. Destinations that map to the same prefix are one.
///
/// Without any rules, names stay as the destinations have them, less the host of
/// a registry or the scheme and bucket of a file store: `eu.example/prod/images`
/// and `us.example/prod/images` both publish below `prod/images`.
#[must_use]
pub fn public_prefixes(project: &Project, rules: &[ProductionRule]) -> Vec<String> {
    published(project, rules).prefixes
}

pub(crate) fn published(project: &Project, rules: &[ProductionRule]) -> Published {
    let mut published = Published::default();
    let mut seen = HashSet::new();
    for destination in &project.destinations {
        let prefix = if rules.is_empty() {
            Some(without_host(destination).to_owned())
        } else {
            public_place(destination, project.kind, rules).map(|place| place.name)
        };
        match prefix {
            Some(prefix) if seen.contains(&prefix) => {}
            Some(prefix) => {
                seen.insert(prefix.clone());
                published.prefixes.push(prefix);
            }
            None => published.unmatched.push(destination.clone()),
        }
    }
    published
}

/// Puts a name below a prefix.
pub(crate) fn join(prefix: &str, name: &str) -> String {
    if prefix.is_empty() {
        name.to_owned()
    } else {
        format!("{prefix}/{name}")
    }
}

/// Where in production something is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicPlace {
    /// Its public name: a repository, a path, or a prefix of such.
    pub name: String,
    /// Bytes of the rule's prefix, less slashes at its end. Where other rules
    /// have a say, too, the longest prefix wins.
    pub matched: usize,
}

/// Where in production `location` is: `host/path` of a registry or of an image
/// there, `scheme://bucket/path` of a file store or a file. None if no rule
/// publishes it.
#[must_use]
pub fn public_place(location: &str, kind: Kind, rules: &[ProductionRule]) -> Option<PublicPlace> {
    let mut best: Option<(usize, &str, &str)> = None;
    for rule in rules {
        let (prefixes, public) = match kind {
            Kind::Images => (&rule.registries, &rule.repository_prefix),
            Kind::Files => (&rule.filestores, &rule.path_prefix),
        };
        for prefix in prefixes {
            let prefix = prefix.trim_end_matches('/');
            let Some(rest) = below(location, prefix) else {
                continue;
            };
            if best.is_none_or(|(length, ..)| prefix.len() > length) {
                best = Some((prefix.len(), public, rest));
            }
        }
    }
    best.map(|(matched, public, rest)| PublicPlace {
        name: match (public.trim_matches('/'), rest) {
            (public, "") => public.to_owned(),
            (public, rest) => join(public, rest),
        },
        matched,
    })
}

/// What is left of `path` below `prefix`, by whole segments.
fn below<'p>(path: &'p str, prefix: &str) -> Option<&'p str> {
    let rest = path.trim_end_matches('/').strip_prefix(prefix)?;
    if rest.is_empty() {
        Some(rest)
    } else {
        rest.strip_prefix('/')
    }
}

fn without_host(destination: &str) -> &str {
    let rest = destination
        .split_once("://")
        .map_or(destination, |(_, rest)| rest);
    rest.split_once('/')
        .map_or("", |(_, path)| path.trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(prefixes: &[&str], public: &str) -> ProductionRule {
        let (filestores, registries) = prefixes
            .iter()
            .map(|&prefix| prefix.to_owned())
            .partition(|prefix| prefix.contains("://"));
        ProductionRule {
            registries,
            filestores,
            repository_prefix: public.to_owned(),
            path_prefix: public.to_owned(),
        }
    }

    fn check(rules: &[ProductionRule], kind: Kind, destination: &str, expected: Option<&str>) {
        let place = public_place(destination, kind, rules);
        let name = place.as_ref().map(|place| place.name.as_str());
        assert_eq!(name, expected, "{destination}");
    }

    #[test]
    fn prefixes_match_whole_segments_and_the_longest_wins() {
        let rules = [
            rule(&["h/prod", "e/prod/images/"], ""),
            rule(&["h/prod/charts"], "helm/"),
            rule(&["gs://b/binaries/"], "binaries/"),
            rule(&["gs://b"], ""),
        ];
        let images = |destination, expected| check(&rules, Kind::Images, destination, expected);
        images("h/prod", Some(""));
        images("h/prod/kube", Some("kube"));
        images("h/production", None);
        images("h/prod/charts", Some("helm"));
        images("h/prod/charts/x", Some("helm/x"));
        images("h/prod/charts2", Some("charts2"));
        images("e/prod/images/kube", Some("kube"));
        images("gs://b/binaries", None);
        let files = |destination, expected| check(&rules, Kind::Files, destination, expected);
        files("gs://b/binaries/kops/", Some("binaries/kops"));
        files("gs://b/binaries", Some("binaries"));
        files("gs://b/other/", Some("other"));
        files("s3://b/binaries/", None);
    }

    #[test]
    fn a_place_tells_how_much_of_it_a_rule_named() {
        let rules = [rule(&["h/prod/", "h/prod/stable"], "public")];
        for (location, matched) in [
            ("h/prod/x", "h/prod"),
            ("h/prod/stable/x", "h/prod/stable"),
            ("h/prod/stable2", "h/prod"),
        ] {
            let place = public_place(location, Kind::Images, &rules);
            assert_eq!(place.map(|place| place.matched), Some(matched.len()));
        }
    }

    #[test]
    fn without_rules_the_host_is_dropped() {
        for (destination, expected) in [
            ("eu.example/prod/images", "prod/images"),
            ("localhost:5000", ""),
            ("gs://bucket/binaries/kops/", "binaries/kops"),
            ("gs://bucket", ""),
        ] {
            assert_eq!(without_host(destination), expected);
        }
    }

    #[test]
    fn a_rule_in_the_wrong_list_is_a_fault() {
        let good = rule(&["h/prod", "gs://b/binaries/"], "");
        assert_eq!(good.check(), Vec::<String>::new());
        let bad = ProductionRule {
            registries: vec!["gs://b".to_owned(), "/".to_owned()],
            filestores: vec!["h/prod".to_owned(), "gs://".to_owned()],
            ..ProductionRule::default()
        };
        assert_eq!(bad.check().len(), 4);
    }
}
