//! What clients and the server agree on before a word of HTTP is said: versions, keys, protocols and
//! certificates; and what the server says where it cannot speak TLS at all.
#![allow(clippy::panic, reason = "a helper fails as its test does")]

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use common::{Client, Home, Server, both, text};
use rcgen::{CertificateParams, KeyPair};
use rustls::crypto::{CryptoProvider, SupportedKxGroup, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{
    CertificateError, ClientConfig, ClientConnection, Error, NamedGroup, ProtocolVersion,
    RootCertStore, StreamOwned, SupportedProtocolVersion,
};

const PATIENCE: Duration = Duration::from_mins(2);
const BOTH: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];
const NEW_ALONE: &[&SupportedProtocolVersion] = &[&TLS13];
const OLD_ALONE: &[&SupportedProtocolVersion] = &[&TLS12];
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const SERVER_HELLO: u8 = 2;
const HANDSHAKE_FAILURE: u8 = 40;
const PROTOCOL_VERSION: u8 = 70;

/// What a client offers.
#[derive(Clone)]
struct Offer {
    versions: &'static [&'static SupportedProtocolVersion],
    groups: Vec<&'static dyn SupportedKxGroup>,
    protocols: &'static [&'static str],
    authority: PathBuf,
    name: &'static str,
}

impl Offer {
    /// Everything that rustls can do, trusting the server's own authority.
    fn everything(home: &Home) -> Self {
        Self {
            versions: BOTH,
            groups: aws_lc_rs::default_provider().kx_groups,
            protocols: &[],
            authority: home.data().join("tls/ca.pem"),
            name: "127.0.0.1",
        }
    }

    /// Shakes hands.
    fn connect(&self, server: &Server) -> Result<Connected, Error> {
        let mut roots = RootCertStore::empty();
        let authority = CertificateDer::from_pem_file(&self.authority).expect("a certificate");
        roots.add(authority).expect("an authority");
        let provider =
            CryptoProvider { kx_groups: self.groups.clone(), ..aws_lc_rs::default_provider() };
        let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(self.versions)
            .expect("the provider knows them")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = self.protocols.iter().map(|name| name.as_bytes().into()).collect();
        let name = ServerName::try_from(self.name).expect("a name");
        let mut connection = ClientConnection::new(Arc::new(config), name).expect("a sound offer");
        let mut socket = open(server);
        while connection.is_handshaking() {
            connection.complete_io(&mut socket).map_err(|error| {
                let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<Error>());
                cause.cloned().unwrap_or_else(|| panic!("no refusal of TLS: {error}"))
            })?;
        }
        Ok(Connected(StreamOwned::new(connection, socket)))
    }
}

/// A connection that both sides agreed on.
struct Connected(StreamOwned<ClientConnection, TcpStream>);

impl Connected {
    fn version(&self) -> Option<ProtocolVersion> {
        self.0.conn.protocol_version()
    }

    fn group(&self) -> Option<NamedGroup> {
        self.0.conn.negotiated_key_exchange_group().map(SupportedKxGroup::name)
    }

    fn protocol(&self) -> Option<&[u8]> {
        self.0.conn.alpn_protocol()
    }

    fn certificate(&self) -> CertificateDer<'static> {
        let chain = self.0.conn.peer_certificates().expect("the server has shown one");
        chain[0].clone().into_owned()
    }

    /// Sends bytes and reads until the answer holds these ones.
    fn answers(mut self, bytes: &[u8], wanted: &[u8]) -> Vec<u8> {
        self.0.write_all(bytes).and_then(|()| self.0.flush()).expect("the server reads");
        let (mut answer, mut chunk) = (Vec::new(), [0_u8; 4096]);
        while !answer.windows(wanted.len()).any(|window| window == wanted) {
            let count = self.0.read(&mut chunk).expect("the server answers");
            assert!(count > 0, "it ended with {:?}", String::from_utf8_lossy(&answer));
            answer.extend_from_slice(&chunk[..count]);
        }
        answer
    }
}

fn open(server: &Server) -> TcpStream {
    let address = server.base.split_once("//").expect("an address").1;
    let socket = TcpStream::connect(address).expect("the server listens");
    socket.set_read_timeout(Some(PATIENCE)).expect("a time above zero");
    socket
}

