//! A well-behaved client: requests, sessions, streamed answers.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use ureq::Agent;
use ureq::http::{HeaderMap, Request, Response};
use ureq::tls::{Certificate, RootCerts, TlsConfig};

const TIMEOUT: Duration = Duration::from_mins(5);

/// Sends requests to one server.
#[derive(Clone)]
pub struct Client {
    agent: Agent,
    base: String,
    headers: Vec<(String, String)>,
}

impl Client {
    /// A client that trusts one authority.
    pub fn new(base: &str, authority: &Path) -> Self {
        let pem = std::fs::read(authority).expect("the server has written its authority");
        let certificate = Certificate::from_pem(&pem).expect("it is a certificate");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::Specific(Arc::new(vec![certificate])))
            .unversioned_rustls_crypto_provider(provider)
            .build();
        let agent = Agent::config_builder()
            .tls_config(tls)
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .timeout_global(Some(TIMEOUT))
            .build()
            .into();
        Self { agent, base: base.to_owned(), headers: Vec::new() }
    }

    /// The same client, with one more header in every request.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same client, at another address.
    #[must_use]
    pub fn at(mut self, base: &str) -> Self {
        base.clone_into(&mut self.base);
        self
    }

    /// Sends a GET request.
    pub fn get(&self, path: &str) -> Answer {
        self.send("GET", path, None)
    }

    /// Sends a POST request with a JSON body.
    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.send("POST", path, Some(body))
    }

    /// Sends a request.
    pub fn send(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        let bytes = body.map(|body| body.to_string().into_bytes());
        self.try_send(method, path, &[("content-type", "application/json")], bytes)
            .unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    /// Sends a request of any bytes; the connection may fail.
    pub fn try_send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<Vec<u8>>,
    ) -> Result<Answer, String> {
        let response = self.exchange(method, path, headers, body)?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let mut body = Vec::new();
        let mut reader = response.into_body().into_reader();
        reader.read_to_end(&mut body).map_err(|error| error.to_string())?;
        Ok(Answer { status, headers, body })
    }

    /// Sends a request whose answer is a stream of events.
    pub fn stream(&self, path: &str, body: &Value) -> Events {
        self.try_stream(path, body).unwrap_or_else(|error| panic!("POST {path}: {error}"))
    }

    /// Follows a stream of events that somebody else began; it may be over.
    pub fn follow(&self, path: &str) -> Result<Events, String> {
        self.events("GET", path, None)
    }

    /// Sends a request whose answer is a stream of events; the connection may fail, and it may be refused.
    pub fn try_stream(&self, path: &str, body: &Value) -> Result<Events, String> {
        self.events("POST", path, Some(body.to_string().into_bytes()))
    }

    fn events(&self, method: &str, path: &str, body: Option<Vec<u8>>) -> Result<Events, String> {
        let response =
            self.exchange(method, path, &[("content-type", "application/json")], body)?;
        if response.status() != 200 {
            let status = response.status();
            let mut body = String::new();
            response.into_body().into_reader().read_to_string(&mut body).ok();
            return Err(format!("{status}: {body}"));
        }
        let kind = response.headers()["content-type"].to_str().expect("text").to_owned();
        assert!(kind.starts_with("text/event-stream"), "{kind}");
        let headers = response.headers().clone();
        let lines = BufReader::new(Box::new(response.into_body().into_reader()) as _);
        Ok(Events { headers, lines })
    }

    fn exchange(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<Vec<u8>>,
    ) -> Result<Response<ureq::Body>, String> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        let own = self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        for (name, value) in own.chain(headers.iter().copied()) {
            request = request.header(name, value);
        }
        let response = match body {
            Some(body) => self.agent.run(request.body(body).expect("a request")),
            None => self.agent.run(request.body(()).expect("a request")),
        };
        response.map_err(|error| error.to_string())
    }
}

/// A complete answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body of an answer that must have this status.
    pub fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// The `code` of an error.
    pub fn code(&self) -> String {
        let body: Value = serde_json::from_slice(&self.body).unwrap_or(Value::Null);
        let error = &body["error"];
        // The second is where it stands in Anthropic's shape.
        let code = error["code"].as_str().or(error["details"]["error_code"].as_str());
        code.unwrap_or_default().to_owned()
    }
}

/// An answer that comes in events.
pub struct Events {
    pub headers: HeaderMap,
    lines: BufReader<Box<dyn Read + Send>>,
}

/// One event: its name (empty in OpenAI's streams) and its data.
#[derive(Debug, Clone)]
pub struct StreamEvent {
    pub name: String,
    pub data: String,
}

impl StreamEvent {
    /// The data as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap_or_else(|_| panic!("not JSON: {}", self.data))
    }
}

impl Iterator for Events {
    type Item = StreamEvent;

    /// The next event; none where the stream ends or breaks off.
    fn next(&mut self) -> Option<StreamEvent> {
        let mut event = StreamEvent { name: String::new(), data: String::new() };
        loop {
            let mut line = String::new();
            if self.lines.read_line(&mut line).ok()? == 0 {
                return None;
            }
            let line = line.trim_end_matches(['\r', '\n']);
            if line.is_empty() {
                if event.data.is_empty() && event.name.is_empty() {
                    continue;
                }
                return Some(event);
            }
            if let Some(name) = line.strip_prefix("event:") {
                name.trim().clone_into(&mut event.name);
            } else if let Some(data) = line.strip_prefix("data:") {
                event.data.push_str(data.trim_start());
            }
        }
    }
}

/// A person at the web app: a cookie, and the token of their page.
#[derive(Clone)]
pub struct Session {
    pub client: Client,
    pub me: Value,
}

impl Session {
    /// Signs in with name and password.
    pub fn sign_in(client: Client, username: &str, password: &str) -> Self {
        let body = json!({"username": username, "password": password});
        let answer = client.post("/api/session", &body);
        answer.expect(200);
        Self::from_answer(client, &answer)
    }

    /// Goes on with the session that this answer began; the client has kept its cookie.
    pub fn from_answer(client: Client, answer: &Answer) -> Self {
        assert!(answer.headers.contains_key("set-cookie"), "no session was begun");
        let me = client.get("/api/me").expect(200);
        let csrf = me["csrf"].as_str().expect("a token").to_owned();
        Self { client: client.with("x-strongroom-csrf", &csrf), me }
    }

    /// Makes an API key, and gives its id and its secret.
    pub fn make_key(&self, body: &Value) -> (String, String) {
        let made = self.client.post("/api/me/keys", body).expect(201);
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        (text(&made["key"]["id"]), text(&made["secret"]))
    }

    /// A key that may do what its person may.
    pub fn key(&self) -> String {
        self.make_key(&json!({"name": "script"})).1
    }

    /// Begins a conversation, and gives its id.
    pub fn begin_conversation(&self, title: &str) -> String {
        let made = self.client.post("/api/conversations", &json!({"title": title})).expect(201);
        let conversation = made.get("conversation").unwrap_or(&made);
        conversation["id"].as_str().unwrap_or_else(|| panic!("no id in {made}")).to_owned()
    }

    /// Says something, and gives all events of the answer.
    pub fn say(&self, conversation: &str, content: &str) -> Vec<StreamEvent> {
        let path = format!("/api/conversations/{conversation}/messages");
        self.client.stream(&path, &json!({"content": content})).collect()
    }
}
