//! What the endpoints of a generation share on the way back: the reading of what happens, up to the
//! end, for an answer in one piece and for one that is streamed as server-sent events. What an event of an
//! exchange is on the wire, a script says; a silent stream is kept open; an error is an event of its own
//! and the end, and so is what was cut short. Dropping a stream ends the work.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream::unfold;

use crate::gate::{Ending, ExchangeEvent, ExchangeHandle, ExchangeUsage, Notice};
use crate::web::{ApiError, ErrorCode};

/// What stands on the wire for what happens in an exchange.
pub(super) trait Script {
    /// What is sent into a silence, so that nobody in between takes the connection for dead.
    const HEARTBEAT: &'static [u8] = b": waiting\n\n";

    /// What comes first; what the guard did to the prompt is known by then.
    fn open(&mut self, notices: &[Notice]) -> Vec<Bytes>;
    /// What an event is. `Finished` is the last that comes here, and what it is the end.
    async fn write(&mut self, event: ExchangeEvent) -> Vec<Bytes>;
    /// What an error on the way is, and the end.
    fn fail(&mut self, error: ApiError) -> Vec<Bytes>;
}

struct State<S> {
    handle: ExchangeHandle,
    script: S,
    heartbeat: Option<Duration>,
    ready: VecDeque<Bytes>,
    is_over: bool,
}

/// The body of a streamed answer.
pub(super) fn body<S: Script>(
    handle: ExchangeHandle,
    mut script: S,
    heartbeat: Option<Duration>,
) -> impl Stream<Item = Result<Bytes, Infallible>> {
    let ready = script.open(&handle.notices).into();
    let state = State { handle, script, heartbeat, ready, is_over: false };
    unfold(state, |mut state| async move {
        loop {
            if let Some(bytes) = state.ready.pop_front() {
                return Some((Ok(bytes), state));
            }
            if state.is_over {
                return None;
            }
            state.step().await;
        }
    })
}

impl<S: Script> State<S> {
    async fn step(&mut self) {
        let event = match self.heartbeat {
            None => self.handle.next().await,
            Some(silence) => {
                if let Ok(event) = tokio::time::timeout(silence, self.handle.next()).await {
                    event
                } else {
                    self.ready.push_back(Bytes::from_static(S::HEARTBEAT));
                    return;
                }
            }
        };
        let (written, is_over) = match event {
            Some(ExchangeEvent::Failed(error)) => (self.script.fail(error.into()), true),
            None => (self.script.fail(ErrorCode::Internal.into()), true),
            Some(event) => {
                let is_over = matches!(event, ExchangeEvent::Finished { .. });
                (self.script.write(event).await, is_over)
            }
        };
        self.ready.extend(written);
        self.is_over = is_over;
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
