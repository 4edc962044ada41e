//! By which keys servers are known.

use super::super::files::read_bounded;
use super::*;

#[test]
fn both_first_keys_are_made_or_neither_and_once() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::open(folder.path()).unwrap();
    assert!(!hub.is_initialised());
    let keys = hub.init().unwrap();
    for _ in 0..2 {
        assert!(matches!(hub.init(), Err(HubStoreError::Initialised)));
    }
    drop(hub);
    let hub = Hub::open(folder.path()).unwrap();
    assert!(hub.is_service_key(keys.service.expose()) && hub.is_operator_key(keys.operator.expose()));
    assert_eq!((hub.service_keys().len(), hub.keys(None, None, 9).len()), (1, 1));
}

#[test]
fn a_hub_whose_service_key_was_kept_as_one_hash_knows_it_and_can_rotate_it() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::open(folder.path()).unwrap();
    drop(hub);
    let path = folder.path().join("hub.json");
    let written = read_bounded(&path, 1 << 20).unwrap().unwrap();
    let mut state: serde_json::Value = serde_json::from_slice(&written).unwrap();
    state.as_object_mut().unwrap().remove("service_keys");
    state["service_key_sha256"] = serde_json::json!(KeyHash::of("old"));
    std::fs::write(&path, state.to_string()).unwrap();
    let hub = Hub::open(folder.path()).unwrap();
    assert!(hub.is_initialised() && hub.is_service_key("old"));
    let next = hub.rotate_service_key(60).unwrap();
    drop(hub);
    for _ in 0..2 {
        let hub = Hub::open(folder.path()).unwrap();
        assert!(hub.is_service_key("old") && hub.is_service_key(next.expose()));
    }
}

#[test]
fn as_many_service_keys_are_accepted_as_may_be_and_a_rotation_without_overlap_ends_them() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::open(folder.path()).unwrap();
    let mut keys = vec![hub.init().unwrap().service];
    while keys.len() < SERVICE_KEYS_MAX {
        keys.push(hub.rotate_service_key(60).unwrap());
    }
    assert!(matches!(hub.rotate_service_key(60), Err(HubStoreError::TooManyServiceKeys)));
    assert!(keys.iter().all(|key| hub.is_service_key(key.expose())));
    let last = hub.rotate_service_key(0).unwrap();
    assert!(!keys.iter().any(|key| hub.is_service_key(key.expose())));
    assert!(hub.is_service_key(last.expose()));
    assert!(matches!(hub.rotate_service_key(OVERLAP_SECONDS_MAX + 1), Err(HubStoreError::OverlapTooLong)));
}

#[test]
fn a_lent_key_ends_with_the_hub_and_is_in_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let hub = Hub::open(folder.path()).unwrap();
    let lent = hub.lend_service_key().unwrap();
    assert!(hub.is_service_key(lent.expose()) && !hub.is_initialised() && hub.service_keys().is_empty());
    drop(hub);
    assert!(!Hub::open(folder.path()).unwrap().is_service_key(lent.expose()));
}
