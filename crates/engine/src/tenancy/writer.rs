//! A tenant's one writer: command ─► validate ─► append ─► apply ─► answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};
use vectorizer_index::{Collection, Removed};
use vectorizer_limits::{Limits, OnFullLog, QuotaExceeded, StorageTracker, TenantLimits};
use vectorizer_log::{
    Actor, Commit, Draft, Error, Event, Head, PreparedBase, Record, Seq, TenantLog, Timestamp, Via,
};
use vectorizer_metrics::{HistoryWork, Metrics};
use vectorizer_replay::{Applied, Billing, Outcome};
use vectorizer_scheduling::run_blocking;

use super::billing_recorder::{BillingRecorder, CommitExtras, CommitKind};
use super::command::{Command, Committed, HeldPermits, WriteError};
use super::decision::{Decision, decide};
use super::failure::{Failed, Failure};
use super::group::Group;
use super::history::{DropRequest, HistoryHandle, Rotation, prepare_now, seal_before_closing};
use super::live_tenant::WakeError;
use super::log_handle::LogHandle;
use super::log_opener::LogOpener;
use super::shared_state::{SharedState, State};
use crate::audit::TenantDenials;

/// The maximum number of commands that wait for one tenant's writer.
pub(super) const QUEUE_COMMANDS_MAX: usize = 256;
/// The maximum number of commands in one commit.
const GROUP_COMMANDS_MAX: usize = 256;
/// No command joins a commit that already has this many bytes. Otherwise the first command of a group would wait long
/// for the last one.
const GROUP_BYTES_MAX: usize = 4 << 20;
/// No command joins a commit that already changes this many vectors, because all of them are applied in one step. The
/// step was measured at some ten milliseconds for vectors without payloads and texts.
const GROUP_VECTORS_MAX: usize = 20_000;
/// What a record needs in the log besides its change, and what is left for the server's own records, in bytes.
const ROOM_BYTES: u64 = 64 << 10;
/// History is dropped for a full log only if it has at least this share of the limit.
const ROOM_SHARE: u64 = 64;
/// History of fewer bytes is not dropped when a log is closed.
const DROPPED_BYTES_MIN: u64 = 1 << 20;
/// The maximum time for which the durable head may lag behind the log.
const HEAD_LAG_MAX: Duration = Duration::from_secs(1);

/// The answer to a command. If the sender is dropped without an answer, the writer has failed, and it is not known
/// whether the command was done.
pub(super) type Answer = Result<Committed, WriteError>;

/// A command in the queue, and the channel for its answer.
#[derive(Debug)]
pub(super) struct Queued {
    pub(super) command: Command,
    pub(super) answer: oneshot::Sender<Answer>,
}

pub(super) struct Writer {
    /// `None` while the log is closed.
    log: Option<TenantLog>,
    /// Opens and closes the log. Without an opener the log stays open until the writer ends.
    opener: Option<LogOpener>,
    tenant_limits: Arc<TenantLimits>,
    pub(super) state: Arc<SharedState>,
    published: watch::Sender<Head>,
    /// The time at which the head was last made durable.
    head_synced: Instant,
    /// Cancelled when the state in memory can no longer be trusted.
    failed: CancellationToken,
    failure: Failure,
    /// Denied requests. They are written to the log with the next commit.
    denials: Arc<TenantDenials>,
    /// The bill, if there is one.
    recorder: Option<BillingRecorder>,
    metrics: Metrics,
    rotation: Rotation,
    /// Events of the writer itself for the next commit.
    own_events: Vec<Event>,
}

/// The purpose of a step on a blocking thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Task {
    /// Write what waits for the log.
    Work,
    /// The same, and open the log even if nothing waits to be written, because a reader waits for it.
    Open,
    /// Close the log, because it has not been used for a while.
    Close,
    /// Drop old history, because a base of the state after it is prepared.
    Drop,
}

async fn wanted(log_handle: Option<&LogHandle>) {
    match log_handle {
        Some(log_handle) => log_handle.wanted().await,
        None => std::future::pending().await,
    }
}

async fn to_close(log_handle: Option<&LogHandle>) {
    match log_handle {
        Some(log_handle) => log_handle.to_close().await,
        None => std::future::pending().await,
    }
}

