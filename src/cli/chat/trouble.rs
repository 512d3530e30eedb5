//! What can go wrong between this command and a server, in sentences that say what to do. Nothing
//! that the server sent is shown as it came, and no key is shown at all.

use std::time::Duration;

use hyper::HeaderMap;
use serde::Deserialize;

use super::clean;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    /// There is no connection.
    #[error(
        "no server answers at {url} ({reason}). Is it running? --server says where to look for it"
    )]
    Unreachable { url: String, reason: String },
    /// The certificate is not that of the server that was meant, as far as anybody can tell.
    #[error("{0}")]
    Untrusted(String),
    /// What answers does not speak TLS.
    #[error("what answers at {url} does not speak TLS as it should: {reason}")]
    NoTls { url: String, reason: String },
    /// The server has refused.
    #[error("{0}")]
    Refused(Refusal),
    /// The connection has ended before the answer had.
    #[error(
        "the connection to the server ended in the middle of the answer: what is shown of it is not \
         all. Ask again; if this goes on, look at the server's log"
    )]
    Cut,
    /// What was to be asked holds the key.
    #[error(
        "what was to be asked holds the API key itself, so it was not sent. Take the key out; standard \
         input is asked, so a key that stands there is not named with --key-file"
    )]
    KeyAsked,
    /// Nothing came for too long.
    #[error("the server has sent nothing for {} minutes, so this stopped waiting", .0.as_secs() / 60)]
    Silent(Duration),
    /// It answers, and not as a Strongroom server would.
    #[error("what answers at {url} is no Strongroom server: {reason}")]
    Foreign { url: String, reason: String },
    /// The answer could not be written.
    #[error("the answer could not be written: {0}")]
    Output(#[from] std::io::Error),
    /// The answer is larger than this command takes.
    #[error("the answer is longer than {} MiB; the rest was not taken", .0 >> 20)]
    TooLong(usize),
}

/// An answer that is an error.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) code: String,
    pub(super) message: String,
    pub(super) wait: Option<Duration>,
    /// Where the key came from, in words.
    pub(super) key: String,
    /// The model that was asked for.
    pub(super) model: Option<String>,
}

/// `{"error": {…}}`, as much of it as is of use here.
#[derive(Debug, Default, Deserialize)]
pub(super) struct ErrorFields {
    #[serde(default)]
    message: Option<String>,
    #[serde(default)]
    code: Option<String>,
}

impl Refusal {
    /// What an error says.
    pub(super) fn new(status: u16, fields: ErrorFields, wait: Option<Duration>) -> Self {
        Self {
            status,
            code: clean::line(&fields.code.unwrap_or_default()),
            message: clean::line(&fields.message.unwrap_or_default()),
            wait,
            key: String::new(),
            model: None,
        }
    }

    /// What the server has to say itself.
    fn said(&self) -> String {
        match (self.message.is_empty(), self.code.is_empty()) {
            (false, _) => self.message.clone(),
            (true, false) => format!("The server answers {} ({}).", self.status, self.code),
            (true, true) => format!("The server answers {}.", self.status),
        }
    }

    fn again(&self) -> String {
        self.wait
            .map_or("Try again later".to_owned(), |wait| format!("Try again in {}", span(wait)))
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let said = self.said();
        let key = &self.key;
        let text = match (self.status, &*self.code) {
            (401, _) => format!(
                "the server does not know the key from {key}: it was mistyped, has expired or was \
                 revoked. Make a new one in the web app under Account → API keys"
            ),
            (_, "permission_denied") => {
                format!("the key from {key} does not allow this, or its owner's role does not")
            }
            (_, "model_not_found") => match &self.model {
                Some(name) => format!(
                    "there is no model `{}`, or this key may not use it. `/model` in a chat lists \
                     those that it may",
                    clean::line(name)
                ),
                None => {
                    "there is no model that this key may use. Whoever runs the server can open \
                         one to it"
                        .to_owned()
                }
            },
            (429 | 503 | 504, _) => format!("{said} {}", self.again()),
            (_, "context_length_exceeded") => {
                format!("{said} Ask with less text; `/clear` begins a chat anew")
            }
            (413, _) => {
                "the question, with what was said before it, is larger than the server takes. Ask \
                 with less text; `/clear` begins a chat anew"
                    .to_owned()
            }
            (_, "content_policy") => format!("{said} Nothing was answered; ask in another way"),
            (421, _) => format!("{said} Or use one of its names with --server"),
            (300..=399, _) => {
                "the server sends elsewhere, which is not followed, since the key would \
                               go there too. Give the address itself with --server"
                    .to_owned()
            }
            _ => said,
        };
        formatter.write_str(text.trim_end_matches('.'))
    }
}

