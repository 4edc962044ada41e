//! Usage events: `CloudEvents` 1.0, one a line.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;
use vectorizer_log::{ChainHash, LogId, Meter, Seq, TenantId, Timestamp};

use super::extensible::Extensible;
use super::{integer, moment};

/// Where usage is reported, below `HiveHub`'s address.
pub const USAGE_PATH: &str = "/api/internal/vectorizer/usage";
/// The media type of a report and of its answer.
pub const USAGE_CONTENT_TYPE: &str = "application/x-ndjson";
/// The `type` of every event.
pub const USAGE_EVENT_TYPE: &str = "io.hivehub.vectorizer.usage.v1";

const SPECVERSION: &str = "1.0";
const DATACONTENTTYPE: &str = "application/json";
const SOURCE_START: &str = "/vectorizer/tenants/";

/// The unit of a meter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Vectors.
    Vectors,
    /// Searches.
    Searches,
    /// Requests.
    Requests,
    /// Bytes times seconds.
    ByteSeconds,
    /// Bytes.
    Bytes,
}

/// The id of an event. The same usage has the same id, so an event can be sent again.
///
/// Its text is `<log_id>:<through seq>:<meter>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UsageEventId {
    /// The log that was measured.
    pub log_id: LogId,
    /// The last record that counts.
    pub through: Seq,
    /// What was measured.
    pub meter: Meter,
}

/// The tenant, as the text `/vectorizer/tenants/<tenant>`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UsageSource(pub TenantId);

/// A span of time, its end not included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Its beginning.
    #[serde(with = "moment")]
    pub from: Timestamp,
    /// Its end.
    #[serde(with = "moment")]
    pub to: Timestamp,
}

/// One event of usage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Envelope", into = "Envelope")]
pub struct UsageEvent {
    /// Its id.
    pub id: UsageEventId,
    /// The tenant.
    pub source: UsageSource,
    /// The time of the record in the log.
    pub time: Timestamp,
    /// The amount. Its meter is that of the id.
    pub data: UsageData,
}

/// An amount of usage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Data", into = "Data")]
pub struct UsageData {
    /// What was measured.
    pub meter: Meter,
    /// The amount. Byte-seconds of a large tenant exceed 64 bits.
    pub value: u128,
    /// The meter's unit.
    pub unit: Unit,
    /// The window; for a correction, that of the corrected line.
    pub window: Window,
    /// The first record that counts.
    pub first_seq: Seq,
    /// The last record that counts.
    pub last_seq: Seq,
    /// The hash of the log's chain at the last record, so that the bill can be verified with the log.
    pub chain: ChainHash,
    /// Set for a correction, which is added to an earlier line.
    pub corrects: Option<Correction>,
}

/// A correction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Correction {
    /// The corrected line, of the same log and meter.
    pub line: UsageEventId,
    /// Whether the value is subtracted.
    pub is_negative: bool,
}

/// Data as it is sent.
#[derive(Serialize, Deserialize)]
struct Data {
    meter: Meter,
    #[serde(with = "integer::signed")]
    value: (bool, u128),
    unit: Unit,
    window: Window,
    #[serde(with = "integer::seq")]
    first_seq: Seq,
    #[serde(with = "integer::seq")]
    last_seq: Seq,
    #[serde(with = "chain")]
    chain: ChainHash,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    corrects: Option<UsageEventId>,
}

impl From<UsageData> for Data {
    fn from(data: UsageData) -> Self {
        let UsageData { meter, value, unit, window, first_seq, last_seq, chain, corrects } = data;
        let value = (corrects.is_some_and(|it| it.is_negative), value);
        let corrects = corrects.map(|it| it.line);
        Self { meter, value, unit, window, first_seq, last_seq, chain, corrects }
    }
}

impl TryFrom<Data> for UsageData {
    type Error = UsageContradiction;

    fn try_from(data: Data) -> Result<Self, UsageContradiction> {
        let Data { meter, value: (is_negative, value), unit, window, first_seq, last_seq, chain, corrects } =
            data;
        let corrects = corrects.map(|line| Correction { line, is_negative });
        if is_negative && corrects.is_none() {
            return Err(UsageContradiction::Negative);
        }
        Ok(Self { meter, value, unit, window, first_seq, last_seq, chain, corrects })
    }
}

/// The outcome of one event; a line of the answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageReceipt {
    /// The event's id as it was sent; empty if the line had none.
    pub id: String,
    /// The outcome.
    pub outcome: Extensible<UsageOutcome>,
    /// Why it was rejected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The outcome of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UsageOutcome {
    /// It was accepted.
    Accepted,
    /// It had been accepted before.
    Duplicate,
    /// It was rejected for good.
    Rejected,
}

