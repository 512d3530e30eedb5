//! The road for those who do other work meanwhile: on a task of its own, and, where the model has to be
//! loaded first, in two parts, so that a client can be told that there will be an answer before it is known
//! what it is.

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::oneshot;

use super::error::GateError;
use super::request::{ExchangeHandle, ExchangeRequest, Purpose};
use super::{Entry, Gate};
use crate::access::Caller;

/// How far somebody has come on the road.
pub(crate) enum Way<T, E> {
    /// To its end: the exchange, and what was prepared beside it.
    Open(ExchangeHandle, T),
    /// Their model is being loaded. Whatever is known without it has been found good; the rest of the
    /// road is walked whether or not this is waited for, and left where it is dropped.
    Waits(Rest<T, E>),
}

/// The rest of the road.
pub(crate) type Rest<T, E> = BoxFuture<'static, Result<(ExchangeHandle, T), E>>;

impl<T, E> Way<T, E> {
    /// Goes on to the end.
    pub(crate) async fn through(self) -> Result<(ExchangeHandle, T), E> {
        match self {
            Self::Open(handle, beside) => Ok((handle, beside)),
            Self::Waits(rest) => rest.await,
        }
    }
}

/// Whoever asked, as those on the road see them.
pub(super) struct Asker {
    /// Nothing is ever sent: it ends when the other end is dropped.
    left: oneshot::Receiver<()>,
    /// For telling them that they wait for the model.
    waits: Option<oneshot::Sender<()>>,
}

/// The other end of an asker.
struct Asking {
    /// As long as somebody waits for the answer, this lives.
    stays: oneshot::Sender<()>,
    /// Says that the model is waited for.
    waits: oneshot::Receiver<()>,
}

impl Asker {
    fn new() -> (Self, Asking) {
        let (stays, left) = oneshot::channel();
        let (tell, waits) = oneshot::channel();
        (Self { left, waits: Some(tell) }, Asking { stays, waits })
    }

    /// Tells them that their model is being loaded.
    pub(super) fn tell_to_wait(&mut self) {
        if let Some(waits) = self.waits.take() {
            // They may have left.
            let _ = waits.send(());
        }
    }

    /// Waits until nobody waits for the answer any more.
    pub(super) async fn left(&mut self) {
        let _ = (&mut self.left).await;
    }
}

impl Gate {
    /// The road to its end.
    #[cfg(test)]
    pub(crate) async fn run(
        &self,
        caller: &Caller,
        request: ExchangeRequest,
    ) -> Result<ExchangeHandle, GateError> {
        self.start(caller, request).await?.through().await.map(|(handle, ())| handle)
    }

    /// The road, up to where it is waited for the model. Whoever comes out at its end has passed every
    /// control; what comes out is read from the handle, and dropping the handle ends the work.
    pub(crate) async fn start(
        &self,
        caller: &Caller,
        request: ExchangeRequest,
    ) -> Result<Way<(), GateError>, GateError> {
        let purpose = request.purpose;
        let ready = std::future::ready(Ok::<_, GateError>((request, ())));
        self.start_after(caller, purpose, ready).await
    }

    /// The road for those who have work to do before they know what to ask: `prepare` runs once the
    /// caller is inside, so that it is counted, and what it gives beside the request comes back.
    pub(crate) async fn start_after<T, E>(
        &self,
        caller: &Caller,
        purpose: Purpose,
        prepare: impl Future<Output = Result<(ExchangeRequest, T), E>> + Send + 'static,
    ) -> Result<Way<T, E>, E>
    where
        T: Send + 'static,
        E: From<GateError> + Send + 'static,
    {
        let by = caller.clone();
        let road = |gate: Self, asker| async move {
            let entry = gate.enter(&by, purpose).await?;
            let (request, beside) = prepare.await?;
            let handle = gate.proceed_for(entry, request, asker).await?;
            Ok::<_, E>((handle, beside))
        };
        self.walk(road).await
    }

    /// The rest of the road for those who are inside, up to where it is waited for the model.
    pub(crate) async fn proceed(
        &self,
        entry: Entry,
        request: ExchangeRequest,
    ) -> Result<Way<(), GateError>, GateError> {
        let road = |gate: Self, asker| async move {
            let handle = gate.proceed_for(entry, request, asker).await?;
            Ok::<_, GateError>((handle, ()))
        };
        self.walk(road).await
    }

    /// Walks a road on a task of its own: a caller who goes away half-way leaves no half-written books.
    async fn walk<T, E, F>(&self, road: impl FnOnce(Self, Asker) -> F) -> Result<Way<T, E>, E>
    where
        T: Send + 'static,
        E: From<GateError> + Send + 'static,
        F: Future<Output = Result<(ExchangeHandle, T), E>> + Send + 'static,
    {
        let (asker, Asking { stays, waits }) = Asker::new();
        let task = self.inner.parts.runtime.spawn(road(self.clone(), asker));
        let rest = async move {
            let _stays = stays;
            task.await.unwrap_or_else(|error| Err(GateError::from(error).into()))
        };
        let mut rest = rest.boxed();
        tokio::select! {
            biased;
            end = &mut rest => end.map(|(handle, beside)| Way::Open(handle, beside)),
            Ok(()) = waits => Ok(Way::Waits(rest)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{House, Scripted, Then, caller, request};
    use super::*;
    use crate::config::LimitSet;

    #[tokio::test]
    async fn a_request_that_is_still_being_read_has_a_place_among_those_that_run() {
        let one = LimitSet { concurrent: Some(1), ..LimitSet::default() };
        let house = House::with_limits(Scripted::new(&["x"], Then::Finish), one).await;
        let caller = caller();
        let entry = house.gate.enter(&caller, Purpose::Api).await.expect("enters");
        let error = house.gate.run(&caller, request("Hello")).await.expect_err("one at a time");
        assert!(matches!(error, GateError::Limited(_)), "{error:?}");
        let way = house.gate.proceed(entry, request("Hello")).await.expect("passes");
        let (mut handle, ()) = way.through().await.expect("passes");
        while handle.next().await.is_some() {}
        drop(house.gate.enter(&caller, Purpose::Api).await.expect("and leaves again"));
        house.gate.run(&caller, request("Hello")).await.expect("passes");
    }
}
