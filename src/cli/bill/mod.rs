//! `vectorizer bill`: a tenant's bill, computed from its log and nothing else, and held against a ledger.

mod account;
mod ledger;
#[cfg(test)]
mod tests;

use std::ops::ControlFlow;

use clap::Args;
use vectorizer_log::{TenantId, Timestamp};
use vectorizer_replay::BilledTotal;

use self::account::Account;
use self::ledger::{Ledger, LedgerArgs};
use super::failure::Failure;
use super::interruption::{Interruption, on_disk};
use super::reading::Reading;
use super::source::{Source, SourceArgs};
use super::{Exit, Streams};

/// The arguments of `bill`.
#[derive(Clone, Debug, Args)]
pub(super) struct BillArgs {
    /// Windows that end after this moment, such as 2026-01-31T00:00:00Z
    #[arg(long, value_name = "MOMENT")]
    from: Option<Timestamp>,
    /// Windows that end at this moment or before
    #[arg(long, value_name = "MOMENT")]
    to: Option<Timestamp>,

    #[command(flatten)]
    ledger: LedgerArgs,

    // Last, because its heading goes on to what follows.
    #[command(flatten)]
    source: SourceArgs,
}

/// Which windows are asked for.
#[derive(Clone, Copy, Debug, Default)]
struct Span {
    from: Option<Timestamp>,
    to: Option<Timestamp>,
}

impl Span {
    /// Whether it leaves nothing out.
    fn is_everything(self) -> bool {
        self.from.is_none() && self.to.is_none()
    }

    /// Whether a window that ends at `end` is among them.
    fn has(self, end: Timestamp) -> bool {
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
            return Err(Failure::NoSpan { from, to });
        }
        let ledger = ledger.ledger()?;
        bill(source.source()?, ledger, Span { from, to }, &streams).await
    };
    let outcome = outcome.await;
    streams.end(outcome)
}

async fn bill(
    source: Source,
    ledger: Option<Ledger>,
    span: Span,
    streams: &Streams,
) -> Result<Exit, Failure> {
    let subject = source.subject();
    let is_live = matches!(source, Source::Server(_));
    let interruption = Interruption::on_ctrl_c();
    let (tenant, reading, account) = read(source, span, streams, &interruption).await?;
    reading.remark(&subject, streams);
    if !reading.holds() {
        return Ok(Exit::DoesNotHold);
    }
    if let Some(refused) = account.refused() {
        streams.remark(format_args!("{subject}: {refused}"));
        return Ok(Exit::DoesNotHold);
    }
    streams.report(format_args!("the bill of tenant {tenant}, from {subject}"))?;
    account.report(streams)?;
    let mut holds = account.discrepancies().is_empty();
    for discrepancy in account.discrepancies() {
        streams.report(format_args!("differs      {discrepancy}"))?;
    }
    if let Some(ledger) = ledger {
        let comparison = interruption.or(ledger.compare(&tenant, account, is_live)).await?;
        holds &= comparison.holds();
        comparison.report(streams)?;
    }
    streams.report(if holds { "holds" } else { "does not hold" })?;
    Ok(if holds { Exit::Holds } else { Exit::DoesNotHold })
}

/// Folds the whole log: only that tells what a window came to.
async fn read(
    source: Source,
    span: Span,
    streams: &Streams,
    interruption: &Interruption,
) -> Result<(TenantId, Reading, Account), Failure> {
    match source {
        Source::Folder(folder) => {
            let (interruption, mut account) = (interruption.clone(), Account::new(span, None, streams));
            let tenant = folder.tenant().clone();
            let (reading, account) = on_disk(move || {
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
                let mut account = Account::new(span, Some(head.seq), streams);
                let mut visit = |record: &_| -> ControlFlow<()> { account.push(record, None) };
                let reading = server.read(head, &mut visit).await?;
                account.end();
                Ok((tenant, reading, account))
            };
            interruption.or(read).await
        }
    }
}

/// What a meter comes to, corrections included.
fn billed(total: &BilledTotal) -> i128 {
    i128::try_from(total.recomputed).unwrap_or(i128::MAX).saturating_add(total.corrected)
}
