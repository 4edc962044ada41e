//! Changes of a log's history: sealing, merging and dropping, beside a writer and readers.
//!
//! Each change is made in the same order, and each step is durable before the next:
//!
//! | step | files afterwards | what opening does after a crash here |
//! | --- | --- | --- |
//! | 1 write the new file under an unfinished name | unnamed | removes the file |
//! | 2 rename the file | unnamed | removes the file |
//! | 3 read the file back | unnamed | removes the file |
//! | 4 replace the manifest of the history | named; the replaced files are unnamed | removes the replaced files |
//! | 5 remove the replaced tail or files | as after the change | nothing |
//!
//! So the manifest decides what belongs to the log, and step 4 is the change. The records of a frozen tail are
//! acknowledged, and the head is durable at or behind its end since the rotation.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::ops::{ControlFlow, Range};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use vectorizer_durable::{self as durable, create_private_folder, sync_folder};

use crate::base::{Base, BaseEntry, BaseItem, BaseWriter};
use crate::damage::Damage;
use crate::error::Error;
use crate::event::Event;
use crate::history::{FILE, History, SEGMENTS, SegmentEntry};
use crate::merging::{UNMERGEABLE, is_crowded, to_merge};
use crate::position::{Head, LogId, Seq, Timestamp};
use crate::segment::{Segment, SegmentWriter};
use crate::storage::Storage;
use crate::tails;
use crate::tenant_log::{ChangeGuard, LogReader, Shared, TenantLog};
use crate::tiers::{LogFolder, Tail, Tiers};
use crate::verifier::{Verified, Verifier, WalkEnd, walk_envelopes};

/// The name of a file that is being written in the folder of segments.
const UNFINISHED: &str = "unfinished";

/// How long to wait for readers of a sealed tail, and how often to look.
const CLOSING_MAX: Duration = Duration::from_secs(5);
const CLOSING_POLL: Duration = Duration::from_millis(2);

/// Gives the items of a base, in their order, to the function that it is called with.
pub type BaseItems<'a> = dyn FnMut(&mut dyn FnMut(&BaseItem) -> io::Result<()>) -> io::Result<()> + 'a;

/// A change of the history that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryChange {
    /// The stored bytes of the records concerned, before they were compressed.
    pub bytes: u64,
    /// The size of the new file.
    pub file_bytes: u64,
    /// The last record concerned.
    pub through: Seq,
}

/// A base that is written and not a part of the log yet.
#[derive(Clone, Debug)]
pub struct PreparedBase {
    entry: BaseEntry,
    path: PathBuf,
}

impl PreparedBase {
    /// The record that says that the base takes the place of older ones.
    pub fn event(&self) -> Event {
        let BaseEntry { through, chain, hash, .. } = self.entry;
        Event::HistoryDropped { through, chain: *chain.as_bytes(), base: *hash.as_bytes() }
    }
}

/// The right to drop the records before a base. No other change of the history is made while it exists.
#[derive(Debug)]
pub struct DropReservation {
    base: PreparedBase,
    alone: ChangeGuard,
}

impl TenantLog {
    /// Reserves the drop of the records before `base`. `None` if the base cannot take their place, because its file was
    /// removed or no segment ends with it any more, or while another change of the history is made.
    ///
    /// The caller then commits [`PreparedBase::event`], and drops.
    pub fn reserve_drop(&self, base: PreparedBase) -> Result<Option<DropReservation>, Error> {
        // The writer does not wait for another change, which may take long.
        let Some(alone) = self.shared.try_begin_change() else { return Ok(None) };
        let tiers = self.shared.tiers()?;
        let is_end = tiers.history.segments.iter().any(|entry| entry.head() == base.entry.head());
        // Another base of the same records may have taken its name.
        let is_written = || Base::of_file(base.path.clone(), self.log_id(), base.entry).is_whole();
        Ok((is_end && is_written()).then_some(DropReservation { base, alone }))
    }

    /// Replaces the previous base and the segments up to the end of the reserved base by it.
    ///
    /// # Errors
    ///
    /// After an error nothing has changed.
    pub fn drop_history(&mut self, reservation: DropReservation) -> Result<HistoryChange, Error> {
        let DropReservation { base: PreparedBase { entry, .. }, alone } = reservation;
        let (shared, never) = (Arc::clone(&self.shared), || false);
        let changing = Changing::with(&shared, &never, alone)?;
        let before = &changing.tiers.history;
        let mut history = History::clone(before);
        history.base = Some(entry);
        history.segments.retain(|segment| segment.first > entry.through);
        let bytes = (before.bytes(), history.bytes());
        changing.replace_segments(&history)?;
        drop(changing);
        self.replace_sealed_bytes(bytes.0, bytes.1);
        Ok(HistoryChange { bytes: entry.bytes, file_bytes: entry.file_bytes, through: entry.through })
    }
}

