//! Selection: from a filter to its candidates.

use std::collections::{HashMap, HashSet};

use roaring::RoaringBitmap;

use super::Postings;
use super::candidates::{Candidates, Union};
use super::field::Field;
use super::posting::Posting;
use super::text_key::TextKey;
use super::work_budget::{LOOK_UP, LOOK_UP_ID, WorkBudget};
use crate::filter::{Condition, Filter, Key, Range, Values};

/// The evaluation of a filter by postings. Everywhere, `None` means that any point may match.
struct Selecting<'a> {
    postings: &'a Postings,
    /// Returns the slot of the point with this id.
    slot_of: &'a dyn Fn(&str) -> Option<u32>,
    budget: &'a mut WorkBudget,
}

impl Postings {
    /// The candidates of `filter`; `None` if any point may match.
    pub(in super::super) fn select(
        &self,
        filter: &Filter,
        slot_of: &dyn Fn(&str) -> Option<u32>,
        budget: &mut WorkBudget,
    ) -> Option<Candidates> {
        Selecting { postings: self, slot_of, budget }.filter(filter)
    }
}

impl Selecting<'_> {
    fn filter(&mut self, filter: &Filter) -> Option<Candidates> {
        let mut intersection = Intersection { slots: None, exact: true };
        for condition in &filter.must {
            let found = self.condition(condition);
            self.intersect(&mut intersection, found);
            if intersection.is_empty() {
                break;
            }
        }
        if !filter.should.is_empty() && !intersection.is_empty() {
            let found = self.any_of(&filter.should);
            self.intersect(&mut intersection, found);
        }
        for condition in &filter.must_not {
            if intersection.is_empty() {
                break;
            }
            let found = self.condition(condition);
            self.subtract(&mut intersection, found);
        }
        let Intersection { slots, exact } = intersection;
        match slots {
            Some(slots) => Some(Candidates { exact: exact || slots.is_empty(), slots }),
            None if exact => {
                self.budget.spend_on_bits(self.postings.points.max())?;
                Some(Candidates::exactly(RoaringBitmap::clone(&self.postings.points)))
            }
            None => None,
        }
    }

    fn intersect(&mut self, intersection: &mut Intersection, found: Option<Candidates>) {
        let affordable = self.budget.spend_on_bits(self.postings.points.max());
        match (found, affordable) {
            (Some(found), Some(())) => {
                intersection.exact &= found.exact;
                match &mut intersection.slots {
                    Some(slots) => *slots &= found.slots,
                    None => intersection.slots = Some(found.slots),
                }
            }
            _ => intersection.exact = false,
        }
    }

    fn subtract(&mut self, intersection: &mut Intersection, found: Option<Candidates>) {
        let affordable = self.budget.spend_on_bits(self.postings.points.max());
        match (found, affordable) {
            // Slots that only may match cannot be removed.
            (Some(Candidates { slots: found, exact: true }), Some(())) => {
                *intersection.slots.get_or_insert_with(|| RoaringBitmap::clone(&self.postings.points)) -=
                    found;
            }
            _ => intersection.exact = false,
        }
    }

    fn any_of(&mut self, conditions: &[Condition]) -> Option<Candidates> {
        let mut union = Candidates::union();
        for condition in conditions {
            let found = self.condition(condition)?;
            self.budget.spend_on_bits(found.slots.max())?;
            union.add_candidates(found);
        }
        Some(union.finish())
    }

    fn condition(&mut self, condition: &Condition) -> Option<Candidates> {
        if !condition.key().is_some_and(Key::has_element) {
            return self.condition_on_all(condition);
        }
        // The postings do not tell which element a value is of.
        if matches!(condition, Condition::IsEmpty(_)) {
            return None;
        }
        let found = self.condition_on_all(condition)?;
        Some(Candidates { exact: found.slots.is_empty(), ..found })
    }

    /// The candidates of a condition, as if it were on all elements of an array.
    fn condition_on_all(&mut self, condition: &Condition) -> Option<Candidates> {
        match condition {
            Condition::Any(key, values) => {
                self.on_field(key, |field, union, budget| any(field, values, union, budget))
            }
            Condition::Except(key, values) => {
                self.on_field(key, |field, union, budget| except(field, values, union, budget))
            }
            Condition::Range(key, range) => {
                self.on_field(key, |field, union, budget| within(field, range, union, budget))
            }
            Condition::IsEmpty(key) => {
                let field = self.postings.field(key)?;
                self.budget.spend_on_bits(self.postings.points.max())?;
                Some(Candidates::exactly(&*self.postings.points - field.content()))
            }
            Condition::IsNull(key) => {
                let field = self.postings.field(key)?;
                let mut union = Candidates::union();
                union.add_bitmap(&field.nulls, self.budget)?;
                Some(union.finish())
            }
            Condition::HasId(ids) => self.ids(ids),
            Condition::Nested(filter) => self.filter(filter),
        }
    }

    fn ids(&mut self, ids: &HashSet<Box<str>>) -> Option<Candidates> {
        self.budget.spend(ids.len() * LOOK_UP_ID)?;
        let mut union = Candidates::union();
        for slot in ids.iter().filter_map(|id| (self.slot_of)(id)) {
            union.add_slot(slot);
        }
        Some(union.finish())
    }

    /// The slots that `gather` collects from the field. If that exceeds the budget, all slots with content there.
    fn on_field(
        &mut self,
        key: &Key,
        gather: impl FnOnce(&Field, &mut Union, &mut WorkBudget) -> Option<()>,
    ) -> Option<Candidates> {
        let field = self.postings.field(key)?;
        let mut union = Candidates::union();
        let gathered = self.budget.with_half(|budget| gather(field, &mut union, budget));
        if gathered.is_none() {
            union = Candidates::union();
            union.add_inexact(&field.content(), self.budget)?;
        }
        Some(union.finish())
    }
}

