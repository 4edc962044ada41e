//! What the cache promises where it learns of changes.

use tokio::task::JoinHandle;
use vectorizer_access::{KeyHash, KeyId};
use vectorizer_log::{TenantId, Timestamp};

use super::LookupError;
use super::tests::{Answer, Bench, FEED, acme, cursor, refused, suspended, unavailable};
use crate::models::{PolicyChange, PolicyEvent, Refusal};

fn revoked(key: &str) -> PolicyChange {
    let key_id = KeyId::try_from("k1".to_owned()).unwrap();
    PolicyChange::KeyRevoked { key_id, key_sha256: KeyHash::of(key), tenant: Some(acme()) }
}

fn changed(key: &str) -> PolicyChange {
    let key_id = KeyId::try_from("k1".to_owned()).unwrap();
    PolicyChange::KeyChanged { key_id, key_sha256: KeyHash::of(key), tenant: Some(acme()) }
}

impl Bench {
    /// The feed is followed, and is here.
    fn follows(self, position: u64) -> Self {
        self.cache.restart(Some(cursor(position)));
        self.hub_is_at(position);
        self
    }

    fn hub_is_at(&self, position: u64) {
        *self.hub.position.lock().unwrap() = Some(position);
    }

    fn learns(&self, position: u64, change: PolicyChange) {
        let at = Timestamp::from_micros(0);
        self.cache.apply(FEED, &PolicyEvent { position, at, change });
    }

    async fn lookup_under_way(&self) -> JoinHandle<Result<(), LookupError>> {
        let cache = self.cache.clone();
        let lookup = tokio::spawn(async move { cache.lookup(&KeyHash::of("a key")).await.map(drop) });
        self.settle().await;
        lookup
    }
}

#[tokio::test]
async fn a_key_revoked_while_it_is_validated_stays_revoked() {
    for position in [Some(10), None] {
        let bench = Bench::new(Answer::Yes).follows(10);
        *bench.hub.position.lock().unwrap() = position;
        let closed = bench.close().await;
        let lookup = bench.lookup_under_way().await;
        bench.learns(11, revoked("a key"));
        drop(closed);
        assert_eq!(lookup.await.unwrap(), refused(Refusal::Revoked), "{position:?}");
        assert_eq!(bench.lookup().await, refused(Refusal::Revoked));
        assert_eq!(bench.calls(), 1);
    }
}

#[tokio::test]
async fn a_revoked_key_is_refused_at_once_and_stays_so_while_hivehub_is_down() {
    let bench = Bench::new(Answer::Yes).follows(10);
    bench.lookup().await.unwrap();
    bench.learns(11, revoked("a key"));
    bench.hub_says(Answer::Down);
    for _ in 0..20 {
        assert_eq!(bench.lookup().await, refused(Refusal::Revoked));
        bench.clock.pass(20);
    }
    assert_eq!(bench.calls(), 1);
}

#[tokio::test]
async fn a_key_that_changed_is_asked_about_anew() {
    let bench = Bench::new(Answer::Yes).follows(10);
    bench.lookup().await.unwrap();
    bench.learns(11, changed("another key"));
    bench.lookup().await.unwrap();
    assert_eq!(bench.calls(), 1, "another key's change is nothing to this one");
    bench.learns(12, changed("a key"));
    bench.hub_is_at(12);
    bench.hub_says(Answer::YesUntil(Timestamp::from_micros(5_000_000)));
    assert_eq!(bench.lookup().await, Ok(()));
    assert_eq!(bench.calls(), 2);
    bench.hub_says(Answer::Down);
    bench.clock.pass(5);
    assert_eq!(bench.lookup().await, unavailable(1), "the expiry was learned");
}

#[tokio::test]
async fn an_answer_that_is_outdated_when_it_arrives_is_asked_for_again() {
    for (before, after, expected) in [
        (Answer::Yes, Answer::Yes, Ok(())),
        (Answer::No, Answer::Yes, Ok(())),
        (Answer::Yes, Answer::No, refused(Refusal::Revoked)),
    ] {
        let bench = Bench::new(before).follows(10);
        let closed = bench.close().await;
        let lookup = bench.lookup_under_way().await;
        bench.learns(11, changed("a key"));
        drop(closed);
        // One of the questions that follow finds what was learned of.
        for _ in 0..1000 {
            if bench.calls() > 1 {
                break;
            }
            tokio::task::yield_now().await;
        }
        bench.hub_says(after);
        bench.hub_is_at(11);
        assert_eq!(lookup.await.unwrap(), expected);
    }
}

