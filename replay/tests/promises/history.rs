//! Random histories of a tenant: records as a writer would append them.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use vectorizer_log::{
    Actor, CollectionId, Document, Event, Idempotency, IndexParameters, LogId, Metric, Payload, Point,
    Record, Seq, Text, Timestamp, VectorParameters, Via,
};
use vectorizer_replay::{Applied, Projection, Projector};
pub(crate) use vectorizer_testing::events::{collection, created, id, path, point};

use crate::billing::{BillingAction, billing_action, billing_event};
use crate::model::{Model, ModelCollection};

pub(crate) fn log_id() -> LogId {
    LogId::new(uuid::Uuid::from_u128(7))
}

/// The projection of these records, each of which changes something.
pub(crate) fn fold(records: &[Record]) -> Projection {
    let mut projection = Projection::new(log_id());
    for record in records {
        assert!(matches!(projection.apply(record).unwrap(), Applied::Changed(_)));
    }
    projection
}

pub(crate) fn record(seq: u64, at: i64, event: Event) -> Record {
    Record {
        log_id: log_id(),
        seq: Seq::new(seq),
        at: Timestamp::from_micros(at),
        actor: Actor { key_id: Some("key".into()), via: Via::Rest },
        request_id: format!("request-{seq}"),
        idempotency: None,
        event,
    }
}

/// A vector with more numbers than any dimension here; a collection takes as many as it has.
pub(crate) type Numbers = Vec<f32>;

/// Halves between -2 and 2: few enough that points coincide and scores tie.
pub(crate) fn numbers() -> impl Strategy<Value = Numbers> {
    vec((-4..=4_i8).prop_map(|halves| f32::from(halves) / 2.0), DIMENSION_MAX as usize)
}

const DIMENSION_MAX: u32 = 20;
const IDS: usize = 12;

/// An action of a tenant, before its collection is chosen.
#[derive(Clone, Debug)]
struct Step {
    action: Action,
    /// Selects one of the existing collections.
    which: usize,
    /// How far the clock advances; negative if it is set back.
    clock_micros: i64,
    key: Option<u8>,
}

#[derive(Clone, Debug)]
enum Action {
    Create {
        name: u8,
        dimension: u32,
        metric: Metric,
        parameters: IndexParameters,
        texts: Texts,
    },
    DeleteCollection,
    Upsert(Vec<(usize, Numbers, Option<String>, Option<String>)>),
    /// Writes many points at once, mostly the same ones: fills blocks and makes them due for compaction.
    Burst {
        first: usize,
        count: usize,
        numbers: Numbers,
    },
    /// Deletes every n-th of the existing points.
    Delete {
        stride: usize,
        first: usize,
    },
    ChangePayload {
        pick: usize,
        payload: String,
    },
    Declare {
        path: u8,
    },
    /// One of the declared paths.
    Drop {
        pick: usize,
    },
    /// A request is refused.
    Deny,
    Billing(BillingAction),
}

/// Whether a collection's points may have texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Texts {
    None,
    BesideVectors,
    Only,
}

/// A few words, some of them common, so that scores tie.
pub(crate) fn text() -> impl Strategy<Value = String> {
    let word = prop_oneof![4 => Just("the"), 2 => Just("Cat"), 1 => Just("zebra"), 1 => Just("東京"), 1 => Just("—")];
    vec(word, 1..8).prop_map(|words| words.join(" "))
}