#[test]
fn tls_1_3_and_1_2_are_spoken_the_newest_first() {
    let home = Home::prepared();
    let server = Server::start(&home);
    let (new, old) = (Some(ProtocolVersion::TLSv1_3), Some(ProtocolVersion::TLSv1_2));
    for (versions, agreed) in [(BOTH, new), (NEW_ALONE, new), (OLD_ALONE, old)] {
        let connected = Offer { versions, ..Offer::everything(&home) }.connect(&server);
        let connected = connected.expect("the server speaks it");
        assert_eq!(connected.version(), agreed);
        let request = b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n";
        let answer = connected.answers(request, br#"{"status":"alive"}"#);
        assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&answer));
    }
}

#[test]
fn older_versions_and_ciphers_without_forward_secrecy_are_refused() {
    let home = Home::prepared();
    let mut server = Server::start(&home);
    let (ecdhe_gcm, ecdhe_cbc, rsa_gcm, rsa_cbc) = (0xc02b, 0xc009, 0x009c, 0x002f);
    // The same hello in TLS 1.2 is taken, so it is the version that the others are refused for.
    let taken = hello(&server, 0x0303, &[ecdhe_gcm]);
    assert_eq!((taken[0], taken[5]), (HANDSHAKE, SERVER_HELLO), "{taken:?}");
    for (version, ciphers, alert) in [
        (0x0302, &[ecdhe_gcm, ecdhe_cbc, rsa_cbc][..], PROTOCOL_VERSION),
        (0x0301, &[ecdhe_gcm, ecdhe_cbc, rsa_cbc], PROTOCOL_VERSION),
        (0x0300, &[rsa_cbc, 0x000a, 0x0005], PROTOCOL_VERSION),
        (0x0303, &[rsa_gcm], HANDSHAKE_FAILURE),
        (0x0303, &[rsa_cbc], HANDSHAKE_FAILURE),
        (0x0303, &[ecdhe_cbc], HANDSHAKE_FAILURE),
    ] {
        let refused = hello(&server, version, ciphers);
        let what = format!("version {version:#x} with {ciphers:x?}: {refused:?}");
        assert_eq!((refused[0], refused[6]), (ALERT, alert), "{what}");
    }
    server.assert_alive();
}

/// Sends a hello of this version alone, and gives the first record of the answer.
fn hello(server: &Server, version: u16, ciphers: &[u16]) -> Vec<u8> {
    let mut socket = open(server);
    socket.write_all(&client_hello(version, ciphers)).expect("the server reads");
    let mut record = vec![0_u8; 5];
    socket.read_exact(&mut record).expect("the server answers in records");
    let mut body = vec![0_u8; usize::from(u16::from_be_bytes([record[3], record[4]]))];
    socket.read_exact(&mut body).expect("a whole record");
    record.extend(body);
    record
}

/// A client hello as it was before TLS 1.3 (RFC 5246, section 7.4.1.2).
fn client_hello(version: u16, ciphers: &[u16]) -> Vec<u8> {
    let long = |bytes: Vec<u8>| [&(bytes.len() as u16).to_be_bytes()[..], &bytes].concat();
    let words = |words: &[u16]| long(words.iter().flat_map(|word| word.to_be_bytes()).collect());
    let extension = |kind: u16, body: Vec<u8>| [kind.to_be_bytes().to_vec(), long(body)].concat();
    let extensions = [
        extension(10, words(&[0x001d, 0x0017])), // groups: X25519, P-256
        extension(11, vec![1, 0]),               // points: uncompressed
        extension(13, words(&[0x0403, 0x0401])), // signatures: ECDSA and RSA with SHA-256
        extension(23, vec![]),                   // extended master secret
    ];
    let body = [
        version.to_be_bytes().to_vec(),
        vec![7; 32], // random
        vec![0],     // no session
        words(ciphers),
        vec![1, 0], // no compression
        long(extensions.concat()),
    ]
    .concat();
    let handshake = [&[1], &(body.len() as u32).to_be_bytes()[1..], &body].concat();
    [&[HANDSHAKE][..], &version.min(0x0301).to_be_bytes(), &long(handshake)].concat()
}

#[test]
fn keys_are_exchanged_in_the_post_quantum_way_first() {
    let home = Home::prepared();
    let server = Server::start(&home);
    let everything = Offer::everything(&home);
    let agreed = |offer: &Offer| offer.connect(&server).expect("a common group").group();
    assert_eq!(agreed(&everything), Some(NamedGroup::X25519MLKEM768));
    // Clients without it are served as before.
    for wanted in [NamedGroup::X25519, NamedGroup::secp256r1, NamedGroup::secp384r1] {
        let groups: Vec<_> =
            everything.groups.iter().copied().filter(|group| group.name() == wanted).collect();
        for versions in [NEW_ALONE, OLD_ALONE] {
            let offer = Offer { groups: groups.clone(), versions, ..everything.clone() };
            assert_eq!(agreed(&offer), Some(wanted), "{versions:?}");
        }
    }
}

