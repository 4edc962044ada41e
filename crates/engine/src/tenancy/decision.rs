//! From a command to an event: validation, in one pure function.

use std::collections::HashSet;

use vectorizer_index::{Collection, PayloadIndex};
use vectorizer_log::{
    CollectionName, DataChange, Document, Event, Metric, PayloadPath, Point, PointId, Timestamp, Vector,
    VectorParameters,
};
use vectorizer_replay::{Answer, Outcome, Projection};

use super::command::{Change, CollectionChange, Committed, Precondition, VectorChange, Write, WriteError};

/// What is to be done about a command.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Decision {
    /// Append this; it will apply.
    Append(Event),
    /// It was done before, and answered like this.
    Repeat(Committed),
    /// There is nothing to do, which comes to this.
    Nothing(Outcome),
}

/// Decides a write against `projection`. What is refused is refused whole.
pub(super) fn decide(
    projection: &Projection,
    write: Write<Change>,
    now: Timestamp,
) -> Result<Decision, WriteError> {
    let Write { collection: name, change, idempotency, precondition, room: _ } = write;
    if let Some(idempotency) = &idempotency
        && let Some(answer) = projection.idempotency().get(&idempotency.key, now)
    {
        return repeat(answer, &idempotency.key, idempotency.body_hash);
    }
    let found = projection.index().collection(&name);
    if let Some(precondition) = &precondition {
        check(precondition, &name, found)?;
    }
    let event = match change {
        Change::Collection(CollectionChange::Create { vectors, texts }) => match (found, vectors) {
            (Some(_), _) => return Err(WriteError::CollectionExists(name)),
            // As it was written before there were texts.
            (None, Some(VectorParameters { dimension, metric, index })) if texts.is_none() => {
                Event::CollectionCreated { name, dimension, metric, index }
            }
            // As it was written before there were languages.
            (None, vectors) => match texts.and_then(|texts| texts.language) {
                None => Event::TextCollectionCreated { name, vectors },
                Some(language) => Event::LanguageCollectionCreated { name, vectors, language },
            },
        },
        Change::Collection(CollectionChange::Delete) => {
            Event::CollectionDeleted { collection: found.ok_or(WriteError::NoSuchCollection(name))?.id() }
        }
        Change::Collection(CollectionChange::DeclareIndex(path)) => {
            declared(found.ok_or(WriteError::NoSuchCollection(name))?, path)?
        }
        Change::Collection(CollectionChange::DropIndex(path)) => {
            dropped(found.ok_or(WriteError::NoSuchCollection(name))?, path)?
        }
        Change::Vectors(change) => vectors(found.ok_or(WriteError::NoSuchCollection(name))?, change)?,
    };
    // Nothing to do leaves no trace, unless a key asks for one: its repetition must find it done.
    match nothing(&event, found) {
        Some(outcome) if idempotency.is_none() => Ok(Decision::Nothing(outcome)),
        Some(_) | None => Ok(Decision::Append(event)),
    }
}

/// What an event comes to that leaves everything as it is.
fn nothing(event: &Event, collection: Option<&Collection>) -> Option<Outcome> {
    let change = event.effect().data()?;
    match change {
        DataChange::DeclareIndex { path, .. } => {
            let is_declared = collection.is_some_and(|collection| collection.has_declared(path));
            is_declared.then_some(Outcome::IndexDeclared { is_new: false })
        }
        DataChange::WritePoints { .. } | DataChange::DeletePoints { .. } => {
            (!change.changes_data()).then_some(Outcome::Deleted { count: 0 })
        }
        DataChange::CreateCollection { .. }
        | DataChange::DeleteCollection { .. }
        | DataChange::ChangePayload { .. }
        | DataChange::DropIndex { .. } => None,
    }
}

fn declared(collection: &Collection, path: PayloadPath) -> Result<Event, WriteError> {
    let is_full = collection.declared().count() >= PayloadIndex::DECLARED_MAX;
    if is_full && !collection.has_declared(&path) {
        return Err(WriteError::TooManyIndexes(collection.name().clone()));
    }
    Ok(Event::IndexDeclared { collection: collection.id(), path })
}

fn dropped(collection: &Collection, path: PayloadPath) -> Result<Event, WriteError> {
    if !collection.has_declared(&path) {
        return Err(WriteError::NoSuchIndex { name: collection.name().clone(), path });
    }
    Ok(Event::IndexDropped { collection: collection.id(), path })
}

