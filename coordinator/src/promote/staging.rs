//! Which endpoint stands for the staging names in manifests, and which of them are
//! in production already. Pure.
//!
//! A rule maps a prefix of whole segments to an endpoint; the longest prefix
//! wins, and what no rule maps is refused: manifests come from people who
//! choose *what* is promoted, never which host this program talks to.

use std::sync::Arc;

use landfall_promotion::{Kind, ProductionRule, public_place};
use serde::Deserialize;
use url::Url;

/// `[[staging]]`: how the staging names below a prefix are reached.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StagingRule {
    /// `host/path` of a registry or `scheme://bucket/path/` of a file store, as
    /// in manifests.
    pub prefix: String,
    /// `http(s)://host/path` of a registry; `file:///…`, `http(s)://…` or an
    /// object store's URL for files.
    pub endpoint: String,
}

/// Why a staging name leads nowhere, or a rule is not one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StagingError {
    /// No rule's prefix matches.
    #[error("no [[staging]] rule maps {0}")]
    Unmapped(String),
    /// The endpoint cannot be used for what the prefix names.
    #[error("the endpoint \"{endpoint}\" of the prefix \"{prefix}\" {why}")]
    Endpoint {
        /// The rule's prefix.
        prefix: String,
        /// The rule's endpoint.
        endpoint: String,
        /// What is wrong.
        why: &'static str,
    },
    /// The prefix is empty.
    #[error("the prefix is empty")]
    EmptyPrefix,
}

/// A repository of a staging registry.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct StagedRepository {
    /// `http://host:port` or `https://host`, without a path.
    pub(crate) registry: String,
    /// The repository there.
    pub(crate) repository: String,
}

/// All rules, the longest prefix first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Staging {
    rules: Vec<StagingRule>,
    production: Arc<Vec<ProductionRule>>,
}

impl Staging {
    /// Takes the rules of a checked configuration.
    pub(crate) fn new(mut rules: Vec<StagingRule>, production: Arc<Vec<ProductionRule>>) -> Self {
        rules.sort_by_key(|rule| std::cmp::Reverse(trimmed(&rule.prefix).len()));
        Self { rules, production }
    }

    /// Where in production `location` is, if it is promoted onward from there: a
    /// repository or a path. Of the prefixes of staging and of production the
    /// longest wins; a configuration in which two are equal is refused.
    pub(crate) fn onward(&self, kind: Kind, location: &str) -> Option<String> {
        let place = public_place(location, kind, &self.production)?;
        let staged = self.longest(location).ok();
        let staged = staged.map_or(0, |(rule, _)| trimmed(&rule.prefix).len());
        (place.matched > staged).then_some(place.name)
    }

    /// Whether the rule can be used.
    pub(crate) fn check(rule: &StagingRule) -> Result<(), StagingError> {
        if trimmed(&rule.prefix).is_empty() {
            return Err(StagingError::EmptyPrefix);
        }
        if rule.prefix.contains("://") {
            files_base(rule).map(drop)
        } else {
            registry_base(rule).map(drop)
        }
    }

    /// Where `name`, a `host/path` without tag or digest, is staged.
    pub(crate) fn repository(&self, name: &str) -> Result<StagedRepository, StagingError> {
        let (rule, rest) = self.longest(name)?;
        let (registry, below) = registry_base(rule)?;
        Ok(StagedRepository {
            registry,
            repository: joined(&below, rest),
        })
    }

    /// Where `url`, a file of a file store, is staged: the store and its key there.
    pub(crate) fn file(&self, url: &str) -> Result<(Url, String), StagingError> {
        let (rule, rest) = self.longest(url)?;
        Ok((files_base(rule)?, rest.to_owned()))
    }

    fn longest<'a>(&self, name: &'a str) -> Result<(&StagingRule, &'a str), StagingError> {
        self.rules
            .iter()
            .find_map(|rule| Some((rule, below(trimmed(&rule.prefix), name)?)))
            .ok_or_else(|| StagingError::Unmapped(name.to_owned()))
    }
}

/// What is left of `name` below `prefix`, if `prefix` is whole segments of it.
fn below<'a>(prefix: &str, name: &'a str) -> Option<&'a str> {
    let rest = name.strip_prefix(prefix)?;
    if rest.is_empty() {
        Some(rest)
    } else {
        rest.strip_prefix('/')
    }
}

fn trimmed(prefix: &str) -> &str {
    prefix.trim_end_matches('/')
}

fn joined(base: &str, rest: &str) -> String {
    match (base.is_empty(), rest.is_empty()) {
        (true, _) => rest.to_owned(),
        (false, true) => base.to_owned(),
        (false, false) => format!("{base}/{rest}"),
    }
}

/// Scheme and authority of a registry, and the repository prefix there.
fn registry_base(rule: &StagingRule) -> Result<(String, String), StagingError> {
    let url = parse(rule)?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(unusable(rule, "is not the http(s):// URL of a registry"));
    }
    let repository = url.path().trim_matches('/').to_owned();
    let registry = url[..url::Position::BeforePath].to_owned();
    Ok((registry, repository))
}