/// The sizes of the parts of a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TierSizes {
    /// How many tails wait to be sealed.
    pub frozen_tails: usize,
    /// How many segments there are.
    pub segments: usize,
    /// The stored bytes of the base and the segments, before they were compressed.
    pub sealed_bytes: u64,
    /// The sizes of the files of the base and the segments.
    pub sealed_file_bytes: u64,
    /// The stored bytes of the base, before they were compressed.
    pub base_bytes: u64,
}

/// A segment as retention sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealedRecords {
    /// The log up to its last record.
    pub head: Head,
    /// The time of its last record.
    pub until: Timestamp,
    /// The stored bytes of its records, before they were compressed.
    pub bytes: u64,
}

impl LogReader {
    /// The sizes of the parts of the log. Fails if the log is closed.
    pub fn tier_sizes(&self) -> Result<TierSizes, Error> {
        let tiers = self.shared.tiers()?;
        Ok(TierSizes {
            frozen_tails: tiers.frozen.len(),
            segments: tiers.segments.len(),
            sealed_bytes: tiers.history.bytes(),
            sealed_file_bytes: tiers.history.file_bytes(),
            base_bytes: tiers.base().map_or(0, |base| base.bytes()),
        })
    }

    /// The segments, oldest first. Fails if the log is closed.
    pub fn sealed(&self) -> Result<Vec<SealedRecords>, Error> {
        let tiers = self.shared.tiers()?;
        let seen = |entry: &SegmentEntry| SealedRecords {
            head: entry.head(),
            until: entry.until,
            bytes: entry.bytes,
        };
        Ok(tiers.history.segments.iter().map(seen).collect())
    }

    /// Seals the oldest frozen tail. `None` if no tail is frozen, or if `stop` asks to end early. Blocks.
    ///
    /// # Errors
    ///
    /// After an error nothing has changed: the tail waits to be sealed, and writes go on. [`Error::Closed`] if the log
    /// was closed.
    pub fn seal(&self, stop: &dyn Fn() -> bool) -> Result<Option<HistoryChange>, Error> {
        let changing = Changing::begin(&self.shared, stop)?;
        let Some((oldest, following)) = changing.tiers.frozen.split_first() else { return Ok(None) };
        let through = following.first().map_or(changing.tiers.active.first, |next| next.first);
        let Some(entry) = changing.write_tail(oldest, through)? else { return Ok(None) };
        let mut history = History::clone(&changing.tiers.history);
        history.segments.push(entry);
        changing.publish(history, following)?;
        let (first, database) = (oldest.first, Arc::downgrade(&oldest.storage));
        let Changing { tiers, folder, _alone: alone, .. } = changing;
        drop(tiers);
        if is_closed(&database) {
            removed(tails::remove(&folder.path, first));
        }
        drop(alone);
        Ok(Some(changed(&entry)))
    }

    /// Merges adjacent segments, if there are some to be merged. `None` if not, or if `stop` asks to end early. With a
    /// `span_max`, the records of a merged segment are not further apart in time, as records are dropped by segments;
    /// a history of very many segments is merged nevertheless. Blocks.
    ///
    /// # Errors
    ///
    /// After an error nothing has changed. [`Error::Damaged`] if a segment to be merged is damaged.
    pub fn merge(
        &self,
        span_max: Option<Duration>,
        stop: &dyn Fn() -> bool,
    ) -> Result<Option<HistoryChange>, Error> {
        let changing = Changing::begin(&self.shared, stop)?;
        let Some(range) = changing.to_merge(span_max) else { return Ok(None) };
        let merged = &changing.tiers.segments[range.clone()];
        let Some(entry) = changing.write_merged(merged)? else { return Ok(None) };
        let mut history = History::clone(&changing.tiers.history);
        history.segments.splice(range, [entry]);
        changing.replace_segments(&history)?;
        Ok(Some(changed(&entry)))
    }

    /// Writes a base of the items that `items` gives, for the state after the record at `head`, which is the end of a
    /// segment. [`TenantLog::drop_history`] makes it a part of the log. `None` if no segment ends there, or if `stop`
    /// asks to end early. Blocks.
    ///
    /// # Errors
    ///
    /// After an error nothing has changed.
    pub fn prepare_base(
        &self,
        head: Head,
        items: &mut BaseItems<'_>,
        stop: &dyn Fn() -> bool,
    ) -> Result<Option<PreparedBase>, Error> {
        let changing = Changing::begin(&self.shared, stop)?;
        let segments = &changing.tiers.history.segments;
        let Some(last) = segments.iter().find(|entry| entry.head() == head) else { return Ok(None) };
        let unfinished = changing.unfinished()?;
        let History { log_id, generation, .. } = *changing.tiers.history;
        let mut write = || {
            let mut writer = BaseWriter::begin(create(&unfinished)?, log_id, generation, head, last.until)?;
            items(&mut |item| if changing.is_stopped() { Err(interrupted()) } else { writer.push(item) })?;
            writer.finish()
        };
        let Some(entry) = changing.written(&unfinished, write())? else { return Ok(None) };
        let folder = changing.folder.path.join(SEGMENTS);
        let path = folder.join(entry.file_name());
        durable::rename(&unfinished, &path).map_err(|source| failed("publish", &path, source))?;
        Base::new(&folder, log_id, entry).each(|_| Ok::<_, Error>(()))?;
        Ok(Some(PreparedBase { entry, path }))
    }
}

