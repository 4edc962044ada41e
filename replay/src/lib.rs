//! Projections of a tenant's log: what its records add up to.
//!
//! A [`Projection`] is a pure fold of one log. It holds the collections and answers searches
//! ([`Index`]) by vector and by [words](TextQuery), counts what the tenant uses ([`Usage`]), closes that into windows of the bill
//! ([`Billing`]), and remembers the answers given to idempotency keys ([`Answers`]). Delete it and nothing is lost: fold the log again ([`replay`],
//! [`Recovery`]) and it is back, with the same [`StateDigest`].
//!
//! What holds everywhere in this crate:
//!
//! - **A fold sees nothing but records.** No clock, no randomness, no order of iteration over a
//!   hash table: time comes from [`Record::at`](vectorizer_log::Record::at).
//! - **A record applies once.** One at or below [`Projection::applied`] is skipped, one beyond the
//!   next is a gap, one of another log is refused.
//! - **A record applies whole or not at all.** It is checked against the state first and changes
//!   the state only then.
//! - **A [`Checkpoint`] only saves time.** One that is not exactly what was written is refused, and the log folded.
//! - **Nothing here does I/O.** Records come from whoever reads the log.

mod answers;
mod billing;
mod checkpoint;
mod digest;
mod metering;
mod projection;
mod recovery;
mod usage;

pub use answers::{Answer, Answers, Outcome};
pub use billing::{
    Bill, BillEntry, BilledTotal, BilledWindow, Billing, BillingCorrection, BillingLine, Discrepancy,
    DiscrepancyKind, OpenWindow,
};
pub use checkpoint::{Checkpoint, Restored, UnusableCheckpoint};
pub use digest::StateDigest;
pub use metering::METERING_VERSION;
pub use projection::{Applied, ApplyError, Projection, Projector};
pub use recovery::{Incomplete, Progress, RECORDS_PER_PROGRESS, Recovery, ReplayError, replay};
pub use usage::Usage;
