//! What is known of an object and what somebody else says of it. Pure.
//!
//! What an object is follows from its bytes, but not everybody who brings them
//! has read them: as a file, or as a layer of something, an OCI manifest is bytes
//! without children. So whoever has read more adds to what is known, and nobody
//! takes anything away by having come first.

use landfall_catalog::{Digest, Object, Referrer};
use landfall_content::oci::is_manifest;

/// What is known when `said` is known, too. None: no more than before.
///
/// # Errors
///
/// How the two contradict each other.
pub(crate) fn added(known: &Object, said: &Object) -> Result<Option<Object>, String> {
    let digest = said.digest;
    let contradicted = |what: &str, known: &dyn std::fmt::Display, said: &dyn std::fmt::Display| {
        Err(format!(
            "{digest} is recorded with the {what} {known}, and would be {said} now"
        ))
    };
    if known.size != said.size {
        return contradicted("size", &known.size, &said.size);
    }
    let mut now = known.clone();
    match (
        is_manifest(&known.media_type),
        is_manifest(&said.media_type),
    ) {
        (true, true) if known.media_type != said.media_type => {
            return contradicted("media type", &known.media_type, &said.media_type);
        }
        (false, true) => now.media_type = said.media_type.clone(),
        // Of bytes that are no document the media type is what their parents call
        // them, and these need not agree.
        (true, true) | (_, false) => {}
    }
    let is_new = |child: &&Digest| !known.children.contains(child);
    now.children
        .extend(said.children.iter().filter(is_new).copied());
    now.referrer = match (&known.referrer, &said.referrer) {
        (Some(known), Some(said)) if known.subject != said.subject => {
            return contradicted("subject", &known.subject, &said.subject);
        }
        (Some(known), Some(said)) if known.artifact_type.is_empty() => Some(Referrer {
            artifact_type: said.artifact_type.clone(),
            ..known.clone()
        }),
        (Some(known), _) => Some(known.clone()),
        (None, said) => said.clone(),
    };
    now.pieces = known.pieces.or(said.pieces);
    Ok((now != *known).then_some(now))
}

#[cfg(test)]
mod tests {
    use super::*;
    use landfall_catalog::MediaType;
    use landfall_content::oci::{INDEX, MANIFEST};

    fn object(media_type: &str, children: &[&str]) -> Object {
        Object {
            digest: Digest::of(b"it"),
            size: 2,
            media_type: media_type.parse::<MediaType>().unwrap(),
            children: children
                .iter()
                .map(|child| Digest::of(child.as_bytes()))
                .collect(),
            referrer: None,
            pieces: None,
        }
    }

    fn speaking(subject: &str, artifact_type: &str) -> Object {
        Object {
            referrer: Some(Referrer {
                subject: Digest::of(subject.as_bytes()),
                artifact_type: artifact_type.into(),
                annotations: [("by".to_owned(), artifact_type.to_owned())].into(),
            }),
            ..object(MANIFEST, &[])
        }
    }

    #[test]
    fn whoever_came_first_only_more_becomes_known() {
        let file = object("application/octet-stream", &[]);
        let layer = object("application/vnd.oci.image.layer.v1.tar+gzip", &[]);
        let manifest = object(MANIFEST, &["config", "layer"]);
        let sparse = object(MANIFEST, &["layer"]);
        for (known, said, expected) in [
            (&file, &manifest, Some(&manifest)),
            (&layer, &manifest, Some(&manifest)),
            (&manifest, &file, None),
            (&manifest, &layer, None),
            (&manifest, &sparse, None),
            // Blobs are called what their parents call them.
            (&file, &layer, None),
            (&layer, &file, None),
        ] {
            let now = added(known, said).unwrap();
            assert_eq!(now.as_ref(), expected, "{known:?} {said:?}");
        }
        let whole = added(&sparse, &manifest).unwrap().unwrap();
        assert_eq!(whole.children.len(), 2);
        let told = added(&file, &speaking("image", "signature"))
            .unwrap()
            .unwrap();
        assert_eq!(told, speaking("image", "signature"));
    }

    #[test]
    fn what_cannot_be_true_of_the_same_bytes_is_refused() {
        let larger = Object {
            size: 3,
            ..object(MANIFEST, &[])
        };
        for (known, said, what) in [
            (object(MANIFEST, &[]), larger, "size"),
            (object(MANIFEST, &[]), object(INDEX, &[]), "media type"),
            (speaking("a", "t"), speaking("b", "t"), "subject"),
        ] {
            let why = added(&known, &said).unwrap_err();
            assert!(why.contains(what), "{why}");
        }
    }
}
