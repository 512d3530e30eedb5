//! Answers made smaller on their way (gzip, brotli, zstd), where their length tells nobody anything: the
//! files of the web app, which are the same for all, and JSON for programs that sent a key of their own.
//!
//! An answer to a cookie is never among them. A page elsewhere could have it asked for with words of its
//! own choice in it, and learn from its length what else stands in there (BREACH). Nor are streams: each
//! of their pieces would have to leave by itself.

use std::collections::HashMap;
use std::sync::Arc;

use actix_http::ResponseHead;
use actix_http::encoding::Encoder;
use actix_web::HttpMessage as _;
use actix_web::body::{BodySize, BoxBody, EitherBody, MessageBody, to_bytes};
use actix_web::dev::ServiceResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{
    ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, ContentEncoding, HeaderMap, HeaderValue, VARY,
};
use actix_web::web::Bytes;
use parking_lot::Mutex;

/// What is shorter gains nothing.
const BYTES_MIN: usize = 1_024;
/// What is kept of all files in all codings.
const KEPT_BYTES_MAX: usize = 16 << 20;
/// Codings that are looked at in one request.
const NAMED_MAX: usize = 32;
const BY_CODING: HeaderValue = HeaderValue::from_static("accept-encoding");

/// In the extensions of a request: it came with a credential that no browser adds by itself.
#[derive(Clone, Copy, Debug)]
pub struct SentKey;

/// How an answer is made smaller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Coding {
    Zstd,
    Brotli,
    Gzip,
}

impl Coding {
    /// The one that is liked best here first.
    const ALL: [Self; 3] = [Self::Zstd, Self::Brotli, Self::Gzip];

    /// The name, as HTTP has it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Brotli => "br",
            Self::Gzip => "gzip",
        }
    }

    const fn encoding(self) -> ContentEncoding {
        match self {
            Self::Zstd => ContentEncoding::Zstd,
            Self::Brotli => ContentEncoding::Brotli,
            Self::Gzip => ContentEncoding::Gzip,
        }
    }

    /// The coding that a request likes best (RFC 9110, 12.5.3); none: the answer as it is.
    pub(super) fn wanted(headers: &HeaderMap) -> Option<Self> {
        let texts = headers.get_all(ACCEPT_ENCODING).filter_map(|value| value.to_str().ok());
        let named: Vec<(&str, u16)> =
            texts.flat_map(|text| text.split(',')).take(NAMED_MAX).filter_map(weighed).collect();
        let weight = |name: &str| {
            named.iter().find(|(one, _)| one.eq_ignore_ascii_case(name)).map(|(_, weight)| *weight)
        };
        let any = weight("*").unwrap_or(0);
        let mut best = (weight("identity").unwrap_or(0), None);
        for coding in Self::ALL {
            let weight = weight(coding.name()).unwrap_or(any);
            // What is as welcome as it is gets smaller.
            if weight > best.0 || (weight == best.0 && weight > 0 && best.1.is_none()) {
                best = (weight, Some(coding));
            }
        }
        best.1
    }

    /// These bytes in the coding; none where they are not smaller in it.
    async fn of(self, bytes: Bytes) -> Option<Bytes> {
        let before = bytes.len();
        let mut head = ResponseHead::new(StatusCode::OK);
        let coded = to_bytes(Encoder::response(self.encoding(), &mut head, bytes)).await;
        let Ok(coded) = coded else {
            tracing::error!(coding = self.name(), "an answer could not be coded");
            return None;
        };
        (coded.len() < before).then_some(coded)
    }
}

/// A coding and its weight in thousandths, as `gzip;q=0.8` names them.
fn weighed(text: &str) -> Option<(&str, u16)> {
    let mut parts = text.split(';').map(str::trim);
    let name = parts.next().filter(|name| !name.is_empty())?;
    let Some(rest) = parts.next() else { return Some((name, 1_000)) };
    let quality = rest.strip_prefix("q=").or_else(|| rest.strip_prefix("Q="))?;
    let quality: f32 = quality.parse().ok().filter(|quality| (0.0..=1.0).contains(quality))?;
    Some((name, (quality * 1_000.0) as u16))
}

/// Whether something is long enough to be made smaller.
pub(super) const fn is_long(bytes: usize) -> bool {
    bytes >= BYTES_MIN
}

/// Says that an answer is another one for who takes other codings.
pub(super) fn tell_that_it_varies(headers: &mut HeaderMap) {
    headers.append(VARY, BY_CODING);
}

/// Makes the answer to a program smaller, if that takes one of the codings.
pub(super) async fn made_smaller<B: MessageBody + 'static>(
    mut response: ServiceResponse<EitherBody<B>>,
) -> ServiceResponse<EitherBody<B>> {
    if !is_for_program(&response) {
        return response;
    }
    tell_that_it_varies(response.headers_mut());
    let Some(coding) = Coding::wanted(response.request().headers()) else { return response };
    let (request, response) = response.into_parts();
    let (mut head, body) = response.into_parts();
    let body = match body.try_into_bytes() {
        Err(body) => body,
        Ok(bytes) => {
            let coded = coding.of(bytes.clone()).await;
            if coded.is_some() {
                let name = HeaderValue::from_static(coding.name());
                head.headers_mut().insert(CONTENT_ENCODING, name);
            }
            EitherBody::right(BoxBody::new(coded.unwrap_or(bytes)))
        }
    };
    ServiceResponse::new(request, head.set_body(body))
}

