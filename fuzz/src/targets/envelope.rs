//! Envelopes of version 2: headers and items, sealed as the format says.

use vectorizer_log::{
    ChainHash, DamageKind, Envelope, EnvelopeFormat, ExportDetail, ExportFormat, HandleKey, KnownEvent,
    RecordFacts, RecordSecrets, Seq, StoredItem, StoredRecord, Verifier, erase,
};
use vectorizer_replay::FactsBill;

use super::pieces::{joined, pieces};
use super::story::{log_id, log_in};

/// Where an envelope's header begins.
const HEADER_AT: usize = 48;
const ROOT_BYTES: usize = 32;
const CHUNK_BYTES: usize = 1_024;
const CHUNK_CONTENT_BYTES: usize = 1_000;
const SECRET: [u8; 32] = [5; 32];

/// Consecutive records: of each the facts, and its items. The header and the chain hash of a valid record survive the
/// erasure of any item, a decoded record has the facts of its header, and facts that do not fit the bill leave no
/// trace.
pub(super) fn run(bytes: &[u8]) {
    // As it may come over the network: nothing of it is sound.
    let _ = Envelope::verify(bytes);
    let _ = erase(bytes, &[0]);
    let mut verifier = Verifier::new(log_id());
    let mut bill = FactsBill::new(log_id());
    let mut chain = ChainHash::genesis(log_id());
    for record in pieces(bytes) {
        let mut parts = pieces(record);
        let Some(facts) = parts.next() else { break };
        let items: Vec<&[u8]> = parts.collect();
        let (stored, next) = sealed(facts, &items, &chain);
        let before = verifier.clone();
        let Ok(envelope) = verifier.push_envelope(&stored) else { break };
        chain = next;
        let Some(header) = envelope.header().cloned() else { panic!("it is of version 2") };
        let known = (*bill.usage(), *bill.billing());
        if bill.push(&header.facts, Some(chain)).is_err() {
            assert_eq!((*bill.usage(), *bill.billing()), known);
        }
        for item in 0..items.len().min(4) {
            let erased = erase(&stored, &[item]).expect("the item exists");
            let erased = before.clone().push_envelope(&erased).map(|envelope| {
                let is_erased = matches!(envelope.items()[item], StoredItem::Erased(_));
                (envelope.chain(), envelope.header().cloned(), is_erased)
            });
            assert_eq!(erased, Ok((chain, Some(header.clone()), true)));
        }
        let record = match envelope.into_record() {
            Ok(record) => record,
            Err(kind) => {
                assert!(!matches!(kind, DamageKind::Erased { .. }), "nothing was erased");
                continue;
            }
        };
        let facts = RecordFacts::of(&record, &HandleKey::from_bytes([0; 32]));
        assert_eq!(without_handles(&facts.event), without_handles(&header.facts.event));
        assert_eq!(
            RecordFacts { event: KnownEvent::Other, ..facts },
            RecordFacts { event: KnownEvent::Other, ..header.facts }
        );
        let stored = StoredRecord { record, stored: stored.into(), chain };
        let mut text = Vec::new();
        ExportFormat::Ndjson.write(
            &mut text,
            &stored,
            ExportDetail { payload: true, vector: true, stored: true },
        );
    }
}

/// What the facts say beside the handles, which depend on the key.
fn without_handles(event: &KnownEvent) -> String {
    match event {
        KnownEvent::PointsWritten { points } => {
            format!("{:?}", points.iter().map(|point| point.size).collect::<Vec<_>>())
        }
        KnownEvent::PointsDeleted { points } => points.len().to_string(),
        KnownEvent::PayloadChanged { payload_bytes, point: _ } => payload_bytes.to_string(),
        KnownEvent::Other
        | KnownEvent::CollectionCreated
        | KnownEvent::CollectionDeleted
        | KnownEvent::Refused { .. }
        | KnownEvent::UsageObserved { .. }
        | KnownEvent::BillingClosed { .. }
        | KnownEvent::BillingCorrected { .. }
        | KnownEvent::BillingAcknowledged { .. }
        | KnownEvent::HistoryDropped { .. } => format!("{event:?}"),
    }
}

