//! Which answers are outdated, as far as the policy feed tells.
//!
//! Answers take time, and what they say may have changed on their way: a key revoked while it was
//! validated must not come back to life. So every answer has a [`Stamp`], every change leaves a mark, and
//! an answer from before a mark about its key or its tenant is outdated. What is asked is always "is this
//! answer outdated now", at the use of an answer as at its arrival; nothing has to be evicted in time.
//!
//! Before and after are told by the feed's positions where the answer has one, and otherwise by whether
//! the question was put before the change was learned of.

use std::collections::{HashMap, VecDeque};
use std::sync::{PoisonError, RwLock};

use uuid::Uuid;
use vectorizer_access::KeyHash;
use vectorizer_log::TenantId;

use crate::models::{PolicyChange, PolicyCursor, PolicyEvent, Refusal};

/// How many marks are remembered. What is older than the oldest of them is outdated altogether.
const MARKS_MAX: usize = 50_000;

/// When an answer was made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stamp {
    /// What [`PolicyMemory::generation`] was when the question was put.
    pub(super) asked_at: u64,
    /// What the answer says itself.
    pub(super) cursor: Option<PolicyCursor>,
}

/// What an answer is worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Freshness {
    /// Nothing newer is known.
    Current,
    /// Something newer is: this.
    Refused(Refusal),
    /// Something newer is, but not what the answer would be today.
    Outdated,
}

pub(super) struct PolicyMemory {
    marks_max: usize,
    state: RwLock<State>,
}

#[derive(Default)]
struct State {
    /// Grows with all that is learned.
    generation: u64,
    /// The feed whose positions mean something.
    feed: Option<Uuid>,
    /// Everything before this is outdated.
    floor: Moment,
    /// When a deletion was taken back last. An answer that refuses a key names no tenant.
    undeleted: Moment,
    keys: HashMap<KeyHash, Mark>,
    tenants: HashMap<TenantId, Mark>,
    /// Every mark ever made, oldest first, among them some that a later one has replaced.
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

/// What a change says about its subject.
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

    /// For the stamp of an answer whose question is put now.
    pub(super) fn generation(&self) -> u64 {
        self.read(|state| state.generation)
    }

    /// Whether the key of this hash is known to be revoked, for good.
    pub(super) fn is_revoked(&self, key: &KeyHash) -> bool {
        self.read(|state| state.keys.get(key).is_some_and(|mark| matches!(mark.word, Word::Revoked)))
    }

    /// What an answer of this stamp about this key is worth; its tenant is known if the answer names it.
    pub(super) fn freshness(&self, key: &KeyHash, tenant: Option<&TenantId>, stamp: Stamp) -> Freshness {
        self.read(|state| state.freshness(key, tenant, stamp))
    }

    /// Whether a deletion was taken back since an answer of this stamp, which refuses a key because its tenant was
    /// deleted.
    pub(super) fn has_undeleted_since(&self, stamp: Stamp) -> bool {
        self.read(|state| state.outdates(state.undeleted, stamp))
    }

    /// Takes note of an event of `feed`.
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
            // Nobody knows whose rights it took.
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

    /// Forgets everything, and outdates every answer of before; with a cursor, those of before it.
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
        // For good, and therefore whatever an answer says.
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
        // A later mark of the same subject has an entry of its own.
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
