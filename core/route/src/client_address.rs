//! Whose request it is, when proxies stand between.

use std::net::{IpAddr, SocketAddr};

use crate::prefix::Prefix;

/// How many hops are looked at; nobody stacks more proxies of their own.
const MAX_HOPS: usize = 16;

/// What the request headers say about the proxies on the way, each line as it came and in its order.
#[derive(Clone, Copy, Debug, Default)]
pub struct ForwardedHeaders<'a> {
    /// Lines of `Forwarded` (RFC 7239 section 4).
    pub forwarded: &'a [&'a str],
    /// Lines of `X-Forwarded-For`.
    pub x_forwarded_for: &'a [&'a str],
}

/// The address of the client behind `trusted` proxies; `peer` is who opened the connection.
///
/// The hops are walked from the right, where the nearest proxy wrote, and only as long as the hop before is a
/// trusted proxy: what stands further left is the client's own claim. Anything that is no plain address
/// (`unknown`, an obfuscated name, a zone) ends the walk. If both headers are there and disagree, one of them
/// was not written by our proxy, and the peer is all that is known.
#[must_use]
pub fn client_address(peer: IpAddr, headers: ForwardedHeaders<'_>, trusted: &[Prefix]) -> IpAddr {
    let peer = peer.to_canonical();
    let is_trusted = |address: IpAddr| trusted.iter().any(|prefix| prefix.contains(address));
    if !is_trusted(peer) {
        return peer;
    }
    let walk = |hops: &mut dyn Iterator<Item = Option<IpAddr>>| {
        let mut client = peer;
        for hop in hops.take(MAX_HOPS) {
            let Some(address) = hop else { break };
            client = address;
            if !is_trusted(client) {
                break;
            }
        }
        client
    };
    let by_forwarded = walk(
        &mut headers
            .forwarded
            .iter()
            .rev()
            .flat_map(|line| split_outside_quotes(line, ',').into_iter().rev())
            .map(forwarded_for),
    );
    let by_x_forwarded_for = walk(
        &mut headers
            .x_forwarded_for
            .iter()
            .rev()
            .flat_map(|line| line.rsplit(','))
            .map(|hop| node(hop.trim())),
    );
    match (headers.forwarded, headers.x_forwarded_for) {
        ([], _) => by_x_forwarded_for,
        (_, []) => by_forwarded,
        (_, _) if by_forwarded == by_x_forwarded_for => by_forwarded,
        (_, _) => peer,
    }
}

/// The address in the `for` parameter of one `Forwarded` element (RFC 7239 section 5.2).
fn forwarded_for(element: &str) -> Option<IpAddr> {
    let value = split_outside_quotes(element, ';')
        .into_iter()
        .find_map(|pair| {
            let (name, value) = pair.split_once('=')?;
            name.trim()
                .eq_ignore_ascii_case("for")
                .then(|| value.trim())
        })?;
    let unquoted = value
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
        .unwrap_or(value);
    node(unquoted)
}

/// A node: an address, with a port perhaps, IPv6 in brackets or bare. Escapes and zones make it unreadable.
fn node(text: &str) -> Option<IpAddr> {
    let bracketed = || {
        let address = text.strip_prefix('[')?.strip_suffix(']')?;
        address.parse().ok().map(IpAddr::V6)
    };
    let with_port = || text.parse::<SocketAddr>().ok().filter(has_no_zone);
    text.parse()
        .ok()
        .or_else(bracketed)
        .or_else(|| with_port().map(|socket| socket.ip()))
        .map(|address: IpAddr| address.to_canonical())
}

fn has_no_zone(socket: &SocketAddr) -> bool {
    match socket {
        SocketAddr::V4(_) => true,
        SocketAddr::V6(v6) => v6.scope_id() == 0,
    }
}