async fn base_prepared(history: Option<&HistoryHandle>) {
    match history {
        Some(history) => history.ready().await,
        None => std::future::pending().await,
    }
}

impl Writer {
    pub(super) fn new(
        log: impl Into<Option<TenantLog>>,
        tenant_limits: Arc<TenantLimits>,
        state: Arc<SharedState>,
        published: watch::Sender<Head>,
        failed: CancellationToken,
        denials: Arc<TenantDenials>,
        metrics: Metrics,
    ) -> Self {
        let (log, opener, head_synced, recorder) = (log.into(), None, Instant::now(), None);
        let failure = Failure::default();
        Self {
            log,
            opener,
            tenant_limits,
            state,
            published,
            head_synced,
            failed,
            failure,
            denials,
            recorder,
            metrics,
            rotation: Rotation::default(),
            own_events: Vec::new(),
        }
    }

    /// Returns the same writer, which opens and closes its log with `opener`.
    #[must_use]
    pub(super) fn at(self, opener: LogOpener) -> Self {
        Self { opener: Some(opener), ..self }
    }

    /// Returns the same writer, which also keeps the tenant's bill.
    #[must_use]
    pub(super) fn recording(self, recorder: Option<BillingRecorder>) -> Self {
        Self { recorder, ..self }
    }

    /// The cause for which the writer ends by itself, once it has.
    pub(super) fn failure(&self) -> Failure {
        self.failure.clone()
    }

    /// Ready when the window of the bill may be over.
    fn window(&self) -> impl Future<Output = ()> + use<> {
        let look_at = self.recorder.as_ref().map(BillingRecorder::look_at);
        async move {
            match look_at {
                Some(look_at) => tokio::time::sleep_until(look_at).await,
                None => std::future::pending().await,
            }
        }
    }

    /// Takes commands until `stop` is cancelled and the queue is empty, or until a write fails. Then the log is closed
    /// first, and the queue after it.
    pub(super) async fn run(self, mut queue: mpsc::Receiver<Queued>, stop: CancellationToken) {
        let mut writer = self;
        let log_handle = writer.opener.as_ref().map(|opener| Arc::clone(&opener.log_handle));
        let history = writer.opener.as_ref().map(|opener| Arc::clone(&opener.history));
        if let Some(log_handle) = &log_handle
            && writer.recorder.as_ref().is_some_and(|recorder| recorder.account.is_behind())
        {
            // Undelivered lines of the bill are read from the log.
            log_handle.want();
        }
        let mut waiting: Vec<Queued> = Vec::new();
        loop {
            let mut task = Task::Work;
            if waiting.is_empty() {
                let is_lagging = writer.log.as_ref().is_some_and(|log| !log.head_is_durable());
                tokio::select! {
                    biased;
                    () = stop.cancelled(), if !queue.is_closed() => {
                        // Commands in the queue are still done. No further command is accepted.
                        queue.close();
                        continue;
                    }
                    received = queue.recv_many(&mut waiting, GROUP_COMMANDS_MAX) => if received == 0 {
                        break;
                    },
                    () = tokio::time::sleep(HEAD_LAG_MAX), if is_lagging => {}
                    () = writer.denials.due() => {}
                    () = writer.window() => {}
                    () = wanted(log_handle.as_deref()), if writer.log.is_none() => task = Task::Open,
                    () = to_close(log_handle.as_deref()) => task = Task::Close,
                    () = base_prepared(history.as_deref()), if writer.log.is_some() => task = Task::Drop,
                    () = writer.failed.cancelled() => return,
                }
            }
            let permit = match &writer.opener {
                Some(opener) if writer.log.is_none() || task == Task::Close => opener.permit().await,
                Some(_) | None => None,
            };
            let group = waiting;
            let done = on_disk(move || {
                let _turn = permit;
                writer.work(group, task)
            });
            match done.await {
                Some(Ok((same, rest))) => (writer, waiting) = (same, rest),
                Some(Err(Failed)) | None => return,
            }
        }
        let permit = match &writer.opener {
            Some(opener) => opener.permit().await,
            None => None,
        };
        on_disk(move || {
            let _turn = permit;
            writer.end();
        })
        .await;
    }