/// An event that contradicts itself or is of another kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UsageContradiction {
    /// Another version of `CloudEvents`.
    #[error("specversion is not \"{SPECVERSION}\"")]
    Version,
    /// Another kind of event.
    #[error("type is not \"{USAGE_EVENT_TYPE}\"")]
    Type,
    /// The data is not JSON.
    #[error("datacontenttype is not \"{DATACONTENTTYPE}\"")]
    ContentType,
    /// The id has another meter than the data.
    #[error("the id and the data name different meters")]
    Meter,
    /// The unit is not the meter's.
    #[error("the unit is not the meter's")]
    Unit,
    /// The value is negative, and the event is no correction.
    #[error("the value is negative, and corrects no line")]
    Negative,
    /// It corrects a line of another log or meter, or a later one.
    #[error("a line corrects one of the same log and meter, and of before")]
    Corrects,
    /// The records or the window end before they start.
    #[error("the end is before the beginning")]
    Backwards,
}

impl Unit {
    /// The unit of `meter`.
    pub const fn of(meter: Meter) -> Self {
        match meter {
            Meter::VectorsUpserted | Meter::VectorsDeleted => Self::Vectors,
            Meter::Searches => Self::Searches,
            Meter::Requests => Self::Requests,
            Meter::StorageByteSeconds => Self::ByteSeconds,
            Meter::StorageBytes => Self::Bytes,
        }
    }
}

impl fmt::Display for UsageEventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.log_id, self.through, self.meter.name())
    }
}

impl FromStr for UsageEventId {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let read = || {
            let mut parts = text.splitn(3, ':');
            let log_id = LogId::new(parts.next()?.parse::<Uuid>().ok()?);
            let through = Seq::new(parts.next()?.parse().ok()?);
            let name = parts.next()?;
            let meter = Meter::ALL.into_iter().find(|meter| meter.name() == name)?;
            Some(Self { log_id, through, meter })
        };
        // Each id has one spelling. Other spellings of the UUID or the number would be billed twice.
        read().filter(|id| id.to_string() == text).ok_or("an id is <log_id>:<through seq>:<meter>")
    }
}

impl TryFrom<String> for UsageEventId {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<UsageEventId> for String {
    fn from(id: UsageEventId) -> Self {
        id.to_string()
    }
}

impl TryFrom<String> for UsageSource {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let tenant = text.strip_prefix(SOURCE_START).and_then(|tenant| tenant.parse().ok());
        tenant.map(Self).ok_or("a source is /vectorizer/tenants/<tenant>")
    }
}

impl From<UsageSource> for String {
    fn from(source: UsageSource) -> Self {
        format!("{SOURCE_START}{}", source.0)
    }
}

/// An event as it is sent.
#[derive(Serialize, Deserialize)]
struct Envelope {
    specversion: String,
    id: UsageEventId,
    source: UsageSource,
    r#type: String,
    #[serde(with = "moment")]
    time: Timestamp,
    datacontenttype: String,
    data: UsageData,
}

impl From<UsageEvent> for Envelope {
    fn from(UsageEvent { id, source, time, data }: UsageEvent) -> Self {
        let (specversion, datacontenttype) = (SPECVERSION.to_owned(), DATACONTENTTYPE.to_owned());
        Self { specversion, id, source, r#type: USAGE_EVENT_TYPE.to_owned(), time, datacontenttype, data }
    }
}

impl TryFrom<Envelope> for UsageEvent {
    type Error = UsageContradiction;

    fn try_from(sent: Envelope) -> Result<Self, Self::Error> {
        let Envelope { specversion, id, source, r#type, time, datacontenttype, data } = sent;
        if specversion != SPECVERSION {
            return Err(UsageContradiction::Version);
        }
        if r#type != USAGE_EVENT_TYPE {
            return Err(UsageContradiction::Type);
        }
        if datacontenttype != DATACONTENTTYPE {
            return Err(UsageContradiction::ContentType);
        }
        if id.meter != data.meter {
            return Err(UsageContradiction::Meter);
        }
        if data.unit != Unit::of(data.meter) {
            return Err(UsageContradiction::Unit);
        }
        if data.first_seq > data.last_seq || data.window.from > data.window.to {
            return Err(UsageContradiction::Backwards);
        }
        let is_of_before = |line: UsageEventId| {
            line.log_id == id.log_id && line.meter == id.meter && line.through < id.through
        };
        if data.corrects.is_some_and(|it| !is_of_before(it.line)) {
            return Err(UsageContradiction::Corrects);
        }
        Ok(Self { id, source, time, data })
    }
}

mod chain {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use vectorizer_log::ChainHash;

