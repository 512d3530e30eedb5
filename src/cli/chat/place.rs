//! Where the server is, and whose word on its certificate is taken.

use std::fs::{self, File};
use std::io::Read;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use hyper::Uri;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use super::clean;
use crate::config::{Config, Origin, Settings};

/// A server: what to connect to, and by which name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Host and port to connect to.
    pub(super) host: String,
    pub(super) port: u16,
    /// The name that its certificate has to have.
    pub(super) name: String,
    /// What stands before `/v1`.
    pub(super) prefix: String,
    pub(super) is_tls: bool,
}

impl Place {
    /// Reads an address as people write it: `https://host:port`, with or without `/v1`.
    pub(super) fn parse(raw: &str) -> Result<Self, String> {
        let uri: Uri = raw.parse().map_err(|_| format!("`{}` is not a URL", clean::line(raw)))?;
        let is_tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err("the address begins with https://".to_owned()),
        };
        let authority = uri.authority().ok_or("the address names no host")?;
        if authority.as_str().contains('@') || uri.query().is_some() {
            return Err("the address has no user and no query; the key comes from a file".into());
        }
        let port = match authority.as_str().strip_prefix(authority.host()) {
            None | Some("") => None,
            // What is no port would be read as none, and another server of that host would get the key.
            Some(rest) => match rest.trim_start_matches(':').parse::<u16>() {
                Ok(1..) => authority.port_u16(),
                _ => return Err("the port of the address is a number from 1 to 65535".to_owned()),
            },
        };
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        let is_here = host == "localhost"
            || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        if !is_tls && !is_here {
            return Err(
                "http:// is for this machine alone: the key and the words would cross the \
                        network in clear. Use https://"
                    .to_owned(),
            );
        }
        let path = uri.path().trim_end_matches('/');
        Ok(Self {
            name: host.clone(),
            host,
            port: port.unwrap_or(if is_tls { 443 } else { 80 }),
            prefix: path.strip_suffix("/v1").unwrap_or(path).to_owned(),
            is_tls,
        })
    }

    /// The server that runs with these settings, on this machine.
    pub(super) fn of_settings(settings: &Settings) -> Result<Self> {
        let server = &settings.server;
        let listen: SocketAddr = server.listen.parse().context("`server.listen` is no address")?;
        ensure!(
            listen.port() != 0,
            "the server chooses its own port (`server.listen`): say where it is with --server"
        );
        let address = match listen.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::from([127, 0, 0, 1]),
            IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::from(std::net::Ipv6Addr::LOCALHOST),
            ip => ip,
        };
        let host = address.to_string();
        let is_its_name = server.hosts.contains(&host);
        let name = if is_its_name { Some(&host) } else { server.hosts.first() };
        Ok(Self {
            name: name.unwrap_or(&host).clone(),
            host,
            port: listen.port(),
            prefix: String::new(),
            is_tls: !server.plain_http,
        })
    }

    /// Its address, as people write it.
    pub(super) fn url(&self) -> String {
        let scheme = if self.is_tls { "https" } else { "http" };
        clean::line(&format!("{scheme}://{}{}", self.authority(), self.prefix))
    }

    /// Name and port, as a request names them.
    pub(super) fn authority(&self) -> String {
        let is_v6 = self.name.contains(':');
        let name = if is_v6 { format!("[{}]", self.name) } else { self.name.clone() };
        format!("{name}:{}", self.port)
    }
}

/// Which authorities are asked about the server's certificate.
pub(super) struct Trust {
    /// The file that was named.
    pub(super) named: Option<PathBuf>,
    /// The certificate of the data directory's own authority.
    pub(super) own: PathBuf,
    /// Whether the server is the one that the settings describe.
    pub(super) is_of_settings: bool,
    /// Whether that one has a certificate of somebody else's authority.
    pub(super) is_certified: bool,
    /// Whether the person has named the data directory.
    pub(super) is_chosen: bool,
}

