//! Delivers bills to `HiveHub`: at least once, with ids by which it recognises duplicates.
//!
//! A report is one request that streams the lines of many tenants, a few closes of each in turn. Receipts are read
//! while lines are sent. Memory has only the lines that are being sent: they are made from the logs, and are the same
//! bytes each time.
//!
//! | answer | then |
//! | --- | --- |
//! | accepted, duplicate | the close is delivered when all its lines are |
//! | rejected | the line is parked with its reason, and the close goes on |
//! | 408, 429, 5xx, none, half of one | the same bytes again, after a pause |
//! | an unknown outcome | the tenant's lines again, alone and after a longer pause; others are sent |
//! | 400 and the like, receipts that cannot be understood | the same of half as many tenants, until it is one |
//! | 401, 403 | the same, with an error in the log: every line is kept |

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};
use vectorizer_hivehub::{
    Extensible, Garbage, HiveHubClient, HubError, UsageEvent, UsageEventId, UsageOutcome, UsageReceipt,
    growing_pause, with_jitter,
};
use vectorizer_log::{Event, RejectedLine, Seq, TenantId, Timestamp};
use vectorizer_metrics::Metrics;
use vectorizer_node_store::{DeliveredWindow, NodeStore};

use super::account::TenantAccount;
use super::accounts::Accounts;
use super::backoff::PAUSE;
use super::lines;
use super::outbox::{Outbox, Part};

/// How many tenants are in one report, and how many closes of each.
const TENANTS_MAX: usize = 64;
const CLOSES_MAX: usize = 8;
/// How many lines wait to be sent.
const LINES_WAITING_MAX: usize = 64;
/// How long to wait for more closes, so that they are in one report.
const GATHERING: Duration = Duration::from_millis(50);
/// The longest pause after failures.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// The longest `Retry-After` of `HiveHub`.
const ASKED_PAUSE_MAX: Duration = Duration::from_mins(5);
/// The pause before unreadable logs are read again.
const UNREADABLE_PAUSE: Duration = Duration::from_secs(5);
/// How often a rejected service key is logged.
const SHOUT_EVERY: Duration = Duration::from_mins(1);

/// The task that delivers closed windows and corrections.
pub struct Reporter {
    accounts: Accounts,
    client: HiveHubClient,
    metrics: Metrics,
    node_store: NodeStore,
    /// The number of tenants in the next report. It is halved after each failure until the failing tenant is found.
    tenants_max: usize,
    /// The last tenant of the last report.
    last: Option<TenantId>,
    /// Whether the outbox is next.
    is_turn_of_deleted: bool,
    failures: u32,
    shouted: Option<Instant>,
}

/// The result of a report that did not fail.
enum Reported {
    /// There is nothing to deliver.
    Nothing,
    /// None of it can be read.
    Unreadable,
    /// Lines were delivered, or wait for a longer pause.
    Delivered,
}

/// The receipts of a report so far.
#[derive(Default)]
struct Taken {
    receipts: usize,
    /// The rejected lines of the current close.
    parked: Vec<RejectedLine>,
    /// Accounts whose further receipts are ignored.
    held: BTreeSet<usize>,
}

/// A line that was sent and has no receipt yet.
struct Sent {
    id: UsageEventId,
    account: usize,
    closed_at: Timestamp,
    /// Whether it is the last line of its close.
    is_last: bool,
    /// The closed window, if this is the last line of its close.
    window: Option<DeliveredWindow>,
}

/// Lines without a receipt, shared by the sender and the reader of receipts.
type UnderWay = Arc<Mutex<VecDeque<Sent>>>;

impl Reporter {
    /// A reporter for these accounts.
    pub fn new(accounts: Accounts, client: HiveHubClient, metrics: Metrics, node_store: NodeStore) -> Self {
        match node_store.parked_lines() {
            Ok(lines) => metrics.lines_parked(lines),
            Err(error) => warn!(%error, "the number of rejected lines cannot be read"),
        }
        Self {
            accounts,
            client,
            metrics,
            node_store,
            tenants_max: TENANTS_MAX,
            last: None,
            is_turn_of_deleted: false,
            failures: 0,
            shouted: None,
        }
    }

