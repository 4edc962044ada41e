//! Which answers are outdated by policy events.
//!
//! An answer may be outdated when it arrives: a key that is revoked during its validation must not become valid
//! again. So each answer has a [`Stamp`], each change leaves a mark, and an answer from before a mark of its key or
//! its tenant is outdated. This is checked when an answer arrives and whenever it is used, so no entry has to be
//! evicted in time.
//!
//! The order of an answer and a change is that of their positions in the feed. For an answer without a position, it
//! is that of the call's start and the arrival of the change.

use std::collections::{HashMap, VecDeque};
use std::sync::{PoisonError, RwLock};

use uuid::Uuid;
use vectorizer_access::KeyHash;
use vectorizer_log::TenantId;

use crate::models::{PolicyChange, PolicyCursor, PolicyEvent, Refusal};

/// How many marks are stored. Answers from before the oldest one are outdated.
const MARKS_MAX: usize = 50_000;

/// The moment of an answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stamp {
    /// [`PolicyMemory::generation`] at the start of the call.
    pub(super) asked_at: u64,
    /// The position in the answer, if it has one.
    pub(super) cursor: Option<PolicyCursor>,
}

/// Whether an answer is outdated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Freshness {
    /// No later change is known.
    Current,
    /// A later change refuses the key.
    Refused(Refusal),
    /// There is a later change, and its effect on the answer is not known.
    Outdated,
}

pub(super) struct PolicyMemory {
    marks_max: usize,
    state: RwLock<State>,
}

#[derive(Default)]
struct State {
    /// Grows with each change.
    generation: u64,
    /// The feed that positions refer to.
    feed: Option<Uuid>,
    /// All answers from before this are outdated.
    floor: Moment,
    /// When the last deletion was undone. It is stored for all tenants together, since a refusal names no tenant.
    undeleted: Moment,
    keys: HashMap<KeyHash, Mark>,
    tenants: HashMap<TenantId, Mark>,
    /// All marks, oldest first, including those that a later one has replaced.
    order: VecDeque<(Subject, Moment)>,
}

/// When something changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Moment {
    position: u64,
    generation: u64,
}

#[derive(Debug)]
enum Subject {
    Key(KeyHash),
    Tenant(TenantId),
}

#[derive(Clone, Copy)]
struct Mark {
    moment: Moment,
    word: Word,
}

/// What a change means for its key or tenant.
#[derive(Clone, Copy)]
enum Word {
    Revoked,
    Suspended,
    Deleted,
    AskAgain,
}

impl Default for PolicyMemory {
    fn default() -> Self {
        Self::with_room_for(MARKS_MAX)
    }
}

impl PolicyMemory {
    fn with_room_for(marks_max: usize) -> Self {
        Self { marks_max, state: RwLock::default() }
    }

    /// The value for the stamp of a call that starts now.
    pub(super) fn generation(&self) -> u64 {
        self.read(|state| state.generation)
    }

    /// Whether the key of this hash is known to be revoked, for good.
    pub(super) fn is_revoked(&self, key: &KeyHash) -> bool {
        self.read(|state| state.keys.get(key).is_some_and(|mark| matches!(mark.word, Word::Revoked)))
    }

    /// Whether an answer of this stamp about this key is outdated. The tenant is that of the answer, if it has one.
    pub(super) fn freshness(&self, key: &KeyHash, tenant: Option<&TenantId>, stamp: Stamp) -> Freshness {
        self.read(|state| state.freshness(key, tenant, stamp))
    }

    /// Whether a deletion was undone after an answer of this stamp, which refuses a key because its tenant was
    /// deleted.
    pub(super) fn has_undeleted_since(&self, stamp: Stamp) -> bool {
        self.read(|state| state.outdates(state.undeleted, stamp))
    }

