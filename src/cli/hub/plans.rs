//! `hub plans`.

use clap::{Args, Subcommand};
use serde_json::json;
use vectorizer_hub::models::{PlanView, PlansAnswer};
use vectorizer_hub::{Limits, PlanName};

use super::connection::ConnectionArgs;
use super::limits::{LimitArgs, NAMES, warn_of_unreachable, words};
use super::table::{Table, write_facts};
use super::{HubFailure, write_json};
use crate::cli::Streams;
use crate::cli::failure::Failure;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum PlansCommand {
    /// List the plans with their limits
    List(ListArgs),
    /// Show a plan's limits
    Show(ShowArgs),
    /// Change a plan's limits, or create a plan
    Set(SetArgs),
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ListArgs {
    #[command(flatten)]
    connection: ConnectionArgs,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ShowArgs {
    /// The plan
    plan: PlanName,
    #[command(flatten)]
    connection: ConnectionArgs,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct SetArgs {
    /// The plan
    plan: PlanName,
    #[command(flatten)]
    limits: LimitArgs,
    #[command(flatten)]
    connection: ConnectionArgs,
}

pub(super) async fn run(command: PlansCommand, streams: &Streams) -> Result<(), Failure> {
    match command {
        PlansCommand::List(args) => list(args, streams).await,
        PlansCommand::Show(ShowArgs { plan, connection }) => {
            let shown: PlanView = connection.open().await?.get(&path(&plan), &()).await?;
            write(&shown, &connection, streams)
        }
        PlansCommand::Set(SetArgs { plan, limits, connection }) => {
            let hub = connection.open().await?;
            // Limits that are not given stay as they are. Those of a new plan are the server's defaults.
            let mut quota = match hub.get::<PlanView>(&path(&plan), &()).await {
                Ok(known) => known.quota,
                Err(HubFailure::Rejected(_)) => Limits::default(),
                Err(failure) => return Err(failure.into()),
            };
            limits.changes().apply(&mut quota);
            let set: PlanView = hub.send("PUT", &path(&plan), &quota).await?;
            warn_of_unreachable(&set.quota, streams);
            write(&set, &connection, streams)
        }
    }
}

async fn list(ListArgs { connection }: ListArgs, streams: &Streams) -> Result<(), Failure> {
    let hub = connection.open().await?;
    let [bytes, log, vectors, collections, minute, hour, days] = NAMES;
    let mut table = Table::new(["plan", bytes, log, vectors, collections, minute, hour, days]);
    let mut after = None;
    loop {
        let page: PlansAnswer = hub.get("/api/admin/plans", &json!({"after": after})).await?;
        for plan in page.plans {
            if connection.json {
                write_json(streams, &plan)?;
            } else {
                let [bytes, log, vectors, collections, minute, hour, days] = words(&plan.quota, "default");
                table.row([plan.name.to_string(), bytes, log, vectors, collections, minute, hour, days]);
            }
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    if connection.json { Ok(()) } else { table.write(streams) }
}

fn write(plan: &PlanView, connection: &ConnectionArgs, streams: &Streams) -> Result<(), Failure> {
    if connection.json {
        return write_json(streams, plan);
    }
    let mut facts = vec![("plan", plan.name.to_string())];
    facts.extend(NAMES.into_iter().zip(words(&plan.quota, "default")));
    write_facts(streams, &facts)
}

fn path(plan: &PlanName) -> String {
    format!("/api/admin/plans/{plan}")
}