#[test]
fn http_2_and_http_1_1_are_both_agreed_on_and_answered() {
    let home = Home::prepared();
    let server = Server::start(&home);
    for (protocols, agreed) in [
        (&["h2", "http/1.1"][..], Some(&b"h2"[..])),
        (&["http/1.1", "h2"], Some(b"h2")),
        (&["h2"], Some(b"h2")),
        (&["http/1.1"], Some(b"http/1.1")),
        (&[], None),
    ] {
        let connected = Offer { protocols, ..Offer::everything(&home) }.connect(&server);
        let connected = connected.expect("the server speaks it");
        assert_eq!(connected.protocol(), agreed, "{protocols:?}");
        let wanted = br#"{"status":"alive"}"#;
        if agreed == Some(b"h2") {
            assert_eq!(status_of(&connected.answers(&http_2_request(), wanted)), 0x88);
        } else {
            let request = b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n";
            assert!(connected.answers(request, wanted).starts_with(b"HTTP/1.1 200 "));
        }
    }
    let unknown = Offer { protocols: &["spdy/3"], ..Offer::everything(&home) }.connect(&server);
    let error = unknown.err().expect("there is no common protocol");
    assert!(error.to_string().contains("NoApplicationProtocol"), "{error}");
}

/// `GET /healthz` in frames (RFC 9113): the preface, settings, and one frame of headers, whose names
/// come from the static table of RFC 7541.
fn http_2_request() -> Vec<u8> {
    let literal = |index: u8, value: &str| [&[index, value.len() as u8], value.as_bytes()].concat();
    let (get, https, path, authority) = (0x82, 0x87, 0x04, 0x01);
    let headers =
        [vec![get, https], literal(path, "/healthz"), literal(authority, "127.0.0.1")].concat();
    let (kind_of_headers, end_of_both, stream) = (1, 0x05, 1);
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    let frame = [0, 0, headers.len() as u8, kind_of_headers, end_of_both, 0, 0, 0, stream];
    [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &settings[..], &frame, &headers].concat()
}

/// The first field of the headers that the server sent: 0x88 is `:status 200`.
fn status_of(mut frames: &[u8]) -> u8 {
    loop {
        let length = u32::from_be_bytes([0, frames[0], frames[1], frames[2]]) as usize;
        let (kind, body) = (frames[3], &frames[9..9 + length]);
        if kind == 1 {
            // The size of the dynamic table may be set first.
            return *body.iter().find(|byte| **byte & 0xe0 != 0x20).expect("a status");
        }
        frames = &frames[9 + length..];
    }
}

#[test]
fn clients_refuse_a_server_that_they_have_no_reason_to_trust() {
    let home = Home::prepared();
    let server = Server::start(&home);
    let everything = Offer::everything(&home);
    everything.connect(&server).map(drop).expect("this one trusts it");
    let other = Home::prepared();
    let strange = Offer { authority: other.data().join("tls/ca.pem"), ..everything.clone() };
    let refused = strange.connect(&server).err();
    // Both authorities have one name, so that it is the signature that does not fit.
    let unknown = [CertificateError::UnknownIssuer, CertificateError::BadSignature]
        .map(Error::InvalidCertificate);
    assert!(refused.as_ref().is_some_and(|error| unknown.contains(error)), "{refused:?}");
    for name in ["strongroom.example", "localhost.example", "127.0.0.2"] {
        let refused = Offer { name, ..everything.clone() }.connect(&server).err();
        assert!(
            matches!(
                &refused,
                Some(Error::InvalidCertificate(CertificateError::NotValidForNameContext { .. }))
            ),
            "{name}: {refused:?}"
        );
    }
    for name in ["localhost", "::1"] {
        Offer { name, ..everything.clone() }.connect(&server).map(drop).expect(name);
    }
}

/// A certificate that signs itself, and its key, as files.
fn own_certificate(home: &Home, name: &str) -> (PathBuf, PathBuf) {
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("a sound name");
    let certificate = params.self_signed(&key).expect("a certificate");
    let certificate = home.write(&format!("{name}.pem"), certificate.pem());
    (certificate, home.write(&format!("{name}.key"), key.serialize_pem()))
}

fn settings(certificate: &Path, key: &Path) -> [String; 4] {
    let certificate = format!("tls.certificate_file={}", text(certificate));
    ["--set".to_owned(), certificate, "--set".to_owned(), format!("tls.key_file={}", text(key))]
}

