//! HTTP to one server, over rustls. Each request has a connection of its own, which lives in what
//! this hands out: dropping that closes it, and the server stops working for nobody.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Body, Bytes, Incoming};
use hyper::client::conn::http1::{self, Connection};
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, USER_AGENT};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::clean;
use super::conversation::Ask;
use super::events::{Events, Failure, Piece, Unreadable};
use super::key::Key;
use super::place::Place;
use super::trouble::{ErrorFields, Refusal, Trouble, handshake, wait};

/// Speaks to one server with one key.
pub(super) struct Client {
    place: Place,
    /// None: the server speaks plain HTTP, on this machine.
    tls: Option<Arc<ClientConfig>>,
    key: Key,
}

/// A model that the key may use.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Model {
    /// Its name, as the server writes it.
    pub(super) id: String,
    /// Its other names.
    pub(super) aliases: Vec<String>,
    /// Whether it is used where none is named.
    pub(super) is_default: bool,
}

impl Model {
    /// Whether this is one of its names.
    pub(super) fn is_called(&self, name: &str) -> bool {
        self.id == name || self.aliases.iter().any(|alias| alias == name)
    }
}

impl Client {
    pub(super) fn new(place: Place, tls: Option<Arc<ClientConfig>>, key: Key) -> Self {
        Self { place, tls, key }
    }

    /// The server's address.
    pub(super) fn url(&self) -> String {
        self.place.url()
    }

    /// The key that is sent.
    pub(super) fn key(&self) -> &str {
        self.key.secret.expose()
    }

    /// The models that can chat.
    pub(super) async fn models(&self) -> Result<Vec<Model>, Trouble> {
        let mut link = self.exchange(Method::GET, "models", None, String::new()).await?;
        let body = link.whole(BODY_BYTES_MAX).await?;
        let list: List = serde_json::from_slice(&body)
            .map_err(|_| self.foreign("its list of models cannot be read"))?;
        let chats = list.data.into_iter().filter(|model| {
            // A model of which nothing is known yet may turn out to be one that chats.
            model.strongroom.kind.as_deref().is_none_or(|kind| kind == "chat")
        });
        Ok(chats
            .map(|model| Model {
                id: model.id,
                aliases: model.strongroom.aliases,
                is_default: model.strongroom.default,
            })
            .collect())
    }

