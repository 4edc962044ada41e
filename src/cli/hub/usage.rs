//! `hub usage`: the ledger.

use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use clap::{Args, Subcommand};
use uuid::Uuid;
use vectorizer_hub::UsagePage;
use vectorizer_hub::models::{UsageQuery, UsageTotalsAnswer};
use vectorizer_log::{LogId, Meter, Seq, TenantId, Timestamp};

use super::connection::ConnectionArgs;
use super::table::Table;
use super::{word, write_json};
use crate::cli::Streams;
use crate::cli::failure::Failure;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum UsageCommand {
    /// List a tenant's usage events, in the order of their arrival
    List(UsageArgs),
    /// Show the totals of a tenant's usage events, by meter
    Totals(UsageArgs),
}

#[derive(Debug, Args)]
pub(in crate::cli) struct UsageArgs {
    /// The tenant
    #[arg(long)]
    tenant: TenantId,
    /// Only this meter
    #[arg(long, value_parser = PossibleValuesParser::new(Meter::ALL.map(Meter::name)).try_map(|name| meter(&name)))]
    meter: Option<Meter>,
    /// Only this log
    #[arg(long, value_name = "UUID")]
    log_id: Option<Uuid>,
    /// Only windows that end after this time, such as 2026-01-31T00:00:00Z
    #[arg(long, value_name = "TIME")]
    from: Option<Timestamp>,
    /// Only windows that end at this time or before
    #[arg(long, value_name = "TIME")]
    to: Option<Timestamp>,
    /// Only events that count this record or later ones
    #[arg(long, value_name = "SEQ")]
    from_seq: Option<u64>,
    /// Only events that count no later record
    #[arg(long, value_name = "SEQ")]
    to_seq: Option<u64>,
    #[command(flatten)]
    connection: ConnectionArgs,
}

fn meter(name: &str) -> Result<Meter, &'static str> {
    Meter::ALL.into_iter().find(|meter| meter.name() == name).ok_or("not a meter")
}

impl UsageArgs {
    fn query(&self) -> UsageQuery {
        let Self { meter, log_id, from, to, from_seq, to_seq, .. } = *self;
        let log_id = log_id.map(LogId::new);
        let (from_seq, to_seq) = (from_seq.map(Seq::new), to_seq.map(Seq::new));
        UsageQuery { meter, log_id, from, to, from_seq, to_seq, after: None, limit: None }
    }
}

pub(super) async fn run(command: UsageCommand, streams: &Streams) -> Result<(), Failure> {
    match command {
        UsageCommand::List(args) => list(&args, streams).await,
        UsageCommand::Totals(args) => totals(&args, streams).await,
    }
}

/// Writes the events page by page, as a ledger may be long. So the columns have a fixed width.
async fn list(args: &UsageArgs, streams: &Streams) -> Result<(), Failure> {
    let hub = args.connection.open().await?;
    let path = format!("/api/admin/tenants/{}/usage", args.tenant);
    let mut query = args.query();
    let line = |to: &str, meter: &str, value: &str, seqs: &str, log: &str| {
        streams.write(format!("{to:<27}  {meter:<20}  {value:>20}  {seqs:<21}  {log}\n").as_bytes())
    };
    if !args.connection.json {
        line("window ends", "meter", "value", "records", "log")?;
    }
    loop {
        let page: UsagePage = hub.get(&path, &query).await?;
        for event in page.events {
            if args.connection.json {
                write_json(streams, &event)?;
                continue;
            }
            let data = &event.data;
            let seqs = format!("{}-{}", data.first_seq, data.last_seq);
            let (to, value, log) =
                (data.window.to.to_string(), data.value.to_string(), event.id.log_id.to_string());
            line(&to, data.meter.name(), &value, &seqs, &log)?;
        }
        query.after = page.next;
        if query.after.is_none() {
            return Ok(());
        }
    }
}

async fn totals(args: &UsageArgs, streams: &Streams) -> Result<(), Failure> {
    let path = format!("/api/admin/tenants/{}/usage/totals", args.tenant);
    let answer: UsageTotalsAnswer = args.connection.open().await?.get(&path, &args.query()).await?;
    if args.connection.json {
        return answer.totals.iter().try_for_each(|totals| write_json(streams, totals));
    }
    let mut table = Table::new(["meter", "value", "unit", "events"]);
    for totals in answer.totals {
        let name = totals.meter.name().to_owned();
        table.row([name, totals.value, word(&totals.unit), totals.events.to_string()]);
    }
    table.write(streams)
}
