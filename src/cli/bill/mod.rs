//! `vectorizer bill`: computes a tenant's bill from its log alone, and compares it with a ledger.

mod account;
mod ledger;
#[cfg(test)]
mod tests;

use clap::Args;
use vectorizer_log::{TenantId, Timestamp};
use vectorizer_replay::{BilledTotal, Projection};

use self::account::Account;
use self::ledger::{Ledger, LedgerArgs};
use super::failure::Failure;
use super::interruption::{Interruption, run_blocking};
use super::reading::Reading;
use super::source::{Source, SourceArgs};
use super::{Exit, Streams};

/// The arguments of `bill`.
#[derive(Clone, Debug, Args)]
pub(super) struct BillArgs {
    /// Only windows that end after this time, such as 2026-01-31T00:00:00Z
    #[arg(long, value_name = "TIME")]
    from: Option<Timestamp>,
    /// Only windows that end at this time or before
    #[arg(long, value_name = "TIME")]
    to: Option<Timestamp>,

    #[command(flatten)]
    ledger: LedgerArgs,

    // Last, because its heading also applies to the arguments after it.
    #[command(flatten)]
    source: SourceArgs,
}

/// The requested period.
#[derive(Clone, Copy, Debug, Default)]
struct Period {
    from: Option<Timestamp>,
    to: Option<Timestamp>,
}

impl Period {
    /// Whether it includes all windows.
    fn is_unbounded(self) -> bool {
        self.from.is_none() && self.to.is_none()
    }

    /// Whether it includes a window that ends at `end`.
    fn contains(self, end: Timestamp) -> bool {
        self.from.is_none_or(|from| end > from) && self.to.is_none_or(|to| end <= to)
    }
}

/// Runs `bill`.
pub(super) async fn run(args: BillArgs, streams: Streams) -> Exit {
    let outcome = async {
        let BillArgs { from, to, ledger, source } = args;
        if let (Some(from), Some(to)) = (from, to)
            && from >= to
        {
            return Err(Failure::EmptyPeriod { from, to });
        }
        let ledger = ledger.ledger()?;
        bill(source.source()?, ledger, Period { from, to }, &streams).await
    };
    let outcome = outcome.await;
    streams.end(outcome)
}

async fn bill(
    source: Source,
    ledger: Option<Ledger>,
    period: Period,
    streams: &Streams,
) -> Result<Exit, Failure> {
    let subject = source.subject();
    let is_live = matches!(source, Source::Server(_));
    let interruption = Interruption::on_ctrl_c();
    let (tenant, reading, account) = read(source, period, streams, &interruption).await?;
    reading.remark(&subject, streams);
    if !reading.is_intact() {
        return Ok(Exit::CheckFailed);
    }
    if let Some(refused) = account.refused() {
        streams.remark(format_args!("{subject}: {refused}"));
        return Ok(Exit::CheckFailed);
    }
    streams.report(format_args!("the bill of tenant {tenant}, from {subject}"))?;
    account.report(streams)?;
    let mut is_correct = account.discrepancies().is_empty();
    for discrepancy in account.discrepancies() {
        streams.report(format_args!("differs      {discrepancy}"))?;
    }
    if let Some(ledger) = ledger {
        let comparison = interruption.or(ledger.compare(&tenant, account, is_live)).await?;
        is_correct &= comparison.is_equal();
        comparison.report(streams)?;
    }
    streams.report(if is_correct { "holds" } else { "does not hold" })?;
    Ok(if is_correct { Exit::Success } else { Exit::CheckFailed })
}

/// Folds the whole log. The totals of a window need all records before it.
async fn read(
    source: Source,
    period: Period,
    streams: &Streams,
    interruption: &Interruption,
) -> Result<(TenantId, Reading, Account), Failure> {
    match source {
        Source::Folder(folder) => {
            let (interruption, mut account) = (interruption.clone(), Account::new(period, None, streams));
            let tenant = folder.tenant().clone();
            let (reading, account) = run_blocking(move || {
                if let Some(base) = folder.base()? {
                    let stop = || interruption.check().is_err();
                    let beginning = Projection::of_base(base.log_id(), &base, &stop);
                    account.begin(beginning.map_err(|error| folder.base_failure(error))?);
                }
                let reading = folder.read(&interruption, &mut |stored| {
                    Ok(account.push(&stored.record, Some(stored.chain)))
                })?;
                Ok::<_, Failure>((reading, account))
            })
            .await?;
            account.end();
            Ok((tenant, reading, account))
        }
        Source::Server(server) => {
            let read = async {
                let tenant = server.tenant().await?;
                let head = server.head().await?;
                let mut account = Account::new(period, Some(head.seq), streams);
                let reading = server.read(head, &mut account).await?;
                account.end();
                Ok((tenant, reading, account))
            };
            interruption.or(read).await
        }
    }
}

/// The total of a meter, with corrections.
fn billed(total: &BilledTotal) -> i128 {
    i128::try_from(total.recomputed).unwrap_or(i128::MAX).saturating_add(total.corrected)
}
