//! Records: what stands in a log, sealed as the log would seal it.

use vectorizer_log::{ChainHash, ExportDetail, ExportFormat, StoredRecord, Verifier};
use vectorizer_replay::{Projection, Projector as _};

use super::pieces::{joined, pieces};
use super::story::{log_id, records, use_up};

/// Where an envelope's body begins.
const BODY_AT: usize = 44;
const CHAIN_AT: usize = 12;

/// The bodies of records, one behind the other. Whatever can be decoded is folded and exported; what does not fit
/// leaves no trace.
pub(super) fn run(bytes: &[u8]) {
    // As it may come over the network: nothing of it is sound.
    let _ = Verifier::new(log_id()).push(bytes);
    let mut verifier = Verifier::new(log_id());
    let mut projection = Projection::new(log_id());
    let mut chain = ChainHash::genesis(log_id());
    for body in pieces(bytes) {
        let (stored, next) = sealed(body, &chain);
        let Ok(record) = verifier.push(&stored) else { break };
        chain = next;
        let before = projection.digest();
        if projection.apply(&record).is_err() {
            assert_eq!(projection.digest(), before);
        }
        let stored = StoredRecord { record, stored: stored.into(), chain };
        for format in [ExportFormat::Ndjson, ExportFormat::Csv] {
            let mut text = Vec::new();
            format.write(&mut text, &stored, ExportDetail { payload: true, vector: true, stored: true });
        }
    }
    use_up(projection);
}

/// The envelope of a body, and what continues it.
pub(super) fn sealed(body: &[u8], previous: &ChainHash) -> (Vec<u8>, ChainHash) {
    let mut stored = vec![1, 0, 0, 0];
    let length = u32::try_from(body.len()).expect("the input is short");
    stored.extend_from_slice(&length.to_le_bytes());
    let mut checksum = crc32fast::Hasher::new();
    checksum.update(&stored);
    checksum.update(body);
    stored.extend_from_slice(&checksum.finalize().to_le_bytes());
    let chain = previous.continued_by(&[&stored, body]);
    assert_eq!(stored.len(), CHAIN_AT);
    stored.extend_from_slice(chain.as_bytes());
    stored.extend_from_slice(body);
    (stored, chain)
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let records = records();
    let bodies: Vec<&[u8]> = records.iter().map(|record| &record.stored[BODY_AT..]).collect();
    (1..=bodies.len()).map(|count| joined(bodies[..count].iter().copied())).collect()
}
