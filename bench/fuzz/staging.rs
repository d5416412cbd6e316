//! What staging answers beyond documents, where it may lead, and the logins that
//! it is told.

use http::header::LOCATION;
use http::{HeaderMap, HeaderValue};
use landfall_catalog::{Digest, Repository};
use landfall_content::oci::{Document, INDEX, MANIFEST};
use landfall_content::{FileBase, SourceError, outside};

use landfall_coordinator::outside::{StagingRule, cosigned, staged_file, staged_image};
use landfall_runtime::dial::{Reach, http_client};
use url::{Host, Url};

use crate::{Target, kind_of, text};

pub(crate) fn targets() -> Result<Vec<Target>, Box<dyn std::error::Error>> {
    let digest = Digest::of(b"x");
    let child = format!(r#""digest":"{digest}","size":7,"mediaType":"{MANIFEST}""#);
    let answers = [
        r#"{"name":"a/b","tags":["v1","latest"]}"#.to_owned(),
        r#"{"tags":null}"#.to_owned(),
        format!(
            r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[{{{child},"artifactType":"a/b","annotations":{{"k":"v"}}}}]}}"#
        ),
        format!(
            r#"{{"manifests":[{{{child},"platform":{{"os":"linux","architecture":"arm64","variant":"v8"}}}}]}}"#
        ),
        r#"{"errors":[{"code":"DENIED","message":"no","detail":null}]}"#.to_owned(),
    ];
    let logins = [
        r#"{"auths":{"https://registry.example/v1/":{"auth":"bWU6cGFzcw=="}},"credsStore":""}"#,
        r#"{"auths":{"registry.example/a":{"username":"me","password":"p:w"}}}"#,
        r#"{"auths":{"registry.example":{}},"credsStore":"secretservice"}"#,
        r#"{"credHelpers":{"registry.example":"gcloud"}}"#,
    ];
    let hops = [
        "/v2/a/blobs/x",
        "//cdn.example/y?sig=1",
        "http://169.254.169.254/latest/",
        "https://[::ffff:10.0.0.1]/",
        "http://[64:ff9b::a00:1]:80/x",
        "https://0x7f.1/",
        "file:///etc/passwd",
    ];
    let names = [
        "gcr.io/k8s-staging-p/a/b",
        "gcr.io/k8s-staging-pq/a",
        "gs://k8s-staging-p/releases/v1/a b",
        "gs://k8s-staging-p/../other",
    ];
    // A suffix, then the document under that tag.
    let signed = |suffix: &str, layer: &str| {
        let config = "application/vnd.oci.image.config.v1+json";
        format!(
            r#"{suffix}
{{"schemaVersion":2,"config":{{"mediaType":"{config}","digest":"{digest}","size":2}},"layers":[{{"mediaType":"{layer}","digest":"{digest}","size":2}}],"subject":{{{child}}}}}"#
        )
    };
    let signatures = [
        signed("sig", "application/vnd.dev.cosign.simplesigning.v1+json"),
        signed("att", "application/vnd.dsse.envelope.v1+json"),
        signed("sbom", "text/spdx"),
    ];
    let (client, rules) = (http_client()?, rules());
    let bases: [Url; 2] = ["http://files.example/base/".parse()?, "s3://b/x/".parse()?];
    let bases = bases.map(|url| FileBase::new(&url, &client, []).ok());
    let (home, page): (Url, Url) = (
        "https://registry.example/v2/".parse()?,
        "http://registry.example/v2/a".parse()?,
    );
    Ok(vec![
        Target::new("registry-answers", answers, move |input| {
            answered(input, &digest)
        }),
        Target::new("auth-files", logins, move |input| {
            match outside::login(input, &home, "a/b") {
                Ok(told) => {
                    assert!(told.as_ref().is_none_or(HeaderValue::is_sensitive));
                    told.map_or(0, |told| told.len().min(40)).to_string()
                }
                Err(why) => why.to_owned(),
            }
        }),
        Target::new("redirects", hops, move |input| redirected(&page, input)),
        Target::new("staging-names", names, move |input| {
            let name = text(input);
            let keys = bases.iter().flatten().map(|base| keyed(base, &name));
            let keys: Vec<String> = keys.collect();
            format!("{} {keys:?}", placed(&rules, &name))
        }),
        Target::new("cosign-tags", signatures, move |input| {
            let input = text(input);
            let (suffix, document) = input.split_once('\n').unwrap_or(("sig", &input));
            match Document::parse(document.as_bytes(), None) {
                Ok(document) => match cosigned(suffix, &digest, &document) {
                    Ok(()) => {
                        assert!(document.foreign.is_empty() && !document.children.is_empty());
                        let subject = document.subject.map(|subject| subject.digest);
                        assert!(subject.is_none_or(|subject| subject == digest));
                        format!("ok {}", document.children.len().min(4))
                    }
                    Err(why) => kind_of(&why),
                },
                Err(error) => kind_of(&error),
            }
        }),
    ])
}