impl Trust {
    pub(super) fn new(config: &Config, named: Option<PathBuf>, is_of_settings: bool) -> Self {
        let settings = config.settings();
        Self {
            named,
            own: settings.server.data_dir.join("tls/ca.pem"),
            is_of_settings,
            is_certified: !settings.tls.certificate_file.as_os_str().is_empty(),
            is_chosen: config.origin("server.data_dir") != Origin::Default,
        }
    }

    /// What rustls is to check: always the whole chain and the name, with the provider that the
    /// server uses.
    pub(super) fn config(&self) -> Result<Arc<ClientConfig>> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(self.roots()?)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    fn roots(&self) -> Result<RootCertStore> {
        let mut roots = RootCertStore::empty();
        if let Some(path) = &self.named {
            add(&mut roots, path, open(path)?)?;
            let name = clean::line(&path.display().to_string());
            ensure!(!roots.is_empty(), "there is no certificate in {name}");
            return Ok(roots);
        }
        let is_own_there = self.own.exists() && !(self.is_of_settings && self.is_certified);
        if is_own_there {
            let file = open(&self.own)?;
            if !self.is_chosen {
                check_own(&self.own, &file)?;
            }
            add(&mut roots, &self.own, file)?;
        }
        if !self.is_of_settings || self.is_certified {
            let found = SYSTEM_BUNDLES.iter().map(Path::new).find(|path| path.exists());
            if let Some(path) = found {
                add(&mut roots, path, open(path)?)?;
            }
        }
        if roots.is_empty() {
            bail!(
                "nobody is trusted to vouch for the server: {} is not there or not for you to read. \
                 Get a copy from who runs the server and name it with --ca (or STRONGROOM_CA_FILE)",
                clean::line(&self.own.display().to_string())
            );
        }
        Ok(roots)
    }
}

/// Unless it is named, the data directory is looked for where the command is run. What somebody else put there would say
/// that their server is the right one, and would get the key. Of the certificate the open file is judged, which nobody
/// can put another one in the place of.
fn check_own(path: &Path, file: &File) -> Result<()> {
    let name = clean::line(&path.display().to_string());
    let cannot = || format!("{name} cannot be read");
    let me = rustix::process::geteuid().as_raw();
    let above = path.ancestors().skip(1).take(2).filter(|part| !part.as_os_str().is_empty());
    let above = above.map(fs::metadata);
    for found in [file.metadata()].into_iter().chain(above) {
        let found = found.with_context(cannot)?;
        ensure!(
            [0, me].contains(&found.uid()) && found.mode() & 0o022 == 0,
            "{name} can be changed by somebody else, so it is not trusted. If it is right all the \
             same, name it with --ca"
        );
    }
    Ok(())
}

fn open(path: &Path) -> Result<File> {
    File::open(path).with_context(|| unreadable(path))
}

fn unreadable(path: &Path) -> String {
    let name = clean::line(&path.display().to_string());
    format!("the authority's certificate {name} cannot be read")
}

fn add(roots: &mut RootCertStore, path: &Path, file: File) -> Result<()> {
    let mut pem = Vec::new();
    // A pipe or a device does not say how long it is.
    let mut file = file.take(BUNDLE_BYTES_MAX + 1);
    file.read_to_end(&mut pem).with_context(|| unreadable(path))?;
    ensure!(
        pem.len() as u64 <= BUNDLE_BYTES_MAX,
        "{} is too large for a file of certificates",
        clean::line(&path.display().to_string())
    );
    let certificates = CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok);
    roots.add_parsable_certificates(certificates);
    Ok(())
}

