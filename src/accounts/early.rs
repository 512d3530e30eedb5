//! Sessions and one-time links that are dated in the future. A clock that was ahead has dated them, and
//! they would outlive their time by as much. They are refused wherever they are used, and ended for
//! good here; but not as long as it is the clock that is in doubt.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{AccountError, Accounts, store};
use crate::audit::{Action, Actor, Event, Outcome};
use crate::db::{Connection, Transaction};
use crate::ids::{SessionId, UserId};

/// Sessions, and links, that are ended in one transaction; the rest follows a minute later.
const AT_ONCE_MAX: u32 = 500;

impl Accounts {
    /// Ends what is dated in the future, on record; called now and then. As long as the clock is in doubt
    /// it is told, and nothing is ended.
    pub(crate) async fn end_early(&self) -> Result<(), AccountError> {
        let inner = &self.inner;
        let (now, is_in_doubt) = (inner.clock.now(), inner.clock.is_in_doubt());
        if !is_in_doubt {
            inner.registry.take_back_uses(now);
        }
        let look = move |db: &Connection| -> Result<_, AccountError> {
            let sessions = store::early_sessions(db, now, AT_ONCE_MAX)?;
            Ok((sessions, store::early_links(db, now, AT_ONCE_MAX)?))
        };
        let (sessions, links) = inner.db.read(look).await?;
        if sessions.is_empty() && links.is_empty() {
            return Ok(());
        }
        let was_told = inner.is_doubt_told.swap(is_in_doubt, Ordering::Relaxed);
        if is_in_doubt {
            if !was_told {
                tracing::warn!(
                    behind_s = inner.clock.lag().as_secs(),
                    sessions = sessions.len(),
                    links = links.len(),
                    "the system's clock is behind the newest record: sessions and links that are dated after it \
                     are refused. Set it right; where it stays so for an hour, they are ended for good"
                );
            }
            return Ok(());
        }
        let audit = inner.audit.clone();
        let end = move |tx: &Transaction<'_>| -> Result<Vec<(UserId, SessionId)>, AccountError> {
            let event = |action| {
                Event::new(action, Outcome::Done, Actor::System).with("reason", "dated ahead")
            };
            for (user, id) in &sessions {
                if store::delete_session(tx, *user, *id)? {
                    audit.record_in(tx, event(Action::SessionEnd).subject(id))?;
                }
            }
            for id in &links {
                if store::delete_link(tx, *id)? {
                    audit.record_in(tx, event(Action::InvitationEnd).subject(id))?;
                }
            }
            Ok(sessions)
        };
        let registry = Arc::clone(&inner.registry);
        let forget = move |ended: &Vec<(UserId, SessionId)>| {
            for (user, id) in ended {
                registry.remove_session(*user, *id);
            }
        };
        inner.db.write_then(end, forget).await.map(drop)
    }
}