/// One answer for every list and complaint that is read.
fn answered(input: &[u8], digest: &Digest) -> String {
    let kind = |error: SourceError| kind_of(&error);
    let count = |count: usize| count.min(4).to_string();
    let tags = outside::tags(input).map_or_else(kind, |tags| count(tags.len()));
    let referrers = outside::referrers(input).map_or_else(kind, |found| count(found.len()));
    let visible = |text: &String| text.bytes().all(|byte| byte.is_ascii_graphic());
    let complaint = outside::complaint(input);
    let platform = outside::platform(input, digest);
    for shown in [&complaint, &platform].into_iter().flatten() {
        assert!(visible(shown) && shown.len() <= 64, "{shown:?}");
    }
    format!(
        "{tags} {referrers} {} {:?}",
        complaint.is_some(),
        platform.map(|text| text.matches('/').count().min(3))
    )
}

/// Nothing on this machine or in its network is asked because a stranger says so.
fn redirected(page: &Url, input: &[u8]) -> String {
    let Ok(value) = HeaderValue::from_bytes(input) else {
        return "no header".to_owned();
    };
    let target = match outside::redirect(page, &HeaderMap::from_iter([(LOCATION, value)])) {
        Ok(target) => target,
        Err(error) => return kind_of(&error),
    };
    assert!(matches!(target.scheme(), "http" | "https"));
    let within = Reach::default().check(&target).is_ok();
    match target.host() {
        Some(Host::Ipv4(address)) => assert!(
            !within
                || !(address.is_private()
                    || address.is_loopback()
                    || address.is_link_local()
                    || address.is_unspecified()
                    || address.is_broadcast())
        ),
        Some(Host::Ipv6(address)) => assert!(
            !within
                || !(address.is_loopback()
                    || address.is_unspecified()
                    || address.is_unique_local()
                    || address.is_unicast_link_local())
        ),
        Some(Host::Domain(_)) => assert!(within),
        None => assert!(!within),
    }
    let kind = target.host().map(|host| std::mem::discriminant(&host));
    format!("{} {kind:?} {within}", target.scheme())
}

fn rules() -> Vec<StagingRule> {
    let rule = |prefix: &str, endpoint: &str| StagingRule {
        prefix: prefix.to_owned(),
        endpoint: endpoint.to_owned(),
    };
    vec![
        rule("gcr.io/k8s-staging-p", "http://127.0.0.1:5000/staged/p"),
        rule("gs://k8s-staging-p/releases/", "s3://staged/p/"),
    ]
}

/// A name leads to an endpoint that an operator wrote, below what is written there.
fn placed(rules: &[StagingRule], name: &str) -> String {
    let image = staged_image(rules.to_vec(), name).map(|(registry, repository)| {
        assert_eq!(registry, "http://127.0.0.1:5000");
        let repository = repository.parse::<Repository>();
        let repository = repository.map(|it| it.as_str().to_owned());
        let is_below = |it: &String| it == "staged/p" || it.starts_with("staged/p/");
        assert!(repository.iter().all(is_below), "{repository:?}");
        repository.is_ok()
    });
    let file = staged_file(rules.to_vec(), name).map(|(store, _)| {
        let known = ["http://127.0.0.1:5000/staged/p/", "s3://staged/p/"];
        assert!(known.contains(&store.as_str()), "{store}");
        store.len()
    });
    format!("{:?} {:?}", image.ok(), file.ok())
}

/// A key is read below its base or not at all.
fn keyed(base: &FileBase, key: &str) -> String {
    match base.source(key) {
        Ok(source) => {
            let name = source.name();
            let (host, path) = name.split_once("://").unwrap_or_default();
            let expected = match host {
                "http" => "files.example/base/",
                _ => "b/x/",
            };
            assert!(path.starts_with(expected), "{name}");
            assert!(!path.split('/').any(|segment| segment == ".."), "{name}");
            host.to_owned()
        }
        Err(_) => "no key".to_owned(),
    }
}