    /// Writes the last commit and closes the log.
    fn end(mut self) {
        let deleted = self.recorder.as_ref().is_some_and(|recorder| recorder.account.is_final());
        if self.log.is_none() && !(deleted || self.has_something_to_take()) {
            self.recorder.iter().for_each(|recorder| recorder.account.sleeps());
            return;
        }
        if self.log.is_none() && self.open().is_err() {
            return;
        }
        self.denials.end();
        let last = if deleted { CommitKind::Deletion } else { CommitKind::End };
        if self.commit_group(&mut Vec::new(), last).is_err() {
            return;
        }
        if let Some(recorder) = self.recorder.as_ref().filter(|_| deleted) {
            recorder.accounts.take_over(&recorder.account);
            self.opener = None;
        }
        // `close` logs an error itself.
        let _ = self.close();
    }

    /// Does one step on a blocking thread: commits a group if a command or denial waits, and makes the head durable if
    /// that is due. Returns the writer and the commands that still wait. A writer that has failed is dropped together
    /// with its log.
    fn work(mut self, mut waiting: Vec<Queued>, task: Task) -> Result<(Self, Vec<Queued>), Failed> {
        if task == Task::Close {
            self.settle()?;
            return Ok((self, waiting));
        }
        let idle = waiting.is_empty();
        let is_over =
            self.recorder.as_ref().is_some_and(|recorder| recorder.look_at() <= tokio::time::Instant::now());
        if self.log.is_none() {
            if idle && !is_over && !self.denials.are_due() && task != Task::Open {
                return Ok((self, waiting));
            }
            if let Err(failed) = self.open() {
                for Queued { answer, .. } in waiting {
                    // The caller may have gone. Nothing was done.
                    let _ = answer.send(Err(self.failure.of_refused()));
                }
                return Err(failed);
            }
        }
        // In a commit of its own: a close has the totals of all records before it, and these are known only when the
        // records are applied.
        if is_over {
            self.commit_group(&mut Vec::new(), CommitKind::Window)?;
            let state = self.state.read();
            if let Some(recorder) = &mut self.recorder {
                recorder.looked(state.projection.billing());
            }
        }
        if !idle {
            self.opener.iter().for_each(|opener| opener.log_handle.used());
        }
        // Also behind commands: a tenant that is written to all the while must not keep its history for that.
        if let Some(base) = self.opener.as_ref().and_then(|opener| opener.history.take_prepared()) {
            self.drop_history(base)?;
        }
        if !idle || self.denials.are_due() {
            self.make_room(&waiting)?;
            self.commit_group(&mut waiting, CommitKind::Commands)?;
            self.rotate_if_due()?;
        }
        if idle || self.head_synced.elapsed() >= HEAD_LAG_MAX {
            if let Some(log) = &mut self.log {
                log.sync_head().map_err(|error| self.failure.by_log(&error))?;
            }
            self.head_synced = Instant::now();
        }
        Ok((self, waiting))
    }

    /// Begins a new tail of the log if that is due.
    fn rotate_if_due(&mut self) -> Result<(), Failed> {
        let Some(log) = self.log.as_mut().filter(|_| self.opener.is_some()) else { return Ok(()) };
        self.rotation.rotate_if_due(log, Timestamp::now()).map_err(|error| self.failure.by_log(&error))?;
        Ok(())
    }

    /// Drops history if the log would otherwise exceed its limit, and the plan says so. All of it that is not needed
    /// goes at once, so that the next writes find room.
    fn make_room(&mut self, waiting: &[Queued]) -> Result<(), Failed> {
        let Limits { log_bytes: Some(limit), history, .. } = self.tenant_limits.current() else {
            return Ok(());
        };
        let Some(log) = self.log.as_ref().filter(|_| history.on_full == OnFullLog::Drop) else {
            return Ok(());
        };
        let wanted: u64 = waiting.iter().map(|queued| queued.command.write.change.bytes() as u64).sum();
        let missing = (log.bytes() + wanted + ROOM_BYTES).saturating_sub(limit);
        if missing == 0 || self.opener.is_none() {
            return Ok(());
        }
        // Less would have to be dropped again with the next write. A base takes the place of the previous one.
        let base_bytes = log.reader().tier_sizes().map_or(0, |sizes| sizes.base_bytes);
        let live_bytes = self.state.read().projection.usage().logical_bytes();
        let bytes_min = missing.max(limit / ROOM_SHARE) + live_bytes.saturating_sub(base_bytes);
        let tail_bytes_min = limit / ROOM_SHARE;
        let (horizon, through) = (Timestamp::from_micros(i64::MAX), self.droppable());
        self.drop_now(&DropRequest { horizon, through, bytes_min, tail_bytes_min, folds: true })
    }

