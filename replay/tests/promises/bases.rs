//! A base and the records after it give the state of the whole log: the digest, the counters, the bill and the answers.

use proptest::prelude::*;
use vectorizer_log::{BaseItem, ChainHash, Head};
use vectorizer_replay::{BaseError, BaseFold, Bill, BillEntry, Projection, Projector as _};

use crate::history::{fold, history, log_id};

fn items(projection: &Projection) -> Vec<BaseItem> {
    let head = Head { seq: projection.applied(), chain: ChainHash::from_bytes([9; 32]) };
    let mut items = Vec::new();
    let frozen = projection.freeze(head, 0);
    frozen
        .each_item(|item| {
            items.push(item);
            Ok(())
        })
        .unwrap();
    items
}

fn restored(projection: &Projection) -> Projection {
    let mut base = BaseFold::default();
    for item in items(projection) {
        base.push(item).unwrap();
    }
    base.finish(log_id(), projection.applied()).unwrap()
}

fn entries(bill: &mut Bill, records: &[vectorizer_log::Record]) -> Vec<BillEntry> {
    records.iter().flat_map(|record| bill.push(record, None).unwrap()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn a_base_and_the_records_after_it_give_the_state_of_the_whole_log(
        records in history(),
        cut in any::<prop::sample::Index>(),
    ) {
        let done = cut.index(records.len() + 1);
        let before = fold(&records[..done]);
        let mut restored = restored(&before);
        prop_assert_eq!(restored.digest(), before.digest());
        prop_assert_eq!((restored.applied(), restored.data_seq()), (before.applied(), before.data_seq()));
        prop_assert_eq!(restored.usage(), before.usage());
        prop_assert_eq!(restored.billing(), before.billing());
        let mut live = before;
        for record in &records[done..] {
            prop_assert_eq!(restored.apply(record).unwrap(), live.apply(record).unwrap());
        }
        prop_assert_eq!(restored.digest(), live.digest());
        prop_assert_eq!(restored.billing(), live.billing());
    }

    /// A base of a restored projection: nothing is lost when history is dropped again and again.
    #[test]
    fn a_base_of_a_restored_projection_has_the_same_items(records in history()) {
        let projection = fold(&records);
        prop_assert_eq!(items(&restored(&projection)), items(&projection));
    }

    /// Closes after the base are recomputed to the unit: the base has the open window.
    #[test]
    fn the_bill_after_a_base_is_the_bill_of_the_whole_log(
        records in history(),
        cut in any::<prop::sample::Index>(),
    ) {
        let done = cut.index(records.len() + 1);
        let mut whole = Bill::new(log_id());
        entries(&mut whole, &records[..done]);
        let mut after = Bill::of_beginning(restored(&fold(&records[..done])));
        let (whole, after) = (entries(&mut whole, &records[done..]), entries(&mut after, &records[done..]));
        let known = |entry: &&BillEntry| !matches!(entry, BillEntry::Discrepancy(_));
        prop_assert_eq!(
            whole.iter().filter(known).collect::<Vec<_>>(),
            after.iter().filter(known).collect::<Vec<_>>()
        );
    }
}

#[test]
fn items_in_another_order_are_refused() {
    let projection = fold(&[]);
    let [state] = items(&projection).try_into().unwrap();
    let mut without_state = BaseFold::default();
    let point = vectorizer_log::Document {
        id: vectorizer_log::PointId::text("a").unwrap(),
        vector: None,
        payload: None,
        text: None,
    };
    assert!(matches!(without_state.push(BaseItem::Point(point.clone())), Err(BaseError::OutOfOrder)));
    let mut without_collection = BaseFold::default();
    without_collection.push(state).unwrap();
    without_collection.push(BaseItem::Point(point)).unwrap();
    let finished = without_collection.finish(log_id(), projection.applied());
    assert!(matches!(finished, Err(BaseError::OutOfOrder)));
}
