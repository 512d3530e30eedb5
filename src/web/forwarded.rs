//! For whom a proxy asks: `X-Forwarded-For`, or `Forwarded` (RFC 7239), and only from proxies that
//! the configuration names, in the header that it names. Anybody can send these headers.

use std::net::{IpAddr, SocketAddr};

use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};

use crate::config::ForwardedHeader;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED: HeaderName = HeaderName::from_static("forwarded");

/// The client's address: that of the connection, or where that is a trusted proxy's, the right-most
/// address in its header that is not. What stands left of that anybody may have written.
///
/// A proxy writes one of the two headers and passes on the other as it came, so that only the one
/// that is named is looked at.
pub(super) fn client(
    peer: IpAddr,
    (written, headers): (ForwardedHeader, &HeaderMap),
    trusted: &[IpAddr],
) -> IpAddr {
    let peer = peer.to_canonical();
    if !trusted.contains(&peer) {
        return peer;
    }
    match written {
        ForwardedHeader::None => peer,
        ForwardedHeader::XForwardedFor => {
            last_untrusted(peer, headers, (&X_FORWARDED_FOR, address), trusted)
        }
        ForwardedHeader::Forwarded => {
            last_untrusted(peer, headers, (&FORWARDED, for_parameter), trusted)
        }
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
    let lines: Vec<&[u8]> = headers.get_all(name).map(HeaderValue::as_bytes).collect();
    let mut last = peer;
    // By bytes: what a client wrote left of the proxy's word may be no text at all.
    let elements = lines.iter().rev().flat_map(|line| line.rsplit(|byte| *byte == b','));
    for element in elements {
        let element = std::str::from_utf8(element).unwrap_or_default();
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
    use super::*;

    fn check(
        written: ForwardedHeader,
        peer: &str,
        headers: &[(&HeaderName, &str)],
        expected: &str,
    ) {
        let trusted = ["127.0.0.1", "10.0.0.9", "::1"].map(|one| one.parse().expect("address"));
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append((*name).clone(), HeaderValue::from_str(value).expect("a value"));
        }
        let found = client(peer.parse().expect("an address"), (written, &map), &trusted);
        assert_eq!(found.to_string(), expected, "{written:?} from {peer}: {headers:?}");
    }

    #[test]
    fn only_a_trusted_proxy_is_believed_and_only_what_it_wrote() {
        let x = &X_FORWARDED_FOR;
        for (peer, headers, expected) in [
            ("192.0.2.1", &[(x, "203.0.113.5")][..], "192.0.2.1"),
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
        ] {
            check(ForwardedHeader::XForwardedFor, peer, headers, expected);
        }
        let f = &FORWARDED;
        for (peer, headers, expected) in [
            ("192.0.2.1", &[(f, "for=203.0.113.5")][..], "192.0.2.1"),
            ("127.0.0.1", &[(f, "for=203.0.113.5;proto=https;by=10.0.0.9")], "203.0.113.5"),
            ("127.0.0.1", &[(f, "For=\"[2001:db8::1]:4711\"")], "2001:db8::1"),
            ("127.0.0.1", &[(f, "for=198.51.100.1, for=203.0.113.5")], "203.0.113.5"),
            ("127.0.0.1", &[(f, "for=_hidden")], "127.0.0.1"),
        ] {
            check(ForwardedHeader::Forwarded, peer, headers, expected);
        }
    }

    #[test]
    fn what_is_no_text_hides_nobody() {
        let trusted = ["127.0.0.1".parse().expect("an address")];
        for (value, expected) in
            [(&b"\xe9, 203.0.113.5"[..], "203.0.113.5"), (b"203.0.113.5, \xe9", "127.0.0.1")]
        {
            let mut map = HeaderMap::new();
            map.append(X_FORWARDED_FOR, HeaderValue::from_bytes(value).expect("a value"));
            let written = (ForwardedHeader::XForwardedFor, &map);
            assert_eq!(client(trusted[0], written, &trusted).to_string(), expected);
        }
    }

    #[test]
    fn the_header_that_the_proxy_does_not_write_says_nothing() {
        let (x, f) = ((&X_FORWARDED_FOR, "203.0.113.5"), (&FORWARDED, "for=198.51.100.1"));
        for (written, headers, expected) in [
            (ForwardedHeader::XForwardedFor, &[f, x][..], "203.0.113.5"),
            (ForwardedHeader::XForwardedFor, &[f], "127.0.0.1"),
            (ForwardedHeader::Forwarded, &[f, x], "198.51.100.1"),
            (ForwardedHeader::Forwarded, &[x], "127.0.0.1"),
        ] {
            check(written, "127.0.0.1", headers, expected);
        }
    }
}
