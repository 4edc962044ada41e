//! The ledger of a HiveHub, and the comparison of a bill with it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use clap::Args;
use serde::de::DeserializeOwned;
use vectorizer_hivehub::{SERVICE_KEY_HEADER, UsageEvent};
use vectorizer_http_client::ServiceUrl;
use vectorizer_hub::UsagePage;
use vectorizer_log::{ChainHash, Meter, Seq, TenantId, Timestamp};

use super::account::{Account, Line, LineId};
use crate::cli::Streams;
use crate::cli::failure::Failure;
use crate::cli::hub::HubFailure;
use crate::cli::key_client::{KeyHeader, client, secret};
use crate::config::Secret;

const ANSWER_TIME_MAX: Duration = Duration::from_mins(1);
/// A page of a thousand events has less than a mebibyte.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The most differences that are listed.
const DIFFERENCES_MAX: usize = 100;

/// The arguments for the ledger.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Comparison with a ledger")]
pub(super) struct LedgerArgs {
    /// The HiveHub whose ledger to compare with
    #[arg(long, value_name = "URL", requires = "hub_key")]
    hub: Option<ServiceUrl>,

    /// The service key of the HiveHub, as servers are configured with it; safer in the environment, as other users of
    /// this machine can see arguments
    #[arg(long, value_name = "KEY", env = "HIVEHUB_API_KEY", hide_env_values = true, value_parser = secret)]
    hub_key: Option<Secret>,
}

/// A client of the ledger.
pub(super) struct Ledger {
    http: reqwest::Client,
    url: ServiceUrl,
}

impl LedgerArgs {
    /// The ledger of the arguments, if there is one. Sends nothing yet.
    pub(super) fn ledger(self) -> Result<Option<Ledger>, HubFailure> {
        let Self { hub, hub_key } = self;
        let Some(url) = hub else { return Ok(None) };
        let http =
            client(hub_key.as_ref(), KeyHeader::Named(SERVICE_KEY_HEADER)).map_err(|_| HubFailure::Key)?;
        let http = http.timeout(ANSWER_TIME_MAX).build().map_err(HubFailure::Client)?;
        Ok(Some(Ledger { http, url }))
    }
}

/// The comparison of a bill with a ledger.
#[derive(Debug, Default)]
pub(super) struct Comparison {
    /// The number of equal lines.
    equal: u64,
    /// Lines after all that the ledger has. They are not delivered yet.
    pending: u64,
    /// Lines of the ledger whose records were dropped from the log.
    dropped: u64,
    /// Lines that HiveHub has rejected.
    parked: u64,
    /// Lines that the ledger does not have, for which the log of a running server has no reason yet.
    unanswered: u64,
    /// Lines of windows that a running server has closed since its log was read.
    newer: u64,
    /// The first differences, and the number of all.
    differences: Vec<Difference>,
    differing: u64,
}

/// How far a bill is delivered.
#[derive(Clone, Copy)]
struct Delivery {
    /// The last record in the ledger.
    delivered: Seq,
    /// The last record that the log says is acknowledged.
    acknowledged: Seq,
    is_live: bool,
}

