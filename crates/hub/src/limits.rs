//! Plans and quotas.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use vectorizer_hivehub::QuotaNumbers;

/// A plan's name: `[A-Za-z0-9][A-Za-z0-9_.-]{0,63}`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PlanName(Box<str>);

/// A text is not a [`PlanName`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a plan's name is of the form [A-Za-z0-9][A-Za-z0-9_.-]{{0,63}}")]
pub struct InvalidPlanName;

impl PlanName {
    /// The name as a text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PlanName {
    type Err = InvalidPlanName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fits = (1..=64).contains(&text.len())
            && text.as_bytes()[0].is_ascii_alphanumeric()
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
        if fits { Ok(Self(text.into())) } else { Err(InvalidPlanName) }
    }
}

impl TryFrom<String> for PlanName {
    type Error = InvalidPlanName;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<PlanName> for String {
    fn from(name: PlanName) -> Self {
        name.0.into()
    }
}

impl fmt::Display for PlanName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A name for people: 1 to 256 bytes without control characters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DisplayName(Box<str>);

/// A text is not a [`DisplayName`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a name is 1 to 256 bytes without control characters")]
pub struct InvalidDisplayName;

impl DisplayName {
    /// The name as a text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for DisplayName {
    type Err = InvalidDisplayName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fits = (1..=256).contains(&text.len()) && !text.chars().any(char::is_control);
        if fits { Ok(Self(text.into())) } else { Err(InvalidDisplayName) }
    }
}

impl TryFrom<String> for DisplayName {
    type Error = InvalidDisplayName;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<DisplayName> for String {
    fn from(name: DisplayName) -> Self {
        name.0.into()
    }
}

impl fmt::Display for DisplayName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A number that every JSON parser reads exactly: at most 2^53 - 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct Limit(u64);

/// A number is not a [`Limit`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a limit is a whole number of at most {}", Limit::MAX)]
pub struct InvalidLimit;

impl Limit {
    /// The largest.
    pub const MAX: u64 = (1 << 53) - 1;

