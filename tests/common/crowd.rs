//! Many clients at once on a few threads. Each has a connection of its own, asks for one streamed answer
//! after the other, and reads each to its end.

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{GUIDE, Server, raw};

/// The address that clients come from, where it does not matter.
pub const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

/// Waiting ends here, with a failure instead of a client that hangs.
const PATIENCE: Duration = Duration::from_mins(10);
/// The tokens that end an answer of the built-in model.
const ENDS: [&str; 3] = ["0", "1", "2"];

/// A request whose answer has exactly so many tokens, and is streamed with its usage.
pub fn exactly(tokens: u64, question: &str) -> Value {
    let never: serde_json::Map<String, Value> =
        ENDS.iter().map(|token| ((*token).to_owned(), json!(-100))).collect();
    json!({"model": GUIDE, "stream": true, "stream_options": {"include_usage": true},
        "max_tokens": tokens, "logit_bias": never,
        "messages": [{"role": "user", "content": question}]})
}

/// The way to one server.
#[derive(Clone)]
pub struct Door {
    address: SocketAddr,
    tls: TlsConnector,
    /// What a socket holds that was not read; none: what the system gives it.
    held_bytes: Option<u32>,
}

impl Door {
    /// The way to this server.
    pub fn of(server: &Server) -> Self {
        let address = server.base.strip_prefix("https://").expect("it speaks TLS");
        let config = raw::trusting(&server.authority, &["http/1.1"]);
        Self {
            address: address.parse().expect("an address and a port"),
            tls: TlsConnector::from(Arc::new(config)),
            held_bytes: None,
        }
    }

    /// The same, over sockets that hold little that was not read.
    #[must_use]
    pub fn holding_little(self) -> Self {
        Self { held_bytes: Some(4_096), ..self }
    }

    /// A connection that has said nothing yet, not even in TLS.
    pub async fn knock(&self, from: IpAddr) -> io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        if let Some(bytes) = self.held_bytes {
            socket.set_recv_buffer_size(bytes)?;
        }
        socket.bind((from, 0).into())?;
        let stream = socket.connect(self.address).await?;
        // A question is one small write, and waits for nothing.
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// A connection on which TLS is spoken.
    pub async fn enter(&self, from: IpAddr) -> io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from("127.0.0.1").expect("an address");
        let stream = self.knock(from).await?;
        self.tls.connect(name, stream).await
    }

    /// A connection of somebody who asks.
    pub async fn asker(&self, from: IpAddr) -> Result<Asker, String> {
        let failed = |error: &dyn std::error::Error| format!("no connection: {error}");
        let stream = self.enter(from).await.map_err(|error| failed(&error))?;
        let (sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| failed(&error))?;
        // How it ends is told by what was expected of it.
        let driver = tokio::spawn(async move { drop(connection.await) });
        Ok(Asker { sender, driver, host: self.address.to_string() })
    }
}

/// Somebody who asks over one connection. Dropping this closes it at once.
pub struct Asker {
    sender: SendRequest<String>,
    driver: JoinHandle<()>,
    host: String,
}

impl Drop for Asker {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Asker {
    /// Asks, and reads the stream to its end.
    pub async fn ask(&mut self, key: &str, body: &Value) -> Result<Told, String> {
        let answered = async {
            let mut hearing = self.begin(key, body).await?;
            while hearing.next().await? {}
            hearing.told.whole()
        };
        timeout(PATIENCE, answered).await.map_err(|_| "no end of the answer".to_owned())?
    }

