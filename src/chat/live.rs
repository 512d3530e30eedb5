//! Answers that are being written, in memory: any number of readers follow one at their own pace,
//! from its beginning or from wherever they are, and none of them holds it up.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::{Notify, watch};

use crate::gate::Notice;
use crate::ids::{ConversationId, MessageId, UserId};

/// Whose conversation it is, and which.
type Place = (UserId, ConversationId);

/// All answers that are being written: at most one in a conversation.
#[derive(Clone, Debug, Default)]
pub(super) struct LiveAnswers {
    answers: Arc<Mutex<HashMap<Place, Arc<Live>>>>,
    left: Arc<Notify>,
}

/// A message under the id that its sender gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) id: MessageId,
    pub(super) text: String,
}

/// One answer that is being written.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) message: MessageId,
    /// What is answered, where its sender gave it an id.
    pub(super) asked: Option<Asked>,
    /// Told when somebody wants it to end.
    pub(super) stop: Notify,
    state: Mutex<State>,
    changed: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    text: String,
    events: Vec<(&'static str, Value)>,
    /// What is waited for, as long as it is. It changes, and nobody is told how it was before.
    wait: Option<(&'static str, Value)>,
    /// Earlier answers, which stand until this one has ended.
    replaced: Vec<MessageId>,
    is_over: bool,
}

/// The claim to be the one answer of a conversation; dropped, it makes room for the next.
#[derive(Debug)]
pub(super) struct Claim {
    answers: LiveAnswers,
    place: Place,
    pub(super) live: Arc<Live>,
}

impl LiveAnswers {
    /// Claims a conversation for a new answer; none where one is being written.
    pub(super) fn claim(
        &self,
        owner: UserId,
        conversation: ConversationId,
        message: MessageId,
        asked: Option<&Asked>,
    ) -> Option<Claim> {
        let mut answers = self.answers.lock();
        // By owner too: whoever names somebody else's conversation holds up nobody.
        let place = (owner, conversation);
        if answers.contains_key(&place) {
            return None;
        }
        let live = Arc::new(Live::new(message, asked.cloned()));
        answers.insert(place, Arc::clone(&live));
        Some(Claim { answers: self.clone(), place, live })
    }

    /// The answer that is being written in a person's conversation.
    pub(super) fn find(&self, owner: UserId, conversation: ConversationId) -> Option<Arc<Live>> {
        self.answers.lock().get(&(owner, conversation)).cloned()
    }

    /// Waits until no answer is being written any more.
    pub(super) async fn emptied(&self) {
        loop {
            let left = self.left.notified();
            if self.answers.lock().is_empty() {
                return;
            }
            left.await;
        }
    }
}

impl Claim {
    /// Makes room for the next answer of the conversation; the last word of this one may follow.
    pub(super) fn make_room(&self) {
        let mut answers = self.answers.answers.lock();
        // The place may be the next answer's by now.
        if answers.get(&self.place).is_some_and(|live| Arc::ptr_eq(live, &self.live)) {
            answers.remove(&self.place);
        }
        drop(answers);
        self.answers.left.notify_waiters();
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.make_room();
        self.live.end(None);
    }
}

impl Live {
    fn new(message: MessageId, asked: Option<Asked>) -> Self {
        Self {
            message,
            asked,
            stop: Notify::new(),
            state: Mutex::default(),
            changed: watch::channel(0).0,
        }
    }

    /// An answer that ended a while ago, to be told once more.
    pub(super) fn ended(
        message: MessageId,
        events: Vec<(&'static str, Value)>,
        text: String,
    ) -> Self {
        let live = Self::new(message, None);
        *live.state.lock() = State { text, events, is_over: true, ..State::default() };
        live
    }

    /// Waits until the question was let in; not so where it was refused.
    pub(super) async fn has_begun(&self) -> bool {
        let mut changed = self.changed.subscribe();
        loop {
            {
                let state = self.state.lock();
                if !state.events.is_empty() || state.is_over {
                    return !state.events.is_empty();
                }
            }
            if changed.changed().await.is_err() {
                return false;
            }
        }
    }

    /// Says which answers this one takes the place of when it ends.
    pub(super) fn replaces(&self, answers: Vec<MessageId>) {
        self.state.lock().replaced = answers;
    }

    /// Whether a message is not to be shown while this answer is being written: it is this answer,
    /// or one that it takes the place of.
    pub(super) fn hides(&self, message: MessageId) -> bool {
        message == self.message || self.state.lock().replaced.contains(&message)
    }

    /// Adds a piece of text.
    pub(super) fn say(&self, text: &str) {
        self.state.lock().text.push_str(text);
        self.tell();
    }

    /// Adds an event that is no text.
    pub(super) fn event(&self, name: &'static str, data: Value) {
        self.state.lock().events.push((name, data));
        self.tell();
    }

    /// Says what is waited for, in place of what was said of it before.
    pub(super) fn waits(&self, name: &'static str, data: Value) {
        let wait = Some((name, data));
        let mut state = self.state.lock();
        let is_known = state.is_over || state.wait == wait;
        if !is_known {
            state.wait = wait;
        }
        drop(state);
        if !is_known {
            self.tell();
        }
    }

    /// Says that the prompt is being read: nothing is waited for any more.
    pub(super) fn starts(&self) {
        self.state.lock().wait = None;
        self.event("started", json!({}));
    }

    /// Adds what the guard did.
    pub(super) fn notice(&self, notice: &Notice) {
        self.event("notice", json!(notice));
    }

    /// Adds the last event, if none was the last before.
    pub(super) fn end(&self, last: Option<(&'static str, Value)>) {
        let mut state = self.state.lock();
        if !state.is_over {
            state.events.extend(last);
            state.wait = None;
            state.is_over = true;
        }
        drop(state);
        self.tell();
    }

    /// The text so far.
    pub(super) fn text(&self) -> String {
        self.state.lock().text.clone()
    }

    fn tell(&self) {
        self.changed.send_modify(|count| *count += 1);
    }
}

/// One reader of a live answer.
#[derive(Debug)]
pub(crate) struct Reader {
    live: Arc<Live>,
    changed: watch::Receiver<u64>,
    text_read: usize,
    events_read: usize,
    wait_read: Option<(&'static str, Value)>,
}

impl Reader {
    /// Reads from the beginning: what is there already comes in one piece.
    pub(super) fn new(live: Arc<Live>) -> Self {
        let changed = live.changed.subscribe();
        Self { live, changed, text_read: 0, events_read: 0, wait_read: None }
    }

    /// The next events; none after the last.
    pub(super) async fn next(&mut self) -> Option<Vec<(&'static str, Value)>> {
        loop {
            self.changed.mark_unchanged();
            let (news, is_over) = self.news();
            if !news.is_empty() {
                return Some(news);
            }
            // The sender lives in `self.live`: waiting fails never.
            if is_over || self.changed.changed().await.is_err() {
                return None;
            }
        }
    }

    /// What was added since the last look: the text in one piece, and before it the events that
    /// are not the last one, and what is waited for.
    fn news(&mut self) -> (Vec<(&'static str, Value)>, bool) {
        let state = self.live.state.lock();
        let mut news: Vec<(&'static str, Value)> = Vec::new();
        let mut last = None;
        for (name, data) in &state.events[self.events_read..] {
            match *name {
                "done" | "error" => last = Some((*name, data.clone())),
                name => news.push((name, data.clone())),
            }
        }
        self.events_read = state.events.len();
        if state.wait != self.wait_read {
            self.wait_read.clone_from(&state.wait);
            news.extend(state.wait.clone());
        }
        if state.text.len() > self.text_read {
            news.push(("delta", json!({ "text": &state.text[self.text_read..] })));
            self.text_read = state.text.len();
        }
        news.extend(last);
        (news, state.is_over)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(answers: &LiveAnswers, owner: UserId, of: ConversationId) -> Option<Claim> {
        answers.claim(owner, of, MessageId::new(), None)
    }

    #[tokio::test]
    async fn a_reader_who_comes_late_gets_what_was_said_and_the_rest() {
        let answers = LiveAnswers::default();
        let claim = claim(&answers, UserId::new(), ConversationId::new()).expect("free");
        let mut early = Reader::new(Arc::clone(&claim.live));
        claim.live.say("Good ");
        assert_eq!(early.next().await, Some(vec![("delta", json!({"text": "Good "}))]));
        claim.live.say("day");
        let mut late = Reader::new(Arc::clone(&claim.live));
        assert_eq!(late.next().await, Some(vec![("delta", json!({"text": "Good day"}))]));
        assert_eq!(early.next().await, Some(vec![("delta", json!({"text": "day"}))]));
        claim.live.say(".");
        claim.live.end(Some(("done", json!({}))));
        drop(claim);
        for reader in [&mut early, &mut late] {
            let rest = vec![("delta", json!({"text": "."})), ("done", json!({}))];
            assert_eq!(reader.next().await, Some(rest));
            assert_eq!(reader.next().await, None);
        }
    }

    #[tokio::test]
    async fn a_reader_is_told_of_a_wait_as_it_is_and_not_as_it_was() {
        let answers = LiveAnswers::default();
        let claim = claim(&answers, UserId::new(), ConversationId::new()).expect("free");
        let mut early = Reader::new(Arc::clone(&claim.live));
        let percent = |percent: u8| ("loading", json!({ "percent": percent }));
        claim.live.event("start", json!({}));
        claim.live.waits("loading", percent(10).1);
        assert_eq!(early.next().await, Some(vec![("start", json!({})), percent(10)]));
        for read in [10, 20, 30] {
            claim.live.waits("loading", percent(read).1);
        }
        let mut late = Reader::new(Arc::clone(&claim.live));
        assert_eq!(early.next().await, Some(vec![percent(30)]));
        assert_eq!(late.next().await, Some(vec![("start", json!({})), percent(30)]));
        claim.live.starts();
        assert_eq!(late.next().await, Some(vec![("started", json!({}))]));
        let mut last = Reader::new(Arc::clone(&claim.live));
        let told = vec![("start", json!({})), ("started", json!({}))];
        assert_eq!(last.next().await, Some(told), "of what is over nobody is told");
    }

    #[test]
    fn one_answer_at_a_time_and_only_its_owner_finds_it() {
        let answers = LiveAnswers::default();
        let (owner, conversation) = (UserId::new(), ConversationId::new());
        let first = claim(&answers, owner, conversation).expect("free");
        assert!(claim(&answers, owner, conversation).is_none());
        assert!(claim(&answers, UserId::new(), conversation).is_some(), "holds up nobody else");
        assert!(answers.find(UserId::new(), conversation).is_none());
        assert!(answers.find(owner, conversation).is_some());
        first.make_room();
        let second = claim(&answers, owner, conversation).expect("there is room");
        drop(first);
        assert!(claim(&answers, owner, conversation).is_none(), "the place is the second's");
        drop(second);
        assert!(claim(&answers, owner, conversation).is_some());
    }
}
