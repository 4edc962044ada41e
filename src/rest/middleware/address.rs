//! Where a request comes from.

use std::net::{IpAddr, SocketAddr};

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName};
pub use vectorizer_listener::Peer;

use crate::config::Network;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The client's address: the other end of the connection, unless that is one of our own proxies; then the
/// last address in `X-Forwarded-For` that is none of them. What stands in front of it, anybody may have
/// written. No other header says anything about it.
pub(in crate::rest) fn client(request: &Request, trusted: &[Network]) -> Option<IpAddr> {
    let Peer(peer) = request.extensions().get()?;
    Some(behind(peer.ip().to_canonical(), request.headers(), trusted))
}

fn behind(peer: IpAddr, headers: &HeaderMap, trusted: &[Network]) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(address));
    let mut client = peer;
    if !is_trusted(peer) {
        return client;
    }
    // Several headers are one list, in their order.
    for value in headers.get_all(X_FORWARDED_FOR).iter().rev() {
        for hop in value.as_bytes().rsplit(|byte| *byte == b',') {
            // Further out nothing can be trusted that is not even an address.
            let Some(address) = std::str::from_utf8(hop).ok().and_then(address) else { return client };
            client = address;
            if !is_trusted(client) {
                return client;
            }
        }
    }
    client
}

/// An address with or without a port.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let address = match text.parse::<SocketAddr>() {
        Ok(address) => address.ip(),
        Err(_) => text.trim_start_matches('[').trim_end_matches(']').parse().ok()?,
    };
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;
    use crate::config::{Config, ConfigFlags};

    fn trusted() -> Vec<Network> {
        let text = "server: { trusted_proxies: [\"10.0.0.0/8\", \"2001:db8::/32\"] }";
        Config::from_yaml(text, &ConfigFlags::default(), &|_| None).unwrap().server.trusted_proxies
    }

    fn client_of(peer: &str, forwarded: &[&'static str]) -> String {
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append(X_FORWARDED_FOR, HeaderValue::from_static(value));
        }
        behind(peer.parse::<IpAddr>().unwrap().to_canonical(), &headers, &trusted()).to_string()
    }

    #[test]
    fn the_word_of_a_trusted_proxy_is_taken_and_nobody_elses() {
        for (peer, forwarded, client) in [
            ("192.0.2.1", &[][..], "192.0.2.1"),
            ("192.0.2.1", &["198.51.100.1"], "192.0.2.1"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.1"], "198.51.100.1"),
            ("::ffff:10.0.0.1", &["198.51.100.1"], "198.51.100.1"),
            // What the client has written itself stands in front.
            ("10.0.0.1", &["127.0.0.1, 198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", &["127.0.0.1", "198.51.100.1, 10.9.9.9"], "198.51.100.1"),
            ("10.0.0.1", &["198.51.100.1:4711,10.2.0.1"], "198.51.100.1"),
            ("2001:db8::7", &["[2001:dead::1]:80"], "2001:dead::1"),
            // Not an address, so nothing further is believed.
            ("10.0.0.1", &["198.51.100.1, unknown"], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.1, unknown, 10.0.0.2"], "10.0.0.2"),
            ("10.0.0.1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
            ("10.0.0.1", &[""], "10.0.0.1"),
        ] {
            assert_eq!(client_of(peer, forwarded), client, "{peer} {forwarded:?}");
        }
    }
}
