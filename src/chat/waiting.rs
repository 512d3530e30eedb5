//! The wait for a model that is not in memory. What is asked stands in the conversation meanwhile, its
//! readers are told how far the model is, and whoever stops the answer leaves the line.

use std::time::Duration;

use serde_json::json;

use super::conversations::Chat;
use super::live::{Claim, Live};
use super::turn::Turn;
use crate::access::Caller;
use crate::gate::{Ending, ExchangeHandle, ExchangeUsage, GateError, Purpose, Rest, Way};

/// How often it is looked how far the model is.
const LOOK_EVERY: Duration = Duration::from_millis(500);

impl Chat {
    /// Sees a turn that was let in to its end.
    pub(super) async fn see_through(
        &self,
        caller: &Caller,
        turn: Turn,
        way: Way<(), GateError>,
        claim: Claim,
    ) {
        let opened = match way {
            Way::Open(handle, ()) => Ok(Some(handle)),
            Way::Waits(rest) => self.wait(caller, &turn, rest, &claim.live).await,
        };
        let never_begun = match opened {
            Ok(Some(handle)) => return self.write(&turn, handle, claim).await,
            Ok(None) => Ok((Ending::Cancelled, ExchangeUsage::default())),
            Err(error) => Err(error),
        };
        self.close(&turn, &[], never_begun, claim).await;
    }

    /// Waits for the model; none where somebody stopped the answer before.
    async fn wait(
        &self,
        caller: &Caller,
        turn: &Turn,
        mut rest: Rest<(), GateError>,
        live: &Live,
    ) -> Result<Option<ExchangeHandle>, GateError> {
        let mut every = tokio::time::interval(LOOK_EVERY);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                end = &mut rest => return end.map(|(handle, ())| Some(handle)),
                () = live.stop.notified() => return Ok(None),
                _ = every.tick() => {
                    let model = turn.model.as_deref();
                    let percent = self.parts.gate.percent(caller, Purpose::Chat, model);
                    live.waits("loading", json!({ "percent": percent }));
                }
            }
        }
    }
}
