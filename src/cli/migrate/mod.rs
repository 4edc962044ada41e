//! `vectorizer migrate`: turns a single-tenant data folder into a tenant of a cluster.
//!
//! - `history`: the copied log and its state; `bill`: the start of its bill.
//! - `failure`: the errors.

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
use vectorizer_node_store::{NodeStore, StoredBill, StoredSize};

use self::history::History;
use super::failure::Failure;
use super::interruption::{Interruption, run_blocking};
use super::progress::ProgressDisplay;
use super::{Exit, Streams};
use crate::server::single_tenant;

/// The arguments of `migrate`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Exit code: 0 the tenant is migrated, 1 the data failed verification, 2 error\n\
    If the command is interrupted, run it again to continue.")]
pub(super) struct MigrateArgs {
    /// The data folder of the server without keys, which no server may have open
    #[arg(long, value_name = "DIR")]
    from: PathBuf,

    /// The data folder of the cluster's node, which no server may have open
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,

    /// The id of the tenant; it is reachable once HiveHub has it
    #[arg(long, value_name = "TENANT")]
    tenant: TenantId,
}

/// Runs `migrate`.
pub(super) async fn run(args: MigrateArgs, streams: Streams) -> Exit {
    let interruption = Interruption::on_ctrl_c();
    let reporting = streams.clone();
    let outcome = run_blocking(move || migrate(&args, &interruption, &reporting)).await;
    streams.end(outcome)
}

fn migrate(args: &MigrateArgs, interruption: &Interruption, streams: &Streams) -> Result<Exit, Failure> {
    let MigrateArgs { from, data_dir, tenant } = args;
    let begun = Migration::begin(from, &single_tenant(), data_dir, tenant).map_err(MigrateFailure::from)?;
    let mut migration = match begun {
        MigrationStart::Migration(migration) => *migration,
        MigrationStart::Done(to) => {
            report_end(&to, streams)?;
            return Ok(Exit::Success);
        }
    };
    streams.report(format_args!(
        "tenant {tenant}: log {}, {} records",
        migration.log_id(),
        migration.head().seq
    ))?;
    if migration.is_placed() {
        streams.report("continue     the tenant is in place")?;
    } else {
        copy(&mut migration, interruption, streams)?;
        if let Some(finding) = verify(&migration, interruption, streams)? {
            streams.remark(format_args!("tenant {tenant}: {finding}"));
            // Delete the copy: if it is damaged, the next run makes a new one; if the source is, it fails again.
            migration.discard_copy().map_err(MigrateFailure::from)?;
            return Ok(Exit::CheckFailed);
        }
        migration.place().map_err(MigrateFailure::from)?;
    }
    let to = migration.retire_source().map_err(MigrateFailure::from)?;
    report_end(&to, streams)?;
    Ok(Exit::Success)
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

/// Compares the copy with the source's acknowledged end, begins its bill, and then reads the whole copy again from
/// disk. Returns the finding if the copy fails verification.
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
    streams.report("compare      a second read gives the same state")?;
    let billing = *placed.projection.billing();
    if let Some(since) = billing.window().map(OpenWindow::since).filter(|_| began) {
        streams.report(format_args!("bill         begins at {since}; earlier usage is not billed"))?;
    }
    note(migration, &placed)?;
    placed.log.close().map_err(MigrateFailure::Log)?;
    Ok(None)
}

/// Stores the tenant's bill and size before the tenant is in place: the node delivers the bills of tenants in its
/// store.
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
