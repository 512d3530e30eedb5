//! Requests for a model that is not in memory: they have it loaded, and wait for it in a line with
//! an end.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, timeout_at};

use super::Gate;
use super::catalog::{Model, NotReady, Taken};
use super::error::GateError;
use super::lease::Lease;
use super::request::Purpose;
use super::running::Place;
use super::way::Asker;
use crate::access::Caller;
use crate::ids::UserId;

/// How requests wait for models.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WaitOptions {
    /// How long one waits.
    pub(crate) limit: Duration,
    /// How many wait.
    pub(crate) waiting_max: usize,
}

/// One person has at most this part of the line, so that the others are not kept out of it.
const SHARE: usize = 4;

/// The requests that wait.
#[derive(Debug, Default)]
pub(super) struct Line {
    waiting: Arc<Mutex<HashMap<UserId, usize>>>,
}

impl Line {
    fn enter(&self, user: UserId, most: usize) -> Result<Waits, GateError> {
        let mut waiting = self.waiting.lock();
        let all: usize = waiting.values().sum();
        let own = waiting.get(&user).copied().unwrap_or_default();
        if all >= most || own >= most.div_ceil(SHARE) {
            return Err(GateError::Busy);
        }
        waiting.insert(user, own + 1);
        Ok(Waits { user, waiting: Arc::clone(&self.waiting) })
    }
}

/// A place in the line.
struct Waits {
    user: UserId,
    waiting: Arc<Mutex<HashMap<UserId, usize>>>,
}

impl Drop for Waits {
    fn drop(&mut self) {
        let mut waiting = self.waiting.lock();
        if let Some(own) = waiting.get_mut(&self.user) {
            *own -= 1;
            if *own == 0 {
                waiting.remove(&self.user);
            }
        }
    }
}

impl Gate {
    /// The model in memory, which stays there as long as the lease lives; waits for it where it is
    /// on its way. An asker who goes away leaves the line.
    pub(super) async fn ready(
        &self,
        caller: &Caller,
        model: &Model,
        place: &mut Place,
        mut asker: Option<Asker>,
    ) -> Result<(Arc<Model>, Lease), GateError> {
        let parts = &self.inner.parts;
        let until = Instant::now() + parts.wait.limit;
        let mut changes = parts.catalog.changes();
        let mut waits = None;
        loop {
            changes.mark_unchanged();
            match parts.catalog.take(&model.name, waits.is_some()) {
                Taken::Ready(model, lease) => {
                    // It may have been closed to the caller while they waited.
                    self.check_open(caller, &model).await?;
                    return Ok((model, lease));
                }
                Taken::No(why) => return Err(why.into()),
                Taken::Wait if waits.is_none() => {
                    waits = Some(self.inner.line.enter(caller.user, parts.wait.waiting_max)?);
                    if let Some(asker) = &mut asker {
                        asker.tell_to_wait();
                    }
                }
                Taken::Wait => {}
            }
            let gone = async {
                match &mut asker {
                    Some(asker) => asker.left().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                end = place.ended() => return Err(end.into()),
                () = gone => return Err(GateError::ShuttingDown),
                changed = timeout_at(until, changes.changed()) => match changed {
                    Ok(Ok(())) => {}
                    Ok(Err(_)) => return Err(GateError::ShuttingDown),
                    Err(_) => return Err(self.still_loading(&model.name)),
                },
            }
        }
    }

    /// How much of the model that a request is for is read, in percent; none where that is not known, or
    /// not yet.
    pub(crate) fn percent(
        &self,
        caller: &Caller,
        purpose: Purpose,
        name: Option<&str>,
    ) -> Option<u8> {
        self.asked(caller, purpose, name)?.progress.as_ref()?.percent()
    }

    fn still_loading(&self, name: &str) -> GateError {
        let model = self.inner.parts.catalog.find(Some(name));
        let percent = model.and_then(|model| model.progress.as_ref()?.percent());
        GateError::ModelNotReady(match percent {
            Some(percent) => format!("It is being loaded: {percent} % are read."),
            None => "It is being loaded.".to_owned(),
        })
    }
}

impl From<NotReady> for GateError {
    fn from(why: NotReady) -> Self {
        let not_served = |reason: &str| Self::NotServed(reason.to_owned());
        match why {
            NotReady::Gone => Self::ModelNotFound,
            NotReady::NotLoaded => not_served("It is not loaded; an administrator can load it."),
            NotReady::Failed => not_served("It could not be loaded."),
            NotReady::Memory(reason) => Self::NoMemory(reason),
            NotReady::Cancelled => not_served("Its loading was cancelled."),
            NotReady::Closing => Self::ShuttingDown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_has_an_end_and_nobody_has_all_of_it() {
        let (line, mia, max) = (Line::default(), UserId::new(), UserId::new());
        let of_mia: Vec<Waits> = (0..2).map(|_| line.enter(mia, 5).expect("a place")).collect();
        assert!(matches!(line.enter(mia, 5), Err(GateError::Busy)), "a quarter is hers");
        let _of_others: Vec<Waits> =
            (0..3).map(|_| line.enter(UserId::new(), 5).expect("a place")).collect();
        assert!(matches!(line.enter(max, 5), Err(GateError::Busy)), "all are taken");
        assert_eq!(line.waiting.lock().len(), 4, "who was refused has left nothing");
        drop(of_mia);
        assert!(line.enter(max, 5).is_ok());
        assert_eq!(line.waiting.lock().len(), 3);
    }
}