/// The points that are left.
struct Intersection {
    /// `None` for all points.
    slots: Option<RoaringBitmap>,
    exact: bool,
}

impl Intersection {
    fn is_empty(&self) -> bool {
        self.slots.as_ref().is_some_and(RoaringBitmap::is_empty)
    }
}

/// The postings of those values that the field has.
fn postings<'a>(field: &'a Field, values: &'a Values) -> impl Iterator<Item = &'a Posting> {
    let texts = values.texts.iter().filter_map(|text| field.texts.get(&TextKey::of(text)));
    texts.chain(values.numbers.iter().filter_map(|number| field.numbers.get(number)))
}

fn booleans<'a>(field: &'a Field, values: &'a Values) -> impl Iterator<Item = &'a RoaringBitmap> {
    values.booleans.iter().map(|boolean| if *boolean { &*field.trues } else { &*field.falses })
}

fn any(field: &Field, values: &Values, union: &mut Union, budget: &mut WorkBudget) -> Option<()> {
    budget.spend(values.len() * LOOK_UP)?;
    for posting in postings(field, values) {
        union.add_posting(posting, budget)?;
    }
    for slots in booleans(field, values) {
        union.add_bitmap(slots, budget)?;
    }
    Some(())
}

/// Adds all slots with a value, except those whose every value is excluded.
fn except(field: &Field, values: &Values, union: &mut Union, budget: &mut WorkBudget) -> Option<()> {
    let mut excluded = Candidates::union();
    any(field, values, &mut excluded, budget)?;
    let excluded = excluded.finish().slots;
    budget.spend_on_bits(field.valued.max())?;
    union.add_bitmap(&(&*field.valued - &excluded), budget)?;
    union.add_bitmap(&field.incomparable, budget)?;
    let multi_valued = excluded & &*field.multi_valued;
    if multi_valued.is_empty() {
        return Some(());
    }
    let mut left = HashMap::new();
    for posting in postings(field, values) {
        let visited = left.len();
        posting.each_among(&multi_valued, &mut |slot| {
            *left.entry(slot).or_insert_with(|| field.values_of(slot)) -= 1;
        });
        budget.spend(1 + left.len() - visited)?;
    }
    for slots in booleans(field, values) {
        budget.spend_on_bits(slots.max())?;
        for slot in slots & &multi_valued {
            *left.entry(slot).or_insert_with(|| field.values_of(slot)) -= 1;
        }
    }
    budget.spend(left.len())?;
    for (slot, left) in left {
        if left > 0 {
            union.add_slot(slot);
        }
    }
    Some(())
}

fn within(field: &Field, range: &Range, union: &mut Union, budget: &mut WorkBudget) -> Option<()> {
    field.numbers.within(range, union, budget)
}
