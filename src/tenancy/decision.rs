//! From a command to an event: validation, in one pure function.

use std::collections::HashSet;

use vectorizer_log::{CollectionName, Event, Metric, Point, PointId, Timestamp};
use vectorizer_replay::{Answer, Collection, Outcome, Projection};

use super::command::{Change, CollectionChange, Committed, Precondition, Refusal, VectorChange, Write};

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
) -> Result<Decision, Refusal> {
    let Write { collection: name, change, idempotency, precondition, room: _ } = write;
    if let Some(idempotency) = &idempotency
        && let Some(answer) = projection.answers().get(&idempotency.key, now)
    {
        return repeat(answer, &idempotency.key, idempotency.body_hash);
    }
    let found = projection.index().collection(&name);
    if let Some(precondition) = &precondition {
        check(precondition, &name, found)?;
    }
    let event = match change {
        Change::Collection(CollectionChange::Create { dimension, metric, index }) => match found {
            Some(_) => return Err(Refusal::CollectionExists(name)),
            None => Event::CollectionCreated { name, dimension, metric, index },
        },
        Change::Collection(CollectionChange::Delete) => {
            Event::CollectionDeleted { collection: found.ok_or(Refusal::NoSuchCollection(name))?.id() }
        }
        Change::Vectors(change) => vectors(found.ok_or(Refusal::NoSuchCollection(name))?, change)?,
    };
    // Nothing to do leaves no trace, unless a key asks for one: its repetition must find it done.
    if !event.changes_data() && idempotency.is_none() {
        return Ok(Decision::Nothing(Outcome::Deleted { count: 0 }));
    }
    Ok(Decision::Append(event))
}

fn vectors(collection: &Collection, change: VectorChange) -> Result<Event, Refusal> {
    let no_such_vector = |id| Refusal::NoSuchVector { name: collection.name().clone(), id };
    let deleted = |ids| Event::VectorsDeleted { collection: collection.id(), ids };
    Ok(match change {
        VectorChange::Upsert(points) => {
            validate(collection, &points)?;
            Event::VectorsUpserted { collection: collection.id(), points }
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
            let payload = patch.apply(point.payload()).map_err(Refusal::Payload)?;
            Event::PayloadChanged { collection: collection.id(), id, payload }
        }
    })
}

fn repeat(answer: &Answer, key: &str, body_hash: [u8; 32]) -> Result<Decision, Refusal> {
    if answer.body_hash != body_hash {
        return Err(Refusal::IdempotencyMismatch { key: key.to_owned(), seq: answer.seq });
    }
    Ok(Decision::Repeat(Committed { seq: answer.seq, outcome: answer.outcome, repeated: true }))
}

fn check(
    precondition: &Precondition,
    name: &CollectionName,
    collection: Option<&Collection>,
) -> Result<(), Refusal> {
    let found = collection.map(Collection::last_change);
    let holds = match (precondition, found) {
        (_, None) => false,
        (Precondition::Exists, Some(_)) => true,
        (Precondition::LastChangeIn(seqs), Some(found)) => seqs.contains(&found),
    };
    if holds { Ok(()) } else { Err(Refusal::PreconditionFailed { name: name.clone(), found }) }
}

fn validate(collection: &Collection, points: &[Point]) -> Result<(), Refusal> {
    let expected = collection.dimension().get();
    for point in points {
        let found = point.vector.dimension();
        if found != expected {
            let (name, id) = (collection.name().clone(), point.id.clone());
            return Err(Refusal::WrongDimension { name, id, expected, found });
        }
        if collection.metric() == Metric::Cosine && point.vector.as_dense().iter().all(|value| *value == 0.0)
        {
            return Err(Refusal::ZeroVector { id: point.id.clone() });
        }
    }
    distinct(points.iter().map(|point| &point.id))
}

fn distinct<'a>(ids: impl IntoIterator<Item = &'a PointId>) -> Result<(), Refusal> {
    let mut seen = HashSet::new();
    match ids.into_iter().find(|id| !seen.insert(*id)) {
        Some(id) => Err(Refusal::RepeatedId { id: id.clone() }),
        None => Ok(()),
    }
}