    /// Delivers until `stop` is cancelled.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            let Some(reported) = stop.run_until_cancelled(self.report()).await else { return };
            let wait = match reported {
                Ok(Reported::Delivered) => None,
                Ok(Reported::Nothing) => {
                    let next_try = self.accounts.next_try();
                    let something = async {
                        let closed = self.accounts.something_closed();
                        match next_try {
                            Some(at) => tokio::time::timeout_at(at, closed).await.unwrap_or_default(),
                            None => closed.await,
                        }
                    };
                    if stop.run_until_cancelled(something).await.is_none() {
                        return;
                    }
                    Some(GATHERING)
                }
                Ok(Reported::Unreadable) => Some(UNREADABLE_PAUSE),
                Err(error) => Some(self.pause(&error)),
            };
            if let Some(wait) = wait
                && stop.run_until_cancelled(tokio::time::sleep(wait)).await.is_none()
            {
                return;
            }
        }
    }

    /// The pause after a failure.
    fn pause(&mut self, error: &HubError) -> Duration {
        let earlier = self.failures;
        self.failures = earlier.saturating_add(1);
        let pause = match error {
            HubError::Failing { retry_after: Some(asked), .. } => {
                (*asked).clamp(PAUSE, ASKED_PAUSE_MAX) + with_jitter(PAUSE)
            }
            HubError::LeftAlone { retry_after } => (*retry_after).min(ASKED_PAUSE_MAX) + with_jitter(PAUSE),
            HubError::ServiceKeyRejected { .. } => {
                self.accounts.refuse(true);
                if self.shouted.is_none_or(|at| at.elapsed() >= SHOUT_EVERY) {
                    error!(%error, "usage is not billed; every line of it is kept until this key is right");
                    self.shouted = Some(Instant::now());
                }
                with_jitter(PAUSE_MAX)
            }
            HubError::Failing { retry_after: None, .. } | HubError::Unreachable(_) | HubError::Garbage(_) => {
                growing_pause(PAUSE, PAUSE_MAX, earlier)
            }
        };
        debug!(%error, ?pause, "usage is reported again later");
        pause
    }

    /// Sends one report and applies its answer.
    async fn report(&mut self) -> Result<Reported, HubError> {
        self.is_turn_of_deleted = !self.is_turn_of_deleted;
        if self.is_turn_of_deleted {
            match self.report_deleted().await? {
                Reported::Nothing => {}
                reported @ (Reported::Unreadable | Reported::Delivered) => return Ok(reported),
            }
        }
        let mut accounts = self.accounts.behind(self.last.as_ref(), self.tenants_max);
        // An account whose receipts were not understood is reported alone.
        let others = accounts.iter().position(|account| account.is_suspect());
        accounts.truncate(others.map_or(self.tenants_max, |suspect| suspect.max(1)));
        let Some(last) = accounts.last() else { return self.report_deleted().await };
        let last = last.tenant().clone();
        let accounts: Arc<[_]> = accounts.into();
        let under_way = UnderWay::default();
        let (send, lines) = mpsc::channel(LINES_WAITING_MAX);
        let sender = {
            let (accounts, under_way) = (Arc::clone(&accounts), Arc::clone(&under_way));
            tokio::task::spawn_blocking(move || send_lines(&accounts, &under_way, &send))
        };
        let mut taken = Taken::default();
        let outcome: Result<(), HubError> = async {
            let mut receipts = self.client.report_usage(ReceiverStream::new(lines)).await?;
            while let Some(receipt) = receipts.next().await? {
                self.settle(&accounts, &under_way, &mut taken, &receipt)?;
                taken.receipts += 1;
            }
            Ok(())
        }
        .await;
        // The sender normally ends with the request. It would not if the hub went on reading.
        let all_sent = matches!(tokio::time::timeout(PAUSE_MAX, sender).await, Ok(Ok(true)));
        self.accounts.settle(&accounts);
        for held in &taken.held {
            if let Some(account) = accounts.get(*held) {
                account.back_off();
            }
        }
        match &outcome {
            Err(HubError::Garbage(_)) if accounts.len() > 1 => self.tenants_max = accounts.len() / 2,
            Err(error @ HubError::Garbage(_)) => {
                error!(tenant = %last, %error, "HiveHub does not take this tenant's usage: it is kept");
                accounts.iter().for_each(|account| account.back_off());
                self.last = Some(last);
            }
            Err(_) => self.last = Some(last),
            Ok(()) => {
                self.tenants_max = (2 * self.tenants_max).min(TENANTS_MAX);
                self.last = Some(last);
            }
        }
        outcome?;
        if self.accounts.refuse(false) {
            info!("HiveHub accepts this server's key again: usage is billed");
            self.shouted = None;
        }
        if !all_sent || !locked(&under_way).is_empty() {
            return Err(too_early());
        }
        self.failures = 0;
        Ok(if taken.receipts > 0 { Reported::Delivered } else { Reported::Unreadable })
    }

    /// Sends lines from the outbox.
    async fn report_deleted(&mut self) -> Result<Reported, HubError> {
        let accounts = self.accounts.clone();
        let next = tokio::task::spawn_blocking(move || accounts.outbox().and_then(Outbox::next)).await;
        let Some(part) = next.ok().flatten() else { return Ok(Reported::Nothing) };
        let reported = self.report_part(&part).await;
        if let (Err(HubError::Garbage(_)), Some(outbox)) = (&reported, self.accounts.outbox()) {
            outbox.back_off(&part);
        }
        let rejected = reported?;
        self.failures = 0;
        if self.accounts.refuse(false) {
            self.shouted = None;
        }
        self.lines_parked(rejected);
        if let Some(outbox) = self.accounts.outbox() {
            outbox.delivered(&part);
        }
        Ok(Reported::Delivered)
    }

    /// Sends the part. Returns the number of rejected lines.
    async fn report_part(&self, part: &Part) -> Result<usize, HubError> {
        let lines = futures_util::stream::iter(part.lines.clone());
        let mut receipts = self.client.report_usage(lines).await?;
        let (mut answered, mut rejected) = (0, 0);
        while let Some(receipt) = receipts.next().await? {
            rejected += usize::from(settle_deleted(part, answered, &receipt)?);
            answered += 1;
        }
        if answered < part.lines.len() { Err(too_early()) } else { Ok(rejected) }
    }

    /// Counts rejected lines, and stores the count.
    fn lines_parked(&self, lines: usize) {
        if lines == 0 {
            return;
        }
        self.metrics.lines_parked(lines as u64);
        if let Err(error) = self.node_store.store_parked_lines(self.metrics.parked_lines()) {
            warn!(%error, "the number of rejected lines cannot be stored");
        }
    }

    /// Applies the receipt of the next line.
    fn settle(
        &self,
        accounts: &[Arc<TenantAccount>],
        under_way: &UnderWay,
        taken: &mut Taken,
        receipt: &UsageReceipt,
    ) -> Result<(), HubError> {
        // Receipts are in the order of the lines.
        let sent = locked(under_way).pop_front().ok_or_else(not_ours)?;
        let account = accounts.get(sent.account).ok_or_else(not_ours)?;
        if receipt.id != sent.id.to_string() {
            return Err(not_ours());
        }
        if taken.held.contains(&sent.account) {
            return Ok(());
        }
        match &receipt.outcome {
            Extensible::Known(UsageOutcome::Accepted | UsageOutcome::Duplicate) => {}
            Extensible::Known(UsageOutcome::Rejected) => {
                let reason = Event::reason(receipt.reason.as_deref().unwrap_or("no reason was given"));
                warn!(tenant = %account.tenant(), id = %sent.id, reason, "HiveHub rejects a line of the bill");
                taken.parked.push(RejectedLine { seq: sent.id.through, meter: sent.id.meter, reason });
            }
            Extensible::Unknown(_) => {
                // It is not known whether the line was accepted, so it is sent again before later lines.
                warn!(tenant = %account.tenant(), id = %sent.id, "HiveHub's outcome for a line of the bill is unknown");
                taken.parked.clear();
                taken.held.insert(sent.account);
                return Ok(());
            }
        }
        if sent.is_last {
            let parked = std::mem::take(&mut taken.parked);
            self.lines_parked(parked.len());
            account.deliver(sent.id.through, sent.window, parked, sent.closed_at);
        }
        Ok(())
    }
}

