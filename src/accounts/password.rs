//! Passwords: which are accepted (NIST SP 800-63B), how they are hashed (Argon2id, RFC 9106), and
//! how much of that runs at once.

use std::collections::HashSet;
use std::sync::Arc;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use unicode_normalization::UnicodeNormalization;

use super::AccountError;
use crate::ids::UserId;
use crate::secret::SecretText;

/// Argon2id at 64 MiB and two passes: about a tenth of a second of one core.
const MEMORY_KIB: u32 = 64 * 1024;
const PASSES: u32 = 2;
const CHARS_MAX: usize = 128;
/// Who may wait for a hash: so many sign-ins, and so many of all others. Each has places of its own,
/// so that nobody who is signed in can keep everybody else from signing in.
const SIGN_INS_MAX: usize = 48;
const OTHERS_MAX: usize = 16;

/// Guesses that a password must outlast, as a power of ten, by the lists of common passwords, words,
/// names and keyboard runs of zxcvbn (Wheeler, USENIX Security 2016).
const GUESSES_LOG10_MIN: f64 = 10.0;
/// Passwords that are known for being good ones.
const FAMOUS: [&str; 2] = ["correcthorsebatterystaple", "correct horse battery staple"];

/// Checks a new password against the rules; gives it in the form that is hashed (NFC).
pub(super) fn accept(
    raw: &SecretText,
    chars_min: usize,
    context: &[&str],
) -> Result<SecretText, AccountError> {
    let bad = |why: &str| Err(AccountError::BadPassword(why.to_owned()));
    let text = normal(raw);
    let count = text.expose().chars().count();
    if count < chars_min {
        return bad(&format!(
            "A password needs at least {chars_min} characters. Three or four unusual words make a good one."
        ));
    }
    if count > CHARS_MAX {
        return bad(&format!("A password has at most {CHARS_MAX} characters."));
    }
    let lower = text.expose().to_lowercase();
    let distinct: HashSet<char> = lower.chars().collect();
    if distinct.len() < 5 {
        return bad("This password repeats a few characters. Choose a less regular one.");
    }
    let words = context_words(context);
    let words: Vec<&str> = words.iter().map(String::as_str).chain(FAMOUS).collect();
    // Again without what stands between the words: blanks and marks make nothing of a name.
    let bare: String = text.expose().chars().filter(|c| c.is_alphanumeric()).collect();
    let bare = SecretText::new(bare);
    let is_weak = |text: &SecretText| {
        zxcvbn::zxcvbn(text.expose(), &words).guesses_log10() < GUESSES_LOG10_MIN
    };
    if is_weak(&text) || is_weak(&bare) {
        return bad(
            "This password is made of common words, runs or names. Choose a less common one.",
        );
    }
    Ok(text)
}

/// The names around the person, in the pieces in which people use them.
fn context_words(context: &[&str]) -> Vec<String> {
    context
        .iter()
        .flat_map(|text| text.split(|c: char| !c.is_alphanumeric()))
        .map(str::to_lowercase)
        .filter(|word| word.chars().count() >= 3)
        .collect()
}

fn normal(raw: &SecretText) -> SecretText {
    SecretText::new(raw.expose().nfc().collect())
}

/// Hashes and checks passwords, a few at a time, off the async threads.
pub(super) struct Hasher {
    running: Arc<Semaphore>,
    sign_ins: Semaphore,
    others: Semaphore,
    /// People whose password is being checked or changed in their own name.
    at_work: Mutex<HashSet<UserId>>,
    /// The hash of a password that nobody has: checked where there is no account, so that the
    /// answer takes as long.
    nobody: String,
}

/// What a hash is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Queue {
    SignIn,
    /// A link, or one's own password.
    Other,
}

/// A person's one turn at a time.
pub(super) struct Turn<'a> {
    hasher: &'a Hasher,
    user: UserId,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.hasher.at_work.lock().remove(&self.user);
    }
}

