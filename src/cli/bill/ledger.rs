//! A HiveHub's ledger, and what a bill is held against it.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::fmt;
use std::time::Duration;

use clap::Args;
use serde::de::DeserializeOwned;
use vectorizer_log::{ChainHash, Meter, Seq, TenantId, Timestamp};

use super::account::{Account, Line, LineId};
use crate::cli::Streams;
use crate::cli::asking::{Shown, client};
use crate::cli::failure::Failure;
use crate::cli::hub::HubFailure;
use crate::config::Secret;
use crate::hivehub::{SERVICE_KEY_HEADER, UsageEvent};
use crate::http_client::ServiceUrl;
use crate::hub::models::UsageAnswer;

const ANSWER_TIME_MAX: Duration = Duration::from_mins(1);
/// A page of a thousand events has less than a mebibyte.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;
/// So many differences are told one by one.
const DIFFERENCES_MAX: usize = 100;

/// The arguments that say where the ledger is.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "What it is held against")]
pub(super) struct LedgerArgs {
    /// A HiveHub, whose ledger is to say the same
    #[arg(long, value_name = "URL", requires = "hub_key")]
    hub: Option<ServiceUrl>,

    /// The key that servers show to it (their configured key of it); better in the environment, for arguments can
    /// be seen by other users of this machine
    #[arg(long, value_name = "KEY", env = "HIVEHUB_API_KEY", hide_env_values = true, value_parser = secret)]
    hub_key: Option<Secret>,
}

/// A parser that cannot fail, so that no message repeats the key.
#[expect(clippy::unnecessary_wraps, reason = "what clap calls")]
fn secret(text: &str) -> Result<Secret, Infallible> {
    Ok(Secret::new(text))
}

/// A ledger that can be asked.
pub(super) struct Ledger {
    http: reqwest::Client,
    url: ServiceUrl,
}

impl LedgerArgs {
    /// The ledger they name, if they name one. Nothing is sent yet.
    pub(super) fn ledger(self) -> Result<Option<Ledger>, HubFailure> {
        let Self { hub, hub_key } = self;
        let Some(url) = hub else { return Ok(None) };
        let http = client(hub_key.as_ref(), Shown::In(SERVICE_KEY_HEADER)).map_err(|_| HubFailure::Key)?;
        let http = http.timeout(ANSWER_TIME_MAX).build().map_err(HubFailure::Client)?;
        Ok(Some(Ledger { http, url }))
    }
}

/// What a bill and a ledger say of each other.
#[derive(Debug, Default)]
pub(super) struct Comparison {
    /// Lines of which both say the same.
    equal: u64,
    /// Lines behind everything that the ledger has: they are still to be delivered.
    pending: u64,
    /// Lines that HiveHub has rejected.
    parked: u64,
    /// Lines that it does not have, and of which a running server may not have said yet why.
    unanswered: u64,
    /// Lines of windows that a running server has closed since its log was read.
    newer: u64,
    /// The first of those that do not agree, and how many there are.
    differences: Vec<Difference>,
    differing: u64,
}

/// How far a ledger has a bill.
#[derive(Clone, Copy)]
struct Reach {
    /// By itself.
    delivered: Seq,
    /// By the log.
    acknowledged: Seq,
    is_live: bool,
}

/// A line of which bill and ledger do not say the same.
#[derive(Debug)]
struct Difference {
    id: LineId,
    window_end: Timestamp,
    kind: DifferenceKind,
}

#[derive(Debug)]
enum DifferenceKind {
    Value { log: i128, ledger: i128 },
    Window,
    Chain { log: ChainHash, ledger: ChainHash },
    OnlyInLog { value: i128 },
    OnlyInLedger { value: i128 },
}

impl Ledger {
    /// Holds every line that was asked for against the ledger. `is_live` says that a server goes on writing and
    /// reporting meanwhile.
    pub(super) async fn compare(
        &self,
        tenant: &TenantId,
        account: Account,
        is_live: bool,
    ) -> Result<Comparison, Failure> {
        let mut comparison = Comparison::default();
        let (span, log_id) = (account.span(), account.log_id());
        let read_through = Some(account.through()).filter(|_| is_live);
        let acknowledged = account.acknowledged();
        let (mut lines, parked) = account.into_lines();
        let Some(log_id) = log_id else { return Ok(comparison) };
        let mut delivered = Seq::NONE;
        let mut after = None;
        loop {
            let mut query = vec![("log_id", log_id.to_string())];
            query.extend(span.from.map(|from| ("from", from.to_string())));
            query.extend(span.to.map(|to| ("to", to.to_string())));
            query.extend(after.map(|after: u64| ("after", after.to_string())));
            let page: UsageAnswer = self.get(tenant, &query).await?;
            for event in &page.events {
                delivered = delivered.max(event.data.last_seq);
                let line = lines.remove(&(event.id.through, event.id.meter));
                if line.is_none() && read_through.is_some_and(|read| event.id.through > read) {
                    comparison.newer += 1;
                } else {
                    comparison.enter(event, line);
                }
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        // What came later may be all that tells a line that was lost from one that is still to come.
        if let Some(to) = span.to.filter(|_| lines.keys().any(|(seq, _)| *seq > delivered.max(acknowledged)))
        {
            let query = [("log_id", log_id.to_string()), ("from", to.to_string())];
            let later: UsageAnswer = self.get(tenant, &query).await?;
            delivered = later.events.iter().map(|event| event.data.last_seq).fold(delivered, Seq::max);
        }
        comparison.rest(lines, &parked, Reach { delivered, acknowledged, is_live });
        Ok(comparison)
    }

    async fn get<A: DeserializeOwned>(
        &self,
        tenant: &TenantId,
        query: &[(&str, String)],
    ) -> Result<A, HubFailure> {
        let mut url = self.url.join(&format!("/api/internal/vectorizer/tenants/{tenant}/usage"));
        url.query_pairs_mut().extend_pairs(query);
        let unreachable = |error: reqwest::Error| HubFailure::Unreachable(error.without_url());
        let mut response = self.http.get(url).send().await.map_err(unreachable)?;
        let mut answer = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            if answer.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(HubFailure::TooLong(ANSWER_BYTES_MAX));
            }
            answer.extend_from_slice(&chunk);
        }
        if response.status().is_success() {
            return serde_json::from_slice(&answer).map_err(HubFailure::Garbage);
        }
        Err(HubFailure::refused(response.status().as_u16(), &answer))
    }
}