fn changed(entry: &SegmentEntry) -> HistoryChange {
    HistoryChange { bytes: entry.bytes, file_bytes: entry.file_bytes, through: entry.last }
}

/// A removal that fails is made up for when the log is opened.
fn removed(_: io::Result<()>) {}

/// Waits until the database of a sealed tail is closed. A reader of a page may have it open. Otherwise the folder is
/// removed when the log is opened the next time.
fn is_closed(database: &Weak<dyn Storage>) -> bool {
    let until = Instant::now() + CLOSING_MAX;
    while database.strong_count() > 0 {
        if Instant::now() >= until {
            return false;
        }
        std::thread::sleep(CLOSING_POLL);
    }
    true
}

fn failed(doing: &'static str, path: &Path, source: io::Error) -> Error {
    Error::File { doing, path: path.to_owned(), source }
}

fn interrupted() -> io::Error {
    io::ErrorKind::Interrupted.into()
}

/// Creates a file that only its owner may read.
fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).truncate(true).read(true).write(true).mode(0o600).open(path)
}

/// A change that is being made.
struct Changing<'a> {
    shared: &'a Shared,
    stop: &'a dyn Fn() -> bool,
    tiers: Arc<Tiers>,
    folder: Arc<LogFolder>,
    _alone: ChangeGuard,
}

impl<'a> Changing<'a> {
    fn begin(shared: &'a Shared, stop: &'a dyn Fn() -> bool) -> Result<Self, Error> {
        Self::with(shared, stop, shared.begin_change())
    }

    fn with(shared: &'a Shared, stop: &'a dyn Fn() -> bool, alone: ChangeGuard) -> Result<Self, Error> {
        let tiers = shared.tiers()?;
        let folder = tiers.folder().cloned().ok_or(Error::Closed)?;
        Ok(Self { shared, stop, tiers, folder, _alone: alone })
    }

    fn is_stopped(&self) -> bool {
        self.shared.is_closing() || (self.stop)()
    }

    fn log_id(&self) -> LogId {
        self.shared.log_id
    }

    /// The segments to merge next: none that was found damaged, and none whose records are too far apart.
    fn to_merge(&self, span_max: Option<Duration>) -> Option<Range<usize>> {
        let entries = &self.tiers.history.segments;
        let damaged = self.shared.unmergeable();
        let size = |entry: &SegmentEntry| {
            if damaged.contains(&entry.first) { UNMERGEABLE } else { entry.file_bytes }
        };
        let mut sizes: Vec<_> = entries.iter().map(size).collect();
        let span_max = span_max.filter(|_| !is_crowded(sizes.len()));
        loop {
            let range = to_merge(&sizes)?;
            let micros =
                entries[range.end - 1].until.micros().saturating_sub(entries[range.start].since.micros());
            let is_long = |span: Duration| micros > i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
            if !span_max.is_some_and(is_long) {
                return Some(range);
            }
            // Later segments may be closer to each other.
            sizes[range.start] = UNMERGEABLE;
        }
    }

    /// The path of the file to write, in a folder that exists.
    fn unfinished(&self) -> Result<PathBuf, Error> {
        let folder = self.folder.path.join(SEGMENTS);
        create_private_folder(&folder)
            .and_then(|()| sync_folder(&self.folder.path))
            .map_err(|source| failed("create", &folder, source))?;
        Ok(folder.join(UNFINISHED))
    }

    /// The entry of a written file; `None` if writing was stopped. An incomplete file is removed: it takes space,
    /// perhaps on the full disk that is the cause.
    fn written<T>(&self, unfinished: &Path, written: io::Result<T>) -> Result<Option<T>, Error> {
        match written {
            Ok(entry) => Ok(Some(entry)),
            Err(source) => {
                let _ = fs::remove_file(unfinished);
                if source.kind() == io::ErrorKind::Interrupted && self.is_stopped() {
                    return Ok(None);
                }
                Err(failed("write", unfinished, source))
            }
        }
    }

