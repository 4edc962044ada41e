//! The sealed tier of a log: the manifest of its history, a segment and a base.

use std::cell::OnceCell;
use std::fs;
use std::io;
use std::ops::ControlFlow;
use std::path::PathBuf;

use tempfile::TempDir;
use uuid::Uuid;
use vectorizer_log::{BaseItem, LogId, StoredRecord, TenantFolder, TenantLog};
use vectorizer_replay::{Projection, Projector as _};
use vectorizer_testing::events::{commit, open};

use super::closed::folder as temporary_folder;
use super::pieces::{joined, pieces};
use super::story::{events, use_up};

/// What frames the file of a base or a segment.
const MAGIC: &[u8] = b"VZBLOCK1";
const END: &[u8] = b"VZBLKEND";
const HASH_BYTES: usize = 32;
/// The length of the index, the hash and [`END`].
const FOOTER_BYTES: usize = 4 + HASH_BYTES + END.len();
/// What stands for the hashes in the input, as the target makes them right.
const SEGMENT_HASH: &str = "SEGMENT";
const BASE_HASH: &str = "BASE";
const CHECKSUM: &str = "CHECKSUM";
/// What stands for the id of the log, which is another one in each process.
const LOG_ID: [u8; 16] = *b"THE-ID-OF-A-LOG!";

thread_local! {
    /// One per thread, as a run replaces the files.
    static STORED: OnceCell<Stored> = const { OnceCell::new() };
}

/// A log with a base, a segment and a tail.
struct Stored {
    data: TempDir,
    folder: TenantFolder,
    log_id: LogId,
    history: PathBuf,
    segment: PathBuf,
    base: PathBuf,
    /// All records after the base.
    records: Vec<StoredRecord>,
}

fn never() -> bool {
    false
}

impl Stored {
    fn create() -> Self {
        let data = temporary_folder();
        let folder = TenantFolder::new(data.path(), &"acme".parse().expect("it is a tenant's id"));
        folder.create().expect("the folder can be written to");
        let mut log = open(&folder);
        let mut events = events().into_iter();
        let log_id = log.log_id();
        let mut projection = Projection::new(log_id);
        for event in events.by_ref().take(4) {
            for record in commit(&mut log, [event]) {
                projection.apply(&record).expect("it was committed");
            }
        }
        let dropped = log.head();
        let state = projection.freeze(dropped, 1);
        seal(&mut log);
        let mut give =
            |push: &mut dyn FnMut(&BaseItem) -> io::Result<()>| state.each_item(|item| push(&item));
        let base = log.reader().prepare_base(dropped, &mut give, &never).expect("it can be written");
        let reservation = log.reserve_drop(base.expect("a segment ends there")).expect("it is sound");
        log.drop_history(reservation.expect("it is newer")).expect("the folder can be written to");
        events.by_ref().take(6).for_each(|event| drop(commit(&mut log, [event])));
        seal(&mut log);
        events.take(2).for_each(|event| drop(commit(&mut log, [event])));
        let records = log.reader().read(dropped.seq.next(), usize::MAX, usize::MAX);
        let records = records.expect("it is sound");
        log.close().expect("the folder can be written to");
        let named = |ending: &str| {
            let entries = fs::read_dir(folder.path().join("segments")).expect("the folder can be read");
            let mut paths = entries.map(|entry| entry.expect("the folder can be read").path());
            let found = paths.find(|path| path.extension().is_some_and(|found| found == ending));
            found.expect("the log has such a file")
        };
        let history = folder.path().join("history.json");
        Self { history, segment: named("segment"), base: named("base"), data, folder, log_id, records }
    }
}

fn seal(log: &mut TenantLog) {
    log.rotate().expect("the folder can be written to");
    log.reader().seal(&never).expect("the folder can be written to");
}

/// The file of blocks with this block and this index. The index has the hash of its last block at its end.
fn file_of(block: &[u8], index: &[u8]) -> (Vec<u8>, String) {
    let index = [index, blake3::hash(block).as_bytes()].concat();
    let hash = blake3::Hasher::new().update(MAGIC).update(&index).finalize();
    let length = u32::try_from(index.len()).expect("inputs are short").to_le_bytes();
    let file = [MAGIC, block, &index, &length, hash.as_bytes(), END].concat();
    (file, hash.to_hex().to_string())
}

