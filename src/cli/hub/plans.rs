//! `hub plans`.

use clap::{Args, Subcommand};
use serde_json::json;

use super::limits::{LimitArgs, NAMES, warn_of_unreachable, words};
use super::place::PlaceArgs;
use super::table::{Table, write_facts};
use super::{HubFailure, write_json};
use crate::cli::Streams;
use crate::cli::failure::Failure;
use crate::hub::models::{PlanView, PlansAnswer};
use crate::hub::{Limits, PlanName};

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum PlansCommand {
    /// List the plans and what they allow
    List(ListArgs),
    /// Show what a plan allows
    Show(ShowArgs),
    /// Set what a plan allows, of an old plan or a new one
    Set(SetArgs),
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ListArgs {
    #[command(flatten)]
    place: PlaceArgs,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ShowArgs {
    /// The plan
    plan: PlanName,
    #[command(flatten)]
    place: PlaceArgs,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct SetArgs {
    /// The plan
    plan: PlanName,
    #[command(flatten)]
    limits: LimitArgs,
    #[command(flatten)]
    place: PlaceArgs,
}

pub(super) async fn run(command: PlansCommand, streams: &Streams) -> Result<(), Failure> {
    match command {
        PlansCommand::List(args) => list(args, streams).await,
        PlansCommand::Show(ShowArgs { plan, place }) => {
            let shown: PlanView = place.open().await?.get(&path(&plan), &()).await?;
            write(&shown, &place, streams)
        }
        PlansCommand::Set(SetArgs { plan, limits, place }) => {
            let hub = place.open().await?;
            // What is not given stays, and of a new plan is left to the server.
            let mut quota = match hub.get::<PlanView>(&path(&plan), &()).await {
                Ok(known) => known.quota,
                Err(HubFailure::No(_)) => Limits::default(),
                Err(failure) => return Err(failure.into()),
            };
            limits.changes().apply(&mut quota);
            let set: PlanView = hub.send("PUT", &path(&plan), &quota).await?;
            warn_of_unreachable(&set.quota, streams);
            write(&set, &place, streams)
        }
    }
}

async fn list(ListArgs { place }: ListArgs, streams: &Streams) -> Result<(), Failure> {
    let hub = place.open().await?;
    let [bytes, log, vectors, collections, minute, hour] = NAMES;
    let mut table = Table::new(["plan", bytes, log, vectors, collections, minute, hour]);
    let mut after = None;
    loop {
        let page: PlansAnswer = hub.get("/api/admin/plans", &json!({"after": after})).await?;
        for plan in page.plans {
            if place.json {
                write_json(streams, &plan)?;
            } else {
                let [bytes, log, vectors, collections, minute, hour] = words(&plan.quota, "default");
                table.row([plan.name.to_string(), bytes, log, vectors, collections, minute, hour]);
            }
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    if place.json { Ok(()) } else { table.write(streams) }
}

fn write(plan: &PlanView, place: &PlaceArgs, streams: &Streams) -> Result<(), Failure> {
    if place.json {
        return write_json(streams, plan);
    }
    let mut facts = vec![("plan", plan.name.to_string())];
    facts.extend(NAMES.into_iter().zip(words(&plan.quota, "default")));
    write_facts(streams, &facts)
}

fn path(plan: &PlanName) -> String {
    format!("/api/admin/plans/{plan}")
}