    /// Applies an event of `feed`.
    pub(super) fn apply(&self, feed: Uuid, event: &PolicyEvent) {
        let (subject, word) = match &event.change {
            PolicyChange::KeyRevoked { key_sha256, .. } => (Subject::Key(*key_sha256), Word::Revoked),
            PolicyChange::KeyChanged { key_sha256, .. } => (Subject::Key(*key_sha256), Word::AskAgain),
            PolicyChange::TenantSuspended { tenant } => (Subject::Tenant(tenant.clone()), Word::Suspended),
            PolicyChange::TenantResumed { tenant }
            | PolicyChange::TenantChanged { tenant }
            | PolicyChange::TenantUndeleted { tenant, incarnation: _ } => {
                (Subject::Tenant(tenant.clone()), Word::AskAgain)
            }
            PolicyChange::TenantDeleted { tenant, incarnation: _ } => {
                (Subject::Tenant(tenant.clone()), Word::Deleted)
            }
            PolicyChange::QuotaChanged { .. } => return,
            // The event's effect is not known.
            PolicyChange::NotUnderstood => {
                return self.restart(Some(PolicyCursor::new(feed, event.position)));
            }
        };
        self.write(|state| {
            state.generation += 1;
            let moment = Moment { position: event.position, generation: state.generation };
            let mark = Mark { moment, word };
            if matches!(event.change, PolicyChange::TenantUndeleted { .. }) {
                state.undeleted = moment;
            }
            match &subject {
                Subject::Key(key) => state.keys.insert(*key, mark),
                Subject::Tenant(tenant) => state.tenants.insert(tenant.clone(), mark),
            };
            state.order.push_back((subject, moment));
            if state.order.len() > self.marks_max {
                state.forget_the_oldest();
            }
        });
    }

    /// Forgets all marks. All answers so far are outdated, or with a cursor those from before it.
    pub(super) fn restart(&self, cursor: Option<PolicyCursor>) {
        self.write(|state| {
            let generation = state.generation + 1;
            let position = cursor.map_or(0, |cursor| cursor.position());
            *state = State {
                generation,
                feed: cursor.map(|cursor| cursor.feed()),
                floor: Moment { position, generation },
                ..State::default()
            };
        });
    }

