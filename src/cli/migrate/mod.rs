//! `vectorizer migrate`: a single-tenant data folder becomes a tenant of a cluster.
//!
//! - `history`: the copied log, folded; `bill`: where its bill begins.
//! - `failure`: why it did not become one.

mod bill;
mod failure;
mod history;

use std::ops::ControlFlow;
use std::path::PathBuf;

use clap::Args;
use vectorizer_log::{Destination, Migration, MigrationStart, TenantId};
use vectorizer_replay::{OpenWindow, Projector as _};

use self::failure::Finding;
pub(super) use self::failure::MigrateFailure;
use self::history::History;
use super::failure::Failure;
use super::interruption::{Interruption, on_disk};
use super::progress::ProgressDisplay;
use super::{Exit, Streams};
use crate::node_store::{NodeStore, StoredBill, StoredSize};
use crate::server::single_tenant;

/// The arguments of `migrate`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Exit code: 0 it is a tenant of the cluster, 1 the data does not hold, 2 it could not be done\n\
    Whatever it is interrupted at, the same command goes on."
)]
pub(super) struct MigrateArgs {
    /// The data folder of the server without keys, while none has it open
    #[arg(long, value_name = "DIR")]
    from: PathBuf,

    /// The data folder of the cluster's node, while no server has it open
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,

    /// The tenant it becomes; HiveHub has to know it before it can be reached
    #[arg(long, value_name = "TENANT")]
    tenant: TenantId,
}

/// Runs `migrate`.
pub(super) async fn run(args: MigrateArgs, streams: Streams) -> Exit {
    let interruption = Interruption::on_ctrl_c();
    let reporting = streams.clone();
    let outcome = on_disk(move || migrate(&args, &interruption, &reporting)).await;
    streams.end(outcome)
}

fn migrate(args: &MigrateArgs, interruption: &Interruption, streams: &Streams) -> Result<Exit, Failure> {
    let MigrateArgs { from, data_dir, tenant } = args;
    let begun = Migration::begin(from, &single_tenant(), data_dir, tenant).map_err(MigrateFailure::from)?;
    let mut migration = match begun {
        MigrationStart::Migration(migration) => *migration,
        MigrationStart::Done(to) => {
            report_end(&to, streams)?;
            return Ok(Exit::Holds);
        }
    };
    streams.report(format_args!(
        "tenant {tenant}: log {}, {} records",
        migration.log_id(),
        migration.head().seq
    ))?;
    if migration.is_placed() {
        streams.report("goes on      the tenant is in its place")?;
    } else {
        copy(&mut migration, interruption, streams)?;
        if let Some(finding) = verify(&migration, interruption, streams)? {
            streams.remark(format_args!("tenant {tenant}: {finding}"));
            // A damaged source gives the same answer again, and a damaged copy does not stay.
            migration.discard_copy().map_err(MigrateFailure::from)?;
            return Ok(Exit::DoesNotHold);
        }
        migration.place().map_err(MigrateFailure::from)?;
    }
    let to = migration.retire_source().map_err(MigrateFailure::from)?;
    report_end(&to, streams)?;
    Ok(Exit::Holds)
}

fn copy(migration: &mut Migration, interruption: &Interruption, streams: &Streams) -> Result<(), Failure> {
    let mut display = ProgressDisplay::of_bytes("copying", streams);
    let copied = migration.copy(&mut |done, all| {
        display.report_bytes(done, all, streams);
        if interruption.check().is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    display.clear();
    match copied.map_err(MigrateFailure::from)? {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(Failure::Interrupted),
    }
}

/// Holds the copy against what the source has acknowledged, begins its bill, and reads all of it once more as it
/// is on disk then. What does not hold is the answer.
fn verify(
    migration: &Migration,
    interruption: &Interruption,
    streams: &Streams,
) -> Result<Option<Finding>, Failure> {
    let (folder, head) = (migration.copied(), migration.head());
    let mut copied = match History::read("verifying", &folder, head, interruption, streams)? {
        Ok(history) => history,
        Err(finding) => return Ok(Some(finding)),
    };
    streams.report(format_args!("digest       {}", copied.digest))?;
    let digest = copied.digest;
    let began = bill::begin(&mut copied).map_err(MigrateFailure::Log)?;
    copied.log.close().map_err(MigrateFailure::Log)?;
    let placed = match History::read("comparing", &folder, head, interruption, streams)? {
        Ok(history) => history,
        Err(finding) => return Ok(Some(finding)),
    };
    if placed.digest != digest {
        return Ok(Some(Finding::Digest { first: digest, second: placed.digest }));
    }
    streams.report("compare      a second reading gives the same")?;
    let billing = *placed.projection.billing();
    if let Some(since) = billing.window().map(OpenWindow::since).filter(|_| began) {
        streams.report(format_args!("bill         begins at {since}; nothing of before is billed"))?;
    }
    note(migration, &placed)?;
    placed.log.close().map_err(MigrateFailure::Log)?;
    Ok(None)
}

/// Notes the tenant down before it is one: the node looks after the bills of those it has notes of.
fn note(migration: &Migration, history: &History) -> Result<(), Failure> {
    let tenant = migration.tenant();
    let (billing, usage) = (history.projection.billing(), history.projection.usage());
    let bill = StoredBill::of_log(migration.log_id(), billing, false);
    let size = StoredSize {
        seq: history.projection.applied().get(),
        collections: usage.collections(),
        vectors: usage.vectors(),
        storage_bytes: usage.logical_bytes(),
        log_bytes: history.log.bytes(),
        memory_bytes: None,
        last_use: None,
    };
    let noted = NodeStore::open(&migration.node()).and_then(|node_store| {
        node_store.forget(tenant)?;
        node_store.store_bill(tenant, &bill)?;
        node_store.store_size(tenant, &size)?;
        node_store.flush()
    });
    Ok(noted.map_err(MigrateFailure::NodeStore)?)
}

fn report_end(to: &Destination, streams: &Streams) -> Result<(), Failure> {
    streams.report(format_args!("migrated     tenant {} in {}", to.tenant, to.data.display()))
}
