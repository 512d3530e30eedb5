//! One set of limits, as the configuration, keys and groups have it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The largest limit that is counted; beyond it a limit is none.
pub const LIMIT_MAX: u64 = 1 << 40;

/// One set of limits; what is absent or 0 is not limited. Days and months are those of the calendar
/// in UTC.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LimitSet {
    pub requests_per_minute: Option<u32>,
    pub tokens_per_minute: Option<u64>,
    pub requests_per_day: Option<u64>,
    pub tokens_per_day: Option<u64>,
    pub requests_per_month: Option<u64>,
    pub tokens_per_month: Option<u64>,
    pub concurrent: Option<u32>,
}

impl LimitSet {
    /// Each limit that is given, by its name.
    pub fn entries(&self) -> impl Iterator<Item = (&'static str, u64)> {
        [
            ("requests_per_minute", self.requests_per_minute.map(u64::from)),
            ("tokens_per_minute", self.tokens_per_minute),
            ("requests_per_day", self.requests_per_day),
            ("tokens_per_day", self.tokens_per_day),
            ("requests_per_month", self.requests_per_month),
            ("tokens_per_month", self.tokens_per_month),
            ("concurrent", self.concurrent.map(u64::from)),
        ]
        .into_iter()
        .filter_map(|(name, limit)| limit.map(|limit| (name, limit)))
    }

    /// The name of a limit that would not limit, where there is one: people who give limits by hand
    /// leave out what is to have none.
    pub fn without_effect(&self) -> Option<&'static str> {
        self.entries().find(|(_, limit)| !(1..=LIMIT_MAX).contains(limit)).map(|(name, _)| name)
    }

    /// Whether anything is given.
    pub fn is_empty(&self) -> bool {
        self.entries().next().is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_not_limit_is_found_by_its_name() {
        let check = |set: LimitSet, name: Option<&str>| assert_eq!(set.without_effect(), name);
        check(LimitSet::default(), None);
        check(LimitSet { tokens_per_day: Some(1), ..LimitSet::default() }, None);
        check(LimitSet { tokens_per_month: Some(LIMIT_MAX), ..LimitSet::default() }, None);
        let over = LimitSet { tokens_per_month: Some(LIMIT_MAX + 1), ..LimitSet::default() };
        check(over, Some("tokens_per_month"));
        check(LimitSet { concurrent: Some(0), ..LimitSet::default() }, Some("concurrent"));
    }

    #[test]
    fn every_limit_is_among_the_entries() {
        let names: Vec<String> = serde_json::to_value(LimitSet::default())
            .expect("plain data")
            .as_object()
            .expect("an object")
            .keys()
            .cloned()
            .collect();
        let all = names.iter().map(|name| format!("\"{name}\": 7")).collect::<Vec<_>>().join(",");
        let set: LimitSet = serde_json::from_str(&format!("{{{all}}}")).expect("limits");
        let mut entries: Vec<&str> = set.entries().map(|(name, _)| name).collect();
        entries.sort_unstable();
        let mut names = names;
        names.sort_unstable();
        assert_eq!(entries, names);
    }
}
