//! Records about tenants that a node keeps beside their logs, so that it answers without waking them.
//!
//! There are two databases. `data/_node/standing` holds how the node stands with `HiveHub`, which is little;
//! `data/_node/catalogue` holds records about every tenant. Opening the latter takes longer the more tenants there
//! are, so it is done in the background, and calls about tenants wait for it. Nothing here is the only copy of
//! anything: what is lost is asked for again, so damage costs time, and a damaged database is begun anew. A database
//! that cannot be opened for want of room, descriptors or permissions is not damaged: it is left as it is and tried
//! again, and how the node stands is kept in memory until then.
//!
//! - `store`: one method for each record. `records`, `bill`: what is stored.
//! - `node_state`: the database of how the node stands, with what waits in memory.
//! - `database`: opening, retries and damage; `trees`: single records.
//!
//! The crate knows `HiveHub`'s cursors and what a bill is. It knows no limits, no metering and no tenants in memory.

mod bill;
mod database;
mod error;
mod node_state;
mod records;
mod store;
mod trees;

pub use self::bill::{Delivered, DeliveredWindow, StoredBill};
pub use self::error::NodeStoreError;
pub use self::records::{StoredDeletion, StoredQuota, StoredSize};
pub use self::store::NodeStore;
