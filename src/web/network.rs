//! Networks of addresses: as people write them, and as addresses are counted: where they are handed out
//! by the network, the network is what counts.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whoever shares it counts as one: an IPv4 address, or the /64 of an IPv6 address, which is what
/// one customer has.
pub(crate) fn household(address: Option<IpAddr>) -> String {
    named(address, 32, 64)
}

/// Neighbours count as one: the /24 of an IPv4 address, or the /64 of an IPv6 address.
pub(crate) fn neighbourhood(address: Option<IpAddr>) -> String {
    named(address, 24, 64)
}

fn named(address: Option<IpAddr>, v4_bits: u8, v6_bits: u8) -> String {
    let Some(address) = address.map(|address| address.to_canonical()) else {
        return "console".to_owned();
    };
    let bits = if address.is_ipv4() { v4_bits } else { v6_bits };
    format!("{}/{bits}", first_of(address, bits))
}

/// The first address of the network of so many bits that an address is in.
fn first_of(address: IpAddr, bits: u8) -> IpAddr {
    let beyond = bits_max(address).saturating_sub(bits);
    match address {
        // By all of its bits nothing is shifted: then nothing of the address counts.
        IpAddr::V4(four) => {
            let mask = u32::MAX.checked_shl(beyond.into()).unwrap_or(0);
            Ipv4Addr::from(u32::from(four) & mask).into()
        }
        IpAddr::V6(six) => {
            let mask = u128::MAX.checked_shl(beyond.into()).unwrap_or(0);
            Ipv6Addr::from(u128::from(six) & mask).into()
        }
    }
}

fn bits_max(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// Bits of an IPv6 address that stand before the IPv4 address that is mapped into it.
const MAPPED_BITS: u8 = 96;

/// A network: all addresses that begin with the same bits. A single address is one of them, and an
/// IPv4 address that is mapped into IPv6 is that IPv4 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Network {
    first: IpAddr,
    bits: u8,
}

/// Why a text is no network. The messages go on from the words that name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NetworkError {
    /// It is neither an address nor a prefix.
    #[error(
        "is no IPv4 or IPv6 address, and no prefix such as `10.0.0.0/8` or `2001:db8::/32` either."
    )]
    Form,
    /// What stands behind the address is no number of its bits.
    #[error("must have a number from 0 to {0} behind the `/`, without leading zeros.")]
    Bits(u8),
    /// The address has bits behind those that the prefix keeps.
    #[error(
        "is `{address}/{}`, whose address goes on behind the prefix. Write `{within}`, or `{address}` for that \
         address alone.", .within.bits
    )]
    Beyond {
        /// The address as it was written.
        address: IpAddr,
        /// The network that it is in.
        within: Network,
    },
}

impl Network {
    /// Reads `192.0.2.7`, `10.0.0.0/8` or `2001:db8::/32`.
    pub(crate) fn parse(raw: &str) -> Result<Self, NetworkError> {
        let (address, bits) = match raw.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (raw, None),
        };
        let written: IpAddr = address.parse().map_err(|_| NetworkError::Form)?;
        let most = bits_max(written);
        let bits = bits.map_or(Some(most), |bits| bits_of(bits, most));
        let bits = bits.ok_or(NetworkError::Bits(most))?;
        let canonical = written.to_canonical();
        // A prefix that ends before the mapped address has more in it than IPv4, and stays what it is.
        let (address, bits) = match bits.checked_sub(MAPPED_BITS) {
            Some(of_four) if written.is_ipv6() && canonical.is_ipv4() => (canonical, of_four),
            _ => (written, bits),
        };
        let network = Self { first: first_of(address, bits), bits };
        if network.first == address {
            Ok(network)
        } else {
            Err(NetworkError::Beyond { address, within: network })
        }
    }

    /// Whether an address is in it.
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.first.is_ipv4() && first_of(address, self.bits) == self.first
    }
}

impl fmt::Display for Network {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.bits == bits_max(self.first) {
            return self.first.fmt(formatter);
        }
        write!(formatter, "{}/{}", self.first, self.bits)
    }
}

