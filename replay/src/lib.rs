//! Projections of a tenant's log: the state that its records add up to.
//!
//! A [`Projection`] is a pure fold of one log. It consists of the collections
//! ([`Index`](vectorizer_index::Index)), the tenant's usage counters ([`Usage`]), the state of its bill ([`Billing`]),
//! and the answers to idempotency keys ([`IdempotencyTable`]). It can be rebuilt at any time by folding the log again
//! ([`replay`], [`Recovery`]), and then has the same [`StateDigest`].
//!
//! Invariants of this crate:
//!
//! - **A fold depends on nothing but records.** No clock, no randomness, no iteration order of a hash table: times come
//!   from [`Record::at`](vectorizer_log::Record::at).
//! - **A record is applied once.** A record at or below [`Projection::applied`] is skipped, a record after the next one
//!   is a gap, and a record of another log is refused.
//! - **A record is applied whole or not at all.** It is checked against the state before it changes the state.
//! - **A bill needs no content.** [`FactsBill`] folds usage and the bill from the facts of records, and equals [`Bill`].
//! - **A [`Checkpoint`] only saves time.** A checkpoint that is not exactly as it was written is not used, and the
//!   log is folded instead.
//! - **No I/O.** The caller reads the records.

mod base;
mod bill;
mod billing;
mod checkpoint;
mod digest;
mod facts_bill;
mod idempotency;
mod metering;
mod projection;
mod recovery;
mod usage;

pub use base::{BaseError, BaseFold};
pub use bill::{Bill, BillEntry, BilledTotal, BillingCorrection, BillingLine, Discrepancy, DiscrepancyKind};
pub use billing::{BilledWindow, Billing, OpenWindow};
pub use checkpoint::{Checkpoint, Restored, UnusableCheckpoint};
pub use digest::StateDigest;
pub use facts_bill::{FactsBill, InvalidFacts};
pub use idempotency::{Answer, IdempotencyTable, Outcome};
pub use metering::METERING_VERSION;
pub use projection::{Applied, ApplyError, Projection, Projector};
pub use recovery::{Incomplete, Progress, RECORDS_PER_PROGRESS, Recovery, ReplayError, replay};
pub use usage::Usage;
