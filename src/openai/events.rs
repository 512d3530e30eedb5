//! What the endpoints of a generation share on the way back: the reading of what happens, up to the
//! end, for an answer in one piece and for one that is streamed, whatever its wire format.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream::unfold;

use crate::gate::{Ending, ExchangeEvent, ExchangeHandle, ExchangeUsage, Notice};
use crate::web::{ApiError, ErrorCode};

/// Writes down what happens in one wire format.
pub(super) trait Script {
    /// What is sent into a silence, so that nobody in between takes the connection for dead.
    const HEARTBEAT: &'static [u8];

    /// What is ready to be sent.
    fn next(&mut self) -> Option<Bytes>;

    /// Whether nothing more comes after that.
    fn is_over(&self) -> bool;

    /// Takes what happens next; nothing where the exchange broke off.
    fn take(&mut self, event: Option<ExchangeEvent>);
}

/// The body of a streamed answer. Dropping it ends the work.
pub(super) fn body<S: Script>(
    handle: ExchangeHandle,
    script: S,
    heartbeat: Option<Duration>,
) -> impl Stream<Item = Result<Bytes, Infallible>> {
    unfold((handle, script), move |(mut handle, mut script)| async move {
        loop {
            if let Some(bytes) = script.next() {
                return Some((Ok(bytes), (handle, script)));
            }
            if script.is_over() {
                return None;
            }
            let event = match heartbeat {
                None => handle.next().await,
                Some(silence) => {
                    let next = tokio::time::timeout(silence, handle.next());
                    let Ok(event) = next.await else {
                        return Some((Ok(Bytes::from_static(S::HEARTBEAT)), (handle, script)));
                    };
                    event
                }
            };
            script.take(event);
        }
    })
}

/// What an exchange that came to its end took, and what the guard did.
pub(super) struct Finished {
    pub(super) usage: ExchangeUsage,
    pub(super) notices: Vec<Notice>,
}

/// Reads an exchange to its end; `take` gets what is said in its answers. Dropping this ends the work.
pub(super) async fn to_the_end(
    mut handle: ExchangeHandle,
    mut take: impl FnMut(usize, ExchangeEvent),
) -> Result<Finished, ApiError> {
    let mut notices = std::mem::take(&mut handle.notices);
    while let Some(event) = handle.next().await {
        match event {
            ExchangeEvent::Notice(notice) => notices.push(notice),
            ExchangeEvent::Finished { ending: Ending::Cancelled, .. } => return Err(cut_short()),
            ExchangeEvent::Finished { usage, .. } => return Ok(Finished { usage, notices }),
            ExchangeEvent::Failed(error) => return Err(error.into()),
            of_one => {
                if let Some(choice) = of_one.choice() {
                    take(choice, of_one);
                }
            }
        }
    }
    Err(ErrorCode::Internal.into())
}

/// What a reader is told who let an answer stand until it was given up.
pub(super) fn cut_short() -> ApiError {
    ApiError::new(ErrorCode::RequestTimeout)
        .message("The answer was not read for so long that it was ended before it was complete.")
}