fn launch(home: &Home, certificate: &Path, key: &Path) -> Result<Server, String> {
    let settings = settings(certificate, key);
    Server::launch(home, &settings.each_ref().map(String::as_str))
}

#[test]
fn a_certificate_of_ones_own_is_served() {
    let home = Home::prepared();
    let (certificate, key) = own_certificate(&home, "own");
    let server = launch(&home, &certificate, &key).expect("both are sound");
    let offer = Offer { authority: certificate.clone(), ..Offer::everything(&home) };
    let connected = offer.connect(&server).expect("the client trusts it");
    let expected = CertificateDer::from_pem_file(&certificate).expect("it was made here");
    assert_eq!(connected.certificate(), expected);
    let client = Client::new(&server.base, &certificate);
    assert_eq!(client.get("/healthz").status, 200);
    // Our own authority vouches for nothing now.
    let refused = Offer::everything(&home).connect(&server).err();
    assert!(matches!(refused, Some(Error::InvalidCertificate(_))), "{refused:?}");
}

#[test]
fn certificates_and_keys_that_do_not_fit_are_named_at_the_start() {
    let home = Home::prepared();
    let (certificate, key) = own_certificate(&home, "own");
    let (_, other_key) = own_certificate(&home, "other");
    let prose = home.write("prose.pem", "It was a dark and stormy night.\n");
    let empty = home.write("empty.pem", "");
    let nowhere = home.path("nowhere.pem");
    for (certificate, key, says) in [
        (&certificate, &other_key, "the certificate and key cannot be used"),
        (&prose, &key, "the certificate file is not valid"),
        (&empty, &key, "the certificate file is not valid: it holds no certificate"),
        (&key, &key, "the certificate file is not valid"),
        (&certificate, &prose, "the key file is not valid: it holds no private key"),
        (&certificate, &empty, "the key file is not valid: it holds no private key"),
        (&certificate, &certificate, "the key file is not valid: it holds no private key"),
        (&nowhere, &key, "nowhere.pem cannot be read"),
        (&certificate, &nowhere, "nowhere.pem cannot be read"),
    ] {
        let what = format!("{} with {}", certificate.display(), key.display());
        let said = launch(&home, certificate, key).err().expect(&what);
        assert!(said.contains(says), "{what}: {said}");
        assert!(said.starts_with("exit status: 1"), "{what}: {said}");
        assert!(!said.contains("panicked") && !said.contains("PRIVATE KEY"), "{what}: {said}");
    }
    for name in ["tls.certificate_file", "tls.key_file"] {
        let setting = format!("{name}={}", text(&certificate));
        let said = Server::launch(&home, &["--set", &setting]).err().expect("both or neither");
        assert!(said.contains("set both or neither"), "{said}");
    }
    launch(&home, &certificate, &key).map(drop).expect("both are sound");
}

#[test]
fn plain_http_is_spoken_on_loopback_and_nowhere_else() {
    let home = Home::prepared();
    let server = Server::start_with(&home, &["--plain-http"]);
    assert!(server.base.starts_with("http://127.0.0.1:"), "{}", server.base);
    let answer = server.client().get("/healthz");
    assert_eq!(answer.status, 200);
    assert!(!answer.headers.contains_key("strict-transport-security"));
    server.with_key(&home.key()).get("/v1/models").expect(200);
    assert!(server.stop().success());
    let elsewhere = Home::prepared();
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
        let refused = elsewhere.strongroom(&["serve", "--listen", address, "--plain-http"]);
        let said = both(&refused);
        assert_eq!(refused.status.code(), Some(1), "{said}");
        let reason = format!("works on loopback addresses only, and `server.listen` is {address}");
        assert!(said.contains("server.plain_http") && said.contains(&reason), "{said}");
    }
}

#[test]
fn a_client_that_speaks_plain_http_to_the_tls_port_is_not_answered_in_http() {
    let home = Home::prepared();
    let mut server = Server::start(&home);
    for request in [
        &b"GET / HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n"[..],
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 2\r\n\r\n{}",
    ] {
        let mut socket = open(&server);
        socket.write_all(request).expect("the server reads");
        let mut answer = Vec::new();
        // Reset or closed: either way no redirect and no page, which would teach clients to ask.
        let _ = socket.read_to_end(&mut answer);
        assert!(!answer.starts_with(b"HTTP"), "{}", String::from_utf8_lossy(&answer));
    }
    server.assert_alive();
}