fn payload() -> impl Strategy<Value = String> {
    (0..3_u8, "[ab]", any::<bool>())
        .prop_map(|(number, tag, flag)| format!(r#"{{"n": {number}, "tags": ["{tag}"], "flag": {flag}}}"#))
}

fn action() -> impl Strategy<Value = Action> {
    let metric = prop_oneof![Just(Metric::Cosine), Just(Metric::Dot), Just(Metric::Euclidean)];
    let parameters = option::of(1_u16..64).prop_map(|m| IndexParameters { m, ..IndexParameters::default() });
    let texts = prop_oneof![3 => Just(Texts::None), 2 => Just(Texts::BesideVectors), 2 => Just(Texts::Only)];
    prop_oneof![
        3 => (0..3_u8, 1..=DIMENSION_MAX, metric, parameters, texts)
            .prop_map(|(name, dimension, metric, parameters, texts)| Action::Create { name, dimension, metric, parameters, texts }),
        1 => Just(Action::DeleteCollection),
        1 => Just(Action::Deny),
        2 => (0..4_u8).prop_map(|path| Action::Declare { path }),
        1 => any::<usize>().prop_map(|pick| Action::Drop { pick }),
        6 => billing_action().prop_map(Action::Billing),
        8 => vec((0..IDS, numbers(), option::of(payload()), option::of(text())), 0..6).prop_map(Action::Upsert),
        3 => (0..300_usize, 0..900_usize, numbers())
            .prop_map(|(first, count, numbers)| Action::Burst { first, count, numbers }),
        4 => (1..6_usize, 0..6_usize).prop_map(|(stride, first)| Action::Delete { stride, first }),
        4 => (any::<usize>(), payload()).prop_map(|(pick, payload)| Action::ChangePayload { pick, payload }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    const HOUR: i64 = 60 * 60 * 1_000_000;
    let clock = prop_oneof![
        6 => 0..1_000_i64,
        2 => 1..HOUR,
        2 => -HOUR..HOUR,
        1 => 11 * HOUR..13 * HOUR,
        1 => 23 * HOUR..26 * HOUR,
    ];
    (action(), any::<usize>(), clock, option::of(0..4_u8))
        .prop_map(|(action, which, clock_micros, key)| Step { action, which, clock_micros, key })
}

/// The records of one tenant, oldest first.
pub(crate) fn history() -> impl Strategy<Value = Vec<Record>> {
    vec(step(), 0..40).prop_map(|steps| {
        let mut model = Model::default();
        let mut projection = Projection::new(log_id());
        let mut records: Vec<Record> = Vec::new();
        let mut clock = 1_700_000_000_000_000;
        for step in steps {
            clock += step.clock_micros;
            let event = if let Action::Billing(action) = &step.action {
                billing_event(action, &projection, &records, &mut clock)
            } else {
                event(&step, &model)
            };
            let Some(event) = event else { continue };
            // As in a log: never before the previous record.
            let at = records.last().map_or(clock, |last| last.at.micros().max(clock));
            let seq = records.len() as u64 + 1;
            let idempotency =
                step.key.map(|key| Idempotency { key: format!("key-{key}"), body_hash: [key; 32] });
            let record = Record { idempotency, ..record(seq, at, event) };
            model.apply(&record);
            projection.apply(&record).unwrap();
            records.push(record);
        }
        records
    })
}

/// The event of the step in the state of `model`; `None` if it is not possible there.
fn event(step: &Step, model: &Model) -> Option<Event> {
    if let Action::Create { name, dimension, metric, parameters, texts } = &step.action {
        let name = format!("c{name}");
        let free = model.collections.values().all(|collection| collection.name != name);
        let (name, dimension) = (name.parse().unwrap(), (*dimension).try_into().unwrap());
        let vectors = VectorParameters { dimension, metric: *metric, index: *parameters };
        return free.then_some(match texts {
            Texts::None => Event::CollectionCreated { name, dimension, metric: *metric, index: *parameters },
            Texts::BesideVectors => Event::TextCollectionCreated { name, vectors: Some(vectors) },
            Texts::Only => Event::TextCollectionCreated { name, vectors: None },
        });
    }
    if matches!(step.action, Action::Deny) {
        return Some(denied());
    }
    let (seq, target) = model.collections.iter().nth(step.which.checked_rem(model.collections.len())?)?;
    on_collection(&step.action, collection(*seq), target)
}

fn denied() -> Event {
    Event::AccessDenied {
        key_id: Some("k2".to_owned()),
        what: "search".to_owned(),
        why: "insufficient-permission".to_owned(),
        from: None,
        count: 2,
        since: Timestamp::from_micros(0),
        through: Timestamp::from_micros(1),
    }
}

fn on_collection(action: &Action, collection: CollectionId, target: &ModelCollection) -> Option<Event> {
    let cut = |numbers: &Numbers| numbers[..target.dimension].to_vec();
    let ids = || target.points.keys();
    match action {
        Action::Create { .. } | Action::Deny | Action::Billing(_) => None,
        Action::DeleteCollection => Some(Event::CollectionDeleted { collection }),
        Action::Upsert(chosen) => {
            let (mut points, mut texts): (Vec<Point>, Vec<_>) = (Vec::new(), Vec::new());
            for (number, numbers, payload, text) in chosen {
                let point = point(&format!("p{number}"), &cut(numbers), payload.as_deref());
                if points.iter().all(|other| other.id != point.id) {
                    points.push(point);
                    texts.push(text.clone());
                }
            }
            Some(upserted(collection, target, points, texts))
        }
        Action::Burst { first, count, numbers } => {
            let points = (*first..first + count)
                .map(|number| {
                    let mut vector = cut(numbers);
                    if let Some(place) = number.checked_rem(target.dimension) {
                        vector[place] = numbers[number % numbers.len()];
                    }
                    point(&format!("p{number}"), &vector, None)
                })
                .collect();
            let texts = (0..*count).map(|number| Some(format!("the {}", number % 7))).collect();
            Some(upserted(collection, target, points, texts))
        }
        Action::Declare { path } => {
            let path = self::path(["n", "tags", "missing", "\"a.b\""][usize::from(*path)]);
            Some(Event::IndexDeclared { collection, path })
        }
        Action::Drop { pick } => {
            let declared = target.declared.iter().nth(pick.checked_rem(target.declared.len())?)?;
            Some(Event::IndexDropped { collection, path: path(declared) })
        }
        Action::Delete { stride, first } => {
            let ids = ids().skip(*first).step_by(*stride).map(|name| id(name)).collect();
            Some(Event::VectorsDeleted { collection, ids })
        }
        Action::ChangePayload { pick, payload } => {
            let name = ids().nth(pick.checked_rem(target.points.len())?)?;
            let payload = Payload::new(payload.as_str()).unwrap();
            Some(Event::PayloadChanged { collection, id: id(name), payload })
        }
    }
}

/// The points in the form that `target` takes.
fn upserted(
    collection: CollectionId,
    target: &ModelCollection,
    points: Vec<Point>,
    texts: Vec<Option<String>>,
) -> Event {
    if !target.texts {
        return Event::VectorsUpserted { collection, points };
    }
    let document = |(point, text): (Point, Option<String>)| {
        let document = Document::from(point);
        let words = |text: String| Text::new(text).unwrap();
        if target.dimension > 0 {
            return Document { text: text.map(words), ..document };
        }
        // A text is required, as there is no vector.
        Document { vector: None, text: Some(words(text.unwrap_or_else(|| "nothing".to_owned()))), ..document }
    };
    Event::DocumentsUpserted { collection, documents: points.into_iter().zip(texts).map(document).collect() }
}
