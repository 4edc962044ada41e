//! Selection: from a filter to its candidates.

use std::collections::{HashMap, HashSet};

use roaring::RoaringBitmap;

use super::Postings;
use super::allowance::{Allowance, LOOK_UP, LOOK_UP_ID};
use super::candidates::{Candidates, Union};
use super::field::Field;
use super::posting::Posting;
use super::text_key::TextKey;
use crate::filter::{Condition, Filter, Key, Range, Values};

/// The evaluation of a filter by postings. Everywhere, `None` means that any point may match.
struct Selecting<'a> {
    postings: &'a Postings,
    /// Returns the slot of the point with this id.
    slot_of: &'a dyn Fn(&str) -> Option<u32>,
    allowance: &'a mut Allowance,
}

impl Postings {
    /// The candidates of `filter`; `None` if any point may match.
    pub(in super::super) fn select(
        &self,
        filter: &Filter,
        slot_of: &dyn Fn(&str) -> Option<u32>,
        allowance: &mut Allowance,
    ) -> Option<Candidates> {
        Selecting { postings: self, slot_of, allowance }.filter(filter)
    }
}

impl Selecting<'_> {
    fn filter(&mut self, filter: &Filter) -> Option<Candidates> {
        let mut narrowed = Narrowed { slots: None, exact: true };
        for condition in &filter.must {
            let found = self.condition(condition);
            self.narrow(&mut narrowed, found);
            if narrowed.is_empty() {
                break;
            }
        }
        if !filter.should.is_empty() && !narrowed.is_empty() {
            let found = self.any_of(&filter.should);
            self.narrow(&mut narrowed, found);
        }
        for condition in &filter.must_not {
            if narrowed.is_empty() {
                break;
            }
            let found = self.condition(condition);
            self.take_off(&mut narrowed, found);
        }
        let Narrowed { slots, exact } = narrowed;
        match slots {
            Some(slots) => Some(Candidates { exact: exact || slots.is_empty(), slots }),
            None if exact => {
                self.allowance.spend_on_bits(self.postings.points.max())?;
                Some(Candidates::exactly(RoaringBitmap::clone(&self.postings.points)))
            }
            None => None,
        }
    }

    fn narrow(&mut self, narrowed: &mut Narrowed, found: Option<Candidates>) {
        let affordable = self.allowance.spend_on_bits(self.postings.points.max());
        match (found, affordable) {
            (Some(found), Some(())) => {
                narrowed.exact &= found.exact;
                match &mut narrowed.slots {
                    Some(slots) => *slots &= found.slots,
                    None => narrowed.slots = Some(found.slots),
                }
            }
            _ => narrowed.exact = false,
        }
    }

    fn take_off(&mut self, narrowed: &mut Narrowed, found: Option<Candidates>) {
        let affordable = self.allowance.spend_on_bits(self.postings.points.max());
        match (found, affordable) {
            // Slots that only may match cannot be removed.
            (Some(Candidates { slots: found, exact: true }), Some(())) => {
                *narrowed.slots.get_or_insert_with(|| RoaringBitmap::clone(&self.postings.points)) -= found;
            }
            _ => narrowed.exact = false,
        }
    }

    fn any_of(&mut self, conditions: &[Condition]) -> Option<Candidates> {
        let mut union = Candidates::union();
        for condition in conditions {
            let found = self.condition(condition)?;
            self.allowance.spend_on_bits(found.slots.max())?;
            union.with(found);
        }
        Some(union.made())
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
                self.at(key, |field, union, allowance| any(field, values, union, allowance))
            }
            Condition::Except(key, values) => {
                self.at(key, |field, union, allowance| except(field, values, union, allowance))
            }
            Condition::Range(key, range) => {
                self.at(key, |field, union, allowance| within(field, range, union, allowance))
            }
            Condition::IsEmpty(key) => {
                let field = self.postings.field(key)?;
                self.allowance.spend_on_bits(self.postings.points.max())?;
                Some(Candidates::exactly(&*self.postings.points - field.content()))
            }
            Condition::IsNull(key) => {
                let field = self.postings.field(key)?;
                let mut union = Candidates::union();
                union.all(&field.nulls, self.allowance)?;
                Some(union.made())
            }
            Condition::HasId(ids) => self.ids(ids),
            Condition::Nested(filter) => self.filter(filter),
        }
    }

    fn ids(&mut self, ids: &HashSet<Box<str>>) -> Option<Candidates> {
        self.allowance.spend(ids.len() * LOOK_UP_ID)?;
        let mut union = Candidates::union();
        for slot in ids.iter().filter_map(|id| (self.slot_of)(id)) {
            union.slot(slot);
        }
        Some(union.made())
    }

    /// The slots that `gather` collects from the field. If that exceeds the budget, all slots with content there.
    fn at(
        &mut self,
        key: &Key,
        gather: impl FnOnce(&Field, &mut Union, &mut Allowance) -> Option<()>,
    ) -> Option<Candidates> {
        let field = self.postings.field(key)?;
        let mut union = Candidates::union();
        let gathered = self.allowance.halved(|allowance| gather(field, &mut union, allowance));
        if gathered.is_none() {
            union = Candidates::union();
            union.perhaps(&field.content(), self.allowance)?;
        }
        Some(union.made())
    }
}

/// The points that are left.
struct Narrowed {
    /// `None` for all points.
    slots: Option<RoaringBitmap>,
    exact: bool,
}

impl Narrowed {
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

fn any(field: &Field, values: &Values, union: &mut Union, allowance: &mut Allowance) -> Option<()> {
    allowance.spend(values.len() * LOOK_UP)?;
    for posting in postings(field, values) {
        union.posting(posting, allowance)?;
    }
    for slots in booleans(field, values) {
        union.all(slots, allowance)?;
    }
    Some(())
}

/// Adds all slots with a value, except those whose every value is excluded.
fn except(field: &Field, values: &Values, union: &mut Union, allowance: &mut Allowance) -> Option<()> {
    let mut excluded = Candidates::union();
    any(field, values, &mut excluded, allowance)?;
    let excluded = excluded.made().slots;
    allowance.spend_on_bits(field.valued.max())?;
    union.all(&(&*field.valued - &excluded), allowance)?;
    union.all(&field.incomparable, allowance)?;
    let several = excluded & &*field.several;
    if several.is_empty() {
        return Some(());
    }
    let mut left = HashMap::new();
    for posting in postings(field, values) {
        let visited = left.len();
        posting.each_among(&several, &mut |slot| {
            *left.entry(slot).or_insert_with(|| field.values_of(slot)) -= 1;
        });
        allowance.spend(1 + left.len() - visited)?;
    }
    for slots in booleans(field, values) {
        allowance.spend_on_bits(slots.max())?;
        for slot in slots & &several {
            *left.entry(slot).or_insert_with(|| field.values_of(slot)) -= 1;
        }
    }
    allowance.spend(left.len())?;
    for (slot, left) in left {
        if left > 0 {
            union.slot(slot);
        }
    }
    Some(())
}

fn within(field: &Field, range: &Range, union: &mut Union, allowance: &mut Allowance) -> Option<()> {
    field.numbers.within(range, union, allowance)
}
