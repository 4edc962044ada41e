//! What the hub remembers, and what it refuses.

use std::os::unix::fs::PermissionsExt;

use vectorizer_access::Secret;
use vectorizer_hivehub::{Extensible, PolicyChange, Reason};

use super::*;
use crate::Limit;

fn acme() -> TenantId {
    "acme".parse().unwrap()
}

fn pro() -> PlanName {
    "pro".parse().unwrap()
}

fn new_acme() -> NewTenant {
    NewTenant {
        id: acme(),
        name: "Acme".parse().unwrap(),
        plan: pro(),
        overrides: Limits::default(),
        deployment: None,
    }
}

fn reader() -> NewKey {
    NewKey { permission: Permission::ReadOnly, tenant: Some(acme()), expires_at: None }
}

fn limit(number: u64) -> Option<Limit> {
    Limit::new(number)
}

/// A hub with a plan and a tenant.
fn hub_in(folder: &Path) -> Hub {
    let hub = Hub::open(folder).unwrap();
    hub.set_plan(&pro(), Limits { vectors: limit(100), ..Limits::default() }).unwrap();
    hub.create_tenant(&new_acme()).unwrap();
    hub
}

/// What a hub would find that starts after this one was killed: the files as they are now.
fn killed(folder: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    copy
}

fn reason(answer: ValidateAnswer) -> Result<TenantStatus, Reason> {
    match answer {
        ValidateAnswer::Valid(facts) => Ok(facts.tenant.unwrap().status.known().unwrap()),
        ValidateAnswer::Refused { reason, .. } => Err(reason.known().unwrap()),
    }
}

fn events_since(hub: &Hub, since: PolicyCursor) -> Vec<PolicyChange> {
    hub.policies(since).unwrap().events.into_iter().map(|event| event.change).collect()
}

#[test]
fn what_a_hub_was_told_it_knows_after_being_killed() {
    let folder = tempfile::tempdir().unwrap();
    let hub = hub_in(folder.path());
    let start = hub.policy_cursor();
    hub.set_service_key(&Secret::new("service")).unwrap();
    let kept = hub.create_key(Environment::Live, &reader()).unwrap();
    let revoked = hub.create_key(Environment::Live, &reader()).unwrap();
    hub.revoke_key(&revoked.id()).unwrap();
    hub.set_tenant(&acme(), |tenant| tenant.overrides.collections = limit(3)).unwrap();
    hub.set_tenant_status(&acme(), TenantStatus::Suspended).unwrap();
    let next = hub.rotate_key(Environment::Live, &kept.id(), 60).unwrap();
    let known = |hub: &Hub| {
        let keys = [&kept, &revoked, &next].map(|key| hub.validate(&key.sha256()));
        (keys, hub.tenant(&acme()).unwrap(), hub.policies(start).unwrap(), hub.quota(&acme()).unwrap())
    };
    let copy = killed(folder.path());
    let again = Hub::open(copy.path()).unwrap();
    assert_eq!(known(&again), known(&hub));
    assert_eq!(hub.policies(start).unwrap().events.len(), 4);
    assert!(again.is_service_key("service") && !again.is_service_key("servicf"));
    assert_eq!(again.quota(&acme()).unwrap().numbers.collections, Some(3));
}

#[test]
fn a_journal_that_begins_again_loses_nothing_wherever_it_is_cut_short() {
    let folder = tempfile::tempdir().unwrap();
    let hub = hub_in(folder.path());
    let key = hub.create_key(Environment::Live, &reader()).unwrap();
    let start = hub.policy_cursor();
    let before = killed(folder.path());
    hub.shared.journal.lock().unwrap().bytes_max = 0;
    hub.set_tenant_status(&acme(), TenantStatus::Suspended).unwrap();
    assert_eq!(hub.shared.journal.lock().unwrap().journal.bytes(), 0);
    hub.revoke_key(&key.id()).unwrap();
    let seen = hub.policies(start).unwrap();
    assert_eq!(seen.events.len(), 2);
    let after = killed(folder.path());
    assert_eq!(Hub::open(after.path()).unwrap().policies(start).unwrap(), seen);
    // Killed between the two files: the new state beside the old journal.
    fs::copy(folder.path().join(STATE_FILE), before.path().join(STATE_FILE)).unwrap();
    let journal = fs::read_to_string(before.path().join(JOURNAL_FILE)).unwrap();
    let short = Hub::open(before.path());
    assert!(matches!(short, Err(HubStoreError::Damaged { .. })), "a state that is ahead of its journal");
    assert_eq!(fs::read_to_string(before.path().join(JOURNAL_FILE)).unwrap(), journal);

    let whole = tempfile::tempdir().unwrap();
    let hub = hub_in(whole.path());
    let state = hub.state().clone();
    write_private(&whole.path().join(STATE_FILE), &state).unwrap();
    drop(hub);
    for _ in 0..2 {
        let hub = Hub::open(whole.path()).unwrap();
        assert_eq!(hub.tenants(None, 9).len(), 1);
        let status = hub.tenant(&acme()).unwrap().0.status;
        let other =
            if status == TenantStatus::Active { TenantStatus::Suspended } else { TenantStatus::Active };
        hub.set_tenant_status(&acme(), other).unwrap();
    }
    assert_eq!(Hub::open(whole.path()).unwrap().policy_cursor().position(), 2);
}

