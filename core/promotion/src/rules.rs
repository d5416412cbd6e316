//! Every rule: its stable id, how much breaking it weighs, whether what breaks
//! it is left out, and how to mend it.

use crate::finding::Severity;

/// A rule that manifests are held to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Stable id in kebab case.
    pub id: &'static str,
    /// How much breaking it weighs.
    pub severity: Severity,
    /// Whether what breaks it is left out of the promotion.
    pub quarantines: bool,
    /// How to mend it.
    pub help: &'static str,
}

macro_rules! rules {
    ($($name:ident = $severity:ident, $quarantines:literal, $id:literal, $help:literal;)*) => {
        $(
            #[doc = concat!("The rule `", $id, "`.")]
            pub const $name: Rule = Rule {
                id: $id,
                severity: Severity::$severity,
                quarantines: $quarantines,
                help: $help,
            };
        )*

        /// All rules, for listings and for tools that want them declared.
        pub const ALL: &[Rule] = &[$($name),*];
    };
}

rules! {
    // The text.
    YAML_SYNTAX = Error, true, "yaml-syntax", "make the file one well-formed YAML document";
    YAML_ALIAS = Error, true, "yaml-alias", "write the value out; manifests have no anchors and aliases";
    WRONG_SHAPE = Error, true, "wrong-shape", "write what the format has here";
    DUPLICATE_KEY = Error, true, "duplicate-key", "keep one of the two and delete the other";
    UNKNOWN_FIELD = Error, true, "unknown-field", "correct the field's spelling or delete it";
    DEPRECATED_FIELD = Note, false, "deprecated-field", "delete the field";
    TOO_LARGE = Error, true, "too-large", "split the manifest";
    TOO_MANY_FINDINGS = Error, true, "too-many-findings", "mend what is listed and validate again";
    // The sensitive half.
    NO_REGISTRIES = Error, true, "no-registries", "list the staging registry with `src: true`, and the registries to promote to";
    NO_FILESTORES = Error, true, "no-filestores", "list the staging store with `src: true`, and the stores to promote to";
    BAD_REGISTRY = Error, true, "bad-registry", "write host/path, without a scheme and without a slash at the end";
    BAD_FILESTORE = Error, true, "bad-filestore", "write gs://bucket/prefix/ or s3://bucket/prefix/";
    UNSUPPORTED_SCHEME = Error, true, "unsupported-scheme", "file stores are gs:// or s3://";
    NO_SOURCE = Error, true, "no-source", "mark exactly one entry with `src: true`";
    SEVERAL_SOURCES = Error, true, "several-sources", "mark exactly one entry with `src: true`";
    NO_DESTINATION = Error, true, "no-destination", "list at least one entry without `src: true`";
    DUPLICATE_DESTINATION = Error, true, "duplicate-destination", "list each registry or file store once";
    DUPLICATE_PROJECT = Error, true, "duplicate-project", "a project of a kind has one place in the tree";
    // How the halves belong together.
    MISSING_IMAGES = Error, true, "missing-images", "add images/<project>/images.yaml, or delete the promoter-manifest.yaml";
    MISSING_REGISTRIES = Error, true, "missing-promoter-manifest", "add manifests/<project>/promoter-manifest.yaml; until then nothing of this is promoted";
    MISSING_FILESTORES = Error, true, "missing-filepromoter-manifest", "add filestores/<project>/filepromoter-manifest.yaml; until then nothing of this is promoted";
    NO_FILE_MANIFESTS = Info, false, "no-file-manifests", "add manifests/<project>/*.yaml when there is something to promote";
    IGNORED_FILE = Note, false, "ignored-file", "image projects have promoter-manifest.yaml alone in this folder";
    EMPTY_IMAGES = Info, false, "empty-images", "list images when there is something to promote";
    EMPTY_FILES = Warning, false, "empty-files", "list files under `files:`, or delete the manifest";
    // The delegated half.
    BAD_IMAGE_NAME = Error, true, "bad-image-name", "image names are lower-case words joined by . _ __ or dashes, with / between segments";
    EMPTY_NAME = Error, true, "empty-name", "give the entry a name";
    EMPTY_DMAP = Note, false, "empty-dmap", "list the digests to promote under `dmap`, each with its tags, or delete the entry";
    MALFORMED_DIGEST = Error, true, "malformed-digest", "write sha256: and the 64 lower-case hexadecimal digits of the image's digest";
    BAD_TAG = Error, true, "bad-tag", "tags are letters, digits, _ . and -, at most 128, not beginning with . or -";
    REFERRERS_TAG = Warning, false, "referrers-tag", "delete the tag: registries move it with each signature, and an image's referrers are promoted with it";
    CONFLICTING_TAG = Error, true, "conflicting-tag", "a tag means one digest for ever: keep one of them, give the other a tag of its own";
    BAD_PATH = Error, true, "bad-path", "write a relative path without empty segments, . or .., backslashes or control characters";
    MISSING_SHA256 = Error, true, "missing-sha256", "add the file's SHA-256 as `sha256`";
    MALFORMED_SHA256 = Error, true, "malformed-sha256", "write the 64 hexadecimal digits that sha256sum prints";
    CONFLICTING_HASHES = Error, true, "conflicting-hashes", "a path means one content for ever: put the version into the path";
    // Beside the manifests.
    UNREADABLE = Error, true, "unreadable", "make it a regular file of UTF-8 text at its usual place; until then nothing of the project is removed";
    MIXED_HALVES = Error, false, "mixed-halves", "make it two changes: the sensitive half is for administrators, the delegated half for the project";
    MOVED_NAME = Error, false, "moved-name", "a tag and a path mean one content for ever: give the new one a name of its own; if it has to move, acknowledge this and promote with --allow-tag-moves";
    UNLISTED_NAMES = Note, false, "unlisted-names", "nothing, if it is meant: they stay in production until they are pruned or withdrawn";
    MISSING_OWNERS = Warning, false, "missing-owners", "add the OWNERS file that says who may change the project's list";
    STALE_ACKNOWLEDGEMENT = Note, false, "stale-acknowledgement", "delete the acknowledgement, or correct its hash and rule";
    // What planning finds.
    OUTSIDE_PROJECT = Error, true, "outside-project", "a name belongs to the projects with the longest prefix above it: list it there, or publish it elsewhere";
    UNPUBLISHABLE_NAME = Error, true, "unpublishable-name", "choose a destination or name whose public name is allowed";
    RESERVED_PATH = Error, true, "reserved-path", "choose another path: this one belongs to the mirrors' own layout";
    COLLIDING_PATHS = Error, true, "colliding-paths", "a path is a file or a folder: rename one of them";
    UNMATCHED_DESTINATION = Info, false, "unmatched-destination", "no production rule publishes this destination";
    UNPUBLISHED_PROJECT = Warning, false, "unpublished-project", "add a [[production]] rule that matches one of the project's destinations";
    PROMOTED_ONWARD = Info, false, "promoted-onward", "nothing to mend: what it lists has to be in production under that prefix when it is promoted";
    PROMOTED_ONTO_ITSELF = Warning, false, "promoted-onto-itself", "choose another source or another destination: a name cannot be promoted to itself";
    TOO_MANY_PREFIXES = Error, true, "too-many-prefixes", "map the project's destinations to fewer public prefixes";
    PRUNE_SKIPPED = Warning, false, "prune-skipped", "mend the project's faults; only then is it known what its manifests no longer list";
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn ids_are_unique_and_in_kebab_case() {
        let ids: BTreeSet<_> = ALL.iter().map(|rule| rule.id).collect();
        assert_eq!(ids.len(), ALL.len());
        for id in ids {
            assert!(
                id.bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            );
        }
    }

    #[test]
    fn notes_and_information_leave_nothing_out() {
        for rule in ALL {
            let light = matches!(rule.severity, Severity::Note | Severity::Info);
            assert!(!(light && rule.quarantines), "{}", rule.id);
        }
    }
}