    fn read<T>(&self, read: impl FnOnce(&State) -> T) -> T {
        read(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write(&self, write: impl FnOnce(&mut State)) {
        write(&mut self.state.write().unwrap_or_else(PoisonError::into_inner));
    }
}

impl State {
    fn freshness(&self, key: &KeyHash, tenant: Option<&TenantId>, stamp: Stamp) -> Freshness {
        let key = self.keys.get(key);
        // A revocation is final, so it overrides any answer.
        if key.is_some_and(|mark| matches!(mark.word, Word::Revoked)) {
            return Freshness::Refused(Refusal::Revoked);
        }
        if let Some(tenant) = tenant
            && let Some(mark) = self.tenants.get(tenant)
            && self.outdates(mark.moment, stamp)
        {
            match mark.word {
                Word::Suspended => return Freshness::Refused(Refusal::TenantSuspended(tenant.clone())),
                Word::Deleted => return Freshness::Refused(Refusal::TenantDeleted),
                Word::Revoked | Word::AskAgain => return Freshness::Outdated,
            }
        }
        let outdated =
            self.outdates(self.floor, stamp) || key.is_some_and(|mark| self.outdates(mark.moment, stamp));
        if outdated { Freshness::Outdated } else { Freshness::Current }
    }

    /// Whether an answer of this stamp is from before `moment`.
    fn outdates(&self, moment: Moment, stamp: Stamp) -> bool {
        match stamp.cursor.filter(|cursor| Some(cursor.feed()) == self.feed) {
            Some(cursor) => cursor.position() < moment.position,
            None => stamp.asked_at < moment.generation,
        }
    }

    fn forget_the_oldest(&mut self) {
        let Some((subject, moment)) = self.order.pop_front() else { return };
        self.floor = moment;
        // A later mark of the same subject has its own entry.
        let is_it = |mark: &Mark| mark.moment == moment;
        match subject {
            Subject::Key(key) if self.keys.get(&key).is_some_and(is_it) => drop(self.keys.remove(&key)),
            Subject::Tenant(tenant) if self.tenants.get(&tenant).is_some_and(is_it) => {
                self.tenants.remove(&tenant);
            }
            Subject::Key(_) | Subject::Tenant(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use vectorizer_log::Timestamp;

    use super::*;

    const FEED: Uuid = Uuid::from_u128(7);

    fn cursor(position: u64) -> PolicyCursor {
        PolicyCursor::new(FEED, position)
    }

    fn at(position: u64, change: PolicyChange) -> PolicyEvent {
        PolicyEvent { position, at: Timestamp::from_micros(0), change }
    }

    fn key(number: u64) -> KeyHash {
        KeyHash::of(&number.to_string())
    }

    fn changed(number: u64) -> PolicyChange {
        let key_id = "k".to_owned().try_into().unwrap();
        PolicyChange::KeyChanged { key_id, key_sha256: key(number), tenant: None }
    }

    fn stamp(asked_at: u64, position: Option<u64>) -> Stamp {
        Stamp { asked_at, cursor: position.map(cursor) }
    }

    fn started() -> PolicyMemory {
        let memory = PolicyMemory::with_room_for(3);
        memory.restart(Some(cursor(10)));
        memory
    }

    #[test]
    fn an_answer_from_before_a_change_is_outdated_and_one_from_after_it_is_not() {
        let memory = started();
        let asked_at = memory.generation();
        memory.apply(FEED, &at(12, changed(1)));
        let freshness = |position| memory.freshness(&key(1), None, stamp(asked_at, position));
        assert_eq!(freshness(Some(11)), Freshness::Outdated);
        assert_eq!(freshness(Some(12)), Freshness::Current, "whenever it was asked for");
        assert_eq!(freshness(None), Freshness::Outdated, "it may be from before the change");
        assert_eq!(memory.freshness(&key(1), None, stamp(memory.generation(), None)), Freshness::Current);
        let late = stamp(memory.generation(), Some(11));
        assert_eq!(memory.freshness(&key(1), None, late), Freshness::Outdated, "from a hub that lags behind");
        assert_eq!(memory.freshness(&key(2), None, stamp(asked_at, Some(11))), Freshness::Current);
    }

    #[test]
    fn positions_of_another_feed_mean_nothing() {
        let memory = started();
        let asked_at = memory.generation();
        memory.apply(FEED, &at(12, changed(1)));
        let foreign = Some(PolicyCursor::new(Uuid::nil(), 99));
        assert_eq!(memory.freshness(&key(1), None, Stamp { asked_at, cursor: foreign }), Freshness::Outdated);
        let asked_at = memory.generation();
        assert_eq!(memory.freshness(&key(1), None, Stamp { asked_at, cursor: foreign }), Freshness::Current);
    }

    #[test]
    fn a_restart_outdates_everything_before_it() {
        let memory = started();
        let asked_at = memory.generation();
        memory.restart(None);
        assert_eq!(memory.freshness(&key(1), None, stamp(asked_at, Some(99))), Freshness::Outdated);
        let asked_at = memory.generation();
        assert_eq!(memory.freshness(&key(1), None, stamp(asked_at, None)), Freshness::Current);
        memory.restart(Some(cursor(20)));
        assert_eq!(memory.freshness(&key(1), None, stamp(asked_at, None)), Freshness::Outdated);
        assert_eq!(memory.freshness(&key(1), None, stamp(asked_at, Some(19))), Freshness::Outdated);
        assert_eq!(memory.freshness(&key(1), None, stamp(asked_at, Some(20))), Freshness::Current);
    }

    #[test]
    fn what_is_forgotten_outdates_all_that_may_be_older() {
        let memory = started();
        let asked_at = memory.generation();
        for number in 1..=4 {
            memory.apply(FEED, &at(10 + number, changed(number)));
        }
        for position in [Some(10), None] {
            assert_eq!(memory.freshness(&key(9), None, stamp(asked_at, position)), Freshness::Outdated);
        }
        assert_eq!(memory.freshness(&key(1), None, stamp(asked_at, Some(11))), Freshness::Current);
        assert_eq!(memory.freshness(&key(4), None, stamp(asked_at, Some(13))), Freshness::Outdated);
        let state = memory.state.read().unwrap();
        assert_eq!((state.keys.len(), state.order.len()), (3, 3));
    }

    #[test]
    fn a_subject_that_changes_often_is_remembered_by_its_last_change() {
        let memory = started();
        for position in 11..=30 {
            memory.apply(FEED, &at(position, changed(1)));
        }
        assert_eq!(memory.freshness(&key(1), None, stamp(0, Some(29))), Freshness::Outdated);
        assert_eq!(memory.freshness(&key(1), None, stamp(0, Some(30))), Freshness::Current);
        assert_eq!(memory.state.read().unwrap().keys.len(), 1);
    }
}
