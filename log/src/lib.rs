//! A tenant's append-only log.

mod event;
mod point;
mod position;
mod record;
mod tenant_id;

pub use event::{
    CollectionId, CollectionName, Dimension, Event, IndexParameters, InvalidCollectionName, InvalidDimension,
    Metric,
};
pub use point::{DenseVector, InvalidPoint, Payload, Point, PointId, TextId, Vector, vector_le_bytes};
pub use position::{ChainHash, Head, LogId, Seq, Timestamp};
pub use record::{Actor, Draft, Idempotency, Record, Via};
pub use tenant_id::{InvalidTenantId, TenantId};