/// The envelope of these facts and items, and what continues it.
fn sealed(facts: &[u8], items: &[&[u8]], previous: &ChainHash) -> (Vec<u8>, ChainHash) {
    let length = |bytes: usize| u32::try_from(bytes).expect("the input is short").to_le_bytes();
    let mut header = facts.to_vec();
    let mut count = items.len();
    while count >= 0x80 {
        header.push(count.to_le_bytes()[0] | 0x80);
        count >>= 7;
    }
    header.push(count.to_le_bytes()[0]);
    header.extend_from_slice(&root(items));
    let mut body = vec![0];
    body.extend_from_slice(&SECRET);
    for item in items {
        body.extend_from_slice(&length(item.len()));
        body.extend_from_slice(item);
    }
    let mut front = vec![2, 0, 0, 0];
    front.extend_from_slice(&length(header.len()));
    let chain = previous.continued_by(&[&front, &header]);
    front.extend_from_slice(&length(body.len()));
    let mut checksum = crc32fast::Hasher::new();
    for piece in [&front, &header, &body] {
        checksum.update(piece);
    }
    front.extend_from_slice(&checksum.finalize().to_le_bytes());
    front.extend_from_slice(chain.as_bytes());
    assert_eq!(front.len(), HEADER_AT);
    ([front, header, body].concat(), chain)
}

/// The Merkle root over the items, by one hash of all chunks.
fn root(items: &[&[u8]]) -> [u8; ROOT_BYTES] {
    let mut salts = blake3::Hasher::new_keyed(&SECRET).finalize_xof();
    let mut input = Vec::new();
    for (number, item) in (0_u32..).zip(items) {
        let empty: [&[u8]; 1] = [&[]];
        let pieces: Vec<&[u8]> = item.chunks(CHUNK_CONTENT_BYTES).collect();
        for piece in if item.is_empty() { &empty[..] } else { &pieces } {
            let end = input.len() + CHUNK_BYTES;
            let mut salt = [0; 16];
            salts.fill(&mut salt);
            input.extend_from_slice(&salt);
            input.extend_from_slice(&number.to_le_bytes());
            input.extend_from_slice(&u32::try_from(item.len()).expect("the input is short").to_le_bytes());
            input.extend_from_slice(piece);
            input.resize(end, 0);
        }
    }
    input.extend_from_slice(&u32::try_from(items.len()).expect("the input is short").to_le_bytes());
    *blake3::keyed_hash(b"vectorizer log items v2 (merkle)", &input).as_bytes()
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let secrets = RecordSecrets::seeded([2; 32]);
    let (_, log) = log_in(EnvelopeFormat::Version2 { handle_key: HandleKey::from_bytes([1; 32]), secrets });
    let stored = log.reader().read(Seq::OLDEST, usize::MAX, usize::MAX).expect("memory does not fail");
    let records: Vec<Vec<u8>> = stored
        .iter()
        .map(|record| {
            let envelope = Envelope::verify(&record.stored).expect("the log has written it");
            let header_bytes = u32::from_le_bytes(record.stored[4..8].try_into().expect("four bytes"));
            let header = &record.stored[HEADER_AT..][..header_bytes as usize];
            // In front of the number of items, which is small, and the root.
            let facts = &header[..header.len() - 1 - ROOT_BYTES];
            let items = envelope.items();
            let items = items.iter().map(|item| match *item {
                StoredItem::Kept(bytes) => bytes,
                StoredItem::Erased(_) => panic!("nothing was erased"),
            });
            joined([facts].into_iter().chain(items))
        })
        .collect();
    (1..=records.len()).map(|count| joined(records[..count].iter().map(Vec::as_slice))).collect()
}
