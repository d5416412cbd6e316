//! The URLs that clients are sent to, built from parsed names and the fleet view only.

use std::fmt::Write;

use landfall_catalog::{Digest, FilePath, Repository};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::decide::Target;
use crate::fleet::{FleetView, MirrorView, StoreKind};

/// Everything but the unreserved characters of RFC 3986 and the slash. A plus is escaped too: some buckets read a
/// bare one as a space.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'/');

/// What a URL is wanted of.
#[derive(Clone, Copy, Debug)]
pub enum Content<'a> {
    /// A blob, by its digest.
    Blob {
        /// The repository it was asked for in, if the request said.
        repository: Option<&'a Repository>,
        /// Its digest.
        digest: &'a Digest,
    },
    /// A file, by its path.
    File(&'a FilePath),
}

/// The URL of `content` at `target`; `None` if the target is nothing, not in the fleet, or a registry that the content
/// cannot be fetched from. Never `None` for a target or an alternate that was decided for this content and fleet.
#[must_use]
pub fn location(fleet: &FleetView, target: Target, content: Content<'_>) -> Option<String> {
    let mirror = match target {
        Target::Nothing => return None,
        Target::Origin => return Some(in_folder(&fleet.origin_url, content)),
        Target::Mirror(position) => fleet.mirrors.get(position)?,
    };
    match (&mirror.kind, content) {
        (StoreKind::Files, _) => Some(in_folder(&mirror.public_url, content)),
        (StoreKind::Registry { prefix }, Content::Blob { repository, digest }) => {
            let (base, repository) = (trimmed(&mirror.public_url), repository?);
            let joint = if prefix.is_empty() { "" } else { "/" };
            Some(format!(
                "{base}/v2/{prefix}{joint}{repository}/blobs/{digest}"
            ))
        }
        (StoreKind::Registry { .. }, Content::File(_)) => None,
    }
}

/// The URL of a blob at a mirror that is a directory or bucket.
#[must_use]
pub fn blob_url(mirror: &MirrorView, digest: &Digest) -> String {
    let content = Content::Blob {
        repository: None,
        digest,
    };
    in_folder(&mirror.public_url, content)
}

/// The URL of a file at a mirror that is a directory or bucket.
#[must_use]
pub fn file_url(mirror: &MirrorView, path: &FilePath) -> String {
    in_folder(&mirror.public_url, Content::File(path))
}

/// Where a directory, a bucket or the origin has it.
fn in_folder(base: &str, content: Content<'_>) -> String {
    const BLOBS: &str = "/blobs/sha256/";
    let base = trimmed(base);
    match content {
        Content::Blob { digest, .. } => {
            let mut url = String::with_capacity(base.len() + BLOBS.len() + 64);
            url.push_str(base);
            url.push_str(BLOBS);
            for byte in digest.as_bytes() {
                // Writing to a string does not fail.
                let _ = write!(url, "{byte:02x}");
            }
            url
        }
        Content::File(path) => {
            let mut url = String::with_capacity(base.len() + 1 + path.as_str().len());
            url.push_str(base);
            url.push('/');
            url.extend(utf8_percent_encode(path.as_str(), ESCAPED));
            url
        }
    }
}

fn trimmed(base: &str) -> &str {
    base.trim_end_matches('/')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::request::{Request, Wanted};

    fn mirror(public_url: &str, kind: StoreKind) -> MirrorView {
        MirrorView {
            public_url: public_url.to_owned(),
            kind,
            ..MirrorView::default()
        }
    }

    fn fleet() -> FleetView {
        let registry = |prefix: &str| StoreKind::Registry {
            prefix: prefix.to_owned(),
        };
        FleetView {
            mirrors: vec![
                mirror("https://mirror.example/landfall", StoreKind::Files),
                mirror("https://registry.example/", registry("k8s")),
                mirror("https://bare.example", registry("")),
            ],
            origin_url: "http://127.0.0.1:7480/origin".to_owned(),
            ..FleetView::default()
        }
    }

    #[test]
    fn each_kind_of_store_has_its_urls() {
        let digest = Digest::of(b"");
        let hex = digest.to_hex();
        let repository: Repository = "a/pause".parse().unwrap();
        let path: FilePath = "binaries/x+y~1 #?%é".parse().unwrap();
        let named = Content::Blob {
            repository: Some(&repository),
            digest: &digest,
        };
        let unnamed = Content::Blob {
            repository: None,
            digest: &digest,
        };
        let file = Content::File(&path);
        let escaped = "binaries/x%2By~1%20%23%3F%25%C3%A9";
        for (target, content, expect) in [
            (
                Target::Mirror(0),
                named,
                Some(format!(
                    "https://mirror.example/landfall/blobs/sha256/{hex}"
                )),
            ),
            (
                Target::Mirror(0),
                file,
                Some(format!("https://mirror.example/landfall/{escaped}")),
            ),
            (
                Target::Mirror(1),
                named,
                Some(format!(
                    "https://registry.example/v2/k8s/a/pause/blobs/sha256:{hex}"
                )),
            ),
            (
                Target::Mirror(2),
                named,
                Some(format!(
                    "https://bare.example/v2/a/pause/blobs/sha256:{hex}"
                )),
            ),
            (Target::Mirror(1), unnamed, None),
            (Target::Mirror(1), file, None),
            (Target::Mirror(9), file, None),
            (
                Target::Origin,
                unnamed,
                Some(format!("http://127.0.0.1:7480/origin/blobs/sha256/{hex}")),
            ),
            (
                Target::Origin,
                file,
                Some(format!("http://127.0.0.1:7480/origin/{escaped}")),
            ),
            (Target::Nothing, file, None),
        ] {
            assert_eq!(
                location(&fleet(), target, content),
                expect,
                "{target:?} {content:?}"
            );
        }
        let first = &fleet().mirrors[0];
        assert_eq!(
            blob_url(first, &digest),
            format!("https://mirror.example/landfall/blobs/sha256/{hex}")
        );
        assert_eq!(
            file_url(first, &path),
            format!("https://mirror.example/landfall/{escaped}")
        );
    }

    proptest! {
        #[test]
        fn a_location_is_below_the_mirror_and_leads_back_to_the_same_name(path in "\\PC{1,40}") {
            if let Ok(path) = path.parse::<FilePath>() {
                let fleet = fleet();
                let url = location(&fleet, Target::Mirror(0), Content::File(&path)).unwrap();
                let below = url.strip_prefix("https://mirror.example/landfall").unwrap();
                prop_assert!(below.starts_with('/') && !below.starts_with("//"));
                prop_assert!(below.bytes().all(|b| b.is_ascii_graphic() && !b"?#\\\"<>".contains(&b)));
                let request = Request::parse(below, None).unwrap();
                prop_assert_eq!(request.wanted, Wanted::File(path));
            }
        }
    }
}