/// Applies the receipt of a line of the part. Returns whether the line is rejected.
fn settle_deleted(part: &Part, number: usize, receipt: &UsageReceipt) -> Result<bool, HubError> {
    let sent: Option<UsageEvent> = part.lines.get(number).and_then(|it| serde_json::from_slice(it).ok());
    let id = sent.map(|event| event.id.to_string()).filter(|id| *id == receipt.id).ok_or_else(not_ours)?;
    match &receipt.outcome {
        Extensible::Known(UsageOutcome::Accepted | UsageOutcome::Duplicate) => Ok(false),
        Extensible::Known(UsageOutcome::Rejected) => {
            let reason = receipt.reason.as_deref().map(Event::reason);
            error!(id, reason, "HiveHub rejects a line of a deleted tenant's last bill: it is dropped");
            Ok(true)
        }
        Extensible::Unknown(_) => Err(not_ours()),
    }
}

/// The error for a receipt that does not belong to the line that was sent.
fn not_ours() -> HubError {
    HubError::Garbage(Garbage::Json { line: 0, column: 0 })
}

fn too_early() -> HubError {
    HubError::Unreachable("the answer to a report has ended too early".into())
}

/// Sends a few closes of each account. Returns whether all were sent. Closes that cannot be read are skipped.
fn send_lines(accounts: &[Arc<TenantAccount>], under_way: &UnderWay, send: &mpsc::Sender<Bytes>) -> bool {
    for (number, account) in accounts.iter().enumerate() {
        let mut sent = account.delivered_seq();
        for _ in 0..CLOSES_MAX {
            match account.next_close(sent) {
                Ok(Some(closed)) => {
                    let before = std::mem::replace(&mut sent, closed.seq);
                    if !send_close(number, account, before, closed, under_way, send) {
                        return false;
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    warn!(tenant = %account.tenant(), %error, "the tenant's bill cannot be read at the moment");
                    break;
                }
            }
        }
    }
    true
}

/// Sends a close. `before` is the last one that was sent before it.
fn send_close(
    number: usize,
    account: &TenantAccount,
    before: Seq,
    closed: lines::Closed,
    under_way: &UnderWay,
    send: &mpsc::Sender<Bytes>,
) -> bool {
    let lines::Closed { seq, at, lines, mut window } = closed;
    let count = lines.len();
    if count == 0 && account.delivered_seq() >= before {
        // It has no lines, and no earlier close waits for a receipt.
        account.deliver(seq, window.take(), Vec::new(), at);
    }
    for (place, (id, line)) in lines.into_iter().enumerate() {
        let is_last = place + 1 == count;
        let window = window.take_if(|_| is_last);
        let sent = Sent { id, account: number, closed_at: at, is_last, window };
        locked(under_way).push_back(sent);
        if send.blocking_send(line).is_err() {
            return false;
        }
    }
    true
}

fn locked(under_way: &UnderWay) -> MutexGuard<'_, VecDeque<Sent>> {
    under_way.lock().unwrap_or_else(PoisonError::into_inner)
}

impl TenantAccount {
    /// The oldest close after `sent`, with its lines.
    fn next_close(&self, sent: Seq) -> Result<Option<lines::Closed>, Box<dyn std::error::Error>> {
        // In this order: a close that is delivered by now is in `billing`.
        let (delivered, billing) = (self.delivered_seq(), self.billing());
        let mut found = self.found().lock().unwrap_or_else(PoisonError::into_inner);
        let Some(seq) = found.next(self.log(), &billing, delivered, sent)? else { return Ok(None) };
        Ok(Some(lines::lines(self.tenant(), self.log(), seq)?))
    }
}
