//! Names that may move from one digest to another.

use landfall_catalog::{Digest, Name};

/// Patterns of the names that may move. `*` stands for any characters. A pattern
/// is compared with a tag or with the last segment of a path; one with a `/` or
/// `:` with the whole path or `repository:tag`. Cosign's tags (see
/// [`cosign_subject`]) are always mutable: signatures are added to them.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct MutableNames {
    patterns: Vec<String>,
}

impl Default for MutableNames {
    /// `stable.txt` and `latest`.
    fn default() -> Self {
        Self::new(["stable.txt", "latest"])
    }
}

impl MutableNames {
    /// Names that match one of `patterns`.
    pub fn new<T: Into<String>>(patterns: impl IntoIterator<Item = T>) -> Self {
        Self {
            patterns: patterns.into_iter().map(Into::into).collect(),
        }
    }

    /// Whether a name may move. A root never does: its name is its digest.
    #[must_use]
    pub fn allow(&self, name: &Name) -> bool {
        match name {
            Name::Root(..) => false,
            Name::Tag(_, tag) => {
                cosign_subject(tag.as_str()).is_some() || self.matches(name, tag.as_str())
            }
            Name::File(path) => {
                let path = path.as_str();
                let last = path.rsplit('/').next().unwrap_or(path);
                self.matches(name, last)
            }
        }
    }

    fn matches(&self, whole: &Name, last: &str) -> bool {
        self.patterns.iter().any(|pattern| {
            if pattern.contains(['/', ':']) {
                glob(pattern, &whole.to_string())
            } else {
                glob(pattern, last)
            }
        })
    }
}

/// What a cosign tag (`sha256-<64 hex>.sig`, `.att` or `.sbom`) is about.
#[must_use]
pub fn cosign_subject(tag: &str) -> Option<Digest> {
    let (hex, suffix) = tag.strip_prefix("sha256-")?.split_once('.')?;
    matches!(suffix, "sig" | "att" | "sbom")
        .then(|| Digest::from_hex(hex).ok())
        .flatten()
}

/// Whether a tag is where registries without a referrers API keep the list of an
/// image's referrers: `sha256-<64 hex>` (OCI distribution specification 1.1,
/// "Referrers tag schema"). It means another digest with each referrer, and the
/// referrers are promoted with their image.
#[must_use]
pub fn is_referrers_tag(tag: &str) -> bool {
    let hex = tag.strip_prefix("sha256-");
    hex.is_some_and(|hex| Digest::from_hex(hex).is_ok())
}

/// `*` stands for any run of characters, everything else for itself.
fn glob(pattern: &str, text: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(mut text) = text.strip_prefix(head) else {
        return false;
    };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let tail = parts.pop().unwrap_or_default();
    for part in parts {
        let Some(at) = text.find(part) else {
            return false;
        };
        text = &text[at + part.len()..];
    }
    text.ends_with(tail)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(patterns: &[&str], name: &str, expected: bool) {
        let names = MutableNames::new(patterns.iter().copied());
        assert_eq!(names.allow(&name.parse().unwrap()), expected, "{name}");
    }

    #[test]
    fn only_configured_names_and_signatures_may_move() {
        let digest = Digest::of(b"");
        let hex = digest.to_hex();
        let default = ["stable.txt", "latest"];
        check(&default, "a/b:latest", true);
        check(&default, "release/stable.txt", true);
        check(&default, "a/b:v1", false);
        check(&default, "release/unstable.txt", false);
        check(&default, &format!("a@{digest}"), false);
        for suffix in ["sig", "att", "sbom"] {
            check(&[], &format!("a:sha256-{hex}.{suffix}"), true);
        }
        check(&[], &format!("a:sha256-{hex}.exe"), false);
        check(&[], &format!("a:sha256-{}.sig", &hex[1..]), false);
        check(&["stable-*.txt"], "a/stable-1.30.txt", true);
        check(&["charts/*:edge*"], "charts/x:edge-2", true);
        check(&["charts/*:edge*"], "other/x:edge-2", false);
    }

    /// The definition, by recursion.
    fn reference(pattern: &[char], text: &[char]) -> bool {
        match (pattern, text) {
            ([], []) => true,
            (['*', rest @ ..], _) => {
                (0..=text.len()).any(|skipped| reference(rest, &text[skipped..]))
            }
            ([a, pattern @ ..], [b, text @ ..]) if a == b => reference(pattern, text),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn a_pattern_matches_as_defined(pattern in "[ab*]{0,6}", text in "[ab]{0,8}") {
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            prop_assert_eq!(glob(&pattern, &text), reference(&chars(&pattern), &chars(&text)));
        }
    }
}
