//! A listening socket becomes a server: every connection is counted in, meets its time limits from its
//! first byte on, and speaks HTTP/1.1 or HTTP/2, over TLS where there is a certificate.

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_http::body::MessageBody;
use actix_http::error::DispatchError;
use actix_http::{HttpService, Protocol, Request, Response};
use actix_server::{Server, ServerBuilder};
use actix_service::{
    IntoServiceFactory, ServiceFactory, ServiceFactoryExt as _, fn_service, map_config,
};
use actix_web::Error;
use actix_web::dev::AppConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::connections::Connections;
use super::frames::Framed;
use super::patience::{Pace, Patient};
use super::pipelining::Sips;
use crate::config;

/// How long a client may take to close its end once we have closed ours.
const CLOSE_WAIT: Duration = Duration::from_secs(1);

/// What a server is told beside what it serves.
#[derive(Clone)]
pub struct Serving {
    /// Threads that speak HTTP.
    pub workers: usize,
    /// Open connections at once, over all workers.
    pub connections_max: usize,
    /// The same, counted.
    pub connections: Connections,
    /// Requests that one connection may have under way.
    pub requests_max: usize,
    /// How long a handshake and the head of a request may take.
    pub head_timeout: Duration,
    /// How long a client may take to read a piece of an answer.
    pub write_timeout: Duration,
    /// How long an idle connection stays open.
    pub keep_alive: Duration,
    /// How long connections may take to end once the server is told to stop, in seconds.
    pub shutdown_s: u64,
    /// What TLS is spoken with; none: plain HTTP.
    pub tls: Option<rustls::ServerConfig>,
}

impl Serving {
    /// As the settings say, with so much time to end.
    pub fn new(settings: &config::Server, shutdown_s: u64) -> Self {
        let connections_max = settings.connections_max as usize;
        let of_one_max = settings.connections_per_address_max as usize;
        let trusted = settings.trusted_proxies().into();
        Self {
            workers: workers(settings.workers).min(connections_max),
            connections_max,
            connections: Connections::new(connections_max, of_one_max, trusted),
            requests_max: settings.requests_per_connection_max as usize,
            head_timeout: Duration::from_millis(settings.head_timeout_ms.into()),
            write_timeout: Duration::from_millis(settings.write_timeout_ms.into()),
            keep_alive: Duration::from_secs(settings.keep_alive_s.into()),
            shutdown_s,
            tls: None,
        }
    }

    /// The same, over TLS.
    #[must_use]
    pub fn with_tls(self, tls: Option<rustls::ServerConfig>) -> Self {
        Self { tls, ..self }
    }

    /// The same, with one worker.
    #[must_use]
    pub fn alone(self) -> Self {
        Self { workers: 1, ..self }
    }
}

fn workers(configured: u16) -> usize {
    match configured {
        0 => std::thread::available_parallelism().map_or(2, usize::from).min(4),
        some => some.into(),
    }
}

/// Serves what the factory makes, once for each worker.
pub fn serve<F, I, S, B>(listener: TcpListener, parts: Serving, factory: F) -> io::Result<Server>
where
    F: Fn() -> I + Send + Clone + 'static,
    I: IntoServiceFactory<S, Request>,
    S: ServiceFactory<Request, Config = AppConfig> + 'static,
    S::Error: Into<Error> + 'static,
    S::InitError: fmt::Debug,
    S::Response: Into<Response<B>> + 'static,
    S::Service: 'static,
    S::Future: 'static,
    <S::Service as actix_service::Service<Request>>::Future: 'static,
    B: MessageBody + 'static,
{
    let address = listener.local_addr()?;
    let builder = ServerBuilder::new()
        .workers(parts.workers)
        // Beyond these a worker takes no more off the queue of the system. Their sum is about that of
        // all; `Connections` holds it exactly.
        .max_concurrent_connections(parts.connections_max.div_ceil(parts.workers))
        .shutdown_timeout(parts.shutdown_s)
        .disable_signals();
    let stopping = builder.graceful_shutdown_signal();
    let tls = parts.tls.clone().map(acceptor);
    let builder = builder.listen("http", listener, move || {
        let stopping = stopping.clone();
        let (door, tls) = (Rc::new(Serving { tls: None, ..parts.clone() }), tls.clone());
        let app = factory().into_factory().map_err(|error| error.into().error_response());
        let http = HttpService::build()
            .graceful_shutdown_signal(move || {
                let stopping = stopping.clone();
                async move { stopping.notified().await }
            })
            .keep_alive(parts.keep_alive)
            .client_request_timeout(parts.head_timeout)
            .client_disconnect_timeout(CLOSE_WAIT)
            // A client who has closed its end has gone: its work ends.
            .h1_allow_half_closed(false)
            .local_addr(address)
            .on_connect_ext(|stream: &Stream, data| {
                data.insert(stream.pace());
            })
            .finish(map_config(app, |()| AppConfig::default()));
        fn_service(move |socket: TcpStream| {
            let (door, tls) = (Rc::clone(&door), tls.clone());
            async move { admit(socket, &door, tls).await.map_err(DispatchError::Io) }
        })
        .and_then(http)
    })?;
    Ok(builder.run())
}

/// What HTTP is spoken over.
trait Io: AsyncRead + AsyncWrite + Unpin {
    /// What is under way on it.
    fn pace(&self) -> Rc<Pace>;
}

impl Io for TlsStream<Patient<TcpStream>> {
    fn pace(&self) -> Rc<Pace> {
        Rc::clone(self.get_ref().0.pace())
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Io for Framed<T> {
    fn pace(&self) -> Rc<Pace> {
        Rc::clone(Framed::pace(self))
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Io for Sips<T> {
    fn pace(&self) -> Rc<Pace> {
        Rc::clone(Sips::pace(self))
    }
}

type Stream = Box<dyn Io>;

/// Counts a connection in and agrees on what is spoken.
async fn admit(
    socket: TcpStream,
    parts: &Serving,
    tls: Option<TlsAcceptor>,
) -> io::Result<(Stream, Protocol, Option<SocketAddr>)> {
    let peer = socket.peer_addr().ok();
    let address = peer.map(|peer| peer.ip());
    let place = parts.connections.enter(address).await;
    let place = place.ok_or_else(|| io::Error::from(ErrorKind::ConnectionRefused))?;
    // A word that is ready leaves at once, without waiting for the last one's receipt.
    socket.set_nodelay(true)?;
    let is_proxy = parts.connections.is_trusted(address);
    let requests_max = if is_proxy { usize::MAX } else { parts.requests_max };
    let pace = Pace::new(requests_max);
    let socket = Patient::new(socket, parts.write_timeout, Rc::clone(&pace), place);
    let Some(tls) = tls else {
        return Ok((Box::new(Sips::new(socket, pace)), Protocol::Http1, peer));
    };
    let agreed = timeout(parts.head_timeout, tls.accept(socket)).await;
    let stream = agreed.map_err(|_| io::Error::from(ErrorKind::TimedOut))??;
    match stream.get_ref().1.alpn_protocol() {
        // A proxy bounds heads itself, and whom it sends them for ends nobody else's requests.
        Some(b"h2") if is_proxy => Ok((Box::new(stream), Protocol::Http2, peer)),
        Some(b"h2") => Ok((Box::new(Framed::new(stream, pace)), Protocol::Http2, peer)),
        _ => Ok((Box::new(Sips::new(stream, pace)), Protocol::Http1, peer)),
    }
}

fn acceptor(mut config: rustls::ServerConfig) -> TlsAcceptor {
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Arc::new(config).into()
}