impl Hasher {
    pub(super) fn new(at_once: usize) -> Result<Self, AccountError> {
        let unknown = crate::access::token::make(crate::access::token::TokenKind::Link)
            .map_err(|_| AccountError::Random)?;
        Ok(Self {
            running: Arc::new(Semaphore::new(at_once.max(1))),
            sign_ins: Semaphore::new(SIGN_INS_MAX),
            others: Semaphore::new(OTHERS_MAX),
            at_work: Mutex::default(),
            nobody: hash_now(&unknown)?,
        })
    }

    /// The person's turn; none while they have one.
    pub(super) fn turn(&self, user: UserId) -> Result<Turn<'_>, AccountError> {
        let is_free = self.at_work.lock().insert(user);
        if is_free { Ok(Turn { hasher: self, user }) } else { Err(AccountError::Busy) }
    }

    pub(super) async fn hash(&self, password: SecretText) -> Result<String, AccountError> {
        self.run(Queue::Other, move || hash_now(&password)).await
    }

    /// Whether the password is the one of `known`; with no account, the same work for nothing.
    pub(super) async fn verify(
        &self,
        queue: Queue,
        password: &SecretText,
        known: Option<String>,
    ) -> Result<bool, AccountError> {
        let password = normal(password);
        let is_known = known.is_some();
        let against = known.unwrap_or_else(|| self.nobody.clone());
        let fits = self.run(queue, move || verify_now(&password, &against)).await?;
        Ok(fits && is_known)
    }

    async fn run<T: Send + 'static>(
        &self,
        queue: Queue,
        work: impl FnOnce() -> Result<T, AccountError> + Send + 'static,
    ) -> Result<T, AccountError> {
        let waiting = match queue {
            Queue::SignIn => &self.sign_ins,
            Queue::Other => &self.others,
        };
        let _place = waiting.try_acquire().map_err(|_| AccountError::Busy)?;
        let turn =
            Arc::clone(&self.running).acquire_owned().await.map_err(|_| AccountError::Busy)?;
        // The turn goes along: a client that leaves does not make room while its hash still runs.
        let job = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            work()
        });
        job.await.map_err(|error| AccountError::Hash(error.to_string()))?
    }
}

fn argon2() -> Result<Argon2<'static>, AccountError> {
    let params = Params::new(MEMORY_KIB, PASSES, 1, None)
        .map_err(|error| AccountError::Hash(error.to_string()))?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

/// Hashes on this thread, for the command line.
pub(super) fn hash_now(password: &SecretText) -> Result<String, AccountError> {
    let hash = argon2()?.hash_password(password.expose().as_bytes());
    hash.map(|hash| hash.to_string()).map_err(|error| AccountError::Hash(error.to_string()))
}