/// The block and the index of a file with one block, the index without the hash of the block, and the hash of the file.
fn parts_of(file: &[u8]) -> (Vec<u8>, Vec<u8>, String) {
    let (rest, footer) = file.split_at(file.len() - FOOTER_BYTES);
    let length = u32::from_le_bytes(footer[..4].try_into().expect("it has four bytes")) as usize;
    let (block, index) = rest.split_at(rest.len() - length);
    let hash = blake3::Hash::from_slice(&footer[4..4 + HASH_BYTES]).expect("it is a hash");
    let index = &index[..length - HASH_BYTES];
    (block[MAGIC.len()..].to_vec(), index.to_vec(), hash.to_hex().to_string())
}

/// The bytes with `to` for each `from`.
fn replaced(bytes: &[u8], from: [u8; 16], to: [u8; 16]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    while let Some(at) = bytes.windows(from.len()).position(|window| window == from) {
        bytes[at..at + from.len()].copy_from_slice(&to);
    }
    bytes
}

fn placeholder() -> String {
    LogId::new(Uuid::from_bytes(LOG_ID)).to_string()
}

/// The manifest with placeholders, and the block and the index of the segment and of the base.
pub(super) fn run(bytes: &[u8]) {
    STORED.with(|stored| run_in(stored.get_or_init(Stored::create), bytes));
}

fn run_in(stored: &Stored, bytes: &[u8]) {
    let mut pieces = pieces(bytes);
    let mut next = || pieces.next().unwrap_or_default();
    let history = String::from_utf8_lossy(next());
    let log_id = *stored.log_id.as_bytes();
    let (segment, segment_hash) = file_of(next(), &replaced(next(), LOG_ID, log_id));
    let (base, base_hash) = file_of(next(), &replaced(next(), LOG_ID, log_id));
    let history = history
        .replace(SEGMENT_HASH, &segment_hash)
        .replace(BASE_HASH, &base_hash)
        .replace(&placeholder(), &stored.log_id.to_string());
    let checksum = blake3::hash(history.replace(CHECKSUM, "").as_bytes()).to_hex();
    for (path, bytes) in [
        (&stored.history, history.replace(CHECKSUM, &checksum).as_bytes()),
        (&stored.segment, &segment),
        (&stored.base, &base),
    ] {
        fs::write(path, bytes).expect("the folder can be written to");
    }
    let _ = stored.folder.scrub(&mut |_| ControlFlow::Continue(()));
    if let Ok(Some(base)) = stored.folder.base()
        && let Ok(projection) = Projection::of_base(base.log_id(), &base, &never)
    {
        use_up(projection);
    }
    let mut read = Vec::new();
    let verified = stored.folder.verify(stored.data.path(), &mut |record| {
        read.push(record);
        ControlFlow::Continue(())
    });
    // After damage a reader cannot know the chain hash that the next record has to follow.
    if verified.is_ok_and(|verification| verification.holds()) {
        assert_eq!(read, stored.records, "a record was changed unnoticed");
    }
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    STORED.with(|stored| vec![seed(stored.get_or_init(Stored::create))])
}

fn seed(stored: &Stored) -> Vec<u8> {
    let log_id = *stored.log_id.as_bytes();
    let [segment, base] = [&stored.segment, &stored.base].map(|path| {
        let (block, index, hash) = parts_of(&fs::read(path).expect("it was written"));
        (block, replaced(&index, log_id, LOG_ID), hash)
    });
    let history = fs::read_to_string(&stored.history).expect("it is JSON");
    let parsed: serde_json::Value = serde_json::from_str(&history).expect("it is JSON");
    let checksum = parsed["checksum"].as_str().expect("it has a checksum");
    let history = history
        .replace(&segment.2, SEGMENT_HASH)
        .replace(&base.2, BASE_HASH)
        .replace(checksum, CHECKSUM)
        .replace(&stored.log_id.to_string(), &placeholder());
    let bytes = joined([history.as_bytes(), &segment.0, &segment.1, &base.0, &base.1]);
    run_in(stored, &bytes);
    let verification = stored.folder.verify(stored.data.path(), &mut |_| ControlFlow::Continue(()));
    let verification = verification.expect("it is what was written");
    assert!(verification.holds() && verification.records == stored.records.len() as u64);
    bytes
}
