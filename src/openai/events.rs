//! What the endpoints of a generation share on the way back: the reading of what happens, up to the
//! end, for an answer in one piece and for one that is streamed as server-sent events. What an event of an
//! exchange is on the wire, a script says; a silent stream is kept open; an error is an event of its own
//! and the end, and so is what was cut short. Dropping a stream ends the work.

use std::cell::Cell;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use futures_util::future::LocalBoxFuture;
use futures_util::stream::unfold;
use tracing::{Instrument, Span};

use crate::gate::{Ending, ExchangeEvent, ExchangeHandle, ExchangeUsage, Notice};
use crate::ids::RequestId;
use crate::web::{ApiError, ErrorCode};

/// What stands on the wire for what happens in an exchange.
pub(super) trait Script {
    /// What is sent into a silence, so that nobody in between takes the connection for dead.
    const HEARTBEAT: &'static [u8] = b": waiting\n\n";

    /// What an error is where nothing has begun, and the end.
    fn refuse(error: ApiError, request: RequestId) -> Vec<Bytes>;
    /// What comes first; what the guard did to the prompt is known by then.
    fn open(&mut self, notices: &[Notice]) -> Vec<Bytes>;
    /// What an event is. `Finished` is the last that comes here, and what it is the end.
    async fn write(&mut self, event: ExchangeEvent) -> Vec<Bytes>;
    /// What an error on the way is, and the end.
    fn fail(&mut self, error: ApiError) -> Vec<Bytes>;
    /// Whether what was written at the end of the exchange is the end of a whole answer.
    fn is_whole(&self) -> bool {
        true
    }
}

/// An exchange and how it is written; or that, once the model is there.
pub(super) enum Opening<S> {
    Open(ExchangeHandle, S),
    Comes(LocalBoxFuture<'static, Result<(ExchangeHandle, S), ApiError>>),
}

/// Whether a streamed answer has come to the end of a whole answer. Known before its last words are out.
/// A handle.
#[derive(Clone, Debug, Default)]
pub(super) struct Whole(Rc<Cell<bool>>);

impl Whole {
    /// Whether it has.
    pub(super) fn is_known(&self) -> bool {
        self.0.get()
    }
}

struct State<S> {
    opening: Opening<S>,
    request: RequestId,
    heartbeat: Option<Duration>,
    ready: VecDeque<Bytes>,
    is_over: bool,
    whole: Whole,
    /// The request's: an answer is written when its handler has ended, and what goes wrong then is looked for
    /// in the log by the same id.
    span: Span,
}

/// The body of a streamed answer to this request. While the model comes there are heartbeats, the first at
/// once; what goes wrong from then on is an event.
pub(super) fn written<S: Script>(
    mut opening: Opening<S>,
    request: RequestId,
    heartbeat: Option<Duration>,
    whole: Whole,
) -> impl Stream<Item = Result<Bytes, Infallible>> {
    let ready = match &mut opening {
        Opening::Open(handle, script) => script.open(&handle.notices).into(),
        Opening::Comes(_) => heartbeat.iter().map(|_| Bytes::from_static(S::HEARTBEAT)).collect(),
    };
    let span = Span::current();
    let state = State { opening, request, heartbeat, ready, is_over: false, whole, span };
    unfold(state, |mut state| async move {
        loop {
            if let Some(bytes) = state.ready.pop_front() {
                return Some((Ok(bytes), state));
            }
            if state.is_over {
                return None;
            }
            let span = state.span.clone();
            state.step().instrument(span).await;
        }
    })
}

/// The same of an exchange that is there.
#[cfg(test)]
pub(super) fn body<S: Script>(
    handle: ExchangeHandle,
    script: S,
    heartbeat: Option<Duration>,
) -> impl Stream<Item = Result<Bytes, Infallible>> {
    let request = handle.id;
    written(Opening::Open(handle, script), request, heartbeat, Whole::default())
}

impl<S: Script> State<S> {
    async fn step(&mut self) {
        let heartbeat = self.heartbeat;
        match &mut self.opening {
            Opening::Comes(coming) => match within(heartbeat, coming).await {
                None => self.beat(),
                Some(Ok((handle, mut script))) => {
                    self.ready.extend(script.open(&handle.notices));
                    self.opening = Opening::Open(handle, script);
                }
                Some(Err(error)) => {
                    self.ready.extend(S::refuse(error, self.request));
                    self.is_over = true;
                }
            },
            Opening::Open(handle, script) => {
                let Some(event) = within(heartbeat, handle.next()).await else {
                    return self.beat();
                };
                let (written, is_over) = match event {
                    Some(ExchangeEvent::Failed(error)) => (script.fail(error.into()), true),
                    None => (script.fail(ErrorCode::Internal.into()), true),
                    Some(event) => {
                        let ending = match &event {
                            ExchangeEvent::Finished { ending, .. } => Some(*ending),
                            _ => None,
                        };
                        let written = script.write(event).await;
                        let is_whole = ending.is_some_and(|it| it != Ending::Cancelled);
                        self.whole.0.set(is_whole && script.is_whole());
                        (written, ending.is_some())
                    }
                };
                self.ready.extend(written);
                self.is_over = is_over;
            }
        }
    }

    fn beat(&mut self) {
        self.ready.push_back(Bytes::from_static(S::HEARTBEAT));
    }
}

/// What comes, unless it is silent for that long before.
async fn within<T>(silence: Option<Duration>, coming: impl Future<Output = T>) -> Option<T> {
    match silence {
        None => Some(coming.await),
        Some(silence) => tokio::time::timeout(silence, coming).await.ok(),
    }
}

/// What a reader is told who let an answer stand until it was given up.
pub(super) fn cut_short() -> ApiError {
    ApiError::new(ErrorCode::RequestTimeout)
        .message("The answer was not read for so long that it was ended before it was complete.")
}

/// Reads an exchange to its end; what happens on the way goes to `take`. Dropping this ends the work.
pub(super) async fn to_end(
    mut handle: ExchangeHandle,
    mut take: impl FnMut(ExchangeEvent),
) -> Result<(Ending, ExchangeUsage), ApiError> {
    while let Some(event) = handle.next().await {
        match event {
            ExchangeEvent::Finished { ending: Ending::Cancelled, .. } => return Err(cut_short()),
            ExchangeEvent::Finished { ending, usage } => return Ok((ending, usage)),
            ExchangeEvent::Failed(error) => return Err(error.into()),
            other => take(other),
        }
    }
    Err(ErrorCode::Internal.into())
}

/// What an exchange that came to its end took, and what the guard did.
pub(super) struct Finished {
    pub(super) usage: ExchangeUsage,
    pub(super) notices: Vec<Notice>,
}

/// The same, where `take` gets what is said in the answers alone.
pub(super) async fn to_the_end(
    mut handle: ExchangeHandle,
    mut take: impl FnMut(usize, ExchangeEvent),
) -> Result<Finished, ApiError> {
    let mut notices = std::mem::take(&mut handle.notices);
    let taken = to_end(handle, |event| match event {
        ExchangeEvent::Notice(notice) => notices.push(notice),
        of_one => {
            if let Some(choice) = of_one.choice() {
                take(choice, of_one);
            }
        }
    });
    let (_, usage) = taken.await?;
    Ok(Finished { usage, notices })
}
