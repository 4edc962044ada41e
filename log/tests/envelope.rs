//! Envelopes of version 2: content can be erased, and the rest of the history stays as it was.

use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use vectorizer_log::storage::MemoryStorage;
use vectorizer_log::{
    Damage, DamageKind, Document, Envelope, EnvelopeFormat, EraseError, Event, EventKind, ExportDetail,
    ExportFormat, HandleKey, KnownEvent, Meter, Payload, Record, RecordFacts, RecordSecrets, RejectedLine,
    RemoteVerification, Section, SectionKind, Seq, StoredItem, StoredRecord, TenantLog, Text, Verifier,
    erase, initialize,
};
use vectorizer_testing::events::{
    FIRST_COLLECTION, at, collection, created_words, draft, id, one_of_each, path, point, upserted,
    with_idempotency,
};

use crate::backends::{Backend, MemoryBackend};

fn key() -> HandleKey {
    HandleKey::from_bytes([1; 32])
}

fn version2() -> EnvelopeFormat {
    EnvelopeFormat::Version2 { handle_key: key(), secrets: RecordSecrets::seeded([2; 32]) }
}

fn write(log: &mut TenantLog, events: impl IntoIterator<Item = Event>) -> Vec<Record> {
    let mut commit = log.begin().unwrap();
    for (number, event) in (0..).zip(events) {
        let plain = draft(event);
        commit.stage(if number % 2 == 1 { with_idempotency(plain) } else { plain }, at(number)).unwrap();
    }
    commit.commit().unwrap()
}

fn read(log: &TenantLog) -> Vec<StoredRecord> {
    log.reader().read(Seq::OLDEST, usize::MAX, usize::MAX).unwrap()
}

/// The stored records of these events.
fn stored(events: impl IntoIterator<Item = Event>) -> Vec<StoredRecord> {
    let mut log = MemoryBackend::create().log().writing(version2());
    write(&mut log, events);
    read(&log)
}

fn contains(bytes: &[u8], piece: &[u8]) -> bool {
    bytes.windows(piece.len()).any(|window| window == piece)
}

/// Where the body begins.
fn body_at(stored: &[u8]) -> usize {
    48 + u32::from_le_bytes(stored[4..8].try_into().unwrap()) as usize
}

#[test]
fn a_log_of_version_1_goes_on_in_version_2() {
    let backend = MemoryBackend::create();
    let mut records = write(&mut backend.log(), one_of_each());
    records.extend(write(&mut backend.log().writing(version2()), one_of_each()));
    records.extend(write(&mut backend.log(), one_of_each()));
    let (recovered, found) = backend.recover().unwrap();
    assert_eq!(found, records);

    let stored = read(&recovered.log);
    let versions: Vec<u8> = stored.iter().map(|record| record.stored[0]).collect();
    let each = one_of_each().len();
    assert_eq!(versions, [vec![1; each], vec![2; each], vec![1; each]].concat());
    let (mut verifier, mut remote) = (Verifier::new(backend.log_id), RemoteVerification::default());
    for StoredRecord { record, stored, .. } in &stored {
        assert_eq!(verifier.push(stored).unwrap(), *record);
        assert_eq!(remote.push(backend.log_id, stored).unwrap(), *record);
    }
    assert_eq!((verifier.head(), remote.head()), (Some(recovered.log.head()), Some(recovered.log.head())));

    let copy = MemoryBackend { storage: Arc::new(MemoryStorage::new(1 << 16)), log_id: backend.log_id };
    initialize(&copy.storage, copy.log_id).unwrap();
    vectorizer_log::copy_acknowledged(Arc::new(Arc::clone(&backend.storage)), &copy.storage, backend.log_id)
        .unwrap();
    assert_eq!(copy.recover().unwrap().1, records);
}

/// What an export with stored bytes has leads to the same head.
#[test]
fn an_export_of_version_2_can_be_verified() {
    let log = &mut MemoryBackend::create().log().writing(version2());
    write(log, one_of_each());
    let detail = ExportDetail { payload: true, vector: true, stored: true };
    let mut remote = RemoteVerification::default();
    for record in read(log) {
        let mut line = Vec::new();
        ExportFormat::Ndjson.write(&mut line, &record, detail);
        let line: vectorizer_log::ExportedRecord = serde_json::from_slice(&line).unwrap();
        assert_eq!(remote.push(log.log_id(), &line.stored).unwrap(), record.record);
    }
    assert_eq!(remote.head(), Some(log.head()));
}

