//! A client that sends whatever bytes it is told to.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::client::Answer;

/// Waiting ends here, with a failed test instead of a hanging one.
const PATIENCE: Duration = Duration::from_mins(2);

/// A TLS connection.
pub struct Raw {
    stream: StreamOwned<ClientConnection, TcpStream>,
}

impl Raw {
    /// Connects over TLS, with the server's own authority as the only one.
    pub fn connect(base: &str, authority: &Path) -> Self {
        let address = base.strip_prefix("https://").expect("it speaks TLS");
        Self::over(TcpStream::connect(address).expect("the server listens"), authority, &[])
    }

    /// The same, over a socket that is connected, and with protocols to agree on one of.
    pub fn over(socket: TcpStream, authority: &Path, protocols: &[&str]) -> Self {
        let config = trusting(authority, protocols);
        socket.set_read_timeout(Some(PATIENCE)).expect("a time above zero");
        socket.set_write_timeout(Some(PATIENCE)).expect("a time above zero");
        let name = ServerName::try_from("127.0.0.1").expect("an address");
        let connection = ClientConnection::new(Arc::new(config), name).expect("a valid name");
        Self { stream: StreamOwned::new(connection, socket) }
    }

    /// Waits so long for bytes, and no longer.
    pub fn wait_at_most(&self, time: Duration) {
        self.stream.sock.set_read_timeout(Some(time)).expect("a time above zero");
    }

    /// Sends bytes and reads the answer. None where the server closed without one.
    pub fn exchange(mut self, bytes: &[u8]) -> Option<Answer> {
        // The server may answer and close before it has read everything.
        let _ = self.send(bytes);
        self.answer().unwrap_or_else(|error| panic!("neither an answer nor an end: {error}"))
    }

    /// Sends bytes.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).and_then(|()| self.stream.flush())
    }

    /// Reads the next answer. None where the server closed without one.
    pub fn answer(&mut self) -> io::Result<Option<Answer>> {
        let mut received = Vec::new();
        loop {
            if let Some(answer) = parse(&received) {
                return Ok(Some(answer));
            }
            match self.receive() {
                Ok(bytes) if bytes.is_empty() => return Ok(None),
                Ok(bytes) => received.extend(bytes),
                Err(error) if has_closed(&error) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads what the server has sent; nothing where it has closed. Sends nothing meanwhile: what is
    /// left of a request that was refused could not be sent, and would hide the answer.
    pub fn receive(&mut self) -> io::Result<Vec<u8>> {
        let StreamOwned { conn, sock } = &mut self.stream;
        let mut chunk = [0_u8; 4096];
        loop {
            match conn.reader().read(&mut chunk) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                result => return result.map(|count| chunk[..count].to_vec()),
            }
            if conn.read_tls(sock)? == 0 {
                return Ok(Vec::new());
            }
            conn.process_new_packets().map_err(io::Error::other)?;
        }
    }
}

/// TLS with one authority, and with protocols to agree on one of.
pub fn trusting(authority: &Path, protocols: &[&str]) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_file(authority).expect("a certificate");
    roots.add(certificate).expect("an authority");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider knows them")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|one| one.as_bytes().to_vec()).collect();
    config
}

/// Whether this is the end of a connection, and no failure of the test.
pub fn has_closed(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::BrokenPipe
            | ErrorKind::UnexpectedEof
    )
}

/// The answer in these bytes, where it is complete.
fn parse(bytes: &[u8]) -> Option<Answer> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&bytes[..end]);
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let mut headers = ureq::http::HeaderMap::new();
    for line in lines {
        let (name, value) = line.split_once(':')?;
        let name: ureq::http::HeaderName = name.trim().parse().ok()?;
        headers.append(name, value.trim().parse().ok()?);
    }
    let length = match headers.get("content-length") {
        Some(value) => value.to_str().ok()?.parse().ok()?,
        None => 0,
    };
    let body = bytes[end + 4..].to_vec();
    (body.len() >= length).then_some(Answer { status, headers, body })
}
