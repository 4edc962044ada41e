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
//! The envelopes of a large commit are **bodies** in a file of their own, `bodies` in the folder of the tail. The
//! storage then holds one part for each of their records, a **reference**, whose mark is 4:
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
//! the file; bytes that no reference names mean nothing. Bodies are durable before a reference to them is written.
//!
//! The records of a log are in **tiers**: the oldest in segments, the newest in tails. A log whose oldest records were
//! dropped begins with a base.
//!
//! A **tail** is a folder with a sled database, and with the file of bodies once there is one. The first tail is `log`.
//! Each later one is `tails/{first}`, named by the seq of its first record in 20 decimal digits. The last tail takes
//! the writes. The others are frozen: they are whole, durable and acknowledged. All tails share the head file.
//! `tails/creating` is a tail whose creation was interrupted. The next opening removes it, and every tail whose records
//! are all in segments.
//!
//! Segments and bases are **files of blocks**. A block has many entries; an entry is never split.
//!
//! | bytes | field |
//! | --- | --- |
//! | 8 | `VZBLOCK1` |
//! | … | the blocks, one after the other |
//! | … | the index |
//! | 4 | length of the index |
//! | 32 | hash of the file, `BLAKE3(VZBLOCK1 ‖ index)` |
//! | 8 | `VZBLKEND` |
//!
//! The content of a block is its entries, each preceded by its length (4). The entry that makes the content 256 KiB or
//! longer is the last one of its block. The codec says how the content is stored: 0 as it is, 1 as one frame of
//! Zstandard, 2 as one frame of Zstandard of the bytes ordered by their position modulo four: those at 0, 4, 8 and so
//! on first, then those at 1, 5, 9 and so on.
//!
//! The index is the postcard encoding of the file's facts and of the list of blocks. For each block it has the offset,
//! the stored length, the length of the content, the codec, the number of the first entry, the time of that entry, and
//! the BLAKE3 hash of the stored bytes. Entries have consecutive numbers. The hash of the file covers the hashes of its
//! blocks, so a block is verified without reading the others.
//!
//! A **segment** has consecutive records. Its name is `segments/{first}-{last}.{generation}.segment`, with both seqs in
//! 20 decimal digits. An entry is a record: the mark of its last part (1), 2 or 3, and its envelope. The number of an
//! entry is the seq of its record. The facts are the version, 1, the log id, the generation, the first and the last
//! seq, the times of both records, the chain hash in front of the first record, the chain hash of the last record, and
//! the sum of the lengths of the envelopes.
//!
//! A **base** has the state after a record, in place of the records up to it. Its name is
//! `segments/{through}.{generation}.base`, with the seq in 20 digits. An entry is the postcard encoding of a
//! [`BaseItem`]: first the [state](BaseState) of usage and of the bill, then each [collection](BaseCollection),
//! followed by its points, then the [answers](BaseAnswer) to idempotency keys, oldest first. Entries are numbered from
//! zero. The facts are the version, 1, the log id, the generation, the seq of the last record that the base contains,
//! its time, its chain hash, the number of the items, and the sum of their lengths. Variants and fields of items are
//! added at the end only.
//!
//! The **manifest of the history** (`history.json`) says which base and which segments belong to the log. It is JSON,
//! and it is replaced as a whole. A file in `segments` that it does not name means nothing, and is removed. Hashes and
//! keys are lower-case hexadecimal, times are microseconds since 1970-01-01 UTC.
//!
//! | field | content |
//! | --- | --- |
//! | `format` | 1 |
//! | `log_id` | the log id |
//! | `generation` | how often content was erased; 0, since nothing erases content yet |
//! | `handle_key` | the [`HandleKey`] of the log, a secret |
//! | `base` | null, or `generation`, `through`, `at`, `chain`, `items`, `bytes`, `file_bytes` and `hash` of the base |
//! | `segments` | at most 256, consecutive and oldest first: `generation`, `first`, `last`, `since`, `until`, `chain`, `bytes`, `file_bytes` and `hash` of each |
//! | `checksum` | the BLAKE3 hash of this file with an empty string here |
//!
//! `bytes` are lengths before compression, and `file_bytes` is the size of the file. The first segment follows the
//! base, or begins with record 1. Records of segments are acknowledged, also if a loss of power has undone the head
//! behind them.
//!
//! The event [`HistoryDropped`](Event::HistoryDropped) states the last dropped record, its chain hash and the hash of
//! the base. It is committed before the manifest of the history names the base, so a log can have the event without the
//! base.
//!
//! The **head** file holds the last acknowledged record: two slots at offsets 0 and 4096, written alternately after
//! each sync; the newer valid one counts. A slot is `VLH1`, the seq (8), the chain hash (32) and the CRC-32 of these.
//!
//! The **closed** file exists while the log is closed, if it was closed cleanly: `VZCLOSE1`, the log id (16), the seq
//! (8) and chain hash (32) of the record that the checkpoint ends with, then of the last record, the stored bytes of
//! the whole log (8), the envelopes of the records after the checkpoint, each preceded by its length (4), and the
//! BLAKE3 hash of all in front (32).
//!
//! The **manifest** (`manifest.json`) holds the format, the log id, sled's segment size, the tenant's incarnation once
//! it is known, and the tenant's id, with a CRC-32 of them. It is valid only in the folder of that tenant.
//!
//! | format | folder |
//! | --- | --- |
//! | 1 | All records are in `log`, in envelopes of version 1 and without bodies. A `history.json` means nothing. |
//! | 2 | There is a `history.json`. Records are in segments and tails, new ones in envelopes of version 2 and with bodies. |
//!
//! New folders have format 2. A folder of format 1 gets format 2 with its first rotation: `history.json` is durable
//! before the manifest has format 2. A missing `history.json` in a folder of format 2 is an error, never an empty
//! history. A program that knows format 1 only refuses a folder of format 2 by its manifest and changes nothing in it.

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
mod hexadecimal;
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
pub use incarnation::Incarnation;
pub use language::{InvalidLanguage, Language, TextParameters};
pub use logical_size::{VECTOR_OVERHEAD_BYTES, vector_logical_bytes};
pub use meter::{Meter, MeterTotal, billed_lines};
pub use migration::{Destination, Migration, MigrationError, MigrationStart, destination};
pub use part::PartKey;
pub use path::{InvalidPayloadPath, PayloadPath};
pub use point::{DenseVector, InvalidPoint, Payload, Point, PointId, Text, TextId, Vector, vector_le_bytes};
pub use position::{ChainHash, Generation, Head, InvalidTimestamp, LogId, Seq, Timestamp};
pub use record::{Actor, Draft, Idempotency, Record, Via};
pub use recovery::{Recovered, RemovedTail, UnverifiedLog, copy_acknowledged, initialize};
pub use sealing::{BaseItems, DropReservation, HistoryChange, PreparedBase, SealedRecords, TierSizes};
pub use tenant_id::{InvalidTenantId, TenantId};
pub use tenant_log::{Commit, CommitTimes, LogReader, StoredRecord, TenantLog};
pub use verifier::Verifier;
pub use verify::{RemoteVerification, Verification};
