//! What the promises stand on: server processes and clients, a HiveHub with faults, a disk with faults.

pub(crate) mod certificates;
pub(crate) mod customer;
pub(crate) mod described;
pub(crate) mod disk;
pub(crate) mod folders;
pub(crate) mod foreign_clients;
pub(crate) mod hub_and_node;
pub(crate) mod hub_process;
pub(crate) mod limits;
pub(crate) mod metrics;
pub(crate) mod node;
pub(crate) mod secrets;
pub(crate) mod snapshots;
