//! For whom a proxy asks: `X-Forwarded-For`, or `Forwarded` (RFC 7239), and only from proxies that
//! the configuration names. Anybody can send these headers.

use std::net::{IpAddr, SocketAddr};

use actix_web::http::header::{HeaderMap, HeaderName};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED: HeaderName = HeaderName::from_static("forwarded");

/// The client's address: that of the connection, or where that is a trusted proxy's, the right-most
/// address in its header that is not. What stands left of that anybody may have written.
///
/// A proxy sets one of the two headers and passes on the other as it came. Where both are there and
/// disagree, it is not to be told which is the proxy's, and neither is believed.
pub(super) fn client(peer: IpAddr, headers: &HeaderMap, trusted: &[IpAddr]) -> IpAddr {
    let peer = peer.to_canonical();
    if !trusted.contains(&peer) {
        return peer;
    }
    let by = |name: HeaderName, read: fn(&str) -> Option<IpAddr>| {
        headers.contains_key(&name).then(|| last_untrusted(peer, headers, (&name, read), trusted))
    };
    match (by(X_FORWARDED_FOR, address), by(FORWARDED, for_parameter)) {
        (Some(one), Some(other)) if one != other => peer,
        (Some(one), _) | (None, Some(one)) => one,
        (None, None) => peer,
    }
}

/// Walks from the proxy that is connected to us towards the client. An element that is no address
/// ends the walk: the proxy that wrote it is the last that is known.
fn last_untrusted(
    peer: IpAddr,
    headers: &HeaderMap,
    (name, read): (&HeaderName, fn(&str) -> Option<IpAddr>),
    trusted: &[IpAddr],
) -> IpAddr {
    let lines: Vec<&str> =
        headers.get_all(name).map(|value| value.to_str().unwrap_or_default()).collect();
    let mut last = peer;
    for element in lines.iter().rev().flat_map(|line| line.rsplit(',')) {
        let Some(address) = read(element.trim()) else { break };
        last = address.to_canonical();
        if !trusted.contains(&last) {
            break;
        }
    }
    last
}

/// An address, with or without a port; IPv6 with or without brackets.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let with_port = || text.parse::<SocketAddr>().map(|address| address.ip()).ok();
    bare.parse().ok().or_else(with_port)
}

/// The `for` of one element of `Forwarded`.
fn for_parameter(element: &str) -> Option<IpAddr> {
    let parameter = |pair: &str| {
        let (name, value) = pair.split_once('=')?;
        name.trim().eq_ignore_ascii_case("for").then(|| value.trim().trim_matches('"').to_owned())
    };
    address(&element.split(';').find_map(parameter)?)
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;

    use super::*;

    fn check(peer: &str, headers: &[(&HeaderName, &str)], expected: &str) {
        let trusted = ["127.0.0.1", "10.0.0.9", "::1"].map(|one| one.parse().expect("address"));
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append((*name).clone(), HeaderValue::from_str(value).expect("a value"));
        }
        let found = client(peer.parse().expect("an address"), &map, &trusted);
        assert_eq!(found.to_string(), expected, "{peer}: {headers:?}");
    }

    #[test]
    fn only_a_trusted_proxy_is_believed_and_only_what_it_wrote() {
        let (x, f) = (&X_FORWARDED_FOR, &FORWARDED);
        for (peer, headers, expected) in [
            ("192.0.2.1", &[(x, "203.0.113.5")][..], "192.0.2.1"),
            ("192.0.2.1", &[(f, "for=203.0.113.5")], "192.0.2.1"),
            ("127.0.0.1", &[], "127.0.0.1"),
            ("::ffff:127.0.0.1", &[(x, "203.0.113.5")], "203.0.113.5"),
            ("127.0.0.1", &[(x, "198.51.100.1, 203.0.113.5")], "203.0.113.5"),
            ("127.0.0.1", &[(x, "198.51.100.1"), (x, "203.0.113.5")], "203.0.113.5"),
            ("127.0.0.1", &[(x, "198.51.100.1, 203.0.113.5, 10.0.0.9")], "203.0.113.5"),
            ("127.0.0.1", &[(x, "203.0.113.5:4711")], "203.0.113.5"),
            ("127.0.0.1", &[(x, "[2001:db8::1]:4711")], "2001:db8::1"),
            ("127.0.0.1", &[(x, "2001:db8::1")], "2001:db8::1"),
            ("127.0.0.1", &[(x, "203.0.113.5, unknown")], "127.0.0.1"),
            ("127.0.0.1", &[(x, "203.0.113.5, nonsense, 10.0.0.9")], "10.0.0.9"),
            ("127.0.0.1", &[(x, "")], "127.0.0.1"),
            ("127.0.0.1", &[(f, "for=203.0.113.5;proto=https;by=10.0.0.9")], "203.0.113.5"),
            ("127.0.0.1", &[(f, "For=\"[2001:db8::1]:4711\"")], "2001:db8::1"),
            ("127.0.0.1", &[(f, "for=198.51.100.1, for=203.0.113.5")], "203.0.113.5"),
            ("127.0.0.1", &[(f, "for=_hidden")], "127.0.0.1"),
            ("127.0.0.1", &[(f, "for=198.51.100.1"), (x, "203.0.113.5")], "127.0.0.1"),
            ("127.0.0.1", &[(f, "for=203.0.113.5"), (x, "203.0.113.5")], "203.0.113.5"),
        ] {
            check(peer, headers, expected);
        }
    }
}
