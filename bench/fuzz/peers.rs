//! What registries, buckets and mirrors answer, as far as it is more than bytes.

use http::header::{HeaderName, LINK, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, StatusCode};
use landfall_catalog::Digest;
use landfall_content::oci::Reference;
use landfall_content::{PieceList, SourceErrorKind, outside};
use url::Url;

use crate::{Target, kind_of, text};

pub(crate) fn targets() -> Vec<Target> {
    let digest = Digest::of(b"x");
    let headers = [
        "Bearer realm=\"https://a/token\",service=\"a\",scope=\"repository:b:pull\"",
        "bearer service=\"a\", realm=\"https://a/t?x=1,2\"",
        "Basic realm=\"r\"",
        "bytes 5-9/10",
        "bytes 0-0/*",
        "0-1023",
        "bytes=0-5",
        "120",
        "Wed, 21 Oct 2026 07:28:00 GMT",
        "</v2/a/tags/list?n=5&last=v1>; rel=\"next\"",
        "<https://other.example/v2/>; rel=next",
    ];
    let tokens = [
        r#"{"token":"abc","access_token":"abc","expires_in":60}"#,
        r#"{"access_token":"eyJ.a.b"}"#,
        r#"{"errors":[]}"#,
    ];
    let named = format!(
        r#"{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{digest}","size":7,"annotations":{{"org.opencontainers.image.ref.name":"a/b:v1"}}}}"#
    );
    let indexes = [
        format!(r#"{{"schemaVersion":2,"manifests":[{named}]}}"#),
        format!(
            r#"{{"schemaVersion":2,"mediaType":"x","manifests":[{{"a":1}},{named}],"annotations":{{}}}}"#
        ),
    ];
    let references = ["v1.2".to_owned(), digest.to_string()];
    // Two bytes of length, then the list.
    let mut pieces = vec![0, 3];
    pieces.extend([1; 96]);
    vec![
        Target::new("answer-headers", headers, header),
        Target::new("token-answers", tokens, |input| {
            let sent = outside::token_answer(input);
            assert!(sent.as_ref().is_none_or(HeaderValue::is_sensitive));
            format!("{} {}", sent.is_some(), input.len().min(40))
        }),
        Target::new("layout-indexes", indexes, index),
        Target::new("references", references, |input| {
            let input = text(input);
            match input.parse::<Reference>() {
                Ok(read) => {
                    assert_eq!(read.to_string(), *input);
                    matches!(read, Reference::Tag(_)).to_string()
                }
                Err(error) => kind_of(&error),
            }
        }),
        Target::new("piece-lists", [pieces], listed),
    ]
}

/// One value for every header field that is read.
fn header(input: &[u8]) -> String {
    let Ok(value) = HeaderValue::from_bytes(input) else {
        return "no header".to_owned();
    };
    let with = |name: HeaderName| HeaderMap::from_iter([(name, value.clone())]);
    let range = outside::content_range(&value);
    assert!(range.is_none_or(|(first, total)| total.is_none_or(|total| first < total)));
    let refused = outside::refusal(StatusCode::TOO_MANY_REQUESTS, &with(RETRY_AFTER));
    let SourceErrorKind::Transient { retry_after } = refused else {
        return format!("{refused:?}");
    };
    assert!(retry_after.is_none_or(|after| after.as_secs() <= 3_600));
    let Ok(page) = Url::parse("https://registry.example/v2/a/tags/list?n=5") else {
        return "no page".to_owned();
    };
    let next = outside::next_page(&page, &with(LINK));
    assert!(
        next.as_ref()
            .is_none_or(|next| next.origin() == page.origin())
    );
    let text = value.to_str().unwrap_or_default();
    let challenge = outside::challenge(text);
    assert!(
        challenge
            .as_ref()
            .is_none_or(|(realm, _)| !realm.contains('"'))
    );
    format!(
        "{} {} {} {:?} {}",
        range.is_some(),
        retry_after.is_some(),
        next.is_some(),
        challenge.map(|(_, service)| service.is_some()),
        outside::arrived(text).is_some()
    )
}

/// What was written once is read and written the same for ever. (What is read
/// first may have the same key twice, which no JSON that is written has.)
fn index(input: &[u8]) -> String {
    let (mut written, mut again) = (Vec::new(), Vec::new());
    match outside::index(input, &mut written) {
        Ok(named) => {
            let first = outside::index(&written, &mut again).ok();
            let second = outside::index(&again, &mut written).ok();
            assert!(first.is_some() && first == second && again == written);
            format!("{} {}", named.len().min(4), written.len().ilog2())
        }
        Err(error) => format!("{:?}", error.classify()),
    }
}

fn listed(input: &[u8]) -> String {
    let Some((size, list)) = input.split_first_chunk::<2>() else {
        return "short".to_owned();
    };
    let size = u64::from(u16::from_be_bytes(*size)) << 20;
    match PieceList::decode(list, size) {
        Ok(pieces) => {
            assert_eq!(pieces.encode(), list);
            assert!(pieces.get(pieces.count()).is_none());
            format!("{}", pieces.count().min(9))
        }
        Err(error) => format!("{}", (error.expected / 32).min(9)),
    }
}