#[test]
fn what_the_first_format_said_is_still_known() {
    let folder = tempfile::tempdir().unwrap();
    let key = ApiKey::generate(Environment::Test, &[5; ApiKey::ENTROPY_BYTES]);
    let old = serde_json::json!({
        "version": 1, "service_key_sha256": KeyHash::of("service"),
        "tenants": {"acme": {"name": "Acme", "plan": "generous", "status": "active"}},
        "keys": {key.sha256().to_string(): {
            "id": key.id(), "permission": "ADMIN", "tenant": "acme", "expires_at": null, "revoked": false,
        }},
    });
    fs::write(folder.path().join(STATE_FILE), old.to_string()).unwrap();
    let hub = Hub::open(folder.path()).unwrap();
    assert_eq!(reason(hub.validate(&key.sha256())), Ok(TenantStatus::Active));
    let cursor = hub.policy_cursor();
    drop(hub);
    assert_eq!(Hub::open(folder.path()).unwrap().policy_cursor(), cursor, "the feed is another one");
}

#[test]
fn the_files_are_their_owners_and_hold_no_key() {
    let folder = tempfile::tempdir().unwrap();
    let hub = hub_in(folder.path());
    let key = hub.create_key(Environment::Live, &reader()).unwrap();
    hub.shared.journal.lock().unwrap().bytes_max = 0;
    let next = hub.rotate_key(Environment::Live, &key.id(), 1).unwrap();
    let last = hub.rotate_key(Environment::Live, &next.id(), 1).unwrap();
    let mut all = String::new();
    for name in [STATE_FILE, JOURNAL_FILE, LEDGER_FILE] {
        let path = folder.path().join(name);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600, "{name}");
        all += &fs::read_to_string(path).unwrap();
    }
    for key in [key, next, last] {
        let secret = key.expose().split('_').nth(3).unwrap();
        assert!(all.contains(&key.sha256().to_string()) && !all.contains(secret));
    }
}

#[test]
fn damage_is_an_error_and_not_a_reset() {
    let folder = tempfile::tempdir().unwrap();
    let hub = hub_in(folder.path());
    hub.shared.journal.lock().unwrap().bytes_max = 0;
    hub.create_key(Environment::Live, &reader()).unwrap();
    drop(hub);
    let path = folder.path().join(STATE_FILE);
    let whole = fs::read_to_string(&path).unwrap();
    for damaged in [
        String::new(),
        whole[..whole.len() / 2].to_owned(),
        whole.replace("\"version\": 2", "\"version\": 3"),
        whole.replace("READ_ONLY", "READ_ALL"),
        whole.replace("\"acme\": {", "\"other\": {"),
    ] {
        fs::write(&path, &damaged).unwrap();
        let refusal = Hub::open(folder.path()).err().unwrap();
        assert!(matches!(refusal, HubStoreError::Damaged { .. }), "{refusal}");
        assert_eq!(fs::read_to_string(&path).unwrap(), damaged);
    }
    fs::write(&path, whole).unwrap();
    assert!(Hub::open(folder.path()).is_ok());
}

#[test]
fn a_folder_has_one_hub_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::open(folder.path()).unwrap();
    assert!(matches!(Hub::open(folder.path()), Err(HubStoreError::InUse { .. })));
    drop(hub);
    assert!(Hub::open(folder.path()).is_ok());
}

