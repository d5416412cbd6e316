//! What may come under the tags that cosign makes of an image's digest. Pure.
//!
//! A cosign tag has no artifact type that could be on a list: what it brings is
//! known by the types of its config and layers. Those are taken that cosign
//! writes, and libraries that write as it does, each under its own tag (cosign's
//! `SIGNATURE_SPEC.md` and `SBOM_SPEC.md`, and its `pkg/types`).

use landfall_catalog::{Digest, MediaType};
use landfall_content::oci::{Document, DocumentKind};

/// A config of no meaning, which cosign writes as an image's: in OCI's type, or,
/// with `COSIGN_DOCKER_MEDIA_TYPES`, in Docker's.
const CONFIGS: [&str; 3] = [
    "application/vnd.oci.image.config.v1+json",
    "application/vnd.docker.container.image.v1+json",
    "application/vnd.oci.empty.v1+json",
];
/// Simple signing payloads.
const SIGNATURES: [&str; 1] = ["application/vnd.dev.cosign.simplesigning.v1+json"];
/// in-toto statements in DSSE envelopes.
const ATTESTATIONS: [&str; 1] = ["application/vnd.dsse.envelope.v1+json"];
/// Bills of materials, as old and new versions name them.
const SBOMS: [&str; 8] = [
    "text/spdx",
    "text/spdx+json",
    "text/spdx+xml",
    "application/vnd.cyclonedx",
    "application/vnd.cyclonedx+json",
    "application/vnd.cyclonedx+xml",
    "application/vnd.syft",
    "application/vnd.syft+json",
];

/// Whether `document`, which has the tag `sha256-<hex of subject>.<suffix>`, is
/// what cosign keeps under that tag; if not, why not.
pub(crate) fn check(suffix: &str, subject: &Digest, document: &Document) -> Result<(), String> {
    let layer_types: &[&str] = match suffix {
        "sig" => &SIGNATURES,
        "att" => &ATTESTATIONS,
        "sbom" => &SBOMS,
        _ => &[],
    };
    if document.kind != DocumentKind::Manifest {
        return Err("it is an index".to_owned());
    }
    if let Some(other) = &document.subject
        && other.digest != *subject
    {
        return Err(format!("its subject is {}", other.digest));
    }
    if let Some(foreign) = document.foreign.first() {
        return Err(not_taken("layer", &foreign.media_type));
    }
    // Nothing being foreign, the config is the first.
    let mut children = document.children.iter();
    let config = children.next().ok_or("it has no config")?;
    if !CONFIGS.contains(&config.media_type.as_str()) {
        return Err(not_taken("config", &config.media_type));
    }
    match children.find(|layer| !layer_types.contains(&layer.media_type.as_str())) {
        Some(layer) => Err(not_taken("layer", &layer.media_type)),
        None => Ok(()),
    }
}

fn not_taken(what: &str, media_type: &MediaType) -> String {
    format!(
        "a {what} of type \"{}\" is not taken",
        media_type.as_str().escape_default()
    )
}

#[cfg(test)]
mod tests {
    use landfall_content::oci::MANIFEST;
    use serde_json::{Value, json};

    use super::*;

    const OCI: &str = CONFIGS[0];
    const PAYLOAD: &str = SIGNATURES[0];
    const ENVELOPE: &str = ATTESTATIONS[0];
    const FOREIGN: &str = "application/vnd.oci.image.layer.nondistributable.v1.tar";

    fn descriptor(media_type: &str, content: &str) -> Value {
        json!({"mediaType": media_type, "digest": Digest::of(content.as_bytes()), "size": 1})
    }

    fn manifest(config: &str, layers: &[&str], subject: Option<&str>) -> Value {
        let numbered = layers.iter().enumerate();
        let layers: Vec<Value> = numbered
            .map(|(number, media_type)| descriptor(media_type, &number.to_string()))
            .collect();
        let mut manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": descriptor(config, "config"), "layers": layers,
        });
        if let Some(subject) = subject {
            manifest["subject"] = descriptor(MANIFEST, subject);
        }
        manifest
    }

    fn verdict(suffix: &str, document: &Value) -> Result<(), String> {
        let document = Document::parse(document.to_string().as_bytes(), None).unwrap();
        check(suffix, &Digest::of(b"image"), &document)
    }

    #[test]
    fn what_cosign_writes_is_taken() {
        let docker = CONFIGS[1];
        for (suffix, config, layers) in [
            ("sig", OCI, vec![PAYLOAD]),
            ("sig", docker, vec![PAYLOAD, PAYLOAD]),
            ("sig", OCI, vec![]),
            ("att", OCI, vec![ENVELOPE, ENVELOPE]),
            (
                "sbom",
                OCI,
                vec!["text/spdx", "application/vnd.cyclonedx+json"],
            ),
            ("sbom", OCI, vec!["application/vnd.syft+json"]),
        ] {
            let document = manifest(config, &layers, None);
            assert_eq!(verdict(suffix, &document), Ok(()), "{document}");
        }
        assert_eq!(
            verdict("sig", &manifest(OCI, &[PAYLOAD], Some("image"))),
            Ok(())
        );
    }

    #[test]
    fn whatever_else_is_there_is_refused_by_name() {
        let layer = "application/vnd.oci.image.layer.v1.tar+gzip";
        for (suffix, config, layers, subject, why) in [
            ("sig", OCI, vec![layer], None, layer),
            ("sig", OCI, vec![PAYLOAD, layer], None, layer),
            ("sig", OCI, vec![ENVELOPE], None, ENVELOPE),
            ("att", OCI, vec![PAYLOAD], None, PAYLOAD),
            ("sbom", OCI, vec!["text/html"], None, "text/html"),
            ("sig", OCI, vec![OCI], None, OCI),
            ("sig", "application/x-miner", vec![PAYLOAD], None, "x-miner"),
            ("sig", FOREIGN, vec![PAYLOAD], None, FOREIGN),
            ("sig", OCI, vec![PAYLOAD, FOREIGN], None, FOREIGN),
            ("sig", OCI, vec![PAYLOAD], Some("another"), "its subject is"),
            ("exe", OCI, vec![PAYLOAD], None, PAYLOAD),
        ] {
            let document = manifest(config, &layers, subject);
            let refused = verdict(suffix, &document).unwrap_err();
            assert!(refused.contains(why), "{refused} for {document}");
        }
    }

    #[test]
    fn an_index_is_no_signature() {
        let image = descriptor(MANIFEST, "image");
        let index = json!({"schemaVersion": 2, "manifests": [image]});
        assert_eq!(verdict("sig", &index), Err("it is an index".to_owned()));
    }
}