    /// The file of a segment after `before`.
    fn begin_segment(&self, before: Head) -> Result<(PathBuf, SegmentWriter), Error> {
        let unfinished = self.unfinished()?;
        let generation = self.tiers.history.generation;
        let begin = || SegmentWriter::begin(create(&unfinished)?, self.log_id(), generation, before);
        let writer = begin().map_err(|source| failed("write", &unfinished, source))?;
        Ok((unfinished, writer))
    }

    /// Writes the records of a frozen tail up to the one before `through` to a segment.
    fn write_tail(&self, tail: &Tail, through: Seq) -> Result<Option<SegmentEntry>, Error> {
        let before = self.tiers.sealed();
        let (unfinished, mut writer) = self.begin_segment(before)?;
        let end = through.previous().unwrap_or(Seq::NONE);
        let alone = Tiers::of_storage(self.log_id(), Arc::clone(&tail.storage));
        let mut failed = None;
        let walked =
            walk_envelopes(&alone, &mut Verifier::continuing(self.log_id(), before), &mut |verified| {
                if self.is_stopped() {
                    failed = Some(interrupted());
                    return ControlFlow::Break(());
                }
                let Verified { content: at, stored, head, mark } = verified;
                failed = writer.push(head, at, mark, stored).err();
                let is_last = head.seq == end || failed.is_some();
                if is_last { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })?;
        if let WalkEnd::Damaged(damage) | WalkEnd::Unreadable { damage, .. } = walked {
            return Err(damage.into());
        }
        let written = failed.map_or(Ok(()), Err).and_then(|()| writer.finish());
        let Some(entry) = self.written(&unfinished, written)? else { return Ok(None) };
        if entry.last != end {
            return Err(Damage::missing(entry.last.next()).into());
        }
        self.keep(&unfinished, entry, before).map(Some)
    }

    fn write_merged(&self, segments: &[Arc<Segment>]) -> Result<Option<SegmentEntry>, Error> {
        let Some(first) = segments.first() else { return Ok(None) };
        let before = first.before();
        let (unfinished, mut writer) = self.begin_segment(before)?;
        for segment in segments {
            if let Err(error) = writer.push_segment(segment, &|| self.is_stopped()) {
                let _ = fs::remove_file(&unfinished);
                if self.is_stopped() {
                    return Ok(None);
                }
                let damage = segment.damage(error)?;
                self.shared.unmergeable().insert(segment.entry().first);
                return Err(damage.into());
            }
        }
        let Some(entry) = self.written(&unfinished, writer.finish())? else { return Ok(None) };
        self.keep(&unfinished, entry, before).map(Some)
    }

    /// Reads a written segment back and renames it. It belongs to the log once the manifest names it.
    ///
    /// IMPORTANT: under its final name it may replace a file of an interrupted change, but never one that the manifest
    /// names: the names of segments contain their records and their generation.
    fn keep(&self, unfinished: &Path, entry: SegmentEntry, before: Head) -> Result<SegmentEntry, Error> {
        let folder = self.folder.path.join(SEGMENTS);
        let segment = Segment::new(&folder, self.log_id(), entry, before.chain);
        durable::rename(unfinished, segment.path())
            .map_err(|source| failed("publish", segment.path(), source))?;
        match segment.scrub(&mut |_| ControlFlow::Continue(()))? {
            Some(damage) => Err(damage.into()),
            None => Ok(entry),
        }
    }

    /// Publishes a history of the same tails, and removes the files that it does not name any more.
    fn replace_segments(&self, history: &History) -> Result<(), Error> {
        self.publish(history.clone(), &self.tiers.frozen)?;
        removed(remove_unnamed(&self.folder.path, history));
        Ok(())
    }

    /// Replaces the manifest of the history, and the tiers that readers see.
    fn publish(&self, history: History, frozen: &[Tail]) -> Result<(), Error> {
        let path = &self.folder.path;
        history.replace(path).map_err(|source| failed("write", &path.join(FILE), source))?;
        let sealed = self.tiers.frozen.len() - frozen.len();
        // The writer may have frozen another tail meanwhile.
        self.shared.change_tiers(|tiers| tiers.with_history(&self.folder, history).without_frozen(sealed));
        Ok(())
    }
}

/// Removes the files in the folder of segments that the manifest does not name.
pub(crate) fn remove_unnamed(folder: &Path, history: &History) -> io::Result<()> {
    let folder = folder.join(SEGMENTS);
    let entries = match fs::read_dir(&folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    let named: Vec<_> = history.file_names().collect();
    // A mixed copy of a folder has files that an older manifest does not name. They may be the only copy of its records.
    if !named.iter().all(|name| folder.join(name).exists()) {
        return Ok(());
    }
    for entry in entries {
        let entry = entry?;
        let is_named = entry.file_name().to_str().is_some_and(|name| named.iter().any(|it| it == name));
        if !is_named && entry.file_type()?.is_file() {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}
