//! Somebody who reads an answer: with what let them in, so that they read no further once it was
//! withdrawn.

use std::sync::Arc;

use serde_json::Value;
use tokio::sync::broadcast::{self, error::RecvError};

use super::answer::error_event;
use super::conversations::Chat;
use super::error::ChatError;
use super::live::Reader;
use crate::access::{Caller, Registry, Revocation, Withdrawn};
use crate::gate::GateError;

/// Withdrawals that a reader may be behind; beyond it the reader's own standing is looked up.
const WITHDRAWALS_MAX: usize = 256;

/// What is withdrawn, told to everybody who reads. A handle.
#[derive(Clone, Debug)]
pub(super) struct Withdrawals {
    sender: broadcast::Sender<Revocation>,
}

impl Withdrawals {
    /// Told by the registry, from now on.
    pub(super) fn of(registry: &Registry) -> Self {
        let sender = broadcast::channel(WITHDRAWALS_MAX).0;
        let told = sender.clone();
        registry.on_revocation(move |what| {
            // Fails where nobody reads, which is no failure.
            let _ = told.send(what);
        });
        Self { sender }
    }
}

/// One reader of an answer.
pub(crate) struct Reading {
    reader: Reader,
    caller: Caller,
    withdrawn: broadcast::Receiver<Revocation>,
    registry: Arc<Registry>,
    is_over: bool,
}

impl Chat {
    /// Lets somebody read.
    pub(super) fn reading(&self, caller: &Caller, reader: Reader) -> Result<Reading, ChatError> {
        let registry = Arc::clone(&self.parts.registry);
        // First this and then the look: a withdrawal in between is not missed.
        let withdrawn = self.withdrawals.sender.subscribe();
        if !registry.holds(caller) {
            return Err(Withdrawn.into());
        }
        Ok(Reading { reader, caller: caller.clone(), withdrawn, registry, is_over: false })
    }
}

impl Reading {
    /// The next events; none after the last. Where access is withdrawn, that is the last.
    pub(crate) async fn next(&mut self) -> Option<Vec<(&'static str, Value)>> {
        while !self.is_over {
            tokio::select! {
                biased;
                what = self.withdrawn.recv() => if self.has_lost(what) {
                    self.is_over = true;
                    let error = GateError::Revoked.into();
                    return Some(vec![error_event(&error, self.caller.request)]);
                },
                news = self.reader.next() => return news,
            }
        }
        None
    }

    fn has_lost(&self, what: Result<Revocation, RecvError>) -> bool {
        match what {
            Ok(what) => what.concerns(&self.caller),
            Err(RecvError::Lagged(_)) => !self.registry.holds(&self.caller),
            // The chat is gone, and with it whoever would tell.
            Err(RecvError::Closed) => true,
        }
    }
}
