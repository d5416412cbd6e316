//! Ports for listeners that are stopped and started again.
//!
//! The port that the system picks for a listener is out of the range from which
//! it picks those of outgoing connections. While such a listener is away, whoever
//! dials it again and again may be given that very port for the near end and then
//! talks to itself (RFC 9293 section 3.5, simultaneous open); or the port is in
//! use, by somebody's connection, when the listener comes back.

use std::io;
use std::net::{IpAddr, TcpListener};

use rand::Rng as _;

/// Where the range of outgoing connections begins and ends on Linux.
const RANGE_FILE: &str = "/proc/sys/net/ipv4/ip_local_port_range";
/// Where it begins by IANA's word (RFC 6335 section 6), and on most other systems.
const USUAL_BEGIN: u16 = 49_152;
/// Below are the ports of well-known and many other services.
const LOWEST: u16 = 10_000;
/// Ports that are tried: all of them in use means that something else is wrong.
const ATTEMPTS: usize = 200;

/// Listens on a free port of `address`, drawn at random from below the range of
/// outgoing connections.
///
/// # Errors
/// What the system says if the address is none of this machine, or if every port
/// that was tried is in use.
pub fn listen_below_ephemeral(address: IpAddr) -> io::Result<TcpListener> {
    let range = std::fs::read_to_string(RANGE_FILE);
    let end = end_of_lasting_ports(range.ok().as_deref());
    let mut in_use = io::Error::from(io::ErrorKind::AddrInUse);
    for _ in 0..ATTEMPTS {
        let port = rand::rng().random_range(LOWEST..end);
        match TcpListener::bind((address, port)) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => in_use = error,
            listening_or_hopeless => return listening_or_hopeless,
        }
    }
    Err(in_use)
}

/// The first port that is not to be given out.
fn end_of_lasting_ports(range: Option<&str>) -> u16 {
    range
        .and_then(|range| range.split_whitespace().next()?.parse().ok())
        .filter(|begin| *begin > LOWEST)
        .unwrap_or(USUAL_BEGIN)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn the_range_of_outgoing_connections_is_kept_clear() {
        for (range, end) in [
            (Some("32768\t60999\n"), 32_768),
            (Some("10001 10002"), 10_001),
            // A system that uses nearly all of them leaves none that last.
            (Some("1024\t65535\n"), USUAL_BEGIN),
            (Some("many"), USUAL_BEGIN),
            (None, USUAL_BEGIN),
        ] {
            assert_eq!(end_of_lasting_ports(range), end, "{range:?}");
        }
    }

    #[test]
    fn a_port_is_free_and_below_the_range() {
        let range = std::fs::read_to_string(RANGE_FILE).ok();
        let end = end_of_lasting_ports(range.as_deref());
        let listeners: Vec<_> = (0..20)
            .map(|_| listen_below_ephemeral(Ipv4Addr::LOCALHOST.into()).unwrap())
            .collect();
        for listener in &listeners {
            let port = listener.local_addr().unwrap().port();
            assert!((LOWEST..end).contains(&port), "{port}");
        }
    }

    #[test]
    fn an_address_of_another_machine_is_refused() {
        let elsewhere = Ipv4Addr::new(192, 0, 2, 1);
        let refused = listen_below_ephemeral(elsewhere.into()).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AddrNotAvailable);
    }
}
