//! The index by id stays sorted, whatever ids are inserted and removed in whatever order.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use vectorizer_log::{Metric, PointId};

use super::*;

/// Ids of points: short and long, with long common prefixes and with none.
fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        (0..3000_u32).prop_map(|number| number.to_string()),
        (0..3000_u32).prop_map(|number| format!("document-of-a-library-{number:06}")),
        (0..3000_u32)
            .prop_map(|number| format!("{:016x}", u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15))),
        "[ab]{1,12}",
        "[ä-ö]{1,5}",
    ]
}

#[derive(Clone, Debug)]
enum Step {
    Upsert(String),
    /// Consecutive ids.
    Run {
        from: u32,
        count: u32,
        backwards: bool,
    },
    Delete(String),
    /// All ids between two.
    DeleteRange(String, String),
    Compact,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => name().prop_map(Step::Upsert),
        4 => (0..100_000_u32, 1..1500_u32, any::<bool>())
            .prop_map(|(from, count, backwards)| Step::Run { from, count, backwards }),
        4 => name().prop_map(Step::Delete),
        1 => (name(), name()).prop_map(|(one, other)| Step::DeleteRange(one, other)),
        1 => Just(Step::Compact),
    ]
}

struct Model {
    slots: Slots,
    ids: Ids,
    expected: BTreeMap<String, Slot>,
}

impl Model {
    fn upsert(&mut self, name: &str) {
        let slot = self.slots.push(&[1.0], &PointId::text(name).unwrap(), None, None);
        let replaced = self.ids.insert(&self.slots, slot);
        assert_eq!(replaced, self.expected.insert(name.to_owned(), slot));
        if let Some(replaced) = replaced {
            self.slots.delete(replaced);
        }
    }

    fn delete(&mut self, name: &str) {
        let removed = self.ids.remove(&self.slots, name);
        assert_eq!(removed, self.expected.remove(name));
        if let Some(removed) = removed {
            self.slots.delete(removed);
        }
    }

    fn check(&self, asked: &str) {
        assert_eq!(self.ids.len(), self.expected.len());
        assert!(self.ids.beyond(&self.slots, None).eq(self.expected.values().copied()));
        assert_eq!(self.ids.get(&self.slots, asked), self.expected.get(asked).copied());
        let beyond = self.expected.iter().filter(|(name, _)| name.as_str() > asked).map(|(_, slot)| *slot);
        assert!(self.ids.beyond(&self.slots, Some(asked)).eq(beyond));
        let bytes: usize = self.ids.runs.iter().map(Run::memory_bytes).sum();
        assert_eq!(self.ids.runs_bytes, bytes, "what runs take is counted as they change");
        assert!(self.ids.runs.iter().all(|run| (1..=RUN_MAX).contains(&run.len())));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn slots_are_in_the_order_of_their_ids_whatever_was_written(
        steps in vec(step(), 1..60),
        asked in vec(name(), 1..8),
    ) {
        let slots = Slots::new(1, Metric::Dot);
        let mut model = Model { slots, ids: Ids::default(), expected: BTreeMap::new() };
        for step in steps {
            match step {
                Step::Upsert(name) => model.upsert(&name),
                Step::Run { from, count, backwards } => {
                    for number in 0..count {
                        let number = if backwards { count - number } else { number };
                        model.upsert(&format!("run-{:08}", from + number));
                    }
                }
                Step::Delete(name) => model.delete(&name),
                Step::DeleteRange(one, other) => {
                    let between = one.clone().min(other.clone())..one.max(other);
                    let names: Vec<String> =
                        model.expected.range(between).map(|(name, _)| name.clone()).collect();
                    for name in names {
                        model.delete(&name);
                    }
                }
                Step::Compact => {
                    let (slots, moved) = model.slots.compacted(&|| false).unwrap();
                    model.slots = slots;
                    model.ids.renumber(&moved);
                    model.expected.values_mut().for_each(|slot| *slot = moved.of(*slot));
                }
            }
        }
        for asked in asked {
            model.check(&asked);
        }
    }
}

#[test]
fn runs_are_more_than_half_full_in_any_order_of_insertion() {
    let orders: [&dyn Fn(u32) -> String; 4] = [
        &|number| format!("{number:06}"),
        &|number| format!("{:06}", 60_000 - number),
        &|number| number.to_string(),
        &|number| format!("{:08x}", number.wrapping_mul(0x9e37_79b1)),
    ];
    for (order, name) in orders.into_iter().enumerate() {
        let slots = Slots::new(1, Metric::Dot);
        let mut model = Model { slots, ids: Ids::default(), expected: BTreeMap::new() };
        for number in 0..60_000 {
            model.upsert(&name(number));
        }
        let runs = model.ids.runs.len();
        assert!(runs * RUN_MAX * 6 <= 60_000 * 10, "{runs} runs in order {order}");
    }
}
