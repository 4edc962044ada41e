//! Records: events with their actor, time and request.

use serde::{Deserialize, Serialize};

use crate::event::Event;
use crate::position::{LogId, Seq, Timestamp};

/// One entry of a tenant's log. In an [envelope](crate#the-format-on-disk) of version 1 it is the postcard encoding of
/// this struct, so fields are only added at the end; in one of version 2 it is a header and items.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The log that the record belongs to.
    pub log_id: LogId,
    /// The record's number.
    pub seq: Seq,
    /// When it was appended; never before the previous record.
    pub at: Timestamp,
    /// Who caused it.
    pub actor: Actor,
    /// The id of the request that caused it, as sent to the client.
    pub request_id: String,
    /// Set if the client wants a repeated request to be answered instead of repeated.
    pub idempotency: Option<Idempotency>,
    /// The event.
    pub event: Event,
}

/// Who caused a record. Together with the request id it makes the log the tenant's audit trail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// The API key's id (never the key itself); `None` in single-tenant mode, where there are no keys.
    pub key_id: Option<String>,
    /// The interface that was used.
    pub via: Via,
}

/// The interfaces of the system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Via {
    /// The REST API.
    Rest,
    /// The MCP endpoint.
    Mcp,
    /// The command line, directly on the data folder.
    CommandLine,
    /// The server itself.
    System,
}

/// The idempotency key of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Idempotency {
    /// The key, unique within the tenant for as long as it is remembered.
    pub key: String,
    /// BLAKE3 of the request (operation, target and body): a request with the same key and another hash is refused.
    pub body_hash: [u8; 32],
}

/// A record without its number and time.
#[derive(Clone, Debug, PartialEq)]
pub struct Draft {
    /// Who causes it.
    pub actor: Actor,
    /// The id of the request.
    pub request_id: String,
    /// See [`Record::idempotency`].
    pub idempotency: Option<Idempotency>,
    /// The event.
    pub event: Event,
}
