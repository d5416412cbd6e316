//! What a command names: a name, a digest, a repository, or all below a prefix. Pure.

use std::collections::BTreeSet;

use landfall_catalog::{Catalog, Digest, Name, Ordinal};

use super::ChangeError;

/// What is to be withdrawn or reinstated, as people write it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// `sha256:…`.
    Digest(Digest),
    /// `repository:tag`, `repository@sha256:…`, a file's path, or a repository.
    Name(Name),
    /// Everything below `prefix/`, files and repositories; without the slash.
    Below(String),
}

impl Choice {
    /// Reads what people write.
    pub(crate) fn parse(text: &str) -> Result<Self, ChangeError> {
        let unreadable = |why: String| ChangeError::Choice {
            what: text.to_owned(),
            why,
        };
        if text.starts_with("sha256:") {
            return text
                .parse()
                .map(Self::Digest)
                .map_err(|error| unreadable(landfall_proto::status::chain(&error)));
        }
        let (path, is_prefix) = match text.strip_suffix('/') {
            Some(prefix) => (prefix, true),
            None => (text, false),
        };
        let name: Name = path
            .parse()
            .map_err(|error| unreadable(landfall_proto::status::chain(&error)))?;
        match name {
            Name::File(path) if is_prefix => Ok(Self::Below(path.as_str().to_owned())),
            Name::Tag(..) | Name::Root(..) if is_prefix => {
                Err(unreadable("only folders end with a slash".into()))
            }
            Name::File(_) | Name::Tag(..) | Name::Root(..) => Ok(Self::Name(name)),
        }
    }
}

/// What a choice comes to.
#[derive(Debug, Default)]
pub(super) struct Chosen {
    pub(super) objects: BTreeSet<Ordinal>,
    /// The names that were meant; empty for a digest.
    pub(super) names: BTreeSet<Name>,
}

impl Chosen {
    /// Looks a choice up.
    pub(super) fn of(catalog: &Catalog, choice: &Choice) -> Result<Self, ChangeError> {
        let mut chosen = Self::default();
        match choice {
            Choice::Digest(digest) => {
                let ordinal = catalog
                    .ordinal(digest)
                    .ok_or_else(|| ChangeError::Unknown(digest.to_string()))?;
                chosen.objects.insert(ordinal);
            }
            Choice::Name(name) => {
                let pending = || catalog.pending_name(name).map(|pending| pending.ordinal);
                let meant = catalog.name(name).map(|record| record.ordinal);
                match (meant.or_else(pending), name) {
                    (Some(ordinal), _) => chosen.add(name.clone(), ordinal),
                    (None, Name::File(path)) => chosen.repository(catalog, path.as_str()),
                    (None, Name::Tag(..) | Name::Root(..)) => {}
                }
            }
            Choice::Below(prefix) => {
                for (path, record) in catalog.files_below(prefix) {
                    chosen.add(Name::File(path.clone()), record.ordinal);
                }
                let below = format!("{prefix}/");
                let repositories = catalog
                    .repositories()
                    .filter(|repository| repository.as_str().starts_with(&below));
                for repository in repositories {
                    chosen.repository(catalog, repository.as_str());
                }
                chosen.pending(catalog, |name| name.starts_with(&below));
            }
        }
        if chosen.objects.is_empty() {
            return Err(ChangeError::Unknown(match choice {
                Choice::Digest(digest) => digest.to_string(),
                Choice::Name(name) => name.to_string(),
                Choice::Below(prefix) => format!("{prefix}/"),
            }));
        }
        Ok(chosen)
    }

    fn add(&mut self, name: Name, ordinal: Ordinal) {
        self.objects.insert(ordinal);
        self.names.insert(name);
    }

    fn repository(&mut self, catalog: &Catalog, name: &str) {
        let Ok(repository) = name.parse::<landfall_catalog::Repository>() else {
            return;
        };
        for (tag, record) in catalog.tags(name) {
            self.add(Name::Tag(repository.clone(), tag.clone()), record.ordinal);
        }
        for (digest, record) in catalog.roots(name) {
            self.add(Name::Root(repository.clone(), *digest), record.ordinal);
        }
        self.pending(catalog, |other| other == name);
    }

    /// What will have a name whose repository or path is selected, and is not
    /// seen by anybody yet.
    fn pending(&mut self, catalog: &Catalog, selects: impl Fn(&str) -> bool) {
        for (name, pending) in catalog.pending_names() {
            let below = match name {
                Name::Tag(repository, _) | Name::Root(repository, _) => repository.as_str(),
                Name::File(path) => path.as_str(),
            };
            if selects(below) {
                self.add(name.clone(), pending.ordinal);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_write_digests_names_and_prefixes() {
        let digest = Digest::of(b"x");
        for (text, expected) in [
            (digest.to_string(), Choice::Digest(digest)),
            (
                "test/app:v1".into(),
                Choice::Name("test/app:v1".parse().unwrap()),
            ),
            (
                format!("test/app@{digest}"),
                Choice::Name(format!("test/app@{digest}").parse().unwrap()),
            ),
            (
                "binaries/kops/1.0".into(),
                Choice::Name("binaries/kops/1.0".parse().unwrap()),
            ),
            (
                "binaries/kops/1.0/".into(),
                Choice::Below("binaries/kops/1.0".into()),
            ),
        ] {
            assert_eq!(Choice::parse(&text).unwrap(), expected, "{text}");
        }
        for bad in [
            "",
            "/",
            "//",
            "../x/",
            "sha256:12",
            "a:b/",
            "blobs/",
            "a//b",
        ] {
            assert!(Choice::parse(bad).is_err(), "{bad}");
        }
    }
}