    /// The last record that may be dropped.
    fn droppable(&self) -> Seq {
        let state = self.state.read();
        state.projection.billing().droppable(state.head.seq)
    }

    /// Drops what is requested.
    fn drop_now(&mut self, request: &DropRequest) -> Result<(), Failed> {
        let Some(log) = &mut self.log else { return Ok(()) };
        match prepare_now(log, &self.state, request, &self.metrics) {
            Ok(Some(base)) => self.drop_history(base),
            Ok(None) => Ok(()),
            Err(WakeError::Log(error)) if log.is_poisoned() => Err(self.failure.by_log(&error)),
            Err(error) => {
                warn!(%error, "old history could not be dropped");
                Ok(())
            }
        }
    }

    /// Replaces the records before `base` by it. The log says so first.
    fn drop_history(&mut self, base: PreparedBase) -> Result<(), Failed> {
        let Some(log) = &self.log else { return Ok(()) };
        let event = base.event();
        let reservation = match log.reserve_drop(base) {
            Ok(Some(reservation)) => reservation,
            Ok(None) => return Ok(()),
            Err(error) => {
                warn!(%error, "old history could not be dropped");
                return Ok(());
            }
        };
        self.own_events.push(event);
        self.commit_group(&mut Vec::new(), CommitKind::Commands)?;
        let (Some(log), Some(opener)) = (&mut self.log, &self.opener) else { return Ok(()) };
        let before = log.bytes();
        match log.drop_history(reservation) {
            Ok(change) => {
                let after = log.bytes();
                self.state.write().log_bytes = after;
                opener.checkpoints.history_dropped(before, after);
                self.metrics.history_worked(HistoryWork::Dropped, before.saturating_sub(after));
                info!(through = %change.through, before, after, "dropped old history");
            }
            Err(error) => warn!(%error, "old history could not be dropped"),
        }
        Ok(())
    }

    /// Seals the log before it is closed, and drops its history if that is old.
    fn seal(&mut self) -> Result<(), Failed> {
        let (Some(log), Some(opener)) = (&mut self.log, &self.opener) else { return Ok(()) };
        let keep = self.tenant_limits.current().history.keep;
        seal_before_closing(log, &self.metrics);
        if log.is_poisoned() {
            return Ok(());
        }
        let Some(horizon) = opener.history.horizon(keep) else {
            return Ok(());
        };
        let live_bytes = self.state.read().projection.usage().logical_bytes();
        let (bytes_min, tail_bytes_min) = (live_bytes.max(DROPPED_BYTES_MIN), DROPPED_BYTES_MIN);
        let through = self.droppable();
        self.drop_now(&DropRequest { horizon, through, bytes_min, tail_bytes_min, folds: false })
    }

    /// Opens the log.
    fn open(&mut self) -> Result<(), Failed> {
        let Some(opener) = self.opener.as_ref().filter(|opener| opener.log_handle.begin_opening()) else {
            return Err(Failed);
        };
        match opener.open(&self.state) {
            Ok(log) => {
                self.log = Some(log);
                opener.log_handle.opened();
                if let Some(recorder) = &self.recorder {
                    recorder.account.wakes();
                }
                Ok(())
            }
            Err(error) => {
                let failed = self.failure.by_waking(&error);
                opener.log_handle.stuck(Arc::new(error));
                Err(failed)
            }
        }
    }

    /// Writes everything that waits for the log and closes it, unless it is being read. It can be opened again.
    fn settle(&mut self) -> Result<(), Failed> {
        if self.log.is_none() {
            if !self.has_something_to_take() {
                return Ok(());
            }
            self.open()?;
        }
        if self.opener.as_ref().is_none_or(|opener| !opener.log_handle.begin_closing()) {
            return Ok(());
        }
        self.denials.end();
        self.commit_group(&mut Vec::new(), CommitKind::End)?;
        self.close()
    }

