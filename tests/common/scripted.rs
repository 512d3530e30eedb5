//! A server that answers as it is told to: what a real one does only when something is wrong.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

use super::Home;

/// Waiting ends here, with a failed test instead of a hanging one.
const PATIENCE: Duration = Duration::from_mins(2);

/// A request that came.
pub struct Asked {
    /// Its first line and headers.
    pub head: String,
    /// Its body, where it is JSON.
    pub body: Value,
}

/// What is sent back.
pub enum Reply {
    /// These bytes, and then the end of the connection.
    Close(Vec<u8>),
    /// These bytes, and then nothing, until the client goes.
    Hold(Vec<u8>),
}

/// What the server has seen.
pub enum Seen {
    /// A request.
    Asked(Asked),
    /// A client that went while it was waiting.
    Left,
}

/// A server with a certificate of its own.
pub struct Scripted {
    /// `https://127.0.0.1:PORT`
    pub base: String,
    /// The certificate that vouches for it.
    pub authority: PathBuf,
    seen: Receiver<Seen>,
}

impl Scripted {
    /// Starts one whose certificate is for this name.
    pub fn start(
        home: &Home,
        name: &str,
        reply: impl Fn(&Asked) -> Reply + Send + 'static,
    ) -> Self {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).expect("a certificate");
        let authority = home.write("scripted.pem", made.cert.pem());
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider knows them")
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], PrivateKeyDer::from(key))
            .expect("they belong together");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let base = format!("https://{}", listener.local_addr().expect("an address"));
        let (sender, seen) = channel();
        let config = Arc::new(config);
        std::thread::spawn(move || {
            for socket in listener.incoming() {
                let connection = ServerConnection::new(Arc::clone(&config)).expect("valid");
                let stream = StreamOwned::new(connection, socket.expect("a client"));
                // A client that turns away from the certificate is what some tests are about.
                let _ = serve(stream, &reply, &sender);
            }
        });
        Self { base, authority, seen }
    }

    /// What it has seen next.
    pub fn next(&self) -> Seen {
        self.seen.recv_timeout(PATIENCE).expect("it has seen something")
    }

    /// The next question that it was asked.
    pub fn question(&self) -> Asked {
        loop {
            match self.next() {
                Seen::Asked(asked) if asked.head.starts_with("POST ") => return asked,
                _ => {}
            }
        }
    }

    /// Whether nobody has asked anything.
    pub fn is_unasked(&self) -> bool {
        self.seen.try_recv().is_err()
    }
}

fn serve(
    mut stream: StreamOwned<ServerConnection, TcpStream>,
    reply: &impl Fn(&Asked) -> Reply,
    seen: &Sender<Seen>,
) -> io::Result<()> {
    stream.sock.set_read_timeout(Some(PATIENCE))?;
    let asked = read(&mut stream)?;
    let answer = reply(&asked);
    // The test may have seen enough.
    let _ = seen.send(Seen::Asked(asked));
    match answer {
        Reply::Close(bytes) => {
            stream.write_all(&bytes)?;
            stream.conn.send_close_notify();
            stream.flush()
        }
        Reply::Hold(bytes) => {
            stream.write_all(&bytes)?;
            stream.flush()?;
            let mut rest = [0; 64];
            while stream.read(&mut rest).is_ok_and(|count| count > 0) {}
            let _ = seen.send(Seen::Left);
            Ok(())
        }
    }
}

fn read(stream: &mut impl Read) -> io::Result<Asked> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4_096];
    loop {
        let count = stream.read(&mut chunk)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        bytes.extend_from_slice(&chunk[..count]);
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase().replace("post ", "POST ");
        let length = head.split_once("content-length: ").map_or(0, |(_, rest)| {
            rest.lines().next().and_then(|line| line.trim().parse().ok()).unwrap_or(0)
        });
        if bytes.len() >= end + 4 + length {
            let body = serde_json::from_slice(&bytes[end + 4..]).unwrap_or(Value::Null);
            return Ok(Asked { head, body });
        }
    }
}

/// The begin of a streamed answer, with these pieces of text.
pub fn stream(pieces: &[&str]) -> Vec<u8> {
    let head =
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    let mut bytes = head.as_bytes().to_vec();
    for piece in pieces {
        let event = json!({"choices": [{"index": 0, "delta": {"content": piece}}]});
        bytes.extend(chunk(&format!("data: {event}\n\n")));
    }
    bytes
}

/// A whole streamed answer.
pub fn whole(pieces: &[&str]) -> Vec<u8> {
    let mut bytes = stream(pieces);
    let end = json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]});
    bytes.extend(chunk(&format!("data: {end}\n\ndata: [DONE]\n\n")));
    bytes.extend(b"0\r\n\r\n");
    bytes
}

/// A piece of a body that comes in pieces.
pub fn chunk(text: &str) -> Vec<u8> {
    format!("{:x}\r\n{text}\r\n", text.len()).into_bytes()
}

/// An answer with a body of JSON.
pub fn json_answer(status: &str, headers: &str, body: &Value) -> Vec<u8> {
    let body = body.to_string();
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\n{headers}content-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// A list of models with these names.
pub fn models(names: &[&str]) -> Vec<u8> {
    let data: Vec<Value> = names.iter().map(|name| json!({"id": name})).collect();
    json_answer("200 OK", "", &json!({"object": "list", "data": data}))
}