    pub(super) fn serialize<S: Serializer>(chain: &ChainHash, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(chain)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ChainHash, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const LOG: &str = "6f9619ff-8b86-4d01-b42d-00cf4fc964ff";

    fn event() -> Value {
        json!({
            "specversion": "1.0",
            "id": format!("{LOG}:90:storage_byte_seconds"),
            "source": "/vectorizer/tenants/acme",
            "type": "io.hivehub.vectorizer.usage.v1",
            "time": "2026-01-02T03:05:00.000000Z",
            "datacontenttype": "application/json",
            "data": {
                "meter": "storage_byte_seconds", "value": "9007199254740993", "unit": "byte_seconds",
                "window": {"from": "2026-01-02T03:00:00.000000Z", "to": "2026-01-02T03:05:00.000000Z"},
                "first_seq": 41, "last_seq": 90, "chain": "ab".repeat(32),
            },
        })
    }

    fn read(event: &Value) -> Result<UsageEvent, String> {
        serde_json::from_str(&event.to_string()).map_err(|error| error.to_string())
    }

    #[test]
    fn an_event_reads_as_it_was_written() {
        let read = read(&event()).unwrap();
        assert_eq!((read.id.through, read.id.meter), (Seq::new(90), Meter::StorageByteSeconds));
        assert_eq!((read.source.0.as_str(), read.data.value), ("acme", (1 << 53) + 1));
        assert_eq!(serde_json::to_value(read).unwrap(), event());
    }

    #[test]
    fn whole_numbers_are_texts_above_two_to_the_53() {
        for (number, written) in [
            (0_u128, json!(0)),
            (1 << 53, json!(1_u64 << 53)),
            ((1 << 53) + 1, json!("9007199254740993")),
            (u128::MAX, json!(u128::MAX.to_string())),
        ] {
            let mut event = event();
            event["data"]["value"] = written.clone();
            let read = read(&event).unwrap();
            assert_eq!(read.data.value, number);
            assert_eq!(serde_json::to_value(read).unwrap()["data"]["value"], written);
        }
    }

    #[test]
    fn an_event_that_contradicts_itself_is_an_error() {
        for (pointer, value) in [
            ("/specversion", json!("0.3")),
            ("/type", json!("io.hivehub.vectorizer.usage.v2")),
            ("/datacontenttype", json!("text/plain")),
            ("/id", json!(format!("{LOG}:90:searches"))),
            ("/id", json!(format!("{LOG}:090:storage_byte_seconds"))),
            ("/id", json!(format!("{}:90:storage_byte_seconds", LOG.to_uppercase()))),
            ("/id", json!(format!("{LOG}:90:storage_byte_seconds:1"))),
            ("/source", json!("/vectorizer/tenants/../acme")),
            ("/source", json!("acme")),
            ("/data/unit", json!("bytes")),
            ("/data/meter", json!("moonlight")),
            ("/data/first_seq", json!(91)),
            ("/data/value", json!((1_u64 << 53) + 1)),
            ("/data/value", json!("+1")),
            ("/data/value", json!("007")),
            ("/data/value", json!(-1)),
            ("/data/value", json!(0.5)),
            ("/data/last_seq", json!("18446744073709551616")),
            ("/data/window/to", json!("2026-01-02T02:00:00Z")),
            ("/data/chain", json!("ab")),
        ] {
            let mut event = event();
            *event.pointer_mut(pointer).unwrap() = value.clone();
            assert!(read(&event).is_err(), "{pointer} {value}");
        }
    }

    #[test]
    fn a_correction_names_a_line_of_before_and_may_take_away() {
        let mut correction = event();
        correction["data"]["corrects"] = json!(format!("{LOG}:40:storage_byte_seconds"));
        for (written, is_negative, value) in [
            (json!(7), false, 7),
            (json!(-7), true, 7),
            (json!(-(1_i64 << 53)), true, 1 << 53),
            (json!("-9007199254740993"), true, (1 << 53) + 1),
        ] {
            correction["data"]["value"] = written;
            let event = read(&correction).unwrap();
            assert_eq!(
                event.data.corrects.map(|it| (it.line.through, it.is_negative)),
                Some((Seq::new(40), is_negative))
            );
            assert_eq!(event.data.value, value);
            assert_eq!(serde_json::to_value(event).unwrap(), correction);
        }
        for (pointer, value) in [
            ("/data/value", json!("-007")),
            ("/data/value", json!("--7")),
            ("/data/value", json!(-(1_i64 << 53) - 1)),
            ("/data/corrects", json!(format!("{LOG}:90:storage_byte_seconds"))),
            ("/data/corrects", json!(format!("{LOG}:40:searches"))),
            ("/data/corrects", json!("7f9619ff-8b86-4d01-b42d-00cf4fc964ff:40:storage_byte_seconds")),
        ] {
            let mut wrong = correction.clone();
            *wrong.pointer_mut(pointer).unwrap() = value;
            assert!(read(&wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_id_of_every_meter_reads_as_it_was_written() {
        for meter in Meter::ALL {
            let id = UsageEventId { log_id: LogId::new(Uuid::nil()), through: Seq::new(3), meter };
            assert_eq!(id.to_string().parse(), Ok(id));
        }
    }

    #[test]
    fn an_outcome_from_the_future_is_no_acceptance() {
        let receipt: UsageReceipt =
            serde_json::from_value(json!({"id": "x", "outcome": "deferred"})).unwrap();
        assert_eq!((receipt.outcome.known(), receipt.reason), (None, None));
        let receipt: UsageReceipt =
            serde_json::from_value(json!({"id": "x", "outcome": "rejected", "reason": "why"})).unwrap();
        assert_eq!(receipt.outcome, Extensible::Known(UsageOutcome::Rejected));
    }
}