    fn close(&mut self) -> Result<(), Failed> {
        self.seal()?;
        let Some(log) = self.log.take() else { return Ok(()) };
        let closed = match &self.opener {
            Some(opener) => opener.close(log, &self.state),
            None => log.close(),
        };
        closed.map_err(|error| {
            error!(%error, "the tenant's log could not be closed cleanly");
            Failed
        })?;
        self.recorder.iter().for_each(|recorder| recorder.account.sleeps());
        self.opener.iter().for_each(|opener| opener.log_handle.closed());
        Ok(())
    }

    /// Whether records that the server itself makes wait for the log.
    fn has_something_to_take(&self) -> bool {
        !self.denials.is_empty() || self.recorder.as_ref().is_some_and(BillingRecorder::has_something_to_take)
    }

    /// Commits as many of the first `waiting` commands as can share a commit, and answers them. The other commands stay
    /// in `waiting`.
    ///
    /// IMPORTANT, the order: decide against the state, append and sync, apply, publish, answer. No caller learns of a
    /// write, or of anything that follows from it, before it is durable and visible.
    fn commit_group(&mut self, waiting: &mut Vec<Queued>, kind: CommitKind) -> Result<(), Failed> {
        let now = Timestamp::now();
        let log = self.log.as_mut().ok_or(Failed)?;
        let mut commit = log.begin().map_err(|error| self.failure.by_log(&error))?;
        let limits = self.tenant_limits.current();
        let StagedCommands { mut writes, mut answers, permits: _permits } =
            stage_commands(&self.state.read(), limits, &mut commit, waiting, now);
        let denials = self.denials.take();
        for event in denials.events() {
            commit.stage(own_record(event), now).map_err(|error| self.failure.by_log(&error))?;
        }
        for event in self.own_events.drain(..) {
            commit.stage(own_record(event), now).map_err(|error| self.failure.by_log(&error))?;
        }
        let extras = match &mut self.recorder {
            Some(recorder) => {
                let state = self.state.read();
                recorder
                    .stage(&mut commit, &state.projection, kind, now)
                    .map_err(|error| self.failure.by_log(&error))?
            }
            None => CommitExtras::default(),
        };
        // No caller waits for the writer's own records.
        writes.resize_with(commit.staged().count(), || None);
        let records = commit.commit().map_err(|error| self.failure.by_log(&error))?;
        denials.kept();
        let mut removed = Vec::new();
        if !records.is_empty() {
            self.metrics.committed(records.len(), log.last_commit());
            for record in &records {
                debug!(seq = %record.seq, request_id = record.request_id, "committed");
            }
            let applied = apply(&mut self.state.write(), &records, writes, log);
            let applied = applied.map_err(|error| self.failure.by_fold(&*error))?;
            if let Some(recorder) = &mut self.recorder {
                recorder.committed(extras, applied.billing);
            }
            self.published.send_replace(log.head());
            answers.extend(applied.answers);
            removed = applied.removed;
        }
        for (caller, answer) in answers {
            // The caller may have gone. The command stays done.
            let _ = caller.send(answer);
        }
        self.drop_behind(removed);
        Ok(())
    }

    /// Drops the data that a commit removed, and the kept snapshots that hold it. This is done in a background task, so
    /// that no caller waits for it.
    fn drop_behind(&self, removed: Vec<Removed>) {
        if removed.is_empty() {
            return;
        }
        let state = Arc::clone(&self.state);
        drop(tokio::spawn(run_blocking(move || {
            state.kept.clear();
            drop(removed);
        })));
    }
}

/// The channel for the answer to a command.
type Caller = oneshot::Sender<Answer>;

/// Commands that share a commit.
#[derive(Default)]
struct StagedCommands {
    /// The caller that waits for each staged record, in the order of the records.
    writes: Vec<Option<Caller>>,
    /// The callers of commands that staged no record, with their answers. They are answered after the commit, because
    /// they may repeat or refer to a command of the same group.
    answers: Vec<(Caller, Answer)>,
    /// The permits of the commands. They are released when the commit no longer needs the commands' data.
    permits: Vec<HeldPermits>,
}

