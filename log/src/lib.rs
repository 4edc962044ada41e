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
//! A record is put into an **envelope**. Two versions exist, and both can occur in one log. Version 1 is never
//! rewritten.
//!
//! In **version 1** the body is the postcard encoding of the record:
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
//! In **version 2** the content of a record can be erased, and its chain hash stays:
//!
//! | offset | bytes | field |
//! | --- | --- | --- |
//! | 0 | 1 | format version, 2 |
//! | 1 | 1 | codec of the body: 0 plain |
//! | 2 | 2 | zero |
//! | 4 | 4 | length of the header |
//! | 8 | 4 | length of the body |
//! | 12 | 4 | CRC-32 (ISO-HDLC) of bytes 0-11, the header and the body |
//! | 16 | 32 | chain hash |
//! | 48 | … | header |
//! | | … | body |
//!
//! The chain hash is `BLAKE3(previous chain hash ‖ bytes 0-7 ‖ header)`. It covers neither the length of the body nor
//! the checksum nor the body.
//!
//! The header is the postcard encoding of [`Header`]: the [`RecordFacts`], the number of items, and the Merkle root over
//! the items. The facts are the log id, the seq, the time, the interface, the kind of the event, the collection, and what
//! usage and the bill need of the event. Nothing in them is chosen by a client. A point has its logical bytes and a
//! [handle](PointHandle): the first 16 bytes of BLAKE3, keyed with the log's [`HandleKey`], of the collection's number (8)
//! and the point's encoded id.
//!
//! The body holds the **items**. The first item is the request; the others are the content of the event, one for each
//! point. The first byte of a body is its form:
//!
//! - 0, whole: the secret of the record (32), then each item with its length (4) in front;
//! - 1, with erased items: for each item a mark. After mark 0, erased, follow the number (4) and the hashes (32 each) of
//!   the item's chunks. After mark 1, kept, follow the item's length (4), the salts (16 each) of its chunks, and the item.
//!
//! An item is a list of **sections**: the number of the [kind](SectionKind) (1), the length of the name (1), the name, the
//! length of the content (7 bits in each byte, the lowest first; the highest bit is set in all bytes but the last), the
//! content. No event has names yet.
//!
//! The **Merkle root** is `BLAKE3-keyed("vectorizer log items v2 (merkle)", chunks of all items ‖ number of items (4))`.
//! A chunk has 1,024 bytes: a salt (16), the number of its item from zero (4), the length of the item (4), and the next
//! 1,000 bytes of the item, with zeros behind the last one. An empty item has one chunk. BLAKE3 hashes chunks of 1,024
//! bytes into a binary tree, so the hash of a chunk can take the place of its bytes. The salts are consecutive bytes of
//! the output of BLAKE3, keyed with the secret of the record, without an input.
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

mod base;
mod billing;
mod blocks;
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
mod history;
mod incarnation;
mod language;
mod logical_size;
mod manifest;
mod merging;
mod meter;
mod migration;
mod part;
mod path;
mod point;
mod position;
mod read_copy;
mod record;
mod recovery;
mod sealing;
mod segment;
pub mod storage;
mod tails;
mod tenant_id;
mod tenant_log;
mod tiers;
mod upgrade;
mod verifier;
mod verify;

pub use base::{Base, BaseAnswer, BaseCollection, BaseItem, BaseOutcome, BaseState, BaseWindow};
pub use billing::{JournalPosition, ObservedOperation, RejectedLine};
pub use closed::{ClosedFile, ClosedLog};
pub use damage::{Damage, DamageKind, InvalidItem};
pub use deleted::{DeletedTenants, Tombstone};
pub use document::Document;
pub use envelope::{
    Envelope, EnvelopeFormat, EraseError, HandleKey, Header, KnownEvent, MerkleRoot, PointFacts, PointHandle,
    PointSize, RecordFacts, RecordSecrets, RejectedFacts, Section, SectionKind, StoredItem, erase,
};
pub use error::Error;
pub use event::{
    BillClose, BillStep, CollectionContent, CollectionId, CollectionName, DataChange, Dimension,
    DroppedHistory, Effect, Event, EventFacts, EventKind, IndexParameters, InvalidCollectionName,
    InvalidDimension, Metric, ObservedUsage, RefusedRequests, VectorParameters, WrittenPoint, WrittenPoints,
};
pub use export::{
    ExportDetail, ExportFormat, ExportRange, ExportedBase, ExportedLine, ExportedRecord, RangePosition,
    write_base_item_line, write_base_line, write_line,
};
pub use folder::TenantFolder;
pub use head::{SLOT_BYTES, Slot};
pub use history::Generation;
pub use incarnation::Incarnation;
pub use language::{InvalidLanguage, Language, TextParameters};
pub use logical_size::{VECTOR_OVERHEAD_BYTES, vector_logical_bytes};
pub use meter::{Meter, MeterTotal, billed_lines};
pub use migration::{Destination, Migration, MigrationError, MigrationStart, destination};
pub use part::PartKey;
pub use path::{InvalidPayloadPath, PayloadPath};
pub use point::{DenseVector, InvalidPoint, Payload, Point, PointId, Text, TextId, Vector, vector_le_bytes};
pub use position::{ChainHash, Head, InvalidTimestamp, LogId, Seq, Timestamp};
pub use record::{Actor, Draft, Idempotency, Record, Via};
pub use recovery::{Recovered, RemovedTail, UnverifiedLog, copy_acknowledged, initialize};
pub use sealing::{BaseItems, HistoryChange, PreparedBase, SealedRecords, TierSizes};
pub use tenant_id::{InvalidTenantId, TenantId};
pub use tenant_log::{Commit, CommitTimes, LogReader, StoredRecord, TenantLog};
pub use verifier::Verifier;
pub use verify::{RemoteVerification, Verification};