/// A line that differs between bill and ledger.
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
    /// Compares every line of the requested period with the ledger. `is_live` says that a server is writing and
    /// reporting at the same time.
    pub(super) async fn compare(
        &self,
        tenant: &TenantId,
        account: Account,
        is_live: bool,
    ) -> Result<Comparison, Failure> {
        let mut comparison = Comparison::default();
        let (period, log_id) = (account.period(), account.log_id());
        let read_through = Some(account.through()).filter(|_| is_live);
        let (acknowledged, beginning) = (account.acknowledged(), account.beginning());
        let (mut lines, parked) = account.into_lines();
        let Some(log_id) = log_id else { return Ok(comparison) };
        let mut delivered = Seq::NONE;
        let mut after = None;
        loop {
            let mut query = vec![("log_id", log_id.to_string())];
            query.extend(period.from.map(|from| ("from", from.to_string())));
            query.extend(period.to.map(|to| ("to", to.to_string())));
            query.extend(after.map(|after: u64| ("after", after.to_string())));
            let page: UsagePage = self.get(tenant, &query).await?;
            for event in &page.events {
                delivered = delivered.max(event.data.last_seq);
                let line = lines.remove(&(event.id.through, event.id.meter));
                let is_dropped = event.id.through <= beginning
                    || event.data.corrects.is_some_and(|it| it.line.through <= beginning);
                if line.is_none() && is_dropped {
                    comparison.dropped += 1;
                } else if line.is_none() && read_through.is_some_and(|read| event.id.through > read) {
                    comparison.newer += 1;
                } else {
                    comparison.add(event, line);
                }
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        // Later events tell a lost line from one that is not delivered yet.
        if let Some(to) =
            period.to.filter(|_| lines.keys().any(|(seq, _)| *seq > delivered.max(acknowledged)))
        {
            let query = [("log_id", log_id.to_string()), ("from", to.to_string())];
            let later: UsagePage = self.get(tenant, &query).await?;
            delivered = later.events.iter().map(|event| event.data.last_seq).fold(delivered, Seq::max);
        }
        comparison.add_missing(lines, &parked, Delivery { delivered, acknowledged, is_live });
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
            return serde_json::from_slice(&answer).map_err(HubFailure::InvalidAnswer);
        }
        Err(HubFailure::of_answer(response.status().as_u16(), &answer))
    }
}

impl Comparison {
    fn add(&mut self, event: &UsageEvent, line: Option<Line>) {
        let value = i128::try_from(event.data.value).unwrap_or(i128::MAX);
        let ledger = if event.data.corrects.is_some_and(|it| it.is_negative) { -value } else { value };
        let kind = match line {
            None => DifferenceKind::OnlyInLedger { value: ledger },
            Some(line) if line.value != ledger => DifferenceKind::Value { log: line.value, ledger },
            // A correction has the window of its line, but another first record.
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
        self.add_difference((event.id.through, event.id.meter), event.data.window.to, kind);
    }

    /// Adds the lines that the ledger does not have.
    fn add_missing(&mut self, lines: BTreeMap<LineId, Line>, parked: &BTreeSet<LineId>, delivery: Delivery) {
        let Delivery { delivered, acknowledged, is_live } = delivery;
        for (id, line) in lines {
            if parked.contains(&id) {
                self.parked += 1;
            } else if id.0 > delivered.max(acknowledged) {
                self.pending += 1;
            } else if is_live && id.0 > acknowledged {
                // Perhaps it was rejected: the log has the reason when the next window is closed.
                self.unanswered += 1;
            } else {
                self.add_difference(id, line.window.through, DifferenceKind::OnlyInLog { value: line.value });
            }
        }
    }

    fn add_difference(&mut self, id: LineId, window_end: Timestamp, kind: DifferenceKind) {
        self.differing += 1;
        if self.differences.len() < DIFFERENCES_MAX {
            self.differences.push(Difference { id, window_end, kind });
        }
    }

    /// Whether there is no difference.
    pub(super) fn is_equal(&self) -> bool {
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
        let Self { equal, pending, parked, unanswered, newer, dropped, differing, .. } = self;
        if *unanswered > 0 {
            streams.report(format_args!(
                "unanswered   {unanswered} lines that the ledger does not have, although it has later ones: the log does \
                 not say why yet; run this again when the next window is closed"
            ))?;
        }
        if *dropped > 0 {
            streams.report(format_args!(
                "dropped      {dropped} lines of windows whose records were dropped from the log"
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
                write!(f, "the log has {log}, the ledger has {ledger} ({by:+})")
            }
            DifferenceKind::Window => f.write_str("the ledger has another window"),
            DifferenceKind::Chain { log, ledger } => {
                write!(f, "the log's chain hash is {log}, the ledger's is {ledger}")
            }
            DifferenceKind::OnlyInLog { value } => {
                write!(
                    f,
                    "the log has {value}, the ledger has no such line, although it or later ones were delivered"
                )
            }
            DifferenceKind::OnlyInLedger { value } => {
                write!(f, "the ledger has {value}, the log has no such line")
            }
        }
    }
}
