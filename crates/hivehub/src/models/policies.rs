//! The policy feed: keys that are revoked, tenants that are suspended, quotas that change.
//!
//! `HiveHub` numbers these events in one feed. An answer with a [`PolicyCursor`] was made after the events up to its
//! position, and before those after it.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;
use vectorizer_access::{KeyHash, KeyId};
use vectorizer_log::{Incarnation, TenantId, Timestamp};

use super::moment;

/// Where the policy feed is read, below `HiveHub`'s address.
pub const POLICIES_PATH: &str = "/api/internal/vectorizer/policies";

/// The longest wait for an event, in seconds.
pub const POLICY_WAIT_SECONDS_MAX: u32 = 30;

/// The most events of one answer.
pub const POLICY_EVENTS_MAX: usize = 1_000;

/// A position in a policy feed. Positions of one feed have an order; those of two feeds have none.
///
/// As a text, `<feed>:<position>`: a UUID and a decimal number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PolicyCursor {
    feed: Uuid,
    position: u64,
}

/// A text that is no [`PolicyCursor`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a policy cursor is a UUID, a colon and a number")]
pub struct InvalidPolicyCursor;

/// Parameters of `GET` of [`POLICIES_PATH`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoliciesQuery {
    /// The position after which events are returned. Without it, the answer has the current cursor and no events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<PolicyCursor>,
    /// How many seconds to wait for an event, at most [`POLICY_WAIT_SECONDS_MAX`].
    #[serde(default)]
    pub wait: u32,
}

/// Answer to [`PoliciesQuery`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoliciesAnswer {
    /// The position to continue from: that of the last event, or of the query if there are no events.
    pub cursor: PolicyCursor,
    /// The events in the order of their positions, at most [`POLICY_EVENTS_MAX`].
    pub events: Vec<PolicyEvent>,
}

/// One event of the feed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyEvent {
    /// Its position in the feed: greater than those before.
    pub position: u64,
    /// When it happened.
    #[serde(with = "moment")]
    pub at: Timestamp,
    /// What happened.
    #[serde(flatten)]
    pub change: PolicyChange,
}

/// What happened. In JSON, `type` has the kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum PolicyChange {
    /// A key was revoked, for good.
    KeyRevoked {
        /// Its public name.
        key_id: KeyId,
        /// Its SHA-256.
        key_sha256: KeyHash,
        /// Its tenant; `None` for a key of cluster scope.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tenant: Option<TenantId>,
    },
    /// Something else about a key changed: answers about it are outdated.
    KeyChanged {
        /// Its public name.
        key_id: KeyId,
        /// Its SHA-256.
        key_sha256: KeyHash,
        /// Whose it is; `None` for a key of cluster scope.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tenant: Option<TenantId>,
    },
    /// A tenant was suspended.
    TenantSuspended {
        /// Which.
        tenant: TenantId,
    },
    /// A tenant is served again.
    TenantResumed {
        /// Which.
        tenant: TenantId,
    },
    /// A tenant was deleted.
    TenantDeleted {
        /// Which.
        tenant: TenantId,
        /// Its incarnation: a later one may exist already. `None` if `HiveHub` does not have it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        incarnation: Option<Incarnation>,
    },
    /// A deletion was undone: the tenant is the same incarnation as before.
    TenantUndeleted {
        /// Which.
        tenant: TenantId,
        /// Its incarnation; `None` if `HiveHub` does not have it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        incarnation: Option<Incarnation>,
    },
    /// Something else about a tenant changed: answers about its keys are outdated.
    TenantChanged {
        /// Which.
        tenant: TenantId,
    },
    /// A tenant's quota changed.
    QuotaChanged {
        /// Whose.
        tenant: TenantId,
    },
    /// An event that this server does not know. It may revoke a right.
    #[serde(other)]
    NotUnderstood,
}

impl PolicyCursor {
    /// This position in this feed.
    pub const fn new(feed: Uuid, position: u64) -> Self {
        Self { feed, position }
    }

    /// Which feed.
    pub const fn feed(&self) -> Uuid {
        self.feed
    }

    /// The number of the last event; 0 before the first.
    pub const fn position(&self) -> u64 {
        self.position
    }
}

impl PartialOrd for PolicyCursor {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (self.feed == other.feed).then(|| self.position.cmp(&other.position))
    }
}

impl fmt::Display for PolicyCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.feed.hyphenated(), self.position)
    }
}

impl FromStr for PolicyCursor {
    type Err = InvalidPolicyCursor;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (feed, position) = text.split_once(':').ok_or(InvalidPolicyCursor)?;
        let feed = feed.parse().map_err(|_| InvalidPolicyCursor)?;
        let position = position.parse().map_err(|_| InvalidPolicyCursor)?;
        let cursor = Self { feed, position };
        // Each cursor has one spelling, although UUIDs and numbers have several.
        if cursor.to_string() == text { Ok(cursor) } else { Err(InvalidPolicyCursor) }
    }
}

