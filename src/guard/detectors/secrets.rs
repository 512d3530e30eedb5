//! Keys, tokens and passwords: by their published form, and by what they are assigned to.

use regex::{Regex, RegexSet};

use super::{Detector, in_plain, pattern};
use crate::guard::finding::{Category as C, Finding};
use crate::guard::view::View;

/// Name, category, pattern. Where a form has no fixed length there is a least one and no most: the
/// rest of a longer secret would stay in the text. A private key is bounded by far more than one
/// needs, so that a block without an end does not take all of a text.
const RULES: &[(&str, C, &str)] = &[
    (
        "secrets/private-key",
        C::SecretPrivateKey,
        r"-----BEGIN (?:[A-Z0-9]{1,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----[A-Za-z0-9+/=\s\\:,.-]{0,8192}?(?:-----END (?:[A-Z0-9]{1,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----|$)",
    ),
    ("secrets/aws", C::SecretKey, r"\b(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}\b"),
    ("secrets/github", C::SecretKey, r"\bgh[pousr]_[A-Za-z0-9]{36,}\b"),
    ("secrets/github", C::SecretKey, r"\bgithub_pat_[A-Za-z0-9_]{50,}\b"),
    ("secrets/gitlab", C::SecretKey, r"\bglpat-[A-Za-z0-9_-]{20,}"),
    ("secrets/slack", C::SecretKey, r"\bxox[abeprs]-[A-Za-z0-9-]{10,}"),
    (
        "secrets/slack",
        C::SecretKey,
        r"https://hooks\.slack\.com/(?:services|workflows)/[A-Za-z0-9+/]{40,}",
    ),
    ("secrets/openai", C::SecretKey, r"\bsk-(?:proj-|svcacct-|admin-|ant-)?[A-Za-z0-9_-]{20,}"),
    ("secrets/stripe", C::SecretKey, r"\b(?:sk|rk)_(?:live|test)_[A-Za-z0-9]{16,}\b"),
    ("secrets/google", C::SecretKey, r"\bAIza[A-Za-z0-9_-]{35}"),
    ("secrets/google", C::SecretKey, r"\bGOCSPX-[A-Za-z0-9_-]{28}"),
    ("secrets/huggingface", C::SecretKey, r"\bhf_[A-Za-z]{34}\b"),
    ("secrets/npm", C::SecretKey, r"\bnpm_[A-Za-z0-9]{36}\b"),
    ("secrets/pypi", C::SecretKey, r"\bpypi-AgE[A-Za-z0-9_-]{50,}"),
    ("secrets/sendgrid", C::SecretKey, r"\bSG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}"),
    ("secrets/digitalocean", C::SecretKey, r"\bdo[opr]_v1_[a-f0-9]{64}\b"),
    ("secrets/twilio", C::SecretKey, r"\bSK[0-9a-f]{32}\b"),
    ("secrets/strongroom", C::SecretKey, r"\bsr-[A-Za-z0-9_-]{32,}"),
    (
        "secrets/jwt",
        C::SecretToken,
        r"\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{16,}",
    ),
    ("secrets/url", C::SecretAssigned, r"\b[a-z][a-z0-9+]{1,15}://[^\s:/@]{1,64}:([^\s:/@]{3,})@"),
];

/// A name that holds a secret, and what stands behind it.
const ASSIGNED: &str = r#"(?i)(?:api[_-]?key|secret|access[_-]?key|auth[_-]?token|token|passw(?:or)?d|passphrase|pwd|private[_-]?key|credential)s?["'`]?\s{0,4}(?:=>|:=|[:=])\s{0,4}["'`]?([^\s"'`,;<>(){}\[\]]{8,})"#;
/// Bits per character under which a value is a word, not a key.
const ENTROPY_MIN: f64 = 2.8;

/// Finds keys, tokens and passwords.
pub(super) struct Secrets {
    set: RegexSet,
    rules: Vec<Regex>,
    assigned: Regex,
}

impl Secrets {
    pub(super) fn new() -> Self {
        let patterns = RULES.iter().map(|rule| rule.2).chain([ASSIGNED]);
        Self {
            // Which patterns occur is one pass over the text, whatever their number.
            set: RegexSet::new(patterns).expect("the patterns compile: held by a test"),
            rules: RULES.iter().map(|rule| pattern(rule.2)).collect(),
            assigned: pattern(ASSIGNED),
        }
    }
}

impl Detector for Secrets {
    fn name(&self) -> &'static str {
        "secrets"
    }

    fn categories(&self) -> &'static [C] {
        &[C::SecretKey, C::SecretPrivateKey, C::SecretToken, C::SecretAssigned]
    }

    fn find(&self, view: &View<'_>, found: &mut Vec<Finding>) {
        let text = view.plain();
        let matched = self.set.matches(text);
        for index in &matched {
            let Some((name, category, _)) = RULES.get(index) else { continue };
            for hit in self.rules[index].captures_iter(text) {
                if let Some(span) = hit.get(1).or_else(|| hit.get(0)) {
                    let is_key = *category != C::SecretKey || has_variety(span.as_str());
                    if is_key {
                        found.push(in_plain(view, name, *category, 0.99, span.range()));
                    }
                }
            }
        }
        if !matched.matched(RULES.len()) {
            return;
        }
        for hit in self.assigned.captures_iter(text) {
            let Some(value) = hit.get(1).filter(|value| looks_random(value.as_str())) else {
                continue;
            };
            let name = "secrets/assigned";
            found.push(in_plain(view, name, C::SecretAssigned, 0.8, value.range()));
        }
    }
}