/// Whether an answer is JSON of some length for somebody who sent a key.
fn is_for_program<B: MessageBody>(response: &ServiceResponse<B>) -> bool {
    let headers = response.headers();
    let is_json = headers.get(CONTENT_TYPE).is_some_and(|value| {
        let kind = value.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
        kind.trim_ascii().eq_ignore_ascii_case(b"application/json")
    });
    let is_whole = matches!(
        response.response().body().size(),
        BodySize::Sized(bytes) if is_long(usize::try_from(bytes).unwrap_or(0))
    );
    let has_key = response.request().extensions().get::<SentKey>().is_some();
    has_key && is_json && is_whole && !headers.contains_key(CONTENT_ENCODING)
}

/// The files of the web app in their codings, each made once. A handle.
#[derive(Clone, Debug, Default)]
pub struct CodedFiles {
    kept: Arc<Mutex<Kept>>,
}

#[derive(Debug, Default)]
struct Kept {
    /// None: the file is not smaller in that coding.
    files: HashMap<(String, Coding), Option<Bytes>>,
    bytes: usize,
}

impl CodedFiles {
    /// A file in a coding; none where it is not smaller in it. To be asked of files that there are alone.
    pub(super) async fn get(&self, path: &str, bytes: &Bytes, coding: Coding) -> Option<Bytes> {
        let name = (path.to_owned(), coding);
        if let Some(known) = self.kept.lock().files.get(&name) {
            return known.clone();
        }
        let coded = coding.of(bytes.clone()).await;
        let size = coded.as_ref().map_or(0, Bytes::len);
        let mut kept = self.kept.lock();
        if kept.bytes.saturating_add(size) <= KEPT_BYTES_MAX
            && kept.files.insert(name, coded.clone()).is_none()
        {
            kept.bytes += size;
        }
        coded
    }
}

#[cfg(test)]
mod tests {
    use actix_web::HttpResponse;
    use actix_web::test::TestRequest;

    use super::*;

    fn wanted(text: &str) -> Option<&'static str> {
        let request = TestRequest::get().insert_header((ACCEPT_ENCODING, text)).to_srv_request();
        Coding::wanted(request.headers()).map(Coding::name)
    }

    #[test]
    fn the_heaviest_coding_that_is_spoken_is_taken() {
        for (text, name) in [
            ("gzip", Some("gzip")),
            ("gzip, deflate, br, zstd", Some("zstd")),
            ("gzip, br", Some("br")),
            ("gzip;q=1.0, br;q=0.5", Some("gzip")),
            ("GZIP", Some("gzip")),
            ("gzip ; q=0.001", Some("gzip")),
            ("*", Some("zstd")),
            ("*;q=0.5, zstd;q=0", Some("br")),
            ("gzip;q=0.5, identity", None),
            ("gzip, identity", Some("gzip")),
            ("gzip;q=0", None),
            ("zstd;q=0, *;q=0", None),
            ("identity", None),
            ("deflate", None),
            ("", None),
            ("gzip;q=2", None),
            ("gzip;q=NaN", None),
            ("gzip;level=9", None),
            (";q=1,,", None),
        ] {
            assert_eq!(wanted(text), name, "{text:?}");
        }
        let many = "x,".repeat(NAMED_MAX) + "gzip";
        assert_eq!(wanted(&many), None, "no more are looked at");
        let none = TestRequest::get().to_srv_request();
        assert_eq!(Coding::wanted(none.headers()), None);
    }

    /// The coding and the length of an answer to somebody who takes gzip.
    async fn answered(has_key: bool, kind: &str, length: usize) -> (Option<String>, usize, bool) {
        let request = TestRequest::get().insert_header((ACCEPT_ENCODING, "gzip")).to_srv_request();
        if has_key {
            request.extensions_mut().insert(SentKey);
        }
        let response = HttpResponse::Ok().content_type(kind).body("a".repeat(length));
        let response: ServiceResponse<EitherBody<BoxBody>> =
            made_smaller(request.into_response(response).map_into_left_body()).await;
        let coding = response.headers().get(CONTENT_ENCODING);
        let coding = coding.map(|value| value.to_str().expect("text").to_owned());
        let varies = response.headers().get(VARY) == Some(&BY_CODING);
        let body = to_bytes(response.into_body()).await.unwrap_or_else(|_| panic!("a body"));
        (coding, body.len(), varies)
    }

    #[actix_web::test]
    async fn only_long_json_for_who_sent_a_key_is_made_smaller() {
        let (coding, length, varies) = answered(true, "application/json", BYTES_MIN).await;
        assert_eq!((coding.as_deref(), varies), (Some("gzip"), true));
        assert!(length < BYTES_MIN, "{length}");
        for (has_key, kind, length) in [
            (false, "application/json", BYTES_MIN),
            (true, "application/json", BYTES_MIN - 1),
            (true, "text/event-stream", BYTES_MIN),
            (true, "application/jsonx", BYTES_MIN),
            (true, "text/html; charset=utf-8", BYTES_MIN),
        ] {
            let (coding, sent, varies) = answered(has_key, kind, length).await;
            assert_eq!((coding, sent, varies), (None, length, false), "{has_key} {kind}");
        }
    }

    #[actix_web::test]
    async fn a_file_is_coded_once_and_as_it_is_where_it_would_grow() {
        let files = CodedFiles::default();
        let text = Bytes::from("a".repeat(4_096));
        for coding in Coding::ALL {
            let first = files.get("a.js", &text, coding).await.expect("smaller");
            assert!(first.len() < text.len());
            let again = files.get("a.js", &text, coding).await.expect("smaller");
            assert_eq!(first.as_ptr(), again.as_ptr(), "the same bytes");
        }
        let mut random = vec![0; 4_096];
        getrandom::fill(&mut random).expect("random");
        assert_eq!(files.get("b.png", &random.into(), Coding::Gzip).await, None);
        assert_eq!(files.kept.lock().files.len(), 4);
    }
}
