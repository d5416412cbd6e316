//! Requests, the headers of proxies, and lists of address ranges.

use std::net::{IpAddr, Ipv4Addr};

use landfall_catalog::Digest;
use landfall_route::ranges::{parse_asn_csv, parse_cloud_ranges, parse_country_csv};
use landfall_route::{ForwardedHeaders, Prefix, Request, Wanted, client_address, query_pairs};

use crate::{Target, kind_of, text};

pub(crate) fn targets() -> Vec<Target> {
    let digest = Digest::of(b"x");
    let requests = [
        "/".to_owned(),
        "/v2/".to_owned(),
        "/v2/a/b/manifests/latest?ns=x".to_owned(),
        format!("/v2/a/manifests/{digest}"),
        format!("/v2/a/b/blobs/{digest}?avoid=one&avoid=two"),
        "/v2/a/tags/list?n=5&last=v1".to_owned(),
        format!("/v2/a/referrers/{digest}?artifactType=a%2Fb"),
        format!("/blobs/sha256/{}", digest.to_hex()),
        "/binaries/kops/1.30.0/linux/amd64/kops".to_owned(),
        "/a%20b/%C3%A9+~?x".to_owned(),
        "/.landfall/tile/0/x001/234".to_owned(),
    ];
    // Two headers, a line apart.
    let forwarded = [
        "for=203.0.113.9;proto=https, for=10.1.1.1\n203.0.113.9, 10.1.1.1",
        "for=\"[2001:db8::5]:4711\";by=\"a,b;c\"\n",
        "\n1.1.1.1, [2001:db8::5]:80, ::ffff:10.0.0.1, unknown",
        "For=_hidden\nfe80::1%eth0",
    ];
    let ranges = [
        "cloud,region,cidr\nAWS,us-east-1,3.5.0.0/19\nGCP,europe-west1,2600:1900::/35\n",
        "1.0.0.0,1.0.0.255,AU\n1.0.1.0,1.0.3.255,CN\n",
        "2001:200::,2001:200:ffff:ffff:ffff:ffff:ffff:ffff,JP\n",
        "1.0.0.0/24,AU\n2001:db8::/32,NO\n",
        "1.0.0.0,1.0.0.255,13335,\"Cloudflare, Inc.\"\n1.0.4.0/22,38803,x\n",
    ];
    vec![
        Target::new("requests", requests, |input| request(&text(input))),
        Target::new("forwarded", forwarded, |input| hops(&text(input))),
        Target::new("ranges", ranges, |input| listed(&text(input))),
    ]
}

fn request(input: &str) -> String {
    let (path, query) = match input.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (input, None),
    };
    let pairs = query.and_then(|query| query_pairs(query).ok());
    let pairs = pairs.map_or(0, |pairs| pairs.len());
    match Request::parse(path, query) {
        Ok(request) => {
            if let Wanted::File(file) = &request.wanted {
                let segments = file.as_str().split('/');
                assert!(
                    !segments
                        .into_iter()
                        .any(|segment| matches!(segment, "" | "." | ".."))
                );
            }
            let wanted = std::mem::discriminant(&request.wanted);
            format!("{wanted:?} {} {}", request.avoid.len().min(3), pairs.min(3))
        }
        Err(error) => {
            assert!((400..500).contains(&error.http_status()));
            kind_of(&error)
        }
    }
}

fn hops(input: &str) -> String {
    let trusted: Vec<Prefix> = ["127.0.0.0/8", "10.0.0.0/8", "2001:db8:ffff::/48"]
        .iter()
        .filter_map(|text| text.parse().ok())
        .collect();
    let (forwarded, others) = input.split_once('\n').unwrap_or((input, ""));
    let (forwarded, others) = ([forwarded], [others]);
    let headers = ForwardedHeaders {
        forwarded: &forwarded,
        x_forwarded_for: &others,
    };
    let stranger = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
    assert_eq!(client_address(stranger, headers, &trusted), stranger);
    let headers = ForwardedHeaders {
        forwarded: &forwarded,
        x_forwarded_for: &others,
    };
    let proxy = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let client = client_address(proxy, headers, &trusted);
    let known = input.contains(&client.to_string());
    format!(
        "{} {} {known} {}",
        client.is_ipv4(),
        client == proxy,
        input.matches("for").count()
    )
}

fn listed(input: &str) -> String {
    let probes: [IpAddr; 3] = [
        Ipv4Addr::new(1, 0, 0, 1).into(),
        Ipv4Addr::new(3, 5, 0, 1).into(),
        std::net::Ipv6Addr::new(0x2001, 0x200, 0, 0, 0, 0, 0, 1).into(),
    ];
    let cloud = parse_cloud_ranges(input).map_or_else(
        |error| kind_of(&error),
        |table| format!("{:?}", probes.map(|probe| table.lookup(probe).is_some())),
    );
    let country = parse_country_csv(input).map_or_else(
        |error| kind_of(&error),
        |table| format!("{:?}", probes.map(|probe| table.lookup(probe).is_some())),
    );
    let asn = parse_asn_csv(input).map_or_else(
        |error| kind_of(&error),
        |table| format!("{:?}", probes.map(|probe| table.lookup(probe).is_some())),
    );
    format!("{cloud} {country} {asn}")
}