/// The store's URL, ending in a slash.
fn files_base(rule: &StagingRule) -> Result<Url, StagingError> {
    let mut url = parse(rule)?;
    if !matches!(url.scheme(), "file" | "http" | "https" | "s3" | "gs" | "az") {
        return Err(unusable(
            rule,
            "is not a file://, http(s)://, s3://, gs:// or az:// URL",
        ));
    }
    if !url.path().ends_with('/') {
        let path = format!("{}/", url.path());
        url.set_path(&path);
    }
    Ok(url)
}

fn parse(rule: &StagingRule) -> Result<Url, StagingError> {
    let url = Url::parse(&rule.endpoint).map_err(|_| unusable(rule, "is not a URL"))?;
    if url.query().is_some() || url.fragment().is_some() {
        return Err(unusable(rule, "has a query or a fragment"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(unusable(rule, "holds credentials"));
    }
    Ok(url)
}

fn unusable(rule: &StagingRule, why: &'static str) -> StagingError {
    StagingError::Endpoint {
        prefix: rule.prefix.clone(),
        endpoint: if why == "holds credentials" {
            "…".into()
        } else {
            rule.endpoint.clone()
        },
        why,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(prefix: &str, endpoint: &str) -> StagingRule {
        StagingRule {
            prefix: prefix.into(),
            endpoint: endpoint.into(),
        }
    }

    fn staging() -> Staging {
        let production = ProductionRule {
            registries: vec!["gcr.io/prod".into(), "gcr.io/k8s-staging-kops/x".into()],
            filestores: vec!["gs://staging/".into()],
            repository_prefix: "public".into(),
            ..ProductionRule::default()
        };
        let rules = vec![
            rule("gcr.io", "https://mirror.example.org/gcr"),
            rule(
                "gcr.io/k8s-staging-kops",
                "http://127.0.0.1:5000/k8s-staging-kops",
            ),
            rule("gcr.io/k8s-staging-kops/special", "http://127.0.0.1:5001"),
            rule("gs://staging/kops/releases/", "file:///srv/staging/kops"),
        ];
        Staging::new(rules, Arc::new(vec![production]))
    }

    #[test]
    fn of_staging_and_production_the_longer_prefix_wins() {
        use Kind::{Files, Images};
        for (kind, location, place) in [
            (Images, "gcr.io/prod/app", Some("public/app")),
            (Images, "gcr.io/product/app", None),
            (Images, "gcr.io/k8s-staging-kops/dns", None),
            (Images, "gcr.io/k8s-staging-kops/x/y", Some("public/y")),
            (Images, "quay.io/x", None),
            (Files, "gs://staging/kops/1.0/x", Some("kops/1.0/x")),
            (Files, "gs://staging/kops/releases/1.0/x", None),
            (Files, "gs://elsewhere/x", None),
        ] {
            let found = staging().onward(kind, location);
            assert_eq!(found.as_deref(), place, "{location}");
        }
    }

    #[test]
    fn the_longest_prefix_of_whole_segments_wins() {
        for (name, registry, repository) in [
            (
                "gcr.io/k8s-staging-kops/dns",
                "http://127.0.0.1:5000",
                "k8s-staging-kops/dns",
            ),
            (
                "gcr.io/k8s-staging-kops",
                "http://127.0.0.1:5000",
                "k8s-staging-kops",
            ),
            (
                "gcr.io/k8s-staging-kops-e2e/dns",
                "https://mirror.example.org",
                "gcr/k8s-staging-kops-e2e/dns",
            ),
            (
                "gcr.io/k8s-staging-kops/special/x/y",
                "http://127.0.0.1:5001",
                "x/y",
            ),
        ] {
            assert_eq!(
                staging().repository(name),
                Ok(StagedRepository {
                    registry: registry.into(),
                    repository: repository.into(),
                }),
                "{name}"
            );
        }
    }

    #[test]
    fn files_keep_their_path_below_the_store() {
        let (store, key) = staging()
            .file("gs://staging/kops/releases/1.0/linux/kops")
            .unwrap();
        assert_eq!(store.as_str(), "file:///srv/staging/kops/");
        assert_eq!(key, "1.0/linux/kops");
    }

    #[test]
    fn what_is_not_mapped_is_refused() {
        for name in [
            "quay.io/x",
            "gcr.iox/y",
            "gs://staging/kops/other",
            "gs://staging/kops/releases2/x",
        ] {
            assert_eq!(
                staging().repository(name),
                Err(StagingError::Unmapped(name.into())),
                "{name}"
            );
        }
    }

    #[test]
    fn rules_that_cannot_work_are_named() {
        for (prefix, endpoint, good) in [
            ("gcr.io/x", "http://127.0.0.1:5000/x", true),
            ("gcr.io/x", "https://gcr.io", true),
            ("gcr.io/x", "file:///srv", false),
            ("gcr.io/x", "127.0.0.1:5000", false),
            ("gs://x/", "file:///srv/x/", true),
            ("gs://x/", "gs://x/", true),
            ("gs://x/", "ftp://x/", false),
            ("gs://x/", "http://user:secret@x/", false),
            ("", "http://x", false),
        ] {
            let checked = Staging::check(&rule(prefix, endpoint));
            assert_eq!(checked.is_ok(), good, "{prefix} -> {endpoint}: {checked:?}");
            if let Err(error) = checked {
                assert!(!error.to_string().contains("secret"));
            }
        }
    }
}
