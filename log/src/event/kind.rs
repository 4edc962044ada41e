//! Kinds of events.

use serde::{Deserialize, Serialize};

/// The kind of an event. On disk it is its position in this list, which is the position of the variant in
/// [`Event`](super::Event), so kinds are only added at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum EventKind {
    /// [`Event::CollectionCreated`](super::Event::CollectionCreated).
    CollectionCreated,
    /// [`Event::CollectionDeleted`](super::Event::CollectionDeleted).
    CollectionDeleted,
    /// [`Event::VectorsUpserted`](super::Event::VectorsUpserted).
    VectorsUpserted,
    /// [`Event::VectorsDeleted`](super::Event::VectorsDeleted).
    VectorsDeleted,
    /// [`Event::PayloadChanged`](super::Event::PayloadChanged).
    PayloadChanged,
    /// [`Event::AccessDenied`](super::Event::AccessDenied).
    AccessDenied,
    /// [`Event::UsageObserved`](super::Event::UsageObserved).
    UsageObserved,
    /// [`Event::BillingClosed`](super::Event::BillingClosed).
    BillingClosed,
    /// [`Event::BillingCorrected`](super::Event::BillingCorrected).
    BillingCorrected,
    /// [`Event::BillingAcknowledged`](super::Event::BillingAcknowledged).
    BillingAcknowledged,
    /// [`Event::TextCollectionCreated`](super::Event::TextCollectionCreated).
    TextCollectionCreated,
    /// [`Event::DocumentsUpserted`](super::Event::DocumentsUpserted).
    DocumentsUpserted,
    /// [`Event::LanguageCollectionCreated`](super::Event::LanguageCollectionCreated).
    LanguageCollectionCreated,
    /// [`Event::IndexDeclared`](super::Event::IndexDeclared).
    IndexDeclared,
    /// [`Event::IndexDropped`](super::Event::IndexDropped).
    IndexDropped,
    /// [`Event::HistoryDropped`](super::Event::HistoryDropped).
    HistoryDropped,
}
