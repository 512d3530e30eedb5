//! The settings of how the server is reached, and what must hold of them.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use serde::Deserialize;

use super::settings::Bounds;

/// How the server is reached.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    pub listen: String,
    pub hosts: Vec<String>,
    pub organisation: String,
    pub security_contact: String,
    pub data_dir: PathBuf,
    pub workers: u16,
    pub connections_max: u32,
    pub connections_per_address_max: u32,
    pub requests_per_connection_max: u32,
    pub body_bytes_max: u32,
    pub head_timeout_ms: u32,
    pub body_timeout_ms: u32,
    pub write_timeout_ms: u32,
    pub keep_alive_s: u32,
    pub shutdown_grace_s: u32,
    pub plain_http: bool,
    pub trusted_proxies: Vec<String>,
    pub forwarded_header: ForwardedHeader,
    pub public_https: bool,
    pub cors_origins: Vec<String>,
}

impl Server {
    /// The proxies whose word on addresses is taken.
    pub fn trusted_proxies(&self) -> Vec<IpAddr> {
        let parsed = self.trusted_proxies.iter().filter_map(|one| one.parse::<IpAddr>().ok());
        parsed.map(|address| address.to_canonical()).collect()
    }

    /// Whether browsers reach the server over HTTPS: its own, or that of a proxy before it.
    pub fn is_https(&self) -> bool {
        !self.plain_http || self.public_https
    }

    /// What must hold of the section; gives the key at fault and what is wrong with it.
    pub(super) fn check_rules(&self) -> Result<(), (&'static str, String)> {
        let Ok(address) = self.listen.parse::<SocketAddr>() else {
            return Err((
                "server.listen",
                "must be an address and a port, such as 127.0.0.1:8443 or [::]:8443".into(),
            ));
        };
        if self.plain_http && !address.ip().is_loopback() {
            return Err((
                "server.plain_http",
                format!(
                    "works on loopback addresses only, and `server.listen` is {address}; people's words must not cross a network in clear"
                ),
            ));
        }
        if self.hosts.is_empty()
            || self.hosts.iter().any(|host| host.is_empty() || host.contains('/'))
        {
            return Err((
                "server.hosts",
                "must name at least one host, without scheme, port or path".into(),
            ));
        }
        if let Some(wrong) = self.trusted_proxies.iter().find(|one| one.parse::<IpAddr>().is_err())
        {
            return Err((
                "server.trusted_proxies",
                format!("must be a list of addresses, and `{wrong}` is none"),
            ));
        }
        if !self.trusted_proxies.is_empty() && self.forwarded_header == ForwardedHeader::None {
            let rule = "must be \"x-forwarded-for\" or \"forwarded\", whichever the proxies in \
                        server.trusted_proxies write";
            return Err(("server.forwarded_header", rule.into()));
        }
        let contact = &self.security_contact;
        let is_address = ["mailto:", "https:"].iter().any(|scheme| contact.starts_with(scheme));
        if !contact.is_empty() && (!is_address || contact.chars().any(char::is_control)) {
            return Err(("server.security_contact", "must begin with mailto: or https:".into()));
        }
        if let Some(wrong) = self.cors_origins.iter().find(|one| !is_origin(one)) {
            let rule = "must be a list of origins, such as \"https://app.example.org\"";
            return Err(("server.cors_origins", format!("{rule}, and `{wrong}` is none")));
        }
        Ok(())
    }

    /// The numbers of the section and their bounds.
    pub(super) fn bounds(&self) -> Vec<Bounds> {
        vec![
            ("server.workers", self.workers.into(), 0, 64),
            ("server.connections_max", self.connections_max.into(), 1, 1_000_000),
            (
                "server.connections_per_address_max",
                self.connections_per_address_max.into(),
                0,
                1_000_000,
            ),
            (
                "server.requests_per_connection_max",
                self.requests_per_connection_max.into(),
                1,
                1_000_000,
            ),
            ("server.body_bytes_max", self.body_bytes_max.into(), 65_536, 1 << 30),
            ("server.head_timeout_ms", self.head_timeout_ms.into(), 100, 600_000),
            ("server.body_timeout_ms", self.body_timeout_ms.into(), 100, 3_600_000),
            ("server.write_timeout_ms", self.write_timeout_ms.into(), 1_000, 3_600_000),
            ("server.shutdown_grace_s", self.shutdown_grace_s.into(), 0, 3_600),
        ]
    }
}

/// The header in which the proxies say for whom they ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ForwardedHeader {
    /// None is named.
    #[serde(rename = "")]
    None,
    /// `X-Forwarded-For`.
    XForwardedFor,
    /// `Forwarded`, of RFC 7239.
    Forwarded,
}

/// Whether this is an origin as browsers write it: scheme, host in small letters, and a port where it is
/// not the scheme's own.
fn is_origin(text: &str) -> bool {
    let parts = |scheme: &str, port| text.strip_prefix(scheme).map(|host| (host, port));
    let found = parts("https://", ":443").or_else(|| parts("http://", ":80"));
    let is_of_host = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || ".-:[]".contains(c);
    found.is_some_and(|(host, own_port)| {
        !host.is_empty() && host.chars().all(is_of_host) && !host.ends_with(own_port)
    })
}