    /// Asks; what comes back is read from the answer.
    pub(super) async fn ask(&self, ask: &Ask) -> Result<Answering, Trouble> {
        let body = ask.body();
        // `--key-file /dev/stdin < key` reads one file twice.
        if body.contains(self.key()) {
            return Err(Trouble::KeyAsked);
        }
        let link =
            self.exchange(Method::POST, "chat/completions", ask.model.as_deref(), body).await?;
        let kind = link.response.headers().get(CONTENT_TYPE);
        let is_stream = kind
            .and_then(|kind| kind.to_str().ok())
            .is_some_and(|kind| kind.starts_with("text/event-stream"));
        if !is_stream {
            return Err(self.foreign("it does not stream its answers"));
        }
        Ok(Answering { link, events: Events::default(), bytes: 0, url: self.url(), is_over: false })
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        model: Option<&str>,
        body: String,
    ) -> Result<Link, Trouble> {
        let connected = timeout(CONNECT_TIME, self.connect()).await;
        let stream = connected.map_err(|_| self.unreachable("it does not answer in time"))??;
        let (mut sender, connection) = http1::Builder::new()
            .max_buf_size(BUFFER_BYTES)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|_| Trouble::Cut)?;
        let mut connection = Some(Box::pin(connection));
        let bytes = body.len();
        let mut answered = Box::pin(sender.send_request(self.request(method, path, body)?));
        let answered = timeout(
            SILENCE_MAX,
            poll_fn(|context| {
                drive(&mut connection, context);
                answered.as_mut().poll(context)
            }),
        );
        let response = answered.await.map_err(|_| Trouble::Silent(SILENCE_MAX))?;
        let response = response.map_err(|error| self.no_answer(&error, bytes))?;
        let link = Link { response, connection };
        if link.response.status().as_u16() == 200 {
            return Ok(link);
        }
        Err(self.refusal(link, model).await)
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        body: String,
    ) -> Result<Request<String>, Trouble> {
        let wrong = |_| self.foreign("its address cannot be asked for");
        let bearer = zeroize::Zeroizing::new(format!("Bearer {}", self.key.secret.expose()));
        let mut bearer =
            HeaderValue::from_str(&bearer).map_err(|_| self.foreign("the key cannot be sent"))?;
        bearer.set_sensitive(true);
        Request::builder()
            .method(method)
            .uri(format!("{}/v1/{path}", self.place.prefix))
            .header(HOST, self.place.authority())
            .header(USER_AGENT, concat!("strongroom-chat/", env!("CARGO_PKG_VERSION")))
            .header(ACCEPT, "application/json, text/event-stream")
            .header(CONTENT_TYPE, "application/json")
            .header(AUTHORIZATION, bearer)
            .body(body)
            .map_err(wrong)
    }

    async fn connect(&self) -> Result<Box<dyn Stream>, Trouble> {
        let address = (&*self.place.host, self.place.port);
        let socket =
            TcpStream::connect(address).await.map_err(|error| self.unreachable(&reason(&error)))?;
        // A question is one small write, and waits for nothing.
        let _ = socket.set_nodelay(true);
        let Some(config) = &self.tls else { return Ok(Box::new(socket)) };
        let name = ServerName::try_from(self.place.name.clone())
            .map_err(|_| self.unreachable("its name is no host name"))?;
        let connector = TlsConnector::from(Arc::clone(config));
        let secured = connector.connect(name, socket).await;
        Ok(Box::new(secured.map_err(|error| handshake(&self.url(), &error))?))
    }

    async fn refusal(&self, mut link: Link, model: Option<&str>) -> Trouble {
        #[derive(Default, Deserialize)]
        struct Told {
            #[serde(default)]
            error: ErrorFields,
        }
        let (status, wait) = (link.response.status().as_u16(), wait(link.response.headers()));
        // Whatever cannot be read of it, its status says enough.
        let body = link.whole(ERROR_BYTES_MAX).await.unwrap_or_default();
        let told: Told = serde_json::from_slice(&body).unwrap_or_default();
        self.refused(status, told.error, wait, model)
    }

    /// An error of the server, with what is known here about what was asked.
    pub(super) fn refused(
        &self,
        status: u16,
        fields: ErrorFields,
        wait: Option<Duration>,
        model: Option<&str>,
    ) -> Trouble {
        Trouble::Refused(Refusal {
            key: self.key.origin.clone(),
            model: model.map(str::to_owned),
            ..Refusal::new(status, fields, wait)
        })
    }

    fn unreachable(&self, reason: &str) -> Trouble {
        Trouble::Unreachable { url: self.url(), reason: reason.to_owned() }
    }

    fn foreign(&self, reason: &str) -> Trouble {
        Trouble::Foreign { url: self.url(), reason: reason.to_owned() }
    }

    fn no_answer(&self, error: &hyper::Error, bytes: usize) -> Trouble {
        if error.is_parse() {
            return self.foreign("it does not speak HTTP as it should");
        }
        // A server that refuses the size of a body does not read it, and its answer can be lost.
        let hint =
            if bytes > LARGE_BYTES { "; what was asked may be too large for it" } else { "" };
        self.unreachable(&format!("it closed the connection without an answer{hint}"))
    }
}

/// An answer that is on its way. Dropping it ends it.
pub(super) struct Answering {
    link: Link,
    events: Events,
    bytes: usize,
    url: String,
    is_over: bool,
}

