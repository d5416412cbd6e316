//! Who asks: the client's address and scheme, as far as they can be believed.

use std::net::IpAddr;

use http::HeaderMap;
use http::header::FORWARDED;
use landfall_route::{ForwardedHeaders, Prefix, client_address};

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    /// The client's address; an IPv4-mapped IPv6 address is the IPv4 address.
    pub address: IpAddr,
    /// Whether the client speaks TLS to whoever is in front: then it is not sent to plain-text URLs.
    pub secure: bool,
}

/// Reads who asks from the peer of the connection and, if that is a trusted proxy, from what it says.
#[must_use]
pub fn client(peer: IpAddr, headers: &HeaderMap, trusted: &[Prefix]) -> Client {
    let peer = peer.to_canonical();
    if !trusted.iter().any(|prefix| prefix.contains(peer)) {
        return Client {
            address: peer,
            secure: false,
        };
    }
    let forwarded = lines(headers, FORWARDED.as_str());
    let x_forwarded_for = lines(headers, "x-forwarded-for");
    let headers_read = ForwardedHeaders {
        forwarded: &forwarded,
        x_forwarded_for: &x_forwarded_for,
    };
    Client {
        address: client_address(peer, headers_read, trusted),
        secure: lines(headers, "x-forwarded-proto")
            .last()
            .and_then(|line| line.rsplit(',').next())
            .is_some_and(|scheme| scheme.trim().eq_ignore_ascii_case("https")),
    }
}

/// All lines of one header. A line that is no text is kept as one that means nothing, so that it still ends
/// the walk over the hops.
fn lines<'a>(headers: &'a HeaderMap, name: &str) -> Vec<&'a str> {
    headers
        .get_all(name)
        .iter()
        .map(|value| value.to_str().unwrap_or("?"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(peer: &str, headers: &[(&'static str, &[u8])]) -> Client {
        let trusted = ["127.0.0.0/8", "10.0.0.0/8"].map(|text| text.parse().unwrap());
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, http::HeaderValue::from_bytes(value).unwrap());
        }
        client(peer.parse().unwrap(), &map, &trusted)
    }

    #[track_caller]
    fn check(peer: &str, headers: &[(&'static str, &[u8])], expect: &str) {
        let expect: IpAddr = expect.parse().unwrap();
        assert_eq!(at(peer, headers).address, expect, "{headers:?}");
    }

    #[test]
    fn xff_untrusted_peer_ignored() {
        let claim = [("x-forwarded-for", &b"1.2.3.4"[..])];
        check("198.51.100.7", &claim, "198.51.100.7");
        check("::ffff:198.51.100.7", &claim, "198.51.100.7");
        let claim = [("forwarded", &b"for=1.2.3.4"[..])];
        check("198.51.100.7", &claim, "198.51.100.7");
    }

    #[test]
    fn xff_multi_hop_right_to_left() {
        let chain = [
            ("x-forwarded-for", &b"6.6.6.6"[..]),
            ("x-forwarded-for", &b"1.2.3.4 ,10.0.0.9"[..]),
        ];
        check("127.0.0.1", &chain, "1.2.3.4");
    }

    #[test]
    fn xff_garbage_ipv6_zone() {
        check(
            "127.0.0.1",
            &[("x-forwarded-for", b"fe80::1%eth0")],
            "127.0.0.1",
        );
        let not_text = [
            ("x-forwarded-for", &b"1.2.3.4"[..]),
            ("x-forwarded-for", b"\xff"),
        ];
        check("127.0.0.1", &not_text, "127.0.0.1");
    }

    #[test]
    fn forwarded_vs_xff_conflict() {
        let conflict = [
            ("x-forwarded-for", &b"1.2.3.4"[..]),
            ("forwarded", b"for=6.6.6.6"),
        ];
        check("127.0.0.1", &conflict, "127.0.0.1");
    }

    #[test]
    fn only_a_trusted_proxy_says_that_the_client_speaks_tls() {
        let said = [("x-forwarded-proto", &b"http, https"[..])];
        assert!(at("127.0.0.1", &said).secure);
        assert!(!at("192.0.2.1", &said).secure);
        assert!(!at("127.0.0.1", &[("x-forwarded-proto", b"https, http")]).secure);
        assert!(!at("127.0.0.1", &[]).secure);
    }
}
