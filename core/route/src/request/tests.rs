use proptest::prelude::*;

use super::*;

const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn digest() -> Digest {
    Digest::from_hex(HEX).unwrap()
}

fn repository(name: &str) -> Repository {
    name.parse().unwrap()
}

fn file(path: &str) -> Wanted {
    Wanted::File(path.parse().unwrap())
}

fn check(path: &str, query: &str, expect: &Wanted) {
    let request = Request::parse(path, Some(query));
    assert_eq!(
        request.map(|r| r.wanted).as_ref(),
        Ok(expect),
        "{path}?{query}"
    );
}

fn refuse(path: &str, query: &str, status: u16) {
    match Request::parse(path, Some(query)) {
        Ok(request) => panic!("{path}?{query} was taken for {request:?}"),
        Err(error) => assert_eq!(error.http_status(), status, "{path}?{query}: {error}"),
    }
}

#[test]
fn each_kind_of_request_is_understood() {
    check("/", "", &Wanted::Root);
    check("/v2/", "", &Wanted::V2Base);
    check("/v2", "", &Wanted::V2Base);
    check(
        "/.landfall/explain",
        "ip=1.2.3.4",
        &Wanted::Internal("explain".to_owned()),
    );
    check(
        "/.landfall/tile/0/x001/234",
        "",
        &Wanted::Internal("tile/0/x001/234".to_owned()),
    );
    check("/.landfall/", "", &Wanted::Internal(String::new()));
    check(&format!("/blobs/sha256/{HEX}"), "", &Wanted::Blob(digest()));
    check(
        "/binaries/kops/1.30.0/linux/amd64/kops",
        "",
        &file("binaries/kops/1.30.0/linux/amd64/kops"),
    );
    check("/a%20b/%C3%A9+~", "nonsense=1", &file("a b/é+~"));
    check("/v2x", "", &file("v2x"));
    check("/blobs-of-mine/x", "", &file("blobs-of-mine/x"));
}

#[test]
fn the_oci_pull_api_is_read_from_the_right() {
    let tag = |name: &str, tag: &str| Wanted::OciManifest {
        repository: repository(name),
        reference: Reference::Tag(tag.parse().unwrap()),
    };
    check(
        "/v2/kube-proxy/manifests/v1.30.0",
        "",
        &tag("kube-proxy", "v1.30.0"),
    );
    check("/v2/a/b/manifests/latest", "", &tag("a/b", "latest"));
    check(
        "/v2/manifests/manifests/blobs",
        "",
        &tag("manifests", "blobs"),
    );
    check(
        "/v2/x/manifests/manifests/list",
        "",
        &tag("x/manifests", "list"),
    );
    check(
        &format!("/v2/pause/manifests/sha256:{HEX}"),
        "",
        &Wanted::OciManifest {
            repository: repository("pause"),
            reference: Reference::Digest(digest()),
        },
    );
    let blob = Wanted::OciBlob {
        repository: repository("pause"),
        digest: digest(),
    };
    check(&format!("/v2/pause/blobs/sha256:{HEX}"), "", &blob);
    check(&format!("/v2/pause/blobs/sha256%3A{HEX}"), "", &blob);
    let tags = |n, last: Option<&str>| Wanted::OciTags {
        repository: repository("a/tags"),
        n,
        last: last.map(str::to_owned),
    };
    check("/v2/a/tags/tags/list", "", &tags(None, None));
    check(
        "/v2/a/tags/tags/list",
        "n=100&last=v1",
        &tags(Some(100), Some("v1")),
    );
    check(
        "/v2/a/tags/tags/list",
        "n=99999999999&last=",
        &tags(Some(u32::MAX), None),
    );
    let referrers = |artifact_type: Option<&str>| Wanted::OciReferrers {
        repository: repository("pause"),
        digest: digest(),
        artifact_type: artifact_type.map(str::to_owned),
    };
    let path = format!("/v2/pause/referrers/sha256:{HEX}");
    check(&path, "", &referrers(None));
    check(
        &path,
        "artifactType=application/spdx+json",
        &referrers(Some("application/spdx+json")),
    );
    check(
        &path,
        "artifactType=application%2Fspdx%2Bjson",
        &referrers(Some("application/spdx+json")),
    );
}

#[test]
fn what_cannot_exist_is_not_found() {
    for path in [
        "/v2/_catalog",
        "/v2/x",
        "/v2/x/blobs",
        "/v2/x/tags/other",
        "/v2/x/unknown/y",
        "/v2/x/manifests/-bad",
        "/v2/x/manifests/",
        "/blobs/md5/00",
        "/blobs/",
        "/blobs",
        "/origin/x",
        "/.well-known/landfall/x",
        "/index.json",
        "/folder/",
    ] {
        refuse(path, "", 404);
    }
}