fn vectors(collection: &Collection, change: VectorChange) -> Result<Event, WriteError> {
    let no_such_vector = |id| WriteError::NoSuchVector { name: collection.name().clone(), id };
    let deleted = |ids| Event::VectorsDeleted { collection: collection.id(), ids };
    Ok(match change {
        VectorChange::Upsert(documents) => {
            validate(collection, &documents)?;
            upserted(collection, documents)
        }
        VectorChange::DeleteOne(id) if collection.contains(&id) => deleted(vec![id]),
        VectorChange::DeleteOne(id) => return Err(no_such_vector(id)),
        VectorChange::DeleteMany(ids) => {
            distinct(&ids)?;
            deleted(ids.into_iter().filter(|id| collection.contains(id)).collect())
        }
        VectorChange::DeleteMatching(filter) => {
            deleted(collection.snapshot().matching(&collection.select(filter)))
        }
        VectorChange::ChangePayload { id, patch } => {
            let Some(point) = collection.get(&id) else { return Err(no_such_vector(id)) };
            let payload = patch.apply(point.payload()).map_err(WriteError::Payload)?;
            Event::PayloadChanged { collection: collection.id(), id, payload }
        }
    })
}

fn repeat(answer: &Answer, key: &str, body_hash: [u8; 32]) -> Result<Decision, WriteError> {
    if answer.body_hash != body_hash {
        return Err(WriteError::IdempotencyMismatch { key: key.to_owned(), seq: answer.seq });
    }
    Ok(Decision::Repeat(Committed { seq: answer.seq, outcome: answer.outcome, repeated: true }))
}

fn check(
    precondition: &Precondition,
    name: &CollectionName,
    collection: Option<&Collection>,
) -> Result<(), WriteError> {
    let found = collection.map(Collection::last_change);
    let holds = match (precondition, found) {
        (_, None) => false,
        (Precondition::Exists, Some(_)) => true,
        (Precondition::LastChangeIn(seqs), Some(found)) => seqs.contains(&found),
    };
    if holds { Ok(()) } else { Err(WriteError::PreconditionFailed { name: name.clone(), found }) }
}

/// What writes documents that are valid: as points where nothing else can be, as before there were texts.
fn upserted(collection: &Collection, documents: Vec<Document>) -> Event {
    if collection.has_texts() {
        return Event::DocumentsUpserted { collection: collection.id(), documents };
    }
    let point = |Document { id, vector, payload, text: _ }| Some(Point { id, vector: vector?, payload });
    Event::VectorsUpserted {
        collection: collection.id(),
        points: documents.into_iter().filter_map(point).collect(),
    }
}

fn validate(collection: &Collection, documents: &[Document]) -> Result<(), WriteError> {
    let name = || collection.name().clone();
    for Document { id, vector, payload: _, text } in documents {
        let id = || id.clone();
        if text.is_some() && !collection.has_texts() {
            return Err(WriteError::UnexpectedText { name: name(), id: id() });
        }
        match (collection.vectors(), vector) {
            (Some(VectorParameters { dimension, metric, .. }), Some(vector)) => {
                let (expected, found) = (dimension.get(), vector.dimension());
                if found != expected {
                    return Err(WriteError::WrongDimension { name: name(), id: id(), expected, found });
                }
                if metric == Metric::Cosine && is_zero(vector) {
                    return Err(WriteError::ZeroVector { id: id() });
                }
            }
            (Some(VectorParameters { dimension, .. }), None) => {
                return Err(WriteError::NoVector { name: name(), id: id(), expected: dimension.get() });
            }
            (None, Some(_)) => return Err(WriteError::UnexpectedVector { name: name(), id: id() }),
            (None, None) if text.is_none() => return Err(WriteError::NoText { name: name(), id: id() }),
            (None, None) => {}
        }
    }
    distinct(documents.iter().map(|document| &document.id))
}

fn is_zero(vector: &Vector) -> bool {
    vector.as_dense().iter().all(|value| *value == 0.0)
}

fn distinct<'a>(ids: impl IntoIterator<Item = &'a PointId>) -> Result<(), WriteError> {
    let mut seen = HashSet::new();
    match ids.into_iter().find(|id| !seen.insert(*id)) {
        Some(id) => Err(WriteError::RepeatedId { id: id.clone() }),
        None => Ok(()),
    }
}