    /// Asks; the answer is read piece by piece.
    pub async fn begin(&mut self, key: &str, body: &Value) -> Result<Hearing, String> {
        let request = Request::post("/v1/chat/completions")
            .header(HOST, &self.host)
            .header(AUTHORIZATION, format!("Bearer {key}"))
            .header(CONTENT_TYPE, "application/json")
            .body(body.to_string())
            .map_err(|error| error.to_string())?;
        let failed = |error: hyper::Error| format!("no answer: {error}");
        self.sender.ready().await.map_err(failed)?;
        let begun = Instant::now();
        let response = self.sender.send_request(request).await.map_err(failed)?;
        let mut hearing = Hearing { response, begun, told: Told::default() };
        let status = hearing.response.status();
        if status == 200 {
            return Ok(hearing);
        }
        let mut said = Vec::new();
        while let Some(bytes) = hearing.bytes().await? {
            said.extend(bytes);
        }
        Err(format!("{status}: {}", String::from_utf8_lossy(&said)))
    }
}

/// An answer that is being read.
pub struct Hearing {
    response: Response<Incoming>,
    begun: Instant,
    /// What has come so far.
    pub told: Told,
}

impl Hearing {
    /// Reads on; false where the stream has ended.
    pub async fn next(&mut self) -> Result<bool, String> {
        let Some(bytes) = self.bytes().await? else { return Ok(false) };
        self.told.take(&bytes, self.begun.elapsed())?;
        Ok(true)
    }

    async fn bytes(&mut self) -> Result<Option<Vec<u8>>, String> {
        loop {
            let body = self.response.body_mut();
            let frame = poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await;
            match frame {
                None => return Ok(None),
                Some(Err(error)) => return Err(format!("the stream broke off: {error}")),
                Some(Ok(frame)) => {
                    if let Ok(bytes) = frame.into_data() {
                        return Ok(Some(bytes.to_vec()));
                    }
                }
            }
        }
    }
}

/// What was told in one answer.
#[derive(Debug, Default)]
pub struct Told {
    /// When each piece of text came, counted from the request.
    pub pieces: Vec<Duration>,
    /// Tokens of the prompt and of the answer, as the server counts them.
    pub prompt_tokens: u64,
    pub completion_tokens: u64,
    /// Why it ended.
    pub finish: String,
    is_done: bool,
    rest: Vec<u8>,
}

#[derive(Deserialize)]
struct Chunk {
    #[serde(default)]
    choices: Vec<Choice>,
    usage: Option<Usage>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Choice {
    delta: Delta,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Delta {
    content: Option<String>,
}

#[derive(Deserialize)]
struct Usage {
    prompt_tokens: u64,
    completion_tokens: u64,
}

impl Told {
    fn take(&mut self, bytes: &[u8], at: Duration) -> Result<(), String> {
        self.rest.extend(bytes);
        while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            if let Some(data) = line.strip_prefix(b"data: ") {
                self.event(data.trim_ascii_end(), at)?;
            }
        }
        Ok(())
    }

    fn event(&mut self, data: &[u8], at: Duration) -> Result<(), String> {
        if self.is_done {
            return Err("something comes behind the end".to_owned());
        }
        if data == b"[DONE]" {
            self.is_done = true;
            return Ok(());
        }
        let unreadable = |_| format!("not a chunk: {}", String::from_utf8_lossy(data));
        let chunk: Chunk = serde_json::from_slice(data).map_err(unreadable)?;
        if let Some(error) = chunk.error {
            return Err(format!("an error in the stream: {error}"));
        }
        for choice in chunk.choices {
            if choice.delta.content.is_some_and(|text| !text.is_empty()) {
                self.pieces.push(at);
            }
            if let Some(finish) = choice.finish_reason {
                self.finish = finish;
            }
        }
        if let Some(usage) = chunk.usage {
            self.prompt_tokens = usage.prompt_tokens;
            self.completion_tokens = usage.completion_tokens;
        }
        Ok(())
    }

    /// The same, of a stream that has ended: an error where anything of an answer is missing.
    pub fn whole(self) -> Result<Self, String> {
        let is_whole = self.is_done
            && self.rest.is_empty()
            && !self.pieces.is_empty()
            && !self.finish.is_empty()
            && self.completion_tokens > 0;
        if is_whole { Ok(self) } else { Err(format!("an answer without all its parts: {self:?}")) }
    }
}