/// The parts between separators that do not stand in double quotes.
fn split_outside_quotes(text: &str, separator: char) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut quoted, mut escaped) = (0, false, false);
    for (at, character) in text.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            other if other == separator && !quoted => {
                parts.push(&text[start..at]);
                start = at + other.len_utf8();
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TRUSTED: [&str; 3] = ["127.0.0.0/8", "10.0.0.0/8", "2001:db8:ffff::/48"];

    fn trusted() -> Vec<Prefix> {
        TRUSTED.map(|text| text.parse().unwrap()).to_vec()
    }

    fn check(peer: &str, forwarded: &[&str], x_forwarded_for: &[&str], expect: &str) {
        let headers = ForwardedHeaders {
            forwarded,
            x_forwarded_for,
        };
        let got = client_address(peer.parse().unwrap(), headers, &trusted());
        assert_eq!(
            got.to_string(),
            expect,
            "{peer} {forwarded:?} {x_forwarded_for:?}"
        );
    }

    #[test]
    fn headers_of_a_peer_that_is_not_trusted_are_ignored() {
        check("192.0.2.1", &[], &["203.0.113.9"], "192.0.2.1");
        check("192.0.2.1", &["for=203.0.113.9"], &[], "192.0.2.1");
        check("::ffff:192.0.2.1", &[], &["203.0.113.9"], "192.0.2.1");
    }

    #[test]
    fn hops_are_walked_from_the_right_through_trusted_proxies_only() {
        check("127.0.0.1", &[], &[], "127.0.0.1");
        check("127.0.0.1", &[], &["203.0.113.9"], "203.0.113.9");
        check("127.0.0.1", &[], &["1.1.1.1, 203.0.113.9"], "203.0.113.9");
        check("127.0.0.1", &[], &["203.0.113.9, 10.1.1.1"], "203.0.113.9");
        check(
            "127.0.0.1",
            &[],
            &["1.1.1.1,203.0.113.9", "10.1.1.1"],
            "203.0.113.9",
        );
        check("10.0.0.1", &[], &["10.0.0.9"], "10.0.0.9");
        check("2001:db8:ffff::1", &[], &["2001:db8::5"], "2001:db8::5");
        check(
            "::ffff:127.0.0.1",
            &[],
            &["::ffff:203.0.113.9"],
            "203.0.113.9",
        );
        check(
            "127.0.0.1",
            &["for=1.1.1.1, for=203.0.113.9;proto=https"],
            &[],
            "203.0.113.9",
        );
        check(
            "127.0.0.1",
            &["for=203.0.113.9", "For=10.2.2.2"],
            &[],
            "203.0.113.9",
        );
    }

    #[test]
    fn every_written_form_of_an_address_is_read() {
        check("127.0.0.1", &[], &["203.0.113.9:4711"], "203.0.113.9");
        check("127.0.0.1", &[], &["[2001:db8::5]:4711"], "2001:db8::5");
        check("127.0.0.1", &[], &["[2001:db8::5]"], "2001:db8::5");
        check(
            "127.0.0.1",
            &["for=\"[2001:db8::5]:4711\""],
            &[],
            "2001:db8::5",
        );
        check(
            "127.0.0.1",
            &["proto=http; FOR = \"203.0.113.9\" ;by=\"a,b;c\""],
            &[],
            "203.0.113.9",
        );
        check(
            "127.0.0.1",
            &["for=203.0.113.9;by=\"a\\\",for=1.1.1.1\""],
            &[],
            "203.0.113.9",
        );
    }

    #[test]
    fn garbage_ends_the_walk_at_the_last_known_hop() {
        for garbage in [
            "",
            "unknown",
            "_hidden",
            "fe80::1%eth0",
            "[fe80::1%1]:80",
            "203.0.113.999",
            "1.1.1.1:",
            ",",
            "[203.0.113.9]",
            "203.0.113.9:99999",
            "a b",
            "\u{0}",
        ] {
            check("127.0.0.1", &[], &[garbage], "127.0.0.1");
            check(
                "127.0.0.1",
                &[],
                &[&format!("1.1.1.1, {garbage}, 10.1.1.1")],
                "10.1.1.1",
            );
            check(
                "127.0.0.1",
                &[&format!("for=1.1.1.1, for={garbage}")],
                &[],
                "127.0.0.1",
            );
        }
        check("127.0.0.1", &["proto=https"], &[], "127.0.0.1");
        check("127.0.0.1", &["for=\"203.0.113.9"], &[], "127.0.0.1");
    }

    #[test]
    fn two_headers_that_disagree_leave_the_peer() {
        check(
            "127.0.0.1",
            &["for=203.0.113.9"],
            &["203.0.113.9"],
            "203.0.113.9",
        );
        check("127.0.0.1", &["for=1.1.1.1"], &["203.0.113.9"], "127.0.0.1");
    }

    proptest! {
        #[test]
        fn no_header_moves_a_peer_that_is_not_trusted(
            forwarded in ".{0,40}", x_forwarded_for in ".{0,40}",
        ) {
            check("192.0.2.1", &[&forwarded], &[&x_forwarded_for], "192.0.2.1");
        }

        #[test]
        fn what_a_client_prepends_never_matters(claim in "[0-9a-f.:, =;]{0,40}") {
            check("127.0.0.1", &[], &[&format!("{claim},203.0.113.9")], "203.0.113.9");
            check("127.0.0.1", &[&format!("{claim},for=203.0.113.9")], &[], "203.0.113.9");
        }
    }
}