/// Decides as many of the first `waiting` commands as can share a commit, and stages their records. Each command is
/// decided against the state before the group. The other commands stay in `waiting`.
fn stage_commands(
    state: &State,
    limits: Limits,
    commit: &mut Commit<'_>,
    waiting: &mut Vec<Queued>,
    now: Timestamp,
) -> StagedCommands {
    let mut group = Group::default();
    let (mut bytes, mut vectors) = (0, 0);
    let mut tracker = StorageTracker::new(limits, &state.projection);
    let mut staged = StagedCommands::default();
    let mut commands = std::mem::take(waiting).into_iter();
    for queued in commands.by_ref() {
        let write = &queued.command.write;
        let collection = state.projection.index().collection(&write.collection).map(Collection::id);
        let is_full = bytes >= GROUP_BYTES_MAX || vectors >= GROUP_VECTORS_MAX;
        if is_full || group.influences(write, collection) {
            waiting.push(queued);
            break;
        }
        let Queued { command: Command { actor, request_id, mut write }, answer: caller } = queued;
        staged.permits.push(std::mem::take(&mut write.room));
        let name = write.collection.clone();
        bytes += write.change.bytes();
        vectors += write.change.vectors();
        let idempotency = write.idempotency.clone();
        let answer = match decide(&state.projection, write, now) {
            Ok(Decision::Append(event)) => {
                let draft = Draft { actor, request_id, idempotency, event };
                match stage(commit, &mut tracker, draft, now) {
                    Ok(record) => {
                        group.stage(record, &name);
                        staged.writes.push(Some(caller));
                        continue;
                    }
                    Err(refusal) => Err(refusal),
                }
            }
            Ok(Decision::Repeat(committed)) => Ok(committed),
            Ok(Decision::Nothing(outcome)) => {
                Ok(Committed { seq: commit.last_seq(), outcome, repeated: false })
            }
            Err(refusal) => Err(refusal),
        };
        staged.answers.push((caller, answer));
    }
    waiting.extend(commands);
    staged
}

/// The result of applying records.
struct AppliedRecords {
    answers: Vec<(Caller, Answer)>,
    /// The removed data. Dropping it takes time, so it is dropped after the state is unlocked.
    removed: Vec<Removed>,
    billing: Billing,
}

/// Applies durable records to the state in one step.
///
/// # Errors
/// A record that does not fit the state violates invariant 2, because it was validated against this state.
fn apply(
    state: &mut State,
    records: &[Record],
    writes: Vec<Option<Caller>>,
    log: &TenantLog,
) -> Result<AppliedRecords, Box<dyn std::error::Error>> {
    let (mut answers, mut removed) = (Vec::new(), Vec::new());
    for (record, caller) in records.iter().zip(writes) {
        let (applied, kept) = state.projection.apply_deferring_drop(record)?;
        let Applied::Changed(change) = applied else { return Err(NotNew.into()) };
        removed.extend(kept);
        if let (Some(caller), Some(outcome)) = (caller, Outcome::of(&record.event, &change)) {
            answers.push((caller, Ok(Committed { seq: record.seq, outcome, repeated: false })));
        }
    }
    state.head = log.head();
    state.log_bytes = log.bytes();
    Ok(AppliedRecords { answers, removed, billing: *state.projection.billing() })
}

/// Stages a record if the tenant's limits allow the storage that it needs.
fn stage<'commit>(
    commit: &'commit mut Commit<'_>,
    tracker: &mut StorageTracker<'_>,
    draft: Draft,
    now: Timestamp,
) -> Result<&'commit Record, WriteError> {
    let admitted = tracker.admit(&draft.event, commit.staged()).map_err(WriteError::QuotaExceeded)?;
    let bytes_max = tracker.log_bytes_max(&draft.event);
    let record = commit.stage_within(draft, now, bytes_max).map_err(|error| {
        if let Error::LogFull { bytes, more, bytes_max } = error {
            WriteError::QuotaExceeded(QuotaExceeded::of_the_log(bytes_max, bytes, more))
        } else {
            WriteError::TooLarge
        }
    })?;
    tracker.staged(admitted);
    Ok(record)
}

/// Returns the draft of a record that the server itself makes.
pub(super) fn own_record(event: Event) -> Draft {
    let actor = Actor { key_id: None, via: Via::System };
    Draft { actor, request_id: String::new(), idempotency: None, event }
}

/// Runs `work` on a blocking thread, within the current span. Returns `None` if it panicked.
async fn on_disk<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    match run_blocking(work).await {
        Ok(done) => Some(done),
        Err(panic) => {
            error!(%panic, "the tenant's writer panicked and is closed");
            None
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("an appended record had been applied before")]
struct NotNew;