#[test]
fn a_change_that_was_not_written_was_not_made() {
    let folder = tempfile::tempdir().unwrap();
    let hub = hub_in(folder.path());
    let cursor = hub.policy_cursor();
    hub.shared.journal.lock().unwrap().journal.fail();
    let failed = hub.set_tenant_status(&acme(), TenantStatus::Suspended);
    assert!(matches!(failed, Err(HubStoreError::Io { .. })), "{failed:?}");
    assert_eq!(hub.tenant(&acme()).unwrap().0.status, TenantStatus::Active);
    assert_eq!(hub.policy_cursor(), cursor);
}

#[test]
fn what_makes_no_sense_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::open(folder.path()).unwrap();
    let create = |new: &NewKey| hub.create_key(Environment::Test, new);
    assert!(matches!(create(&reader()), Err(HubStoreError::NoSuchTenant(_))));
    assert!(matches!(create(&NewKey { tenant: None, ..reader() }), Err(HubStoreError::LesserClusterKey)));
    let status = hub.set_tenant_status(&acme(), TenantStatus::Suspended);
    assert!(matches!(status, Err(HubStoreError::NoSuchTenant(_))));
    assert!(matches!(hub.create_tenant(&new_acme()), Err(HubStoreError::NoSuchPlan(_))));
    drop(hub);
    let hub = hub_in(folder.path());
    let create = |new: &NewKey| hub.create_key(Environment::Test, new);
    assert!(matches!(hub.create_tenant(&new_acme()), Err(HubStoreError::TenantExists(_))));
    let key = create(&reader()).unwrap();
    assert!(matches!(hub.enter_key(&key, &reader()), Err(HubStoreError::KeyExists(_))));
    let absent = ApiKey::generate(Environment::Test, &[1; ApiKey::ENTROPY_BYTES]).id();
    assert!(matches!(hub.revoke_key(&absent), Err(HubStoreError::NoSuchKey(_))));
    let long = hub.rotate_key(Environment::Test, &key.id(), OVERLAP_SECONDS_MAX + 1);
    assert!(matches!(long, Err(HubStoreError::OverlapTooLong)));
    hub.revoke_key(&key.id()).unwrap();
    let ended = hub.rotate_key(Environment::Test, &key.id(), 1);
    assert!(matches!(ended, Err(HubStoreError::KeyEnded(_))), "a revoked key came back to life");
}

#[test]
fn a_key_ends_at_its_time_and_with_its_tenant() {
    let folder = tempfile::tempdir().unwrap();
    let hub = hub_in(folder.path());
    let end = Timestamp::from_micros(1_000_000);
    let key = hub.create_key(Environment::Live, &NewKey { expires_at: Some(end), ..reader() }).unwrap();
    let at = |micros| reason(hub.state().validate(&key.sha256(), Timestamp::from_micros(micros)));
    assert_eq!(at(999_999), Ok(TenantStatus::Active));
    assert_eq!(at(1_000_000), Err(Reason::Expired));
    hub.set_tenant_status(&acme(), TenantStatus::Suspended).unwrap();
    assert_eq!(at(1), Ok(TenantStatus::Suspended));
    hub.set_tenant_status(&acme(), TenantStatus::Deleted).unwrap();
    assert_eq!(at(1), Err(Reason::TenantDeleted));
}

#[test]
fn a_deleted_tenant_comes_back_as_another_one() {
    let folder = tempfile::tempdir().unwrap();
    let hub = hub_in(folder.path());
    let key = hub.create_key(Environment::Live, &reader()).unwrap();
    hub.set_tenant_status(&acme(), TenantStatus::Deleted).unwrap();
    let resumed = hub.set_tenant_status(&acme(), TenantStatus::Active);
    assert!(matches!(resumed, Err(HubStoreError::TenantDeleted(_))));
    assert!(matches!(hub.set_tenant(&acme(), |_| ()), Err(HubStoreError::TenantDeleted(_))));
    assert!(matches!(hub.create_key(Environment::Live, &reader()), Err(HubStoreError::TenantDeleted(_))));
    let first = hub.quota(&acme()).unwrap().incarnation;
    hub.create_tenant(&new_acme()).unwrap();
    let second = hub.quota(&acme()).unwrap().incarnation;
    assert!(first.is_some() && first < second);
    assert_eq!(reason(hub.validate(&key.sha256())), Err(Reason::Revoked), "an old key opens the new tenant");
    assert!(hub.create_key(Environment::Live, &reader()).is_ok());
}

