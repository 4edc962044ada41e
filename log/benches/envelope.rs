//! Sealing and reading a record, in envelopes of both versions.
//!
//! ```text
//! cargo bench -p vectorizer-log --bench envelope
//! ```
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "it is a measurement, which ends at an error")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use uuid::Uuid;
use vectorizer_log::storage::MemoryStorage;
use vectorizer_log::{
    Draft, Envelope, EnvelopeFormat, Error, Event, HandleKey, LogId, RecordSecrets, Seq, TenantLog,
    UnverifiedLog, initialize,
};
use vectorizer_testing::Random;
use vectorizer_testing::events::{FIRST_COLLECTION, at, draft, id, point};

const ROUNDS: usize = 301;

fn log(format: EnvelopeFormat) -> TenantLog {
    let storage = std::sync::Arc::new(MemoryStorage::new(1 << 16));
    let log_id = LogId::new(Uuid::from_u128(1));
    initialize(&storage, log_id).unwrap();
    let unverified = UnverifiedLog::new(Box::new(storage), log_id).unwrap();
    unverified.recover(|_| Ok::<_, Error>(())).unwrap().log.writing(format)
}

fn upsert(points: usize, dimension: usize) -> Draft {
    let mut random = Random::new(7);
    let points = (0..points)
        .map(|number| {
            let payload = format!("{{\"number\": {number}, \"title\": \"a title of a usual length\"}}");
            point(&format!("point-{number}"), &random.units(dimension), Some(&payload))
        })
        .collect();
    draft(Event::VectorsUpserted { collection: FIRST_COLLECTION, points })
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64() * 1e6
}

fn main() {
    println!("points x numbers: bytes, sealing in us, verifying in us, decoding in us");
    let upserts = [(500, 384), (500, 1536), (10, 64), (1, 384)];
    let mut drafts: Vec<_> = upserts
        .into_iter()
        .map(|(points, dimension)| (format!("{points} x {dimension}"), upsert(points, dimension)))
        .collect();
    let ids = (0..1_000).map(|number| id(&format!("point-{number}"))).collect();
    let deletion = draft(Event::VectorsDeleted { collection: FIRST_COLLECTION, ids });
    drafts.push(("1000 deleted".to_owned(), deletion));
    for (name, draft) in drafts {
        let version2 = EnvelopeFormat::Version2 {
            handle_key: HandleKey::from_bytes([1; 32]),
            secrets: RecordSecrets::seeded([2; 32]),
        };
        let mut logs = [log(EnvelopeFormat::Version1), log(version2)];
        let mut sealing = [Vec::new(), Vec::new()];
        // In turns, so that both meet the same machine.
        for _ in 0..ROUNDS {
            for (log, times) in logs.iter_mut().zip(&mut sealing) {
                let draft = draft.clone();
                let mut commit = log.begin().unwrap();
                let started = Instant::now();
                black_box(commit.stage(draft, at(0)).unwrap());
                times.push(started.elapsed());
            }
        }
        for (version, (mut log, sealing)) in (1..).zip(logs.into_iter().zip(sealing)) {
            let mut commit = log.begin().unwrap();
            commit.stage(draft.clone(), at(0)).unwrap();
            commit.commit().unwrap();
            let stored = log.reader().read(Seq::OLDEST, 1, usize::MAX).unwrap().remove(0).stored;
            let (mut verifying, mut decoding) = (Vec::new(), Vec::new());
            for _ in 0..ROUNDS {
                let started = Instant::now();
                let envelope = Envelope::verify(&stored).unwrap();
                assert!(envelope.continues(&vectorizer_log::ChainHash::genesis(envelope.log_id())));
                let verified = Instant::now();
                black_box(envelope.into_record().unwrap());
                verifying.push(verified - started);
                decoding.push(verified.elapsed());
            }
            println!(
                "{name}, version {version}: {}, {:.1}, {:.1}, {:.1}",
                stored.len(),
                median(sealing),
                median(verifying),
                median(decoding)
            );
        }
    }
}