impl TryFrom<String> for PolicyCursor {
    type Error = InvalidPolicyCursor;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<PolicyCursor> for String {
    fn from(cursor: PolicyCursor) -> Self {
        cursor.to_string()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const FEED: &str = "6f9619ff-8b86-4d01-b42d-00cf4fc964ff";

    fn cursor(position: u64) -> PolicyCursor {
        PolicyCursor::new(FEED.parse().unwrap(), position)
    }

    #[test]
    fn cursors_of_one_feed_have_an_order_and_those_of_two_have_none() {
        assert!(cursor(1) < cursor(2) && cursor(2) <= cursor(2) && cursor(3) > cursor(2));
        let other = PolicyCursor::new(Uuid::nil(), 5);
        assert_eq!(other.partial_cmp(&cursor(5)), None);
        assert_ne!(other, cursor(5));
    }

    #[test]
    fn a_cursor_has_one_text() {
        let text = format!("{FEED}:17");
        assert_eq!((cursor(17).to_string(), text.parse()), (text, Ok(cursor(17))));
        for text in [
            String::new(),
            FEED.to_owned(),
            format!("{FEED}:"),
            format!(":{FEED}"),
            format!("{FEED}:-1"),
            format!("{FEED}:+1"),
            format!("{FEED}:01"),
            format!("{FEED}: 1"),
            format!("{FEED}:1:1"),
            format!("{FEED}:18446744073709551616"),
            format!("{}:1", FEED.to_uppercase()),
            format!("{}:1", FEED.replace('-', "")),
            format!("{{{FEED}}}:1"),
        ] {
            assert_eq!(text.parse::<PolicyCursor>(), Err(InvalidPolicyCursor), "{text}");
        }
    }

    #[test]
    fn every_kind_of_event_reads_as_it_was_written() {
        let (at, hash) = ("2026-01-02T03:04:05.000006Z", KeyHash::of("a key"));
        let events = json!([
            {"position": 1, "at": at, "type": "key_revoked", "key_id": "k", "key_sha256": hash, "tenant": "acme"},
            {"position": 2, "at": at, "type": "key_changed", "key_id": "k", "key_sha256": hash},
            {"position": 3, "at": at, "type": "tenant_suspended", "tenant": "acme"},
            {"position": 4, "at": at, "type": "tenant_resumed", "tenant": "acme"},
            {"position": 5, "at": at, "type": "tenant_deleted", "tenant": "acme"},
            {"position": 6, "at": at, "type": "quota_changed", "tenant": "acme"},
            {"position": 7, "at": at, "type": "tenant_undeleted", "tenant": "acme"},
            {"position": 8, "at": at, "type": "tenant_changed", "tenant": "acme"},
        ]);
        let answer = json!({"cursor": format!("{FEED}:8"), "events": events});
        let read: PoliciesAnswer = serde_json::from_value(answer.clone()).unwrap();
        assert_eq!(read.events[2].change, PolicyChange::TenantSuspended { tenant: "acme".parse().unwrap() });
        assert_eq!(read.events[5].position, 6);
        assert_eq!(serde_json::to_value(read).unwrap(), answer);
    }

    #[test]
    fn an_event_from_the_future_is_not_understood_and_its_neighbours_are() {
        let answer = json!({"cursor": format!("{FEED}:8"), "events": [
            {"position": 7, "at": "2026-01-02T03:04:05Z", "type": "level_lowered", "level": {"of": ["k"]}},
            {"position": 8, "at": "2026-01-02T03:04:05Z", "type": "quota_changed", "tenant": "acme", "more": 1},
        ]});
        let read: PoliciesAnswer = serde_json::from_str(&answer.to_string()).unwrap();
        assert_eq!(read.events[0].change, PolicyChange::NotUnderstood);
        assert_eq!(read.events[1].change, PolicyChange::QuotaChanged { tenant: "acme".parse().unwrap() });
    }

    #[test]
    fn an_event_that_says_too_little_is_an_error() {
        for event in [
            json!({"position": 1, "at": "2026-01-02T03:04:05Z", "type": "key_revoked", "key_id": "k"}),
            json!({"position": 1, "at": "2026-01-02T03:04:05Z", "tenant": "acme"}),
            json!({"position": 1, "at": "2026-01-02T03:04:05Z", "type": "quota_changed", "tenant": "../a"}),
            json!({"position": 1, "at": "soon", "type": "quota_changed", "tenant": "acme"}),
            json!({"at": "2026-01-02T03:04:05Z", "type": "quota_changed", "tenant": "acme"}),
        ] {
            assert!(serde_json::from_value::<PolicyEvent>(event.clone()).is_err(), "{event}");
        }
    }
}