#[test]
fn both_keys_of_a_rotation_work_until_the_overlap_ends() {
    let folder = tempfile::tempdir().unwrap();
    let hub = hub_in(folder.path());
    let old = hub.create_key(Environment::Live, &reader()).unwrap();
    let start = hub.policy_cursor();
    let before = Timestamp::now().micros();
    let new = hub.rotate_key(Environment::Live, &old.id(), 100).unwrap();
    let at =
        |key: &ApiKey, micros| reason(hub.state().validate(&key.sha256(), Timestamp::from_micros(micros)));
    assert_eq!(at(&old, before + 99_000_000), Ok(TenantStatus::Active));
    assert_eq!(at(&new, before + 99_000_000), Ok(TenantStatus::Active));
    assert_eq!(at(&old, Timestamp::now().micros() + 100_000_000), Err(Reason::Expired));
    assert_eq!(at(&new, i64::MAX), Ok(TenantStatus::Active));
    assert_eq!(hub.key(&new.id()).unwrap().permission, Permission::ReadOnly);
    let [PolicyChange::KeyChanged { key_sha256, .. }] = &events_since(&hub, start)[..] else { panic!() };
    assert_eq!(*key_sha256, old.sha256());

    let end = Timestamp::from_micros(before + 50_000_000);
    let short = hub.create_key(Environment::Live, &NewKey { expires_at: Some(end), ..reader() }).unwrap();
    let heir = hub.rotate_key(Environment::Live, &short.id(), 100).unwrap();
    // Once more, of a key that a rotation has already given an end, and after a restart.
    let path = folder.path().to_owned();
    drop(hub);
    let hub = Hub::open(&path).unwrap();
    let second = hub.rotate_key(Environment::Live, &old.id(), 10).unwrap();
    assert_eq!(hub.key(&second.id()).unwrap().expires_at, None, "the new key got the old one's last moments");
    assert!(hub.key(&old.id()).unwrap().expires_at.unwrap().micros() < before + 50_000_000);
    for key in [short, heir] {
        assert_eq!(hub.key(&key.id()).unwrap().expires_at, Some(end), "a rotation made a key live longer");
    }
}

#[test]
fn servers_hear_of_what_takes_or_gives_rights_and_of_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let hub = hub_in(folder.path());
    let start = hub.policy_cursor();
    let key = hub.create_key(Environment::Live, &reader()).unwrap();
    let rich = Limits { vectors: limit(200), ..Limits::default() };
    hub.set_plan(&pro(), rich).unwrap();
    hub.set_plan(&pro(), rich).unwrap();
    hub.set_plan(&"other".parse().unwrap(), rich).unwrap();
    hub.set_tenant(&acme(), |tenant| tenant.name = "New".parse().unwrap()).unwrap();
    hub.set_tenant(&acme(), |tenant| tenant.overrides.vectors = limit(7)).unwrap();
    hub.set_plan(&pro(), Limits { vectors: limit(300), ..rich }).unwrap();
    hub.set_tenant_status(&acme(), TenantStatus::Active).unwrap();
    hub.set_tenant_status(&acme(), TenantStatus::Suspended).unwrap();
    hub.set_tenant_status(&acme(), TenantStatus::Active).unwrap();
    hub.revoke_key(&key.id()).unwrap();
    hub.revoke_key(&key.id()).unwrap();
    hub.set_tenant_status(&acme(), TenantStatus::Deleted).unwrap();
    let (tenant, incarnation) = (acme(), hub.quota(&acme()).unwrap().incarnation);
    let quota = PolicyChange::QuotaChanged { tenant: acme() };
    let revoked =
        PolicyChange::KeyRevoked { key_id: key.id(), key_sha256: key.sha256(), tenant: Some(acme()) };
    let expected = [
        quota.clone(),
        quota,
        PolicyChange::TenantSuspended { tenant: acme() },
        PolicyChange::TenantResumed { tenant: acme() },
        revoked,
        PolicyChange::TenantDeleted { tenant, incarnation },
    ];
    assert_eq!(events_since(&hub, start), expected);
}

#[test]
fn an_answer_is_never_older_than_the_cursor_it_carries() {
    let folder = tempfile::tempdir().unwrap();
    let hub = hub_in(folder.path());
    let start = hub.policy_cursor().position();
    let askers: Vec<_> = (0..2)
        .map(|_| {
            let hub = hub.clone();
            std::thread::spawn(move || {
                let mut positions = 0;
                while positions < 20 {
                    let quota = hub.quota(&acme()).unwrap();
                    positions = quota.policy_cursor.unwrap().position() - start;
                    // Every second change suspends.
                    let expected =
                        if positions % 2 == 0 { TenantStatus::Active } else { TenantStatus::Suspended };
                    assert_eq!(quota.status, Some(Extensible::Known(expected)), "at {positions}");
                }
            })
        })
        .collect();
    for _ in 0..10 {
        hub.set_tenant_status(&acme(), TenantStatus::Suspended).unwrap();
        hub.set_tenant_status(&acme(), TenantStatus::Active).unwrap();
    }
    for asker in askers {
        asker.join().unwrap();
    }
}