/// Not one character many times, as in examples (`sk-xxxxxxxxxxxxxxxxxxxx`).
fn has_variety(value: &str) -> bool {
    let tail = value.get(value.len().saturating_sub(16)..).unwrap_or(value);
    let mut seen: Vec<u8> = tail.bytes().collect();
    seen.sort_unstable();
    seen.dedup();
    seen.len() >= 5
}

/// Letters and digits, mixed and uneven: not a word, a path, a number or a variable.
fn looks_random(value: &str) -> bool {
    let has = |test: fn(&u8) -> bool| value.bytes().any(|b| test(&b));
    let digits = has(u8::is_ascii_digit);
    let (lower, upper) = (has(u8::is_ascii_lowercase), has(u8::is_ascii_uppercase));
    let marks = value.bytes().any(|b| b"!@#%^&*?".contains(&b));
    let mixed = (digits || marks) && (lower || upper);
    let is_reference = value.starts_with(['$', '/', '.']) || value.contains("://");
    mixed && !is_reference && entropy(value) >= ENTROPY_MIN
}

/// Shannon's entropy of the bytes, in bits per byte.
fn entropy(value: &str) -> f64 {
    let mut counts = [0_u32; 256];
    value.bytes().for_each(|b| counts[usize::from(b)] += 1);
    let total = value.len() as f64;
    counts
        .iter()
        .filter(|count| **count > 0)
        .map(|count| f64::from(*count) / total)
        .map(|share| -share * share.log2())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, wanted: Option<C>) {
        let mut found = Vec::new();
        Secrets::new().find(&View::new(text), &mut found);
        assert_eq!(found.first().map(|f| f.category), wanted, "{text}");
    }

    /// Written in two pieces, so that no scanner takes this file for a leak.
    #[test]
    fn published_forms_are_found() {
        let tail = "aB3dE5gH7jK9mN1pQ2sT4vW6xY8zA0cD2eF4";
        for (head, cut) in [
            ("ghp_", 36),
            ("sk-proj-", 30),
            ("sk_live_", 24),
            ("AIza", 35),
            ("glpat-", 20),
            ("xoxb-", 30),
            ("npm_", 36),
        ] {
            check(&format!("my key is {head}{}.", &tail[..cut.min(36)]), Some(C::SecretKey));
        }
        check(&format!("{}{}", "AKIA", "QWERTYUIOPASDF23"), Some(C::SecretKey));
        let jwt = format!("eyJ{}.eyJ{}.{}", &tail[..20], &tail[..20], tail);
        check(&jwt, Some(C::SecretToken));
        let block =
            format!("-----BEGIN RSA {} KEY-----\nMIIEabc+/=\n-----END RSA {0} KEY-----", "PRIVATE");
        check(&block, Some(C::SecretPrivateKey));
        check(&block[..50], Some(C::SecretPrivateKey));
        check("password = 'c0rrect-H0rse9'", Some(C::SecretAssigned));
        check("API_KEY: 8f3a9c1d7e", Some(C::SecretAssigned));
        check("postgres://bob:s3cretpw@db/x", Some(C::SecretAssigned));
    }

    #[test]
    fn a_long_secret_is_found_to_its_end() {
        let tail = "aB3dE5gH7jK9mN1pQ2sT4vW6xY8zA0cD2eF4".repeat(100);
        let jwt = format!("eyJ{tail}.eyJ{tail}{tail}.{tail}");
        for (before, secret, after) in [
            ("aws_session_token=", tail.as_str(), ""),
            ("\"client_secret\": \"", tail.as_str(), "\"}"),
            ("", &format!("ghp_{tail}"), " "),
            ("", &format!("sk-proj-{tail}"), "."),
            ("", &jwt, ","),
            ("postgres://bob:", tail.as_str(), "@db/x"),
        ] {
            let text = format!("{before}{secret}{after}");
            let mut found = Vec::new();
            Secrets::new().find(&View::new(&text), &mut found);
            let wanted = before.len()..before.len() + secret.len();
            assert!(found.iter().any(|one| one.span == wanted), "{before}, {found:?}");
        }
    }

    #[test]
    fn near_misses_are_left_alone() {
        for text in [
            "",
            "password: required",
            "The token: something else",
            "sk-learn and sk-short",
            "sk-xxxxxxxxxxxxxxxxxxxxxxxx",
            "AKIAshort",
            "secret = os.environ",
            "token = $TOKEN_1234",
            "-----BEGIN CERTIFICATE-----",
            "passwords: 12345678",
            "ghp_tooshort",
            "https://a.b/c:d@e",
        ] {
            check(text, None);
        }
    }
}
