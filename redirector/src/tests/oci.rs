//! Answers of the OCI pull API from a view.

use http::StatusCode;
use landfall_catalog::Digest;

use super::world::*;
use crate::http::{Answer, ClientRequest, answer};

#[test]
fn the_oci_base_says_that_this_is_a_registry() {
    let reply = get(&view(&[]), "/v2/");
    assert_eq!(reply.status, StatusCode::OK);
    assert_eq!(
        header(&reply, "docker-distribution-api-version"),
        "registry/2.0"
    );
}

#[test]
fn a_manifest_is_what_the_catalog_says_by_tag_and_by_digest() {
    let view = view(&mirrors());
    for reference in ["v1".to_owned(), format!("sha256:{}", hex(IMAGE))] {
        let path = format!("/v2/app/manifests/{reference}");
        let Answer::Manifest(reply, wanted) = answer(&view, &request(&path)) else {
            panic!("{path}");
        };
        assert_eq!(wanted.digest, Digest::of(IMAGE));
        assert_eq!(wanted.size, IMAGE.len() as u64);
        let hosts: Vec<&str> = wanted.sources.iter().map(|url| &url[..13]).collect();
        assert_eq!(hosts.len(), 4, "three mirrors and the origin: {hosts:?}");
        assert!(wanted.sources[3].starts_with(ORIGIN_URL));
        let head = ClientRequest {
            head: true,
            ..request(&path)
        };
        let from_catalog = reply_to(&view, &head);
        assert_eq!(from_catalog.headers, reply.headers);
        assert_eq!(header(&reply, "content-type"), IMAGE_TYPE);
        assert_eq!(header(&reply, "content-length"), IMAGE.len().to_string());
        assert_eq!(
            header(&reply, "docker-content-digest"),
            format!("sha256:{}", hex(IMAGE))
        );
    }
}

#[test]
fn what_a_repository_does_not_hold_is_unknown_in_it() {
    let view = view(&mirrors());
    let unknown = |path: &str, code: &str| {
        let reply = get(&view, path);
        assert_eq!(reply.status, StatusCode::NOT_FOUND, "{path}");
        assert_eq!(json(&reply)["errors"][0]["code"], code, "{path}");
    };
    unknown("/v2/other/manifests/v1", "NAME_UNKNOWN");
    unknown("/v2/app/manifests/v9", "MANIFEST_UNKNOWN");
    unknown(
        &format!("/v2/app/manifests/sha256:{}", hex(LAYER)),
        "MANIFEST_UNKNOWN",
    );
    unknown(
        &format!("/v2/app/manifests/sha256:{}", hex(b"?")),
        "MANIFEST_UNKNOWN",
    );
    // The tool is live, but a file: no repository holds it.
    unknown(
        &format!("/v2/app/blobs/sha256:{}", hex(TOOL)),
        "BLOB_UNKNOWN",
    );
    unknown("/v2/other/tags/list", "NAME_UNKNOWN");
    let layer = get(&view, &format!("/v2/app/blobs/sha256:{}", hex(LAYER)));
    assert_eq!(layer.status, StatusCode::TEMPORARY_REDIRECT);
}

#[test]
fn tags_come_in_pages_that_lead_to_the_next() {
    let view = view(&[]);
    let page = |query: &str| {
        let reply = get(&view, &format!("/v2/app/tags/list{query}"));
        let tags = json(&reply)["tags"].to_string();
        (tags, header(&reply, "link").to_owned())
    };
    assert_eq!(page(""), (r#"["v1","v2","v3"]"#.to_owned(), String::new()));
    assert_eq!(
        page("?n=2"),
        (
            r#"["v1","v2"]"#.to_owned(),
            r#"</v2/app/tags/list?n=2&last=v2>; rel="next""#.to_owned()
        )
    );
    assert_eq!(
        page("?n=2&last=v2"),
        (r#"["v3"]"#.to_owned(), String::new())
    );
    assert_eq!(page("?n=0"), ("[]".to_owned(), String::new()));
    assert_eq!(page("?last=v11").0, r#"["v2","v3"]"#);
}

#[test]
fn referrers_are_an_index_built_from_the_catalog() {
    let view = view(&[]);
    let path = format!("/v2/app/referrers/sha256:{}", hex(IMAGE));
    let reply = get(&view, &path);
    assert_eq!(
        header(&reply, "content-type"),
        "application/vnd.oci.image.index.v1+json"
    );
    let expect = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [{
            "mediaType": IMAGE_TYPE,
            "digest": format!("sha256:{}", hex(SIGNATURE)),
            "size": SIGNATURE.len(),
            "artifactType": SIGNATURE_TYPE,
            "annotations": { "by": "us" },
        }],
    });
    assert_eq!(json(&reply), expect);
    let count = |query: &str| {
        let reply = get(&view, &format!("{path}?artifactType={query}"));
        assert_eq!(header(&reply, "oci-filters-applied"), "artifactType");
        json(&reply)["manifests"].as_array().unwrap().len()
    };
    assert_eq!(count(SIGNATURE_TYPE), 1);
    assert_eq!(count("application/spdx+json"), 0);
    let none = get(&view, &format!("/v2/app/referrers/sha256:{}", hex(TOOL)));
    assert_eq!(json(&none)["manifests"], serde_json::json!([]));
}