/// How long a client is asked to wait.
pub(super) fn wait(headers: &HeaderMap) -> Option<Duration> {
    let number = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse::<u64>().ok();
    let milliseconds = number("retry-after-ms").map(Duration::from_millis);
    milliseconds.or_else(|| number("retry-after").map(Duration::from_secs))
}

fn span(wait: Duration) -> String {
    let seconds = wait.as_millis().div_ceil(1_000).max(1);
    match seconds {
        1 => "1 second".to_owned(),
        2..=119 => format!("{seconds} seconds"),
        120..=7_199 => format!("{} minutes", seconds.div_ceil(60)),
        _ => format!("{} hours", seconds.div_ceil(3_600)),
    }
}

/// Why a handshake failed.
pub(super) fn handshake(url: &str, error: &std::io::Error) -> Trouble {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let url = url.to_owned();
    let Some(rustls::Error::InvalidCertificate(reason)) = inner else {
        return Trouble::NoTls { url, reason: clean::line(&error.to_string()) };
    };
    use rustls::CertificateError as Why;
    Trouble::Untrusted(match reason {
        Why::UnknownIssuer => format!(
            "the certificate of {url} is not from an authority that is trusted here, so nothing was \
             sent. If it is your server, get its <data directory>/tls/ca.pem by a safe way and name \
             the copy with --ca (or STRONGROOM_CA_FILE)"
        ),
        Why::NotValidForName | Why::NotValidForNameContext { .. } => format!(
            "the certificate of {url} is for other names, so nothing was sent. Use one of its names \
             with --server, or have this one added to `server.hosts`"
        ),
        Why::Expired | Why::ExpiredContext { .. } => format!(
            "the certificate of {url} has expired, so nothing was sent. Is the clock of this machine \
             right?"
        ),
        Why::NotValidYet | Why::NotValidYetContext { .. } => format!(
            "the certificate of {url} is not valid yet, so nothing was sent. Is the clock of this \
             machine right?"
        ),
        other => format!(
            "the certificate of {url} is not trusted ({}), so nothing was sent",
            clean::line(&other.to_string())
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(status: u16, code: &str, message: &str, wait: Option<u64>) -> String {
        let fields = ErrorFields { code: Some(code.to_owned()), message: Some(message.to_owned()) };
        let refusal = Refusal {
            key: "the file k".to_owned(),
            model: Some("m".to_owned()),
            ..Refusal::new(status, fields, wait.map(Duration::from_secs))
        };
        Trouble::Refused(refusal).to_string()
    }

    #[test]
    fn a_refusal_says_what_to_do() {
        for (status, code, wait, part) in [
            (401, "invalid_api_key", None, "the key from the file k"),
            (403, "permission_denied", None, "does not allow"),
            (404, "model_not_found", None, "no model `m`"),
            (429, "rate_limit_exceeded", Some(12), "Try again in 12 seconds"),
            (429, "insufficient_quota", Some(7_200), "Try again in 2 hours"),
            (429, "concurrency_exceeded", None, "Try again later"),
            (400, "context_length_exceeded", None, "/clear"),
            (413, "payload_too_large", None, "less text"),
            (503, "sealed", None, "What happened."),
            (302, "", None, "not followed"),
            (500, "internal_error", None, "What happened"),
        ] {
            let told = told(status, code, "What happened.", wait);
            assert!(told.contains(part), "{told}");
        }
    }

    #[test]
    fn what_the_server_says_cannot_steer_the_terminal() {
        let told = told(500, "\x1b]0;x\x07", "\x1b[2Jall is\nwell", None);
        assert!(!told.contains(char::is_control), "{told:?}");
    }

    #[test]
    fn the_exact_waiting_time_counts_first() {
        let mut headers = HeaderMap::new();
        assert_eq!(wait(&headers), None);
        headers.insert("retry-after", "2".parse().expect("a value"));
        assert_eq!(wait(&headers), Some(Duration::from_secs(2)));
        headers.insert("retry-after-ms", "1500".parse().expect("a value"));
        assert_eq!(wait(&headers), Some(Duration::from_millis(1_500)));
        headers.insert("retry-after-ms", "soon".parse().expect("a value"));
        assert_eq!(wait(&headers), Some(Duration::from_secs(2)));
    }
}
