//! A tenant's append-only log.
//!
//! Each tenant has one log: a [`TenantLog`] in a [`TenantFolder`]. It consists of [`Record`]s: an [`Event`] each, with
//! the actor, the time and the request. Acknowledged records are durable and in order, without gaps, and a record
//! that is missing or wrong later is detected and named. This crate knows events and bytes; the crates above fold the
//! events into collections and bills.
//!
//! # The format on disk
//!
//! This is the only place that states it. Numbers are little-endian unless said otherwise.
//!
//! A record is encoded with postcard and put into an **envelope**:
//!
//! | offset | bytes | field |
//! | --- | --- | --- |
//! | 0 | 1 | format version, 1 |
//! | 1 | 1 | codec of the body: 0 plain postcard |
//! | 2 | 2 | zero |
//! | 4 | 4 | length of the body |
//! | 8 | 4 | CRC-32 (ISO-HDLC) of bytes 0-7 and the body |
//! | 12 | 32 | chain hash |
//! | 44 | … | body |
//!
//! The **chain hash** is `BLAKE3(previous chain hash ‖ bytes 0-11 ‖ body)`: it covers the stored bytes, never a
//! re-encoding. The previous chain hash of the first record is
//! `BLAKE3-derive-key("vectorizer log genesis v1", log id)`.
//!
//! An envelope is split into **parts** that the storage can hold, at keys `(seq, part)`: 8 and 4 bytes, big-endian,
//! `part` from zero. The first byte of a part is its mark: 1 if more parts of the record follow, 2 if the record ends,
//! 3 if the record and its commit end. Records of one commit become durable together.
//!
//! The envelopes of a large commit are **bodies** in a file of their own, `log/bodies`. The storage then holds one part
//! for each of their records, a **reference**, whose mark is 4:
//!
//! | offset | bytes | field |
//! | --- | --- | --- |
//! | 0 | 1 | mark, 4 |
//! | 1 | 1 | 2 if the record ends, 3 if the record and its commit end |
//! | 2 | 8 | offset of the envelope in the file of bodies |
//! | 10 | 4 | length of the envelope |
//! | 14 | 32 | BLAKE3 hash of the envelope |
//!
//! The file of bodies has no structure of its own. The bodies of a commit begin at a multiple of 4096 behind the end of
//! the file; bytes that no reference names mean nothing. Bodies are durable before a reference to them is written. A
//! program that knows no references refuses such a record as damaged, because its mark is unknown.
//!
//! The **head** file holds the last acknowledged record: two slots at offsets 0 and 4096, written alternately after
//! each sync; the newer valid one counts. A slot is `VLH1`, the seq (8), the chain hash (32) and the CRC-32 of these.
//!
//! The **closed** file exists while the log is closed, if it was closed cleanly: `VZCLOSE1`, the log id (16), the seq
//! (8) and chain hash (32) of the base, then of the last record, the stored bytes of the whole log (8), the envelopes
//! of the records after the base, each preceded by its length (4), and the BLAKE3 hash of all in front (32).
//!
//! The **manifest** (`manifest.json`) holds the format, the log id, sled's segment size, the tenant's incarnation once
//! it is known, and the tenant's id, with a CRC-32 of them. It is valid only in the folder of that tenant.

mod billing;
mod closed;
mod commits;
mod damage;
mod deleted;
mod document;
mod envelope;
mod error;
mod event;
mod export;
mod folder;
mod head;
mod incarnation;
mod language;
mod manifest;
mod meter;
mod migration;
mod part;
mod path;
mod point;
mod position;
mod read_copy;
mod record;
mod recovery;
pub mod storage;
mod tenant_id;
mod tenant_log;
mod verifier;
mod verify;

pub use billing::{JournalPosition, ObservedOperation, RejectedLine};
pub use closed::{ClosedFile, ClosedLog};
pub use damage::{Damage, DamageKind};
pub use deleted::{DeletedTenants, Tombstone};
pub use document::Document;
pub use error::Error;
pub use event::{
    BillClose, BillStep, CollectionContent, CollectionId, CollectionName, DataChange, Dimension, Effect,
    Event, EventFacts, IndexParameters, InvalidCollectionName, InvalidDimension, Metric, ObservedUsage,
    RefusedRequests, VectorParameters, WrittenPoint, WrittenPoints,
};
pub use export::{ExportDetail, ExportFormat, ExportRange, ExportedRecord, RangePosition, write_line};
pub use folder::TenantFolder;
pub use head::{SLOT_BYTES, Slot};
pub use incarnation::Incarnation;
pub use language::{InvalidLanguage, Language, TextParameters};
pub use meter::{Meter, MeterTotal, billed_lines};
pub use migration::{Destination, Migration, MigrationError, MigrationStart, destination};
pub use part::PartKey;
pub use path::{InvalidPayloadPath, PayloadPath};
pub use point::{DenseVector, InvalidPoint, Payload, Point, PointId, Text, TextId, Vector, vector_le_bytes};
pub use position::{ChainHash, Head, InvalidTimestamp, LogId, Seq, Timestamp};
pub use record::{Actor, Draft, Idempotency, Record, Via};
pub use recovery::{Recovered, RemovedTail, UnverifiedLog, copy_acknowledged, initialize};
pub use tenant_id::{InvalidTenantId, TenantId};
pub use tenant_log::{Commit, CommitTimes, LogReader, StoredRecord, TenantLog};
pub use verifier::Verifier;
pub use verify::{RemoteVerification, Verification};
