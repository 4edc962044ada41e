//! A tenant's append-only log.
//!
//! Each tenant has one log: a [`TenantLog`] in a [`TenantFolder`], of [`Record`]s that are [`Event`]s
//! with who, when and in which request. What is acknowledged is durable, in order, without a gap, and
//! whatever is missing or wrong later is found and named. This crate knows events and bytes; what the
//! events mean for collections and bills is folded from them elsewhere.
//!
//! # The format on disk
//!
//! This is the one place that states it. Numbers are little-endian unless said otherwise.
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
//! The **chain hash** is `BLAKE3(chain hash in front ‖ bytes 0-11 ‖ body)`: what is hashed is what is
//! stored, never a re-encoding. In front of the first record stands
//! `BLAKE3-derive-key("vectorizer log genesis v1", log id)`.
//!
//! An envelope is cut into **parts** that the storage can hold, at keys `(seq, part)`: 8 and 4 bytes,
//! big-endian, `part` from zero. A part's first byte is its mark: 1 more parts of this record follow,
//! 2 the record ends, 3 the record and its commit end. Records of one commit become durable together.
//!
//! The **head** file says how much was acknowledged: two slots at offsets 0 and 4096, written in turn
//! after each sync, the newer valid one counts. A slot is `VLH1`, the seq (8), the chain hash (32) and
//! the CRC-32 of these.
//!
//! The **closed** file stands beside a log that was closed cleanly, for as long as it is closed:
//! `VZCLOSE1`, the log id (16), seq (8) and chain hash (32) of the record in front of those that follow and
//! of the last one, the stored bytes of the whole log (8), the records, each with its length (4) in front of
//! its envelope, and the BLAKE3 hash of all that (32).
//!
//! The **manifest** (`manifest.json`) holds the format, the log id, sled's segment size, once that is known the tenant's
//! incarnation, and the tenant's id, with a CRC-32 of them. It is believed only in a folder of that name.

mod billing;
mod closed;
mod damage;
mod deleted;
mod document;
mod elsewhere;
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
mod record;
mod recovery;
pub mod storage;
mod tenant_id;
mod tenant_log;
mod verifier;
mod verify;

pub use billing::{JournalPosition, ObservedOperation, ParkedLine};
pub use closed::{ClosedFile, ClosedLog};
pub use damage::{Damage, DamageKind};
pub use deleted::{DeletedTenants, Tombstone};
pub use document::{Document, Text};
pub use error::Error;
pub use event::{
    CollectionId, CollectionName, Dimension, Event, IndexParameters, InvalidCollectionName, InvalidDimension,
    Metric, VectorParameters,
};
pub use export::{ExportDetail, ExportFormat, ExportPlace, ExportRange, ExportedRecord, write_line};
pub use folder::TenantFolder;
pub use head::{SLOT_BYTES, Slot};
pub use incarnation::Incarnation;
pub use language::{InvalidLanguage, Language, TextParameters};
pub use meter::{Meter, MeterTotal, billed_lines};
pub use migration::{Begun, Destination, Migration, MigrationError, destination};
pub use part::PartKey;
pub use path::{InvalidPayloadPath, PayloadPath};
pub use point::{DenseVector, InvalidPoint, Payload, Point, PointId, TextId, Vector, vector_le_bytes};
pub use position::{ChainHash, Head, InvalidTimestamp, LogId, Seq, Timestamp};
pub use record::{Actor, Draft, Idempotency, Record, Via};
pub use recovery::{Cut, Recovered, UnverifiedLog, copy_acknowledged, initialize};
pub use tenant_id::{InvalidTenantId, TenantId};
pub use tenant_log::{Commit, CommitTimes, LogReader, StoredRecord, TenantLog};
pub use verifier::Verifier;
pub use verify::{RemoteVerification, Verification};
