//! The kernel's keyring of a person, on Linux: a key in memory that no file holds, gone when the
//! machine restarts. Elsewhere there is none.

/// Whether a key could be kept, and if not, why.
pub(super) type Kept = Result<(), String>;

#[cfg(target_os = "linux")]
mod kernel {
    use linux_keyutils::{KeyError, KeyRing, KeyRingIdentifier};
    use zeroize::Zeroizing;

    use super::{Kept, description};

    /// The key that is kept for a server.
    pub(in super::super) fn find(server: &str) -> Option<Zeroizing<String>> {
        let key = ring().ok()?.search(&description(server)).ok()?;
        let bytes = Zeroizing::new(key.read_to_vec().ok()?);
        Some(Zeroizing::new(std::str::from_utf8(&bytes).ok()?.to_owned()))
    }

    /// Keeps a key for a server, in place of the one that was kept.
    pub(in super::super) fn keep(server: &str, key: &str) -> Kept {
        let kept = ring().and_then(|ring| ring.add_key(&description(server), key));
        kept.map_err(reason)?;
        // Where no session of the person leads to it, a key can be put in and not be read again.
        if find(server).is_some_and(|found| *found == key) {
            return Ok(());
        }
        // It is of no use there.
        let _ = forget(server);
        Err(reason(KeyError::AccessDenied))
    }

    /// Forgets the key for a server; whether there was one.
    pub(in super::super) fn forget(server: &str) -> Result<bool, String> {
        let ring = ring().map_err(reason)?;
        match ring.search(&description(server)) {
            Ok(key) => key.invalidate().map(|()| true).map_err(reason),
            Err(_) => Ok(false),
        }
    }

    fn ring() -> Result<KeyRing, KeyError> {
        KeyRing::from_special_id(KeyRingIdentifier::User, false)
    }

    fn reason(error: KeyError) -> String {
        format!("the kernel's keyring cannot be used here ({error:?}); containers often forbid it")
    }
}

#[cfg(not(target_os = "linux"))]
mod kernel {
    use zeroize::Zeroizing;

    use super::Kept;

    const NONE: &str =
        "only Linux has a keyring in its kernel. Put the key into a file of mode 0600";

    /// There is none.
    pub(in super::super) fn find(_: &str) -> Option<Zeroizing<String>> {
        None
    }

    /// Cannot be done.
    pub(in super::super) fn keep(_: &str, _: &str) -> Kept {
        Err(NONE.to_owned())
    }

    /// Cannot be done.
    pub(in super::super) fn forget(_: &str) -> Result<bool, String> {
        Err(NONE.to_owned())
    }
}

pub(super) use kernel::{find, forget, keep};

/// The name under which a server's key is kept. Anybody on the machine can see it.
#[cfg(target_os = "linux")]
fn description(server: &str) -> String {
    format!("strongroom:{server}")
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_found_until_it_is_forgotten() {
        let server = format!("https://test-{}.example", std::process::id());
        if keep(&server, "words").is_err() {
            // Not everywhere may a program use it.
            return;
        }
        assert_eq!(find(&server).as_deref().map(String::as_str), Some("words"));
        keep(&server, "others").expect("kept");
        assert_eq!(find(&server).as_deref().map(String::as_str), Some("others"));
        assert_eq!(find("https://elsewhere.example"), None);
        assert_eq!(forget(&server), Ok(true));
        assert_eq!(find(&server), None);
        assert_eq!(forget(&server), Ok(false));
    }
}