#[test]
fn names_and_digests_outside_of_their_grammar_are_refused() {
    refuse("/v2/Upper/manifests/v1", "", 400);
    refuse("/v2/a..b/tags/list", "", 400);
    refuse("/v2/pause/blobs/sha256:00", "", 400);
    refuse(&format!("/v2/pause/blobs/{HEX}"), "", 400);
    refuse(
        &format!("/v2/pause/blobs/sha256:{}", HEX.to_uppercase()),
        "",
        400,
    );
    refuse(&format!("/v2/pause/manifests/sha512:{HEX}{HEX}"), "", 400);
    refuse(&format!("/blobs/sha256/{}", &HEX[1..]), "", 400);
    refuse(&format!("/blobs/sha256/{HEX}/x"), "", 400);
    let error = Request::parse("/v2/Upper/manifests/v1", None).unwrap_err();
    assert_eq!(error.oci_code(), "NAME_INVALID");
    let error = Request::parse("/v2/x/blobs/sha256:0", None).unwrap_err();
    assert_eq!(error.oci_code(), "DIGEST_INVALID");
}

#[test]
fn hostile_paths_are_refused() {
    for path in [
        "",
        "x",
        "*",
        "http://example.org/x",
        "//example.org/x",
        "///",
        "/a//b",
        "/\\example.org",
        "/a/%5c%5cexample.org",
        "/a%2fb",
        "/a%2Fb",
        "/%2f/example.org",
        "/a/../b",
        "/..",
        "/.",
        "/./x",
        "/%2e%2e/x",
        "/%2E./x",
        "/a/%2e%2e",
        "/v2/../x",
        "/.landfall/../x",
        "/v2/%2e%2e/manifests/x",
        "/a%00",
        "/a%0d%0aSet-Cookie:x",
        "/a\r\nb",
        "/a%7f",
        "/a%c2%80",
        "/a%",
        "/a%4",
        "/a%zz",
        "/a%+1",
        "/%c0%ae%c0%ae/x",
        "/%ff",
        "/%ed%a0%80",
        "/a#b",
        "/a?b",
        &format!("/{}", "a/".repeat(600)),
    ] {
        refuse(path, "", 400);
    }
}

#[test]
fn a_path_is_decoded_only_once() {
    check("/%252e%252e/x", "", &file("%2e%2e/x"));
    check("/a%252fb", "", &file("a%2fb"));
}

#[test]
fn avoided_mirrors_are_collected_and_bounded() {
    let avoid = |query: &str| Request::parse("/x", Some(query)).map(|request| request.avoid);
    assert_eq!(avoid(""), Ok(vec![]));
    assert_eq!(avoid("avoid="), Ok(vec![]));
    assert_eq!(
        avoid("avoid=a&x=y&avoid=uni-oslo"),
        Ok(vec!["a".to_owned(), "uni-oslo".to_owned()])
    );
    assert_eq!(
        avoid("avoid=a,b%2Cc"),
        Ok(["a", "b", "c"].map(str::to_owned).to_vec())
    );
    for query in [
        "avoid=a%20b",
        "avoid=%0d%0a",
        "avoid=<script>",
        "avoid=%zz",
        &format!("avoid={}", "a".repeat(129)),
        &"avoid=a&".repeat(17),
        &"a&".repeat(65),
        &"a".repeat(5000),
    ] {
        refuse("/x", query, 400);
    }
    refuse("/v2/a/tags/list", "n=-1", 400);
    refuse("/v2/a/tags/list", "n=", 400);
    refuse("/v2/a/tags/list", &format!("last={}", "a".repeat(129)), 400);
}

proptest! {
    #[test]
    fn no_path_gets_past_with_a_way_out(path in "(/|%|2|f|F|e|E|\\.|\\\\|a|\\x00|é|v2|blobs){0,24}") {
        if let Ok(request) = Request::parse(&path, None)
            && let Wanted::File(file) = request.wanted
        {
            let text = file.as_str();
            prop_assert!(text.split('/').all(|segment| !matches!(segment, "" | "." | "..")), "{}", text);
            prop_assert!(!text.contains('\\') && !text.chars().any(char::is_control));
        }
    }

    #[test]
    fn any_text_is_either_understood_or_refused(path in "\\PC{0,60}", query in "\\PC{0,60}") {
        if let Err(error) = Request::parse(&format!("/{path}"), Some(&query)) {
            prop_assert!(matches!(error.http_status(), 400 | 404));
        }
    }
}

#[test]
fn a_path_is_as_long_as_it_is_when_decoded() {
    let longest = format!("{}/", "ø".repeat(127)).repeat(4) + "long";
    assert_eq!(longest.len(), landfall_catalog::MAX_PATH_BYTES);
    let escaped = |path: &str| -> String {
        let byte = |byte: u8| match byte {
            b'/' => "/".to_owned(),
            other => format!("%{other:02X}"),
        };
        path.bytes().map(byte).collect()
    };
    for path in [longest.clone(), escaped(&longest)] {
        check(&format!("/{path}"), "", &file(&longest));
        refuse(&format!("/{path}x"), "", 400);
        refuse(&format!("/{path}%78"), "", 400);
    }
}
