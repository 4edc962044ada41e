#![expect(clippy::float_cmp, reason = "numbers are stored, not computed")]

use super::*;

fn slots(dimension: u32, metric: Metric) -> Slots {
    Slots::new(dimension as usize, metric)
}

fn push(slots: &mut Slots, number: usize) -> Slot {
    let mut vector = vec![0.5; slots.dimension()];
    vector[0] = f32::from(u16::try_from(number).unwrap());
    slots.push(&vector, &PointId::text(number.to_string()).unwrap(), None, None)
}

#[test]
fn blocks_hold_about_as_many_bytes_whatever_the_dimension() {
    for dimension in [1, 3, 127, 128, 129, 768, 4_096, 16_384] {
        let block_len = slots(dimension, Metric::Dot).block_len;
        assert!((BLOCK_SLOTS_MIN..=BLOCK_SLOTS_MAX).contains(&block_len));
        assert!(block_len * dimension as usize <= BLOCK_NUMBERS.max(BLOCK_SLOTS_MIN * dimension as usize));
    }
}

#[test]
fn a_full_block_has_no_room_to_spare() {
    let mut slots = slots(700, Metric::Dot);
    for number in 0..=slots.block_len {
        push(&mut slots, number);
    }
    assert_eq!(slots.blocks().len(), 2);
    assert_eq!(slots.blocks()[0].vectors.capacity(), slots.block_len * 700);
    assert_eq!(slots.blocks()[1].vectors.capacity(), 700);
    let Block { ids, live, .. } = &*slots.blocks()[0];
    assert_eq!(ids.all.capacity(), ids.all.len());
    assert_eq!((ids.ends.capacity(), live.capacity()), (slots.block_len, slots.block_len));
}

#[test]
fn a_writer_copies_only_shared_blocks_that_it_changes() {
    let mut slots = slots(256, Metric::Cosine);
    let placed: Vec<Slot> = (0..1_200).map(|number| push(&mut slots, number)).collect();
    let reader = slots.clone();

    slots.delete(placed[0]);
    let shared = |slots: &Slots, block: usize| Arc::ptr_eq(&slots.blocks()[block], &reader.blocks()[block]);
    assert!(!shared(&slots, 0) && shared(&slots, 1) && shared(&slots, 2));
    assert!(Arc::ptr_eq(&slots.blocks()[0].vectors, &reader.blocks()[0].vectors));
    assert!(Arc::ptr_eq(&slots.blocks()[0].ids, &reader.blocks()[0].ids));
    assert!(reader.point(placed[0]).is_some() && slots.point(placed[0]).is_none());

    let before = Arc::as_ptr(&slots.blocks()[0]);
    slots.delete(placed[1]);
    assert_eq!(Arc::as_ptr(&slots.blocks()[0]), before, "copied again although no reader holds the copy");
}

#[test]
fn the_memory_of_slots_is_counted_as_they_change() {
    let counted = |slots: &Slots| slots.blocks().iter().map(|block| block.memory_bytes()).sum::<usize>();
    let payload =
        |number: usize| Payload::new(format!("{{\"n\": \"{}\"}}", "x".repeat(number % 90))).unwrap();
    let mut slots = slots(200, Metric::Cosine);
    let mut reader = slots.clone();
    for number in 0..2_000 {
        let slot = push(&mut slots, number);
        slots.set_payload(slot, Some(payload(number)));
        if number % 3 == 0 {
            slots.delete(Slot::of(number / 2));
        }
        // A copied block may have another capacity than before.
        if number % 50 == 0 {
            reader = slots.clone();
        }
        assert_eq!(slots.blocks_bytes, counted(&slots));
    }
    let with = slots.memory_bytes();
    for number in 0..2_000 {
        slots.delete(Slot::of(number));
    }
    assert_eq!(slots.blocks_bytes, counted(&slots));
    assert!(slots.memory_bytes() + 1_000 * 50 < with, "{} {with}", slots.memory_bytes());
    assert!(slots.blocks().iter().all(|block| block.held_bytes == 0));
    let (compacted, _) = reader.compacted(&|| false).unwrap();
    assert_eq!(compacted.blocks_bytes, counted(&compacted));
}

#[test]
fn a_compaction_keeps_every_point_and_nothing_else() {
    for metric in [Metric::Cosine, Metric::Dot, Metric::Euclidean] {
        let mut slots = slots(200, metric);
        let placed: Vec<Slot> = (0..2_500).map(|number| push(&mut slots, number)).collect();
        let (kept, gone): (Vec<usize>, Vec<usize>) = (0..placed.len()).partition(|number| number % 3 == 0);
        let reader = slots.clone();
        for number in gone {
            slots.delete(placed[number]);
        }
        assert!(slots.needs_compaction());

        let (compacted, moved) = slots.compacted(&|| false).unwrap();
        slots = compacted;
        assert!(!slots.needs_compaction());
        assert_eq!((slots.live(), slots.deleted), (kept.len(), 0));
        assert_eq!(slots.blocks().len(), kept.len().div_ceil(slots.block_len));
        for number in kept {
            let slot = moved.of(placed[number]);
            let (point, before) =
                (slots.point(slot).unwrap().stored(), reader.point(placed[number]).unwrap().stored());
            assert_eq!((point.id(), point.vector()), (before.id(), before.vector()));
            let (block, offset) = slots.place(slot);
            if metric == Metric::Cosine {
                let expected = inverse_norm(point.vector()).to_bits();
                assert_eq!(slots.blocks()[block].inverse_norm(offset).to_bits(), expected);
            }
        }
        assert_eq!(reader.live(), 2_500);
    }
}

#[test]
fn replacing_the_same_points_for_ever_does_not_grow() {
    let mut slots = slots(4, Metric::Dot);
    let mut current = push(&mut slots, 0);
    for number in 1..10_000 {
        let replacement = push(&mut slots, number);
        slots.delete(current);
        current = replacement;
        if slots.needs_compaction() {
            let (compacted, moved) = slots.compacted(&|| false).unwrap();
            (slots, current) = (compacted, moved.of(current));
        }
        assert!(slots.live + slots.deleted <= COMPACTION_DELETED_MIN + 1);
    }
    assert_eq!(slots.point(current).unwrap().stored().vector()[0], 9_999.0);
}
