//! Addresses as they are counted: where they are handed out by the network, the network is what
//! counts.

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

fn named(address: Option<IpAddr>, v4_bits: u32, v6_bits: u32) -> String {
    match address.map(|address| address.to_canonical()) {
        None => "console".to_owned(),
        Some(IpAddr::V4(four)) => {
            let mask = u32::MAX << (32 - v4_bits);
            format!("{}/{v4_bits}", Ipv4Addr::from(u32::from(four) & mask))
        }
        Some(IpAddr::V6(six)) => {
            let mask = u128::MAX << (128 - v6_bits);
            format!("{}/{v6_bits}", Ipv6Addr::from(u128::from(six) & mask))
        }
    }
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
}