/// A number of bits as it is written: digits alone, and no zero before another.
fn bits_of(text: &str, most: u8) -> Option<u8> {
    let is_plain =
        text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|bits| is_plain && *bits <= most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_network_count_as_one() {
        let parse = |text: &str| Some(text.parse().expect("address"));
        for (one, other, is_household, is_neighbourhood) in [
            ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", true, true),
            ("2001:db8:1:2::1", "2001:db8:1:3::1", false, false),
            ("192.0.2.1", "::ffff:192.0.2.1", true, true),
            ("192.0.2.1", "192.0.2.2", false, true),
            ("192.0.2.1", "192.0.3.1", false, false),
        ] {
            let (one, other) = (parse(one), parse(other));
            assert_eq!(household(one) == household(other), is_household, "{one:?} {other:?}");
            let is_same = neighbourhood(one) == neighbourhood(other);
            assert_eq!(is_same, is_neighbourhood, "{one:?} {other:?}");
        }
    }

    fn check(text: &str, inside: &[&str], outside: &[&str]) {
        let network = Network::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let holds = |address: &&str| network.contains(address.parse().expect("an address"));
        for address in inside {
            assert!(holds(address), "{address} is in {text}");
        }
        for address in outside {
            assert!(!holds(address), "{address} is not in {text}");
        }
        assert_eq!(Network::parse(&network.to_string()), Ok(network), "{text} as it is shown");
    }

    #[test]
    fn a_network_holds_its_first_and_its_last_address_and_not_their_neighbours() {
        check(
            "10.0.0.0/8",
            &["10.0.0.0", "10.255.255.255", "::ffff:10.1.2.3"],
            &["9.255.255.255", "11.0.0.0", "::10.1.2.3", "a00::"],
        );
        check("192.0.2.7", &["192.0.2.7", "::ffff:192.0.2.7"], &["192.0.2.6", "192.0.2.8", "::1"]);
        check("192.0.2.7/32", &["192.0.2.7"], &["192.0.2.6", "192.0.2.8"]);
        check("192.0.2.6/31", &["192.0.2.6", "192.0.2.7"], &["192.0.2.5", "192.0.2.8"]);
        check("128.0.0.0/1", &["128.0.0.0", "255.255.255.255"], &["127.255.255.255"]);
        check("0.0.0.0/0", &["0.0.0.0", "255.255.255.255", "::ffff:1.2.3.4"], &["::", "::1"]);
        check(
            "2001:db8::/32",
            &["2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"],
            &["2001:db7:ffff:ffff:ffff:ffff:ffff:ffff", "2001:db9::", "32.1.13.184"],
        );
        check("2001:db8::7", &["2001:db8::7"], &["2001:db8::6", "2001:db8::8"]);
        check("2001:db8::7/128", &["2001:db8::7"], &["2001:db8::6", "2001:db8::8"]);
        check("2001:db8::6/127", &["2001:db8::6", "2001:db8::7"], &["2001:db8::5", "2001:db8::8"]);
        // Whoever lets in all of IPv6 has said nothing of IPv4.
        check("::/0", &["::", "ffff::"], &["10.0.0.1", "::ffff:10.0.0.1"]);
    }

    #[test]
    fn ipv4_that_is_mapped_into_ipv6_is_ipv4() {
        for (text, shown) in [
            ("::ffff:10.0.0.1", "10.0.0.1"),
            ("::FFFF:a00:1", "10.0.0.1"),
            ("::ffff:10.0.0.1/128", "10.0.0.1"),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("::ffff:0.0.0.0/96", "0.0.0.0/0"),
            ("::fffe:0:0/95", "::fffe:0:0/95"),
            ("2001:DB8:0:0::/64", "2001:db8::/64"),
            ("192.0.2.7/32", "192.0.2.7"),
            ("::/0", "::/0"),
        ] {
            assert_eq!(Network::parse(text).map(|network| network.to_string()), Ok(shown.into()));
        }
        check("::ffff:10.0.0.0/104", &["10.0.0.1", "::ffff:10.0.0.1"], &["11.0.0.1", "::1"]);
        // More than IPv4 was mapped into, and IPv4 itself is not met in that form.
        check("::fffe:0:0/95", &["::fffe:0:1"], &["10.0.0.1", "::ffff:10.0.0.1"]);
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for (texts, error) in [
            (
                &[
                    "",
                    " ",
                    "x",
                    "/",
                    "/8",
                    "10",
                    "10.0.0",
                    "10.0.0.0.0",
                    "10.0.0.256",
                    "010.0.0.1",
                    "10.0.0.0 ",
                    " 10.0.0.0/8",
                    "10.0.0.1:80",
                    "[::1]",
                    "[::1]:80",
                    "fe80::1%eth0",
                    "::1::",
                    "localhost",
                    "0x7f.0.0.1",
                    "10.0.0.*",
                    "10.0.0.1-10.0.0.9",
                    "10.0.0.0,10.0.0.1",
                    "all",
                    "١٠.0.0.1",
                ][..],
                NetworkError::Form,
            ),
            (
                &[
                    "10.0.0.0/33",
                    "10.0.0.0/",
                    "10.0.0.0/08",
                    "10.0.0.0/+8",
                    "10.0.0.0/-1",
                    "10.0.0.0/ 8",
                    "10.0.0.0/8/8",
                    "10.0.0.0/255.0.0.0",
                    "10.0.0.0/264",
                    "10.0.0.0/00",
                    "10.0.0.0/٨",
                ],
                NetworkError::Bits(32),
            ),
            (&["::/129", "::/", "::ffff:10.0.0.0/129", "::/99999999999"], NetworkError::Bits(128)),
        ] {
            for text in texts {
                assert_eq!(Network::parse(text), Err(error), "{text:?}");
            }
        }
    }

    #[test]
    fn a_prefix_whose_address_goes_on_is_refused_with_what_to_write_instead() {
        for (text, address, within) in [
            ("10.1.2.3/8", "10.1.2.3", "10.0.0.0/8"),
            ("192.0.2.7/31", "192.0.2.7", "192.0.2.6/31"),
            ("0.0.0.1/0", "0.0.0.1", "0.0.0.0/0"),
            ("2001:db8::1/32", "2001:db8::1", "2001:db8::/32"),
            ("::1/0", "::1", "::/0"),
            ("::ffff:10.1.2.3/104", "10.1.2.3", "10.0.0.0/8"),
            ("::ffff:10.1.2.3/64", "::ffff:10.1.2.3", "::/64"),
        ] {
            let error = Network::parse(text).expect_err(text);
            let said = error.to_string();
            assert!(matches!(error, NetworkError::Beyond { .. }), "{text}: {said}");
            assert!(said.contains(&format!("Write `{within}`, or `{address}` for")), "{said}");
            assert!(Network::parse(within).is_ok() && Network::parse(address).is_ok(), "{said}");
        }
    }
}