#[test]
fn every_flipped_bit_of_an_envelope_is_found() {
    for record in stored(one_of_each()) {
        let start = Verifier::starting_at(record.record.log_id, record.record.seq);
        let mut whole = record.stored.to_vec();
        let mut erased = erase(&whole, &[0]).unwrap();
        for bytes in [&mut whole, &mut erased] {
            // The chain hash is compared with the previous record, which a verifier of one record does not have.
            let chain = Envelope::verify(bytes).unwrap().chain();
            for bit in 0..bytes.len() * 8 {
                bytes[bit / 8] ^= 1 << (bit % 8);
                let found = start.clone().push_envelope(bytes).map(|envelope| envelope.chain());
                assert!(found.is_err() || found != Ok(chain), "bit {bit} of record {}", record.record.seq);
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
        }
    }
}

#[test]
fn a_changed_chain_hash_is_found_by_the_record_before() {
    let stored = stored([created_words("words"), upserted(2, 1)]);
    let mut verifier = Verifier::new(stored[0].record.log_id);
    verifier.push(&stored[0].stored).unwrap();
    for bit in 16 * 8..48 * 8 {
        let mut bytes = stored[1].stored.to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(verifier.clone().push(&bytes).unwrap_err().kind, DamageKind::Chain);
    }
}

#[test]
fn the_number_of_a_kind_is_the_position_of_its_variant() {
    for event in one_of_each() {
        let variant = postcard::to_stdvec(&event).unwrap()[0];
        assert_eq!(postcard::to_stdvec(&event.facts().kind).unwrap(), [variant]);
        assert_eq!(vectorizer_testing::events::variant_name(&event), snake_case(event.facts().kind));
    }
}

fn snake_case(kind: EventKind) -> String {
    let mut name = String::new();
    for letter in format!("{kind:?}").chars() {
        if letter.is_ascii_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(letter.to_ascii_lowercase());
    }
    name
}

/// Nothing that a client chooses is in front of the body.
#[test]
fn a_header_has_no_content() {
    let needles: Vec<Vec<u8>> =
        ["needle-id", "needle-name", "needle-text", "needle-payload", "needle-reason", "needle-path"]
            .iter()
            .map(|needle| needle.as_bytes().to_vec())
            .collect();
    for event in one_of_each().into_iter().chain([
        Event::VectorsUpserted {
            collection: FIRST_COLLECTION,
            points: vec![point("needle-id", &[0.123, 4.567, 8.9], Some(r#"{"a": "needle-payload"}"#))],
        },
        Event::VectorsDeleted { collection: FIRST_COLLECTION, ids: vec![id("needle-id")] },
        created_words("needle-name"),
    ]) {
        let stored = stored([created_words("words"), event]);
        let StoredRecord { record, stored, .. } = &stored[1];
        let header = &stored[48..body_at(stored)];
        let envelope = Envelope::verify(stored).unwrap();
        assert_eq!(envelope.header().unwrap().facts, RecordFacts::of(record, &key()));
        for section in envelope.items().into_iter().flat_map(StoredItem::sections) {
            let Section { kind, content, .. } = section.unwrap();
            // Shorter content may occur by chance.
            assert!(content.len() < 4 || !contains(header, content), "{kind:?} of {:?}", record.event);
        }
        for text in ["request-1", "k1", "once"]
            .into_iter()
            .map(str::as_bytes)
            .chain(needles.iter().map(Vec::as_slice))
        {
            assert!(!contains(header, text), "{:?}", record.event);
        }
        assert!(!contains(header, &[7; 32]), "the hash of a body is in the header");
    }
}

#[test]
fn a_handle_pairs_the_events_of_one_point_and_tells_points_apart() {
    let facts = |event| RecordFacts::of(&stored([event])[0].record, &key()).event;
    let written = |event| match facts(event) {
        KnownEvent::PointsWritten { points } => points.into_iter().map(|point| point.handle).collect(),
        KnownEvent::PointsDeleted { points } => points,
        KnownEvent::PayloadChanged { point, .. } => vec![point],
        KnownEvent::Other
        | KnownEvent::CollectionCreated
        | KnownEvent::CollectionDeleted
        | KnownEvent::Refused { .. }
        | KnownEvent::UsageObserved { .. }
        | KnownEvent::BillingClosed { .. }
        | KnownEvent::BillingCorrected { .. }
        | KnownEvent::BillingAcknowledged { .. }
        | KnownEvent::HistoryDropped { .. } => panic!("no point"),
    };
    let [a, b, elsewhere] =
        [(1, "a"), (1, "b"), (2, "a")].map(|(seq, name)| key().handle(collection(seq), &id(name)));
    assert!(a != b && a != elsewhere && b != elsewhere);
    assert_ne!(a, HandleKey::from_bytes([3; 32]).handle(collection(1), &id("a")));
    let points = vec![point("a", &[1.0], None), point("b", &[1.0], Some("{}"))];
    let payload = vectorizer_log::Payload::new("{}").unwrap();
    assert_eq!(written(Event::VectorsUpserted { collection: collection(1), points }), [a, b]);
    assert_eq!(
        written(Event::VectorsDeleted { collection: collection(1), ids: vec![id("b"), id("a")] }),
        [b, a]
    );
    assert_eq!(
        written(Event::PayloadChanged { collection: collection(2), id: id("a"), payload }),
        [elsewhere]
    );
}

#[test]
fn an_erased_record_has_its_facts_and_its_other_items() {
    let stored = stored([created_words("words"), upserted(3, 1), upserted(1, 2)]);
    let erased = erase(&stored[1].stored, &[2]).unwrap();
    let mut verifier = Verifier::new(stored[0].record.log_id);
    verifier.push(&stored[0].stored).unwrap();
    let damage = verifier.push(&erased).unwrap_err();
    assert_eq!(damage, Damage { seq: Seq::new(2), kind: DamageKind::Erased { items: 1 } });
    // The record is part of the chain.
    assert_eq!(verifier.head().unwrap().chain, stored[1].chain);
    verifier.push(&stored[2].stored).unwrap();

    let (before, after) = (Envelope::verify(&stored[1].stored).unwrap(), Envelope::verify(&erased).unwrap());
    assert_eq!(after.header(), before.header());
    for (number, (before, after)) in before.items().into_iter().zip(after.items()).enumerate() {
        assert_eq!(before == after, number != 2);
        assert_eq!(matches!(after, StoredItem::Erased(_)), number == 2);
    }
    let point: Vec<_> = after.items()[3].sections().map(|section| section.unwrap().kind).collect();
    assert_eq!(point, [SectionKind::PointId, SectionKind::DenseF32, SectionKind::Payload]);
}

/// Each piece of content is in the stored bytes before it is erased, and nowhere afterwards.
#[test]
fn erased_content_is_nowhere() {
    let needle = |name: &str| format!("needle-{name}");
    let vector = [0.123_f32, 4.567, 8.9];
    let vector_bytes: Vec<u8> = vector.iter().flat_map(|number| number.to_le_bytes()).collect();
    let payload = format!(r#"{{"a": "{}"}}"#, needle("payload"));
    let collection = FIRST_COLLECTION;
    let written = point(&needle("id"), &vector, Some(&payload));
    let document = Document { text: Some(Text::new(needle("text")).unwrap()), ..written.clone().into() };
    let rejected = RejectedLine { seq: Seq::OLDEST, meter: Meter::Requests, reason: needle("reason") };
    let denied = Event::AccessDenied {
        key_id: Some(needle("key")),
        what: needle("what"),
        why: needle("why"),
        from: Some(needle("from")),
        count: 1,
        since: at(0),
        through: at(1),
    };
    let (meter, corrects) = (Meter::Requests, Seq::OLDEST);
    let changed = Payload::new(payload.as_str()).unwrap();
    for (event, pieces) in [
        (created_words(&needle("name")), vec!["name"]),
        (Event::VectorsUpserted { collection, points: vec![written] }, vec!["id", "payload"]),
        (Event::DocumentsUpserted { collection, documents: vec![document] }, vec!["id", "payload", "text"]),
        (Event::VectorsDeleted { collection, ids: vec![id(&needle("id"))] }, vec!["id"]),
        (
            Event::PayloadChanged { collection, id: id(&needle("id")), payload: changed },
            vec!["id", "payload"],
        ),
        (denied, vec!["key", "what", "why", "from"]),
        (Event::BillingCorrected { corrects, meter, by: 1, reason: needle("reason") }, vec!["reason"]),
        (Event::BillingAcknowledged { through: corrects, rejected: vec![rejected] }, vec!["reason"]),
        (Event::IndexDeclared { collection, path: path(&needle("path")) }, vec!["path"]),
        (Event::IndexDropped { collection, path: path(&needle("path")) }, vec!["path"]),
    ] {
        let shown = format!("{event:?}");
        let stored = stored([created_words("words"), event]).remove(1).stored;
        let mut pieces: Vec<Vec<u8>> = pieces.into_iter().map(|name| needle(name).into_bytes()).collect();
        pieces.extend([b"request-1".to_vec(), b"once".to_vec(), vec![7; 32]]);
        if shown.contains("Dense") {
            pieces.push(vector_bytes.clone());
        }
        let items: Vec<usize> = (0..Envelope::verify(&stored).unwrap().items().len()).collect();
        let erased = erase(&stored, &items).unwrap();
        for piece in pieces {
            assert!(contains(&stored, &piece) && !contains(&erased, &piece), "{shown}");
        }
    }
}

#[test]
fn only_existing_items_of_valid_envelopes_of_version_2_are_erased() {
    let stored2 = stored([created_words("words")]).remove(0).stored;
    assert_eq!(erase(&stored2, &[3]), Err(EraseError::NoSuchItem { item: 3, items: 3 }));
    assert_eq!(erase(&stored2, &[]).unwrap(), stored2.to_vec());
    let mut log = MemoryBackend::create().log();
    write(&mut log, [created_words("words")]);
    assert_eq!(erase(&read(&log)[0].stored, &[0]), Err(EraseError::Version { found: 1 }));
    assert!(matches!(erase(&[], &[0]), Err(EraseError::Damaged(DamageKind::Length { .. }))));
    let mut damaged = stored2.to_vec();
    *damaged.last_mut().unwrap() ^= 1;
    assert_eq!(erase(&damaged, &[0]), Err(EraseError::Damaged(DamageKind::Checksum)));
}

#[test]
fn the_secret_of_a_record_is_gone_after_its_first_erasure() {
    let stored = stored([created_words("words"), upserted(3, 1)]).remove(1).stored;
    let secret = &stored[body_at(&stored) + 1..][..32];
    let salt = |item: usize| {
        // Derived as the format says: 16 bytes for each chunk, and each of these items has one chunk.
        let mut salts = [0; 16 * 4];
        let secret = secret.try_into().unwrap();
        blake3::Hasher::new_keyed(secret).finalize_xof().fill(&mut salts);
        salts[item * 16..][..16].to_vec()
    };
    let erased = erase(&stored, &[1, 3]).unwrap();
    assert!(contains(&stored, secret) && !contains(&erased, secret));
    let kept: Vec<bool> = (0..4).map(|item| contains(&erased, &salt(item))).collect();
    assert_eq!(kept, [true, false, true, false]);
    let again = erase(&erased, &[0]).unwrap();
    let kept: Vec<bool> = (0..4).map(|item| contains(&again, &salt(item))).collect();
    assert_eq!(kept, [false, false, true, false]);
}

/// The same envelope with another body, whose length and checksum are right.
fn with_body(stored: &[u8], body: &[u8]) -> Vec<u8> {
    let mut changed = stored[..body_at(stored)].to_vec();
    changed[8..12].copy_from_slice(&u32::try_from(body.len()).unwrap().to_le_bytes());
    let mut checksum = crc32fast::Hasher::new();
    checksum.update(&changed[..12]);
    checksum.update(&changed[48..]);
    checksum.update(body);
    changed[12..16].copy_from_slice(&checksum.finalize().to_le_bytes());
    changed.extend_from_slice(body);
    changed
}

#[test]
fn keys_and_secrets_are_random_and_not_shown() {
    let (first, second) = (HandleKey::random().unwrap(), HandleKey::random().unwrap());
    assert_ne!(first, second);
    assert_eq!(HandleKey::from_bytes(*first.as_bytes()), first);
    let secret = |secrets| {
        let format = EnvelopeFormat::Version2 { handle_key: key(), secrets };
        assert_eq!(
            format!("{format:?}"),
            "Version2 { handle_key: HandleKey { .. }, secrets: RecordSecrets { .. } }"
        );
        let mut log = MemoryBackend::create().log().writing(format);
        write(&mut log, [created_words("words"), created_words("worte")]);
        read(&log).into_iter().map(|record| record.stored[body_at(&record.stored) + 1..][..32].to_vec())
    };
    let seeded = || RecordSecrets::seeded([2; 32]);
    let all: Vec<Vec<u8>> = [RecordSecrets::random().unwrap(), RecordSecrets::random().unwrap(), seeded()]
        .into_iter()
        .flat_map(secret)
        .collect();
    assert_eq!(all.iter().collect::<std::collections::HashSet<_>>().len(), 6);
    assert_eq!(secret(seeded()).collect::<Vec<_>>(), all[4..]);
}

/// A checksum can be computed by anyone. The header holds the items to what was written.
#[test]
fn changed_items_with_a_right_checksum_are_found() {
    let stored = stored([created_words("words"), upserted(2, 1)]).remove(1).stored;
    let body = &stored[body_at(&stored)..];
    assert_eq!(with_body(&stored, body), stored.to_vec());
    let kind = |body: &[u8]| Envelope::verify(&with_body(&stored, body)).unwrap_err();
    for at in 1..body.len() {
        let mut changed = body.to_vec();
        changed[at] ^= 1;
        let found = kind(&changed);
        let is_found = matches!(
            found,
            DamageKind::Root | DamageKind::ItemTorn { .. } | DamageKind::TrailingBytes { .. }
        );
        assert!(is_found, "byte {at}: {found}");
    }
    assert_eq!(kind(&[]), DamageKind::ItemTorn { item: 0 });
    assert_eq!(kind(&[7]), DamageKind::BodyForm { found: 7 });
    assert_eq!(kind(&body[..body.len() - 1]), DamageKind::ItemTorn { item: 2 });
    assert_eq!(kind(&[body, &[0]].concat()), DamageKind::TrailingBytes { bytes: 1 });
    // Two items in each other's place.
    let erased = erase(&stored, &[0]).unwrap();
    let envelope = Envelope::verify(&erased).unwrap();
    let [_, StoredItem::Kept(first), StoredItem::Kept(second)] = envelope.items()[..] else { panic!() };
    let body = &erased[body_at(&erased)..];
    assert_eq!(first.len(), second.len());
    let length = 1 + 4 + 16 + first.len();
    let (front, items) = body.split_at(body.len() - 2 * length);
    let swapped = [front, &items[length..], &items[..length]].concat();
    assert_eq!(kind(&swapped), DamageKind::Root);
}

#[test]
fn unknown_versions_codecs_and_reserved_bytes_are_named() {
    let stored = stored([created_words("words")]).remove(0).stored;
    let kind = |at: usize, value: u8| {
        let mut changed = stored.to_vec();
        changed[at] = value;
        Envelope::verify(&changed).unwrap_err()
    };
    assert_eq!(kind(0, 3), DamageKind::Version { found: 3 });
    assert_eq!(kind(1, 1), DamageKind::Codec { found: 1 });
    assert_eq!(kind(3, 9), DamageKind::Reserved { found: [0, 9] });
    for bytes in 0..48 {
        assert!(
            matches!(Envelope::verify(&stored[..bytes]), Err(DamageKind::Length { .. })),
            "{bytes} bytes"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn erasing_any_items_in_any_order_leaves_the_chain_and_the_other_items(
        which in vec(any::<prop::sample::Index>(), 1..12),
        rounds in vec(vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 0..12), 1..4),
    ) {
        let examples = one_of_each();
        let events = which.iter().map(|which| examples[which.index(examples.len())].clone());
        let original = stored(events);
        let mut now: Vec<Vec<u8>> = original.iter().map(|record| record.stored.to_vec()).collect();
        let mut erased = vec![std::collections::BTreeSet::new(); now.len()];
        for round in rounds {
            for (record, item) in round {
                let record = record.index(now.len());
                let items = Envelope::verify(&now[record]).unwrap().items().len();
                let item = item.index(items);
                now[record] = erase(&now[record], &[item]).unwrap();
                erased[record].insert(item);
            }
        }
        let mut verifier = Verifier::new(original[0].record.log_id);
        for ((original, now), erased) in original.iter().zip(&now).zip(&erased) {
            let before = Envelope::verify(&original.stored).unwrap();
            let mut whole = verifier.clone();
            let after = verifier.push_envelope(now).unwrap();
            prop_assert_eq!(after.chain(), original.chain);
            prop_assert_eq!(after.header(), before.header());
            let (before, after) = (before.items(), after.items());
            prop_assert_eq!(before.len(), after.len());
            for (number, (before, after)) in before.iter().zip(&after).enumerate() {
                prop_assert_eq!(before == after, !erased.contains(&number));
            }
            let found = whole.push(now).map_err(|damage| damage.kind);
            if erased.is_empty() {
                prop_assert_eq!(found, Ok(original.record.clone()));
            } else {
                prop_assert_eq!(found, Err(DamageKind::Erased { items: erased.len() }));
            }
        }
        prop_assert_eq!(verifier.head().map(|head| head.chain), original.last().map(|record| record.chain));
    }
}