#[test]
fn a_deletion_is_taken_back_within_the_grace_with_the_same_incarnation_and_keys_and_only_then() {
    let folder = tempfile::tempdir().unwrap();
    let hub = hub_in(folder.path());
    let key = hub.create_key(Environment::Live, &reader()).unwrap();
    let revoked = hub.create_key(Environment::Live, &reader()).unwrap();
    hub.revoke_key(&revoked.id()).unwrap();
    assert!(matches!(hub.undelete_tenant(&acme()), Err(HubStoreError::TenantNotDeleted(_))));
    let before = hub.quota(&acme()).unwrap().incarnation;
    for status in [TenantStatus::Active, TenantStatus::Suspended] {
        hub.set_tenant_status(&acme(), status).unwrap();
        hub.set_tenant_status(&acme(), TenantStatus::Deleted).unwrap();
        let start = hub.policy_cursor();
        let again = killed(folder.path());
        // From the journal, as from the file.
        for hub in [&Hub::open(again.path()).unwrap(), &hub] {
            assert_eq!(reason(hub.validate(&key.sha256())), Err(Reason::TenantDeleted));
            hub.undelete_tenant(&acme()).unwrap();
            assert_eq!(reason(hub.validate(&key.sha256())), Ok(status));
            assert_eq!(reason(hub.validate(&revoked.sha256())), Err(Reason::Revoked));
            assert_eq!(hub.quota(&acme()).unwrap().incarnation, before);
            let told = PolicyChange::TenantUndeleted { tenant: acme(), incarnation: before };
            assert_eq!(events_since(hub, start), [told]);
        }
    }
    hub.set_tenant_status(&acme(), TenantStatus::Deleted).unwrap();
    hub.set_delete_grace(Duration::ZERO);
    assert!(matches!(hub.undelete_tenant(&acme()), Err(HubStoreError::GraceOver { .. })));
    hub.set_delete_grace(Duration::from_mins(1));
    hub.create_tenant(&new_acme()).unwrap();
    assert!(matches!(hub.undelete_tenant(&acme()), Err(HubStoreError::TenantNotDeleted(_))));
}

#[test]
fn a_tenant_that_an_older_hub_has_deleted_can_be_undeleted_as_long_as_the_feed_says_when_that_was() {
    let folder = tempfile::tempdir().unwrap();
    let hub = hub_in(folder.path());
    hub.set_tenant_status(&acme(), TenantStatus::Deleted).unwrap();
    hub.shared.journal.lock().unwrap().bytes_max = 0;
    hub.set_plan(&pro(), Limits::default()).unwrap();
    drop(hub);
    let path = folder.path().join(STATE_FILE);
    let mut state: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    assert!(state["tenants"]["acme"].as_object_mut().unwrap().remove("deletion").is_some());
    fs::write(&path, state.to_string()).unwrap();
    Hub::open(folder.path()).unwrap().undelete_tenant(&acme()).unwrap();
}

#[test]
fn a_tenant_that_moves_to_another_deployment_is_told_of_and_keeps_all_else() {
    let folder = tempfile::tempdir().unwrap();
    let hub = hub_in(folder.path());
    let key = hub.create_key(Environment::Live, &reader()).unwrap();
    let start = hub.policy_cursor();
    let before = hub.tenant(&acme()).unwrap();
    for name in [Some("eu-1"), Some("eu-1"), None] {
        let name = name.map(|name| name.parse().unwrap());
        hub.set_tenant(&acme(), |tenant| tenant.deployment = name.clone()).unwrap();
        let again = killed(folder.path());
        for hub in [&Hub::open(again.path()).unwrap(), &hub] {
            let ValidateAnswer::Valid(facts) = hub.validate(&key.sha256()) else { panic!("it is valid") };
            assert_eq!(facts.tenant.unwrap().deployment, name);
        }
    }
    let told = PolicyChange::TenantChanged { tenant: acme() };
    assert_eq!(events_since(&hub, start), [told.clone(), told]);
    assert_eq!(hub.tenant(&acme()).unwrap(), before);
}