fn verify_now(password: &SecretText, known: &str) -> Result<bool, AccountError> {
    let known = PasswordHash::new(known)
        .map_err(|_| AccountError::Hash("a stored hash is damaged".to_owned()))?;
    Ok(argon2()?.verify_password(password.expose().as_bytes(), &known).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(password: &str) -> Result<(), String> {
        let context = ["olivia", "Olivia Meyer", "Example Bakery", "strongroom"];
        accept(&SecretText::new(password.to_owned()), 15, &context)
            .map(|_| ())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn weak_passwords_are_refused_with_a_reason() {
        let long = "x".repeat(129);
        for (password, reason) in [
            ("", "at least 15"),
            ("short but good", "at least 15"),
            (&*long, "at most 128"),
            ("aaaaaaaaaaaaaaaa", "repeats"),
            ("121212121212121212", "repeats"),
            ("passwordpassword", "common"),
            ("Password123456789", "common"),
            ("qwertyuiopasdfgh", "common"),
            ("123456789012345678", "common"),
            ("correcthorsebatterystaple", "common"),
            ("olivia-olivia-olivia", "common"),
            ("Olivia Meyer 2026!!", "common"),
            ("strongroomstrongroom1", "common"),
            ("examplebakery2026!", "common"),
        ] {
            let error = verdict(password).expect_err(password);
            assert!(error.contains(reason), "{password}: {error}");
        }
    }

    #[test]
    fn long_and_unusual_passwords_are_accepted() {
        for password in [
            "four quiet words here",
            "plum-otter-cloud-vase",
            "Ein ganz normaler Satz",
            "пароль из четырёх слов",
            "x7#Qw!pL2@vR9$kT",
        ] {
            verdict(password).expect(password);
        }
    }

    #[test]
    fn the_same_letters_in_another_unicode_form_are_the_same_password() {
        let composed = SecretText::new("vier stille Wörter hier".into());
        let decomposed = SecretText::new("vier stille Wo\u{308}rter hier".into());
        let hash = hash_now(&normal(&composed)).expect("hashed");
        assert!(verify_now(&normal(&decomposed), &hash).expect("checked"));
    }

    #[tokio::test]
    async fn a_person_has_one_turn_at_a_time_and_others_leave_room_for_sign_ins() {
        let hasher = Hasher::new(1).expect("made");
        let user = UserId::new();
        let turn = hasher.turn(user).expect("free");
        assert!(hasher.turn(user).is_err());
        hasher.turn(UserId::new()).map(drop).expect("another person's");
        drop(turn);
        hasher.turn(user).map(drop).expect("free again");
        let places = hasher.others.acquire_many(OTHERS_MAX as u32).await.expect("open");
        let word = SecretText::new("four quiet words here".into());
        assert!(matches!(hasher.hash(word.clone()).await, Err(AccountError::Busy)));
        assert!(!hasher.verify(Queue::SignIn, &word, None).await.expect("there is room"));
        drop(places);
    }

    #[tokio::test]
    async fn only_so_many_hashes_run_at_once_and_the_rest_wait() {
        let hasher = Arc::new(Hasher::new(2).expect("made"));
        let (begins, mut begun) = tokio::sync::mpsc::unbounded_channel();
        let (release, held) = std::sync::mpsc::channel::<()>();
        let held = Arc::new(Mutex::new(held));
        let jobs: Vec<_> = (0..4)
            .map(|_| {
                let (hasher, begins) = (Arc::clone(&hasher), begins.clone());
                let held = Arc::clone(&held);
                tokio::spawn(async move {
                    let work = move || {
                        begins.send(()).expect("the test listens");
                        held.lock().recv().map_err(|_| AccountError::Busy)
                    };
                    hasher.run(Queue::Other, work).await
                })
            })
            .collect();
        for _ in 0..2 {
            begun.recv().await.expect("two begin");
        }
        // The others have a place in the queue by now, and none of them a turn.
        while hasher.others.available_permits() > OTHERS_MAX - 4 {
            tokio::task::yield_now().await;
        }
        assert_eq!(hasher.running.available_permits(), 0);
        assert!(begun.try_recv().is_err(), "a third runs beside two");
        for _ in 0..2 {
            release.send(()).expect("one waits");
            begun.recv().await.expect("the next begins when one has ended");
        }
        assert!(begun.try_recv().is_err());
        for _ in 0..2 {
            release.send(()).expect("one waits");
        }
        for job in jobs {
            job.await.expect("runs").expect("done");
        }
        assert_eq!(hasher.running.available_permits(), 2);
        assert_eq!(hasher.others.available_permits(), OTHERS_MAX);
    }

    #[tokio::test]
    async fn class_09_nobodys_password_never_fits_and_costs_what_any_other_does() {
        use futures_util::FutureExt;

        let hasher = Hasher::new(1).expect("made");
        let word = SecretText::new("four quiet words here".into());
        // It waits for its turn to be hashed, as that of an account does: no answer comes without.
        let turn = hasher.running.acquire().await.expect("free");
        let mut checked = Box::pin(hasher.verify(Queue::SignIn, &word, None));
        assert!(checked.as_mut().now_or_never().is_none(), "it was answered without a hash");
        drop(turn);
        assert!(!checked.await.expect("checked"));
        let known = hasher.hash(word.clone()).await.expect("hashed");
        assert!(hasher.verify(Queue::SignIn, &word, Some(known)).await.expect("checked"));
    }
}
