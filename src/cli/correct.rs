//! `vectorizer correct`: appends a correction of a closed billing window.

use std::fs::{File, TryLockError};
use std::path::PathBuf;

use clap::Args;
use vectorizer_log::{
    Actor, Draft, Error, Event, Meter, Record, Seq, TenantFolder, TenantId, TenantLog, Timestamp, Via,
};
use vectorizer_node_store::{NodeStore, NodeStoreError, StoredBill};
use vectorizer_replay::{ApplyError, BaseError, Bill, BillEntry, Billing, Projection};

use super::failure::Failure;
use super::interruption::run_blocking;
use super::{Exit, Streams};

/// The node's folder and its lock, within the data folder.
const NODE: &str = "_node";
const LOCK: &str = "lock";

/// The arguments of `correct`.
#[derive(Clone, Debug, Args)]
pub(super) struct CorrectArgs {
    /// The data folder, which no server may have open
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// The tenant
    #[arg(long, value_name = "TENANT")]
    tenant: TenantId,
    /// The seq of the record that closed the window: the number in the middle of a line's id
    #[arg(long, value_name = "SEQ", value_parser = clap::value_parser!(u64).range(1..))]
    window: u64,
    /// The meter, such as requests or `storage_byte_seconds`
    #[arg(long, value_name = "METER", value_parser = meter)]
    meter: Meter,
    /// The number of units to add to the line
    #[arg(long, value_name = "UNITS", allow_negative_numbers = true)]
    by: i128,
    /// The reason, which the log records
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

fn meter(text: &str) -> Result<Meter, String> {
    Meter::ALL.into_iter().find(|meter| meter.name() == text).ok_or_else(|| {
        let names: Vec<_> = Meter::ALL.iter().map(|meter| meter.name()).collect();
        format!("the meters are {}", names.join(", "))
    })
}

/// Why a correction failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum CorrectFailure {
    /// There is no such closed window.
    #[error("tenant {tenant}: record {seq} does not close a window")]
    NoSuchWindow {
        /// The tenant.
        tenant: TenantId,
        /// The given seq.
        seq: Seq,
    },
    /// The corrected value would be negative.
    #[error("{by} is too much: {meter} of that window is {value}, with earlier corrections")]
    BelowZero {
        /// The meter.
        meter: &'static str,
        /// Its current value.
        value: i128,
        /// The correction.
        by: i128,
    },
    /// The correction is zero or has no reason.
    #[error(
        "a correction needs a --by other than 0 and a --reason of 1 to {} bytes",
        Event::REASON_BYTES_MAX
    )]
    InvalidCorrection,
    /// The meter is a gauge, which has no sum.
    #[error("storage_bytes is a gauge and has no sum: correct storage_byte_seconds")]
    Reading,
    /// A server uses the folder, or it cannot be locked.
    #[error("{folder:?} cannot be locked: stop the server that uses it")]
    Node {
        /// The folder.
        folder: PathBuf,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
    /// A record of the log does not apply.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// The base of the log cannot be folded.
    #[error(transparent)]
    Base(#[from] BaseError),
    /// The log cannot be opened or written.
    #[error(transparent)]
    Log(#[from] Error),
    /// The node's store cannot be written.
    #[error(transparent)]
    NodeStore(#[from] NodeStoreError),
}

/// Runs `correct`.
pub(super) async fn run(args: CorrectArgs, streams: Streams) -> Exit {
    let outcome = run_blocking({
        let streams = streams.clone();
        move || correct(&args, &streams)
    });
    let outcome = outcome.await;
    streams.end(outcome)
}

fn correct(args: &CorrectArgs, streams: &Streams) -> Result<Exit, Failure> {
    let CorrectArgs { data_dir, tenant, window, meter, by, reason } = args;
    let seq = append(args)?;
    streams.report(format_args!(
        "record {seq}: {by:+} to {} of the window of tenant {tenant} that record {window} closed ({reason}), in {}. \
         The server sends it to HiveHub after its next start.",
        meter.name(),
        data_dir.display()
    ))?;
    Ok(Exit::Success)
}

fn append(args: &CorrectArgs) -> Result<Seq, CorrectFailure> {
    let CorrectArgs { data_dir, tenant, window, meter, by, reason } = args;
    let (by, corrects) = (*by, Seq::new(*window));
    if by == 0 || reason.trim().is_empty() || reason.len() > Event::REASON_BYTES_MAX {
        return Err(CorrectFailure::InvalidCorrection);
    }
    if *meter == Meter::StorageBytes {
        return Err(CorrectFailure::Reading);
    }
    let folder = TenantFolder::new(data_dir, tenant);
    if !folder.exists() {
        return Err(Error::NotFound(folder.path().to_owned()).into());
    }
    let node = data_dir.join(NODE);
    let locked = || -> std::io::Result<File> {
        std::fs::create_dir_all(&node)?;
        let lock = File::create(node.join(LOCK))?;
        lock.try_lock().map_err(|locked| match locked {
            TryLockError::WouldBlock => std::io::Error::other("another process uses it"),
            TryLockError::Error(error) => error,
        })?;
        Ok(lock)
    };
    let _lock = locked().map_err(|source| CorrectFailure::Node { folder: node.clone(), source })?;
    let (mut log, mut bill, value) = read(&folder, corrects, *meter)?;
    let value =
        value.ok_or_else(|| CorrectFailure::NoSuchWindow { tenant: tenant.clone(), seq: corrects })?;
    if value.saturating_add(by) < 0 {
        return Err(CorrectFailure::BelowZero { meter: meter.name(), value, by });
    }
    let event = Event::BillingCorrected { corrects, meter: *meter, by, reason: reason.clone() };
    let actor = Actor { key_id: None, via: Via::CommandLine };
    let mut commit = log.begin()?;
    commit.stage(Draft { actor, request_id: String::new(), idempotency: None, event }, Timestamp::now())?;
    for record in commit.commit()? {
        bill.push(&record, None)?;
    }
    let (log_id, seq) = (log.log_id(), log.head().seq);
    log.close()?;
    store_bill(&NodeStore::open(&node)?, tenant, log_id, bill.projection().billing())?;
    Ok(seq)
}

/// The log, its bill, and the value of the meter in the window that the record `close` closed; `None` if that record
/// does not close a window.
fn read(
    folder: &TenantFolder,
    close: Seq,
    meter: Meter,
) -> Result<(TenantLog, Bill, Option<i128>), CorrectFailure> {
    let base = folder.base()?;
    let beginning = Projection::of_beginning(folder.log_id()?, base.as_ref(), &|| false)?;
    let mut bill = Bill::of_beginning(beginning);
    let (mut value, mut is_close) = (0_i128, false);
    let recovered = folder.open()?.recover(|record: Record| {
        is_close |= record.seq == close && record.event.effect().close().is_some();
        for entry in bill.push(&record, None)? {
            match entry {
                BillEntry::Line(line) if (line.through, line.meter) == (close, meter) => {
                    value = value.saturating_add(i128::try_from(line.value).unwrap_or(i128::MAX));
                }
                BillEntry::Correction(it) if (it.corrects, it.meter) == (close, meter) => {
                    value = value.saturating_add(it.by);
                }
                BillEntry::Line(_)
                | BillEntry::Correction(_)
                | BillEntry::Rejected(_)
                | BillEntry::Discrepancy(_) => {}
            }
        }
        Ok::<_, CorrectFailure>(())
    })?;
    Ok((recovered.log, bill, is_close.then_some(value)))
}

/// Makes the server deliver the tenant's bill after its next start.
fn store_bill(
    node_store: &NodeStore,
    tenant: &TenantId,
    log_id: vectorizer_log::LogId,
    billing: &Billing,
) -> Result<(), NodeStoreError> {
    let stored = node_store.bill(tenant)?.filter(|stored| stored.log_id == log_id);
    let current = StoredBill::of_log(log_id, billing, true);
    let bill = match stored {
        Some(stored) => StoredBill { closed: current.closed, awake: true, ..stored },
        None => current,
    };
    node_store.store_bill(tenant, &bill)?;
    node_store.flush()
}