/// Where systems keep the authorities that they trust.
const SYSTEM_BUNDLES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
const BUNDLE_BYTES_MAX: u64 = 8 << 20;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn addresses_are_read_as_people_write_them() {
        for (raw, url) in [
            ("https://ai.example.org", "https://ai.example.org:443"),
            ("https://ai.example.org/v1/", "https://ai.example.org:443"),
            ("https://127.0.0.1:8443/v1", "https://127.0.0.1:8443"),
            ("https://[::1]:8443", "https://[::1]:8443"),
            ("https://gateway.example/house/v1", "https://gateway.example:443/house"),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("http://localhost", "http://localhost:80"),
        ] {
            assert_eq!(Place::parse(raw).expect(raw).url(), url);
        }
        for raw in [
            "ai.example.org",
            "ftp://ai.example.org",
            "http://ai.example.org",
            "http://10.0.0.1",
            "https://me:secret@ai.example.org",
            "https://ai.example.org/?key=sr-1",
            "https://ai.example.org:99999",
            "https://ai.example.org:0",
            "https://ai.example.org:",
            "https://ai.example.org:8443x",
            "http://localhost:80801",
            "https://[::1]:99999",
            "https://",
            "",
        ] {
            assert!(Place::parse(raw).is_err(), "{raw}");
        }
    }

    #[test]
    fn the_server_of_the_settings_is_found() {
        let place = |flags: &[(&str, &str)]| {
            let flags: Vec<_> =
                flags.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            let config = Config::from_layers(None, &[], &flags).expect("valid");
            Place::of_settings(config.settings())
        };
        let of = |flags: &[(&str, &str)]| {
            let place = place(flags).expect("found");
            format!("{} at {}", place.url(), place.host)
        };
        assert_eq!(of(&[]), "https://127.0.0.1:8443 at 127.0.0.1");
        assert_eq!(
            of(&[("server.listen", "0.0.0.0:9443"), ("server.hosts", "[\"ai.example.org\"]")]),
            "https://ai.example.org:9443 at 127.0.0.1"
        );
        assert_eq!(of(&[("server.listen", "[::]:8443")]), "https://[::1]:8443 at ::1");
        assert_eq!(of(&[("server.plain_http", "true")]), "http://127.0.0.1:8443 at 127.0.0.1");
        assert!(place(&[("server.listen", "127.0.0.1:0")]).is_err());
    }

    #[test]
    fn an_authority_that_others_can_replace_is_not_trusted() {
        let directory = tempfile::tempdir().expect("a directory");
        let data = directory.path().join("data");
        fs::create_dir_all(data.join("tls")).expect("made");
        let path = data.join("tls/ca.pem");
        fs::write(&path, "").expect("written");
        let set = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("set");
        };
        for part in [&data, &data.join("tls")] {
            set(part, 0o700);
        }
        let check = || check_own(&path, &File::open(&path).expect("there"));
        set(&path, 0o644);
        assert!(check().is_ok());
        set(&path, 0o666);
        assert!(check().is_err());
        // The file that is read counts, and not the one that has taken its place since.
        let opened = File::open(&path).expect("there");
        fs::rename(&path, data.join("moved")).expect("moved");
        fs::write(&path, "").expect("written");
        set(&path, 0o644);
        assert!(check().is_ok() && check_own(&path, &opened).is_err());
        set(&data, 0o777);
        assert!(check().is_err());
    }

    #[test]
    fn without_an_authority_there_is_no_connection() {
        let directory = tempfile::tempdir().expect("a directory");
        let trust = |named| Trust {
            named,
            own: directory.path().join("tls/ca.pem"),
            is_of_settings: true,
            is_certified: false,
            is_chosen: false,
        };
        assert!(trust(None).config().expect_err("refused").to_string().contains("--ca"));
        let empty = directory.path().join("empty.pem");
        fs::write(&empty, "not a certificate").expect("written");
        assert!(trust(Some(empty)).config().is_err());
        assert!(trust(Some(directory.path().join("gone.pem"))).config().is_err());
        let endless = trust(Some(PathBuf::from("/dev/zero"))).config().expect_err("refused");
        assert!(endless.to_string().contains("too large"), "{endless}");
    }
}
