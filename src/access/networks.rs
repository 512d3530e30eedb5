//! From where a key is let in: a short list of networks, or everywhere.

use std::net::IpAddr;
use std::sync::Arc;

use crate::web::network::{Network, NetworkError};

/// Networks of one key.
pub(crate) const NETWORKS_MAX: usize = 16;

/// The networks that a key is let in from. None of them means everywhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Networks(Arc<[Network]>);

/// Why a list of networks is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NetworksError {
    /// There are too many.
    #[error("A key's networks are a list of up to {NETWORKS_MAX} addresses and prefixes.")]
    TooMany,
    /// One of them is none.
    #[error("Network {place} of the list {error}")]
    One {
        /// Its place in the list, from 1.
        place: usize,
        /// What is wrong with it.
        error: NetworkError,
    },
}

impl Networks {
    /// Reads a list; what stands there twice counts once.
    pub(crate) fn parse(texts: &[String]) -> Result<Self, NetworksError> {
        if texts.len() > NETWORKS_MAX {
            return Err(NetworksError::TooMany);
        }
        let mut networks = Vec::with_capacity(texts.len());
        for (at, text) in texts.iter().enumerate() {
            let one = Network::parse(text);
            let one = one.map_err(|error| NetworksError::One { place: at + 1, error })?;
            if !networks.contains(&one) {
                networks.push(one);
            }
        }
        Ok(Self(networks.into()))
    }

    /// Whether somebody at this address is let in. Who has none is let in by a list without networks
    /// alone.
    pub(crate) fn admit(&self, address: Option<IpAddr>) -> bool {
        let is_in = |address| self.0.iter().any(|network| network.contains(address));
        self.0.is_empty() || address.is_some_and(is_in)
    }

    /// Whether it lets in from everywhere.
    pub(crate) fn is_everywhere(&self) -> bool {
        self.0.is_empty()
    }

    /// As they are written.
    pub(crate) fn texts(&self) -> Vec<String> {
        self.0.iter().map(Network::to_string).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(texts: &[&str]) -> Result<Networks, NetworksError> {
        Networks::parse(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn a_list_lets_in_from_each_of_its_networks_and_an_empty_one_from_everywhere() {
        let list = parse(&["10.0.0.0/8", "2001:db8::/32", "192.0.2.7"]).expect("a list");
        let at = |text: &str| Some(text.parse().expect("an address"));
        for (address, is_in) in [
            ("10.255.255.255", true),
            ("11.0.0.0", false),
            ("192.0.2.7", true),
            ("::ffff:192.0.2.7", true),
            ("192.0.2.8", false),
            ("2001:db8::1", true),
            ("2001:db9::1", false),
        ] {
            assert_eq!(list.admit(at(address)), is_in, "{address}");
            assert!(Networks::default().admit(at(address)));
        }
        assert!(!list.admit(None), "nobody knows from where");
        assert!(Networks::default().admit(None));
        assert!(parse(&[]).expect("a list").is_everywhere());
        assert!(!list.is_everywhere());
    }

    #[test]
    fn a_list_has_a_bound_and_says_which_of_its_networks_is_wrong() {
        let many: Vec<String> = (0..=NETWORKS_MAX).map(|n| format!("10.0.0.{n}")).collect();
        assert_eq!(Networks::parse(&many), Err(NetworksError::TooMany));
        assert!(Networks::parse(&many[1..]).is_ok());
        let error = parse(&["10.0.0.1", "10.0.0.1/8"]).expect_err("bits beyond the prefix");
        assert!(
            error.to_string().starts_with("Network 2 of the list is `10.0.0.1/8`, "),
            "{error}"
        );
        assert!(parse(&["10.0.0.1", ""]).is_err());
    }

    #[test]
    fn a_network_that_stands_there_twice_counts_once() {
        let list =
            parse(&["192.0.2.7", "::ffff:192.0.2.7", "192.0.2.7/32", "::/0"]).expect("a list");
        assert_eq!(list.texts(), ["192.0.2.7", "::/0"]);
        assert_eq!(Networks::parse(&list.texts()), Ok(list));
    }
}