impl Answering {
    /// The next piece; none at the end. A stream that stops before its end has been cut.
    pub(super) async fn next(&mut self) -> Result<Option<Piece>, Trouble> {
        loop {
            if let Some(piece) = self.events.next() {
                self.is_over |= matches!(piece, Piece::Over | Piece::Failed(_));
                return Ok(Some(piece));
            }
            if self.is_over {
                return Ok(None);
            }
            let bytes = timeout(SILENCE_MAX, self.link.next()).await;
            let bytes = bytes.map_err(|_| Trouble::Silent(SILENCE_MAX))??;
            let bytes = bytes.ok_or(Trouble::Cut)?;
            self.bytes += bytes.len();
            if self.bytes > STREAM_BYTES_MAX {
                return Err(Trouble::TooLong(STREAM_BYTES_MAX));
            }
            let foreign = |reason: &str| Trouble::Foreign {
                url: self.url.clone(),
                reason: reason.to_owned(),
            };
            self.events.take(&bytes).map_err(|error| match error {
                Unreadable::Line => foreign("it sends events without an end"),
                Unreadable::Event => foreign("it sends events that are not those of a chat"),
            })?;
        }
    }
}

impl Failure {
    /// The error that it tells.
    pub(super) fn trouble(self, client: &Client, model: Option<&str>) -> Trouble {
        client.refused(500, self.0, None, model)
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

type Connected = Option<Pin<Box<Connection<TokioIo<Box<dyn Stream>>, String>>>>;

/// An answer and the connection on which it comes.
struct Link {
    response: Response<Incoming>,
    /// None when it has ended.
    connection: Connected,
}

impl Link {
    /// The next bytes of the body; none at its end.
    async fn next(&mut self) -> Result<Option<Bytes>, Trouble> {
        loop {
            let frame = poll_fn(|context| {
                drive(&mut self.connection, context);
                Pin::new(self.response.body_mut()).poll_frame(context)
            });
            match frame.await {
                None => return Ok(None),
                Some(Err(_)) => return Err(Trouble::Cut),
                Some(Ok(frame)) => {
                    if let Ok(bytes) = frame.into_data() {
                        return Ok(Some(bytes));
                    }
                }
            }
        }
    }

    async fn whole(&mut self, bytes_max: usize) -> Result<Vec<u8>, Trouble> {
        let mut body = Vec::new();
        loop {
            let bytes = timeout(SILENCE_MAX, self.next()).await;
            let Some(bytes) = bytes.map_err(|_| Trouble::Silent(SILENCE_MAX))?? else {
                return Ok(body);
            };
            if body.len() + bytes.len() > bytes_max {
                return Err(Trouble::TooLong(bytes_max));
            }
            body.extend_from_slice(&bytes);
        }
    }
}

/// Lets the connection do its work. How it ends is told by what was expected of it.
fn drive(connection: &mut Connected, context: &mut Context<'_>) {
    if let Some(running) = connection
        && let Poll::Ready(_) = running.as_mut().poll(context)
    {
        *connection = None;
    }
}

fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "the connection is refused".to_owned(),
        _ => clean::line(&error.to_string()),
    }
}

#[derive(Deserialize)]
struct List {
    data: Vec<Listed>,
}

#[derive(Deserialize)]
struct Listed {
    id: String,
    #[serde(default)]
    strongroom: About,
}

#[derive(Default, Deserialize)]
struct About {
    #[serde(default)]
    default: bool,
    #[serde(default)]
    kind: Option<String>,
    #[serde(default)]
    aliases: Vec<String>,
}

const CONNECT_TIME: Duration = Duration::from_secs(15);
/// A server says that it is there four times a minute, unless it was told not to.
const SILENCE_MAX: Duration = Duration::from_mins(15);
const LARGE_BYTES: usize = 1 << 20;
const BUFFER_BYTES: usize = 64 << 10;
const BODY_BYTES_MAX: usize = 4 << 20;
const ERROR_BYTES_MAX: usize = 64 << 10;
/// Events take many times the room of their text.
const STREAM_BYTES_MAX: usize = 256 << 20;
