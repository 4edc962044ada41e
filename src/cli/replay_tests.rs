//! Tests of `replay`, on real folders and over HTTP.

use vectorizer_log::{CollectionId, Event, Seq};
use vectorizer_replay::{Projection, Projector};

use crate::cli::Exit;
use crate::cli::test_support::{Fixture, Server, created, run_on_server, upserted};

const REPLAY: &[&str] = &["replay"];

/// The digest of a server's state after opening the log.
fn digest(fixture: &Fixture) -> String {
    let log = fixture.log();
    let mut projection = Projection::new(log.log_id());
    for stored in log.reader().read(Seq::OLDEST, usize::MAX, usize::MAX).unwrap() {
        projection.apply(&stored.record).unwrap();
    }
    projection.digest().to_string()
}

#[tokio::test]
async fn a_replay_rebuilds_the_servers_state_from_the_folder_and_over_http() {
    let fixture = Fixture::of_upserts(600);
    let digest = digest(&fixture);
    let offline = fixture.run(REPLAY, &["--expect", &digest]).await;
    let log = fixture.log();
    let url = Server::of(&log).start().await;
    let online = run_on_server(&url, REPLAY, &["--expect", &digest]).await;
    for outcome in [offline, online] {
        assert_eq!((outcome.exit, outcome.remarks.as_str()), (Exit::Success, ""), "{outcome:?}");
        for part in [
            "seq          601\n",
            "collections  1\n",
            "vectors      600\n",
            &format!("digest       {digest}\n"),
            "compare      a second fold gives the same state\n",
            &format!("expect       the digest is {digest}\n"),
            "\nholds\n",
        ] {
            assert!(outcome.output.contains(part), "{part:?} is not in {}", outcome.output);
        }
    }
}

#[tokio::test]
async fn another_digest_than_the_expected_one_fails() {
    let outcome = Fixture::of_upserts(2).run(REPLAY, &["--expect", &"0".repeat(64)]).await;
    assert_eq!(outcome.exit, Exit::CheckFailed);
    assert!(outcome.output.ends_with(&format!("the digest should be {}\ndoes not hold\n", "0".repeat(64))));
}

#[tokio::test]
async fn damage_is_reported_without_a_digest() {
    let outcome = Fixture::truncated().run(REPLAY, &[]).await;
    assert_eq!((outcome.exit, outcome.output.as_str()), (Exit::CheckFailed, ""));
    assert!(outcome.remarks.starts_with("tenant acme: damage at seq 4: "), "{}", outcome.remarks);
}

#[tokio::test]
async fn a_record_that_does_not_apply_is_reported() {
    let deleted = Event::CollectionDeleted { collection: CollectionId::created_at(Seq::new(9)) };
    let outcome = Fixture::with(vec![created(), deleted, upserted(1)]).run(REPLAY, &[]).await;
    assert_eq!((outcome.exit, outcome.output.as_str()), (Exit::CheckFailed, ""));
    assert!(outcome.remarks.starts_with("tenant acme: record 2 does not apply: "), "{}", outcome.remarks);
}

#[tokio::test]
async fn a_server_that_sends_another_history_fails() {
    let fixture = Fixture::of_upserts(4);
    let log = fixture.log();
    let mut server = Server::of(&log);
    server.alter_records = |mut records| {
        records[2].stored[60] ^= 1;
        records
    };
    let outcome = run_on_server(&server.start().await, REPLAY, &[]).await;
    assert_eq!(outcome.exit, Exit::CheckFailed);
    assert!(outcome.remarks.contains(": damage at seq 3: "), "{}", outcome.remarks);
}

#[tokio::test]
async fn complete_records_after_the_head_are_part_of_the_state() {
    let fixture = Fixture::beyond_its_head();
    let outcome = fixture.run(REPLAY, &[]).await;
    assert_eq!(outcome.exit, Exit::Success);
    assert!(outcome.output.contains(&format!("digest       {}\n", digest(&fixture))), "{}", outcome.output);
    assert!(
        outcome.remarks.contains("note: the records up to seq 5 are after the head"),
        "{}",
        outcome.remarks
    );
}

#[tokio::test]
async fn an_empty_log_has_a_state() {
    let fixture = Fixture::with(Vec::new());
    let offline = fixture.run(REPLAY, &[]).await;
    let log = fixture.log();
    let online = run_on_server(&Server::of(&log).start().await, REPLAY, &[]).await;
    assert_eq!((offline.exit, online.exit), (Exit::Success, Exit::Success));
    let digest = Projection::new(log.log_id()).digest().to_string();
    assert!(offline.output.contains(&digest) && online.output.contains(&digest));
}