    /// A limit of this number, if it is in range.
    pub const fn new(number: u64) -> Option<Self> {
        if number <= Self::MAX { Some(Self(number)) } else { None }
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl TryFrom<u64> for Limit {
    type Error = InvalidLimit;

    fn try_from(number: u64) -> Result<Self, Self::Error> {
        Self::new(number).ok_or(InvalidLimit)
    }
}

impl From<Limit> for u64 {
    fn from(limit: Limit) -> Self {
        limit.0
    }
}

impl FromStr for Limit {
    type Err = InvalidLimit;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().ok().and_then(Self::new).ok_or(InvalidLimit)
    }
}

/// The numbers of a quota. In a plan, `None` is the server's default; in a tenant's overrides, the plan's number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Logical bytes of vectors, ids and payloads.
    pub storage_bytes: Option<Limit>,
    /// Bytes of the tenant's log.
    pub log_bytes: Option<Limit>,
    /// Vectors in all collections.
    pub vectors: Option<Limit>,
    /// Collections.
    pub collections: Option<Limit>,
    /// Requests in a minute.
    pub requests_per_minute: Option<Limit>,
    /// Requests in an hour.
    pub requests_per_hour: Option<Limit>,
    /// Days for which history is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub history_days: Option<Limit>,
}

impl Limits {
    /// The quota of a tenant with these overrides whose plan is `plan`.
    #[must_use]
    pub fn over(self, plan: Self) -> Self {
        Self {
            storage_bytes: self.storage_bytes.or(plan.storage_bytes),
            log_bytes: self.log_bytes.or(plan.log_bytes),
            vectors: self.vectors.or(plan.vectors),
            collections: self.collections.or(plan.collections),
            requests_per_minute: self.requests_per_minute.or(plan.requests_per_minute),
            requests_per_hour: self.requests_per_hour.or(plan.requests_per_hour),
            history_days: self.history_days.or(plan.history_days),
        }
    }
}

impl From<Limits> for QuotaNumbers {
    fn from(limits: Limits) -> Self {
        let number = |limit: Option<Limit>| limit.map(Limit::get);
        Self {
            storage_bytes: number(limits.storage_bytes),
            log_bytes: number(limits.log_bytes),
            vectors: number(limits.vectors),
            collections: number(limits.collections),
            requests_per_minute: number(limits.requests_per_minute),
            requests_per_hour: number(limits.requests_per_hour),
            history_days: number(limits.history_days),
        }
    }
}

/// The default of a server without a configured one.
const DEFAULT_REQUESTS_PER_MINUTE: u64 = 1_000;
const DEFAULT_REQUESTS_PER_HOUR: u64 = 10_000;
/// The logical bytes of the smallest vector: one number, an id of one byte, no payload.
const VECTOR_BYTES_MIN: u64 = 4 + 1 + 32;

impl Limits {
    /// Sentences about numbers that cannot be reached because of another one.
    pub fn unreachable(&self) -> Vec<String> {
        let mut found = Vec::new();
        let get = |limit: Option<Limit>| limit.map(Limit::get);
        match (get(self.requests_per_minute), get(self.requests_per_hour)) {
            (Some(minute), Some(hour)) if minute > hour => found.push(format!(
                "requests_per_minute {minute} is never reached: requests_per_hour is {hour}"
            )),
            (Some(minute), Some(hour)) if hour > minute.saturating_mul(60) => found.push(format!(
                "requests_per_hour {hour} is never reached: requests_per_minute {minute} allows {} in an hour",
                minute.saturating_mul(60)
            )),
            (Some(minute), None) if minute.saturating_mul(60) > DEFAULT_REQUESTS_PER_HOUR => found.push(format!(
                "requests_per_minute {minute} is not kept up for an hour: requests_per_hour is left to the server's \
                 rate_limiting.default_requests_per_hour, which is {DEFAULT_REQUESTS_PER_HOUR} unless it is configured"
            )),
            (None, Some(hour)) if hour > DEFAULT_REQUESTS_PER_MINUTE * 60 => found.push(format!(
                "requests_per_hour {hour} is never reached: requests_per_minute is left to the server's \
                 rate_limiting.default_requests_per_minute, which is {DEFAULT_REQUESTS_PER_MINUTE} unless it is \
                 configured"
            )),
            (Some(_) | None, Some(_) | None) => {}
        }
        if let (Some(vectors), Some(bytes)) = (get(self.vectors), get(self.storage_bytes))
            && vectors.saturating_mul(VECTOR_BYTES_MIN) > bytes
        {
            found.push(format!(
                "vectors {vectors} is never reached: storage_bytes {bytes} has room for {} of the smallest",
                bytes / VECTOR_BYTES_MIN
            ));
        }
        if let (Some(stored), Some(log)) = (get(self.storage_bytes), get(self.log_bytes))
            && stored > log
        {
            found.push(format!(
                "storage_bytes {stored} is hardly reached: log_bytes is {log}, and the log has all that is stored"
            ));
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_another_makes_pointless_is_named() {
        let limit = |number| Some(Limit::new(number).unwrap());
        let rate = |minute, hour| Limits {
            requests_per_minute: minute,
            requests_per_hour: hour,
            ..Limits::default()
        };
        for (limits, words) in [
            (rate(limit(600), None), "requests_per_minute 600 is not kept up"),
            (rate(limit(600), limit(10)), "requests_per_minute 600 is never reached"),
            (rate(limit(600), limit(36_001)), "requests_per_hour 36001 is never reached"),
            (rate(None, limit(60_001)), "requests_per_hour 60001 is never reached"),
            (
                Limits { vectors: limit(1_000), storage_bytes: limit(36_999), ..Limits::default() },
                "vectors 1000 is never reached",
            ),
            (
                Limits { log_bytes: limit(9), storage_bytes: limit(10), ..Limits::default() },
                "storage_bytes 10 is hardly reached",
            ),
        ] {
            let found = limits.unreachable();
            assert!(found.len() == 1 && found[0].starts_with(words), "{found:?}");
        }
        for limits in [
            Limits::default(),
            rate(limit(600), limit(36_000)),
            rate(limit(600), limit(10_000)),
            rate(limit(100), None),
            rate(None, limit(60_000)),
            Limits { vectors: limit(1_000), storage_bytes: limit(37_000), ..Limits::default() },
        ] {
            assert_eq!(limits.unreachable(), [""; 0], "{limits:?}");
        }
    }

    #[test]
    fn an_override_goes_before_the_plan_number_by_number() {
        let limit = |number| Some(Limit::new(number).unwrap());
        let plan = Limits { vectors: limit(10), collections: limit(3), ..Limits::default() };
        let overrides = Limits { vectors: limit(0), log_bytes: limit(7), ..Limits::default() };
        let quota = overrides.over(plan);
        assert_eq!((quota.vectors, quota.collections, quota.log_bytes), (limit(0), limit(3), limit(7)));
        assert_eq!(quota.storage_bytes, None);
    }

    #[test]
    fn what_cannot_be_written_exactly_is_no_limit() {
        assert!(serde_json::from_str::<Limits>(r#"{"vectors": 9007199254740991}"#).is_ok());
        for bad in ["9007199254740992", "-1", "1.5", "\"7\""] {
            assert!(serde_json::from_str::<Limits>(&format!(r#"{{"vectors": {bad}}}"#)).is_err(), "{bad}");
        }
        assert!(serde_json::from_str::<Limits>(r#"{"vector": 1}"#).is_err());
    }

    #[test]
    fn a_name_has_its_grammar() {
        assert!("generous".parse::<PlanName>().is_ok() && "2026-Q1_x.y".parse::<PlanName>().is_ok());
        for bad in ["", "-x", "a b", "a/b", "ä", &"x".repeat(65)] {
            assert!(bad.parse::<PlanName>().is_err(), "{bad}");
        }
        assert!("Ümläut & Söhne".parse::<DisplayName>().is_ok());
        for bad in ["", "a\nb", "\u{1b}[31m", &"x".repeat(257)] {
            assert!(bad.parse::<DisplayName>().is_err(), "{bad}");
        }
    }
}
