//! TLS: our own certificate authority, the server's certificate, and what rustls is told.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType,
};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use time::OffsetDateTime;

use crate::clock::Timestamp;
use crate::secret::SecretText;

/// How long our own authority is valid.
const AUTHORITY_DAYS: i64 = 3_650;
/// Clients' clocks may be behind ours by this much.
const BACKDATE: Duration = Duration::from_hours(1);

/// What can go wrong with certificates.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A certificate could not be made.
    #[error("the certificate could not be made: {0}")]
    Make(#[from] rcgen::Error),
    /// A PEM file is not what it should be.
    #[error("{what} is not valid: {reason}")]
    Pem { what: &'static str, reason: String },
    /// rustls refused the certificate or key.
    #[error("the certificate and key cannot be used: {0}")]
    Rustls(#[from] rustls::Error),
}

/// A key and the certificate that goes with it, as PEM.
pub struct Issued {
    /// The certificate, or chain.
    pub certificate_pem: String,
    /// The private key.
    pub key_pem: SecretText,
}

/// Makes a certificate authority of this server's own.
pub fn make_authority(name: &str, now: Timestamp) -> Result<Issued, TlsError> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = distinguished(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    (params.not_before, params.not_after) = validity(now, AUTHORITY_DAYS);
    let certificate = params.self_signed(&key)?;
    Ok(Issued { certificate_pem: certificate.pem(), key_pem: SecretText::new(key.serialize_pem()) })
}

/// Issues a server certificate for the host names and addresses.
pub fn issue(
    authority: &Issued,
    hosts: &[String],
    now: Timestamp,
    days: u16,
) -> Result<Issued, TlsError> {
    let authority_key = KeyPair::from_pem(authority.key_pem.expose())?;
    let issuer = Issuer::from_ca_cert_pem(&authority.certificate_pem, authority_key)?;
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = distinguished(hosts.first().map_or("localhost", |host| host));
    for host in hosts {
        params.subject_alt_names.push(match host.parse::<IpAddr>() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) => SanType::DnsName(host.as_str().try_into()?),
        });
    }
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    (params.not_before, params.not_after) = validity(now, i64::from(days));
    let certificate = params.signed_by(&key, &issuer)?;
    let chain = format!("{}{}", certificate.pem(), authority.certificate_pem);
    Ok(Issued { certificate_pem: chain, key_pem: SecretText::new(key.serialize_pem()) })
}

fn distinguished(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

fn validity(now: Timestamp, days: i64) -> (OffsetDateTime, OffsetDateTime) {
    let start = now.minus(BACKDATE);
    let at = |moment: Timestamp| {
        OffsetDateTime::from_unix_timestamp(moment.seconds()).unwrap_or(OffsetDateTime::UNIX_EPOCH)
    };
    (at(start), at(now) + time::Duration::days(days))
}

/// What a certificate says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFacts {
    /// From when it is valid.
    pub not_before: Timestamp,
    /// Until when it is valid.
    pub not_after: Timestamp,
    /// The names and addresses that it is for, in text form.
    pub hosts: Vec<String>,
}

/// Reads the first certificate of a PEM text.
pub fn facts(certificate_pem: &str) -> Result<CertificateFacts, TlsError> {
    use x509_parser::extensions::GeneralName;
    let bad = |reason: String| TlsError::Pem { what: "the certificate", reason };
    let der = CertificateDer::from_pem_slice(certificate_pem.as_bytes())
        .map_err(|error| bad(error.to_string()))?;
    let (_, certificate) =
        x509_parser::parse_x509_certificate(&der).map_err(|error| bad(error.to_string()))?;
    let seconds = |moment: i64| Timestamp::from_ms(moment.saturating_mul(1_000));
    let names = certificate.subject_alternative_name().map_err(|error| bad(error.to_string()))?;
    let hosts = names.map(|names| {
        let text = |name: &GeneralName<'_>| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            GeneralName::IPAddress(bytes) => address(bytes).map(|address| address.to_string()),
            _ => None,
        };
        names.value.general_names.iter().filter_map(text).collect()
    });
    Ok(CertificateFacts {
        not_before: seconds(certificate.validity().not_before.timestamp()),
        not_after: seconds(certificate.validity().not_after.timestamp()),
        hosts: hosts.unwrap_or_default(),
    })
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(four) = <[u8; 4]>::try_from(bytes) {
        return Some(IpAddr::from(four));
    }
    <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from)
}

/// The certificate in use; can be replaced while connections are open.
#[derive(Debug)]
pub struct Certificates {
    current: RwLock<Arc<CertifiedKey>>,
}

impl Certificates {
    /// Takes a chain and its key.
    pub fn new(issued: &Issued) -> Result<Self, TlsError> {
        Ok(Self { current: RwLock::new(Arc::new(certified(issued)?)) })
    }

    /// Uses another chain and key for connections from now on.
    pub fn replace(&self, issued: &Issued) -> Result<(), TlsError> {
        let next = Arc::new(certified(issued)?);
        *self.current.write() = next;
        Ok(())
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.current.read()))
    }
}

fn certified(issued: &Issued) -> Result<CertifiedKey, TlsError> {
    let chain = CertificateDer::pem_slice_iter(issued.certificate_pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| TlsError::Pem {
            what: "the certificate file",
            reason: error.to_string(),
        })?;
    if chain.is_empty() {
        let reason = "it holds no certificate".to_owned();
        return Err(TlsError::Pem { what: "the certificate file", reason });
    }
    // The reason is left out: a parser's message must not carry bytes of a key.
    let key = PrivateKeyDer::from_pem_slice(issued.key_pem.expose().as_bytes()).map_err(|_| {
        TlsError::Pem { what: "the key file", reason: "it holds no private key in PEM".to_owned() }
    })?;
    let certified = CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider())?;
    certified.keys_match()?;
    Ok(certified)
}

/// What rustls is told: TLS 1.3 and 1.2, aws-lc-rs with the post-quantum key exchange
/// X25519MLKEM768 (draft-ietf-tls-ecdhe-mlkem) first.
pub fn server_config(certificates: Arc<Certificates>) -> Result<rustls::ServerConfig, TlsError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    Ok(rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_no_client_auth()
        .with_cert_resolver(certificates))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_ms(1_790_000_000_000);

    #[test]
    fn an_issued_certificate_names_its_hosts_and_days() {
        let authority = make_authority("Strongroom test", NOW).expect("authority");
        let hosts = ["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
        let issued = issue(&authority, &hosts, NOW, 90).expect("issued");
        let facts = facts(&issued.certificate_pem).expect("facts");
        assert_eq!(facts.hosts, hosts);
        assert_eq!(facts.not_after, NOW.plus(Duration::from_hours(2160)));
        let certificates = Arc::new(Certificates::new(&issued).expect("usable"));
        assert!(server_config(certificates).is_ok());
    }

    #[test]
    fn a_key_that_does_not_belong_to_the_certificate_is_refused() {
        let one = make_authority("one", NOW).expect("authority");
        let other = make_authority("other", NOW).expect("authority");
        let mixed = Issued { certificate_pem: one.certificate_pem, key_pem: other.key_pem };
        assert!(Certificates::new(&mixed).is_err());
        let empty =
            Issued { certificate_pem: String::new(), key_pem: SecretText::new(String::new()) };
        assert!(Certificates::new(&empty).is_err());
    }
}
