//! A record: an event, and who did it, when, in which request.

use serde::{Deserialize, Serialize};

use crate::event::Event;
use crate::position::{LogId, Seq, Timestamp};

/// One entry of a tenant's log. On disk it is the postcard encoding of this struct inside an
/// [envelope](crate#the-format-on-disk); fields are only ever added at the end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The log this record was written to, and the only one that takes it.
    pub log_id: LogId,
    /// Its place there.
    pub seq: Seq,
    /// When it was appended; never before the record in front of it.
    pub at: Timestamp,
    /// Who did it.
    pub actor: Actor,
    /// The request that did it, as told to the client.
    pub request_id: String,
    /// Set when the client wants a repeated request to be answered rather than done again.
    pub idempotency: Option<Idempotency>,
    /// What happened.
    pub event: Event,
}

/// Who did something. With the request id it makes the log the tenant's audit trail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// The API key's id (never the key itself); `None` in single-tenant mode, where there are none.
    pub key_id: Option<String>,
    /// The door it came through.
    pub via: Via,
}

/// The doors into the system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Via {
    /// The REST API.
    Rest,
    /// The MCP endpoint.
    Mcp,
    /// The command line, on the data folder itself.
    CommandLine,
    /// The server on its own account.
    System,
}

/// A client's promise that two requests are one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Idempotency {
    /// The client's key, unique within the tenant for as long as it is remembered.
    pub key: String,
    /// BLAKE3 of the request (operation, target and body): the same key with another one is refused.
    pub body_hash: [u8; 32],
}

/// A record before the log has given it its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Draft {
    /// Who does it.
    pub actor: Actor,
    /// The request that does it.
    pub request_id: String,
    /// See [`Record::idempotency`].
    pub idempotency: Option<Idempotency>,
    /// What happens.
    pub event: Event,
}