#[tokio::test]
async fn a_hub_that_lags_behind_its_feed_is_not_asked_without_end_nor_believed() {
    for answer in [Answer::Yes, Answer::No] {
        let bench = Bench::new(answer).follows(10);
        bench.learns(11, changed("a key"));
        assert_eq!(bench.lookup().await, unavailable(1));
        assert_eq!(bench.calls(), 4);
    }
}

#[tokio::test]
async fn an_answer_newer_than_the_event_that_comes_late_is_kept() {
    let bench = Bench::new(Answer::Yes).follows(10);
    bench.hub_is_at(12);
    bench.lookup().await.unwrap();
    bench.learns(11, PolicyChange::TenantSuspended { tenant: acme() });
    bench.learns(12, PolicyChange::TenantResumed { tenant: acme() });
    assert_eq!(bench.lookup().await, Ok(()));
    assert_eq!(bench.calls(), 1);
}

#[tokio::test]
async fn a_suspended_or_deleted_tenants_keys_are_refused_at_once() {
    for (change, reason) in [
        (PolicyChange::TenantSuspended { tenant: acme() }, suspended()),
        (PolicyChange::TenantDeleted { tenant: acme(), incarnation: None }, Refusal::TenantDeleted),
    ] {
        let bench = Bench::new(Answer::Yes).follows(10);
        bench.lookup().await.unwrap();
        let asked = bench.close().await;
        bench.clock.pass(30);
        bench.lookup().await.unwrap();
        bench.settle().await;
        bench.learns(11, change);
        bench.hub_says(Answer::Down);
        assert_eq!(bench.lookup().await, refused(reason.clone()), "without asking");
        bench.hub_says(Answer::Yes);
        drop(asked);
        bench.settle().await;
        assert_eq!(bench.lookup().await, refused(reason), "the answer under way is from before");
        bench.hub_says(Answer::Down);
        bench.clock.pass(10);
        assert_eq!(bench.lookup().await, unavailable(1), "and nothing of before comes back");
    }
}

#[tokio::test]
async fn another_tenants_keys_are_not_asked_about() {
    let bench = Bench::new(Answer::Yes).follows(10);
    bench.lookup().await.unwrap();
    let globex: TenantId = "globex".parse().unwrap();
    bench.learns(11, PolicyChange::TenantSuspended { tenant: globex.clone() });
    bench.learns(12, PolicyChange::TenantDeleted { tenant: globex, incarnation: None });
    bench.learns(13, PolicyChange::QuotaChanged { tenant: acme() });
    assert_eq!(bench.lookup().await, Ok(()));
    assert_eq!(bench.calls(), 1);
}

#[tokio::test]
async fn a_resumed_tenants_keys_work_at_once() {
    let bench = Bench::new(Answer::Suspended).follows(10);
    assert_eq!(bench.lookup().await, refused(suspended()));
    bench.learns(11, PolicyChange::TenantResumed { tenant: acme() });
    bench.hub_says(Answer::Yes);
    bench.hub_is_at(11);
    assert_eq!(bench.lookup().await, Ok(()));
    bench.learns(12, PolicyChange::TenantSuspended { tenant: acme() });
    assert_eq!(bench.lookup().await, refused(suspended()));
    bench.learns(13, PolicyChange::TenantResumed { tenant: acme() });
    bench.hub_is_at(13);
    assert_eq!(bench.lookup().await, Ok(()));
}

#[tokio::test]
async fn a_lost_cursor_empties_the_cache() {
    let bench = Bench::new(Answer::Yes).follows(10);
    bench.lookup().await.unwrap();
    bench.cache.restart(None);
    bench.lookup().await.unwrap();
    assert_eq!(bench.calls(), 2);
    bench.cache.restart(Some(cursor(20)));
    bench.hub_is_at(20);
    bench.lookup().await.unwrap();
    assert_eq!(bench.calls(), 3, "what was learned in between may be older than the new cursor");
    bench.cache.restart(None);
    bench.hub_says(Answer::Down);
    assert_eq!(bench.lookup().await, unavailable(1));
}

#[tokio::test]
async fn an_event_that_is_not_understood_empties_the_cache() {
    let bench = Bench::new(Answer::Yes).follows(10);
    bench.lookup().await.unwrap();
    bench.learns(11, PolicyChange::NotUnderstood);
    bench.hub_is_at(11);
    bench.hub_says(Answer::No);
    assert_eq!(bench.lookup().await, refused(Refusal::Revoked));
}

#[tokio::test]
async fn an_answer_under_way_when_the_cache_is_emptied_is_asked_for_again() {
    let bench = Bench::new(Answer::Yes).follows(10);
    let closed = bench.close().await;
    let lookup = bench.lookup_under_way().await;
    bench.cache.restart(None);
    drop(closed);
    assert_eq!(lookup.await.unwrap(), Ok(()));
    assert_eq!(bench.calls(), 2);
}