impl Comparison {
    fn enter(&mut self, event: &UsageEvent, line: Option<Line>) {
        let value = i128::try_from(event.data.value).unwrap_or(i128::MAX);
        let ledger = if event.data.corrects.is_some_and(|it| it.is_negative) { -value } else { value };
        let kind = match line {
            None => DifferenceKind::OnlyInLedger { value: ledger },
            Some(line) if line.value != ledger => DifferenceKind::Value { log: line.value, ledger },
            // A correction has the window of its line, and begins elsewhere.
            Some(line) if line.is_correction != event.data.corrects.is_some() => DifferenceKind::Window,
            Some(line)
                if !line.is_correction
                    && (line.window.since, line.window.through, line.window.first_seq)
                        != (event.data.window.from, event.data.window.to, event.data.first_seq) =>
            {
                DifferenceKind::Window
            }
            Some(Line { chain: Some(log), .. }) if log != event.data.chain => {
                DifferenceKind::Chain { log, ledger: event.data.chain }
            }
            Some(_) => {
                self.equal += 1;
                return;
            }
        };
        self.differ((event.id.through, event.id.meter), event.data.window.to, kind);
    }

    /// What the ledger does not have.
    fn rest(&mut self, lines: BTreeMap<LineId, Line>, parked: &BTreeSet<LineId>, reach: Reach) {
        let Reach { delivered, acknowledged, is_live } = reach;
        for (id, line) in lines {
            if parked.contains(&id) {
                self.parked += 1;
            } else if id.0 > delivered.max(acknowledged) {
                self.pending += 1;
            } else if is_live && id.0 > acknowledged {
                // Rejected perhaps: the reason is in the log when the next window is closed.
                self.unanswered += 1;
            } else {
                self.differ(id, line.window.through, DifferenceKind::OnlyInLog { value: line.value });
            }
        }
    }

    fn differ(&mut self, id: LineId, window_end: Timestamp, kind: DifferenceKind) {
        self.differing += 1;
        if self.differences.len() < DIFFERENCES_MAX {
            self.differences.push(Difference { id, window_end, kind });
        }
    }

    /// Whether the ledger says the same to the unit, as far as it goes.
    pub(super) fn holds(&self) -> bool {
        self.differing == 0
    }

    pub(super) fn report(&self, streams: &Streams) -> Result<(), Failure> {
        for difference in &self.differences {
            streams.report(format_args!("differs      {difference}"))?;
        }
        let more = self.differing - self.differences.len() as u64;
        if more > 0 {
            streams.report(format_args!("differs      and {more} more"))?;
        }
        let Self { equal, pending, parked, unanswered, newer, differing, .. } = self;
        if *unanswered > 0 {
            streams.report(format_args!(
                "unanswered   {unanswered} lines that the ledger does not have, though later ones: the log does not \
                 say yet what became of them; ask again when another window is closed"
            ))?;
        }
        if *newer > 0 {
            streams.report(format_args!(
                "newer        {newer} lines of windows closed since the log was read"
            ))?;
        }
        streams.report(format_args!(
            "ledger       {equal} lines are the same, {differing} differ, {pending} are not delivered yet, {parked} \
             were rejected"
        ))
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id: (seq, meter), window_end, kind } = self;
        let meter: &Meter = meter;
        write!(f, "{} of the window closed at seq {seq}, {window_end}: ", meter.name())?;
        match kind {
            DifferenceKind::Value { log, ledger } => {
                let by = ledger.saturating_sub(*log);
                write!(f, "the log comes to {log}, the ledger says {ledger} ({by:+})")
            }
            DifferenceKind::Window => f.write_str("the ledger's window is another one"),
            DifferenceKind::Chain { log, ledger } => {
                write!(f, "the log's history is {log}, the ledger's {ledger}")
            }
            DifferenceKind::OnlyInLog { value } => {
                write!(
                    f,
                    "the log comes to {value}, the ledger has no such line, although it was delivered or later ones were"
                )
            }
            DifferenceKind::OnlyInLedger { value } => {
                write!(f, "the ledger says {value}, the log has no such line")
            }
        }
    }
}
