//! What `replay` promises, on real folders and over HTTP.

use vectorizer_log::{CollectionId, Event, Seq};
use vectorizer_replay::{Projection, Projector};

use crate::cli::Exit;
use crate::cli::stage::{Server, Stage, ask_server, created, upserted};

const REPLAY: &[&str] = &["replay"];

/// The digest of the state a server has after opening the log.
fn digest(stage: &Stage) -> String {
    let log = stage.log();
    let mut projection = Projection::new(log.log_id());
    for stored in log.reader().read(Seq::OLDEST, usize::MAX, usize::MAX).unwrap() {
        projection.apply(&stored.record).unwrap();
    }
    projection.digest().to_string()
}

#[tokio::test]
async fn a_replay_finds_the_servers_state_twice_from_the_folder_and_over_http() {
    let stage = Stage::of_upserts(600);
    let digest = digest(&stage);
    let offline = stage.ask(REPLAY, &["--expect", &digest]).await;
    let log = stage.log();
    let url = Server::of(&log).start().await;
    let online = ask_server(&url, REPLAY, &["--expect", &digest]).await;
    for said in [offline, online] {
        assert_eq!((said.exit, said.remarks.as_str()), (Exit::Holds, ""), "{said:?}");
        for part in [
            "seq          601\n",
            "collections  1\n",
            "vectors      600\n",
            &format!("digest       {digest}\n"),
            "compare      a second fold gives the same\n",
            &format!("expect       the digest is {digest}\n"),
            "\nholds\n",
        ] {
            assert!(said.output.contains(part), "{part:?} is not in {}", said.output);
        }
    }
}

#[tokio::test]
async fn another_digest_than_the_expected_one_does_not_hold() {
    let said = Stage::of_upserts(2).ask(REPLAY, &["--expect", &"0".repeat(64)]).await;
    assert_eq!(said.exit, Exit::DoesNotHold);
    assert!(said.output.ends_with(&format!("the digest should be {}\ndoes not hold\n", "0".repeat(64))));
}

#[tokio::test]
async fn damage_is_named_and_no_digest_shown() {
    let said = Stage::without_its_end().ask(REPLAY, &[]).await;
    assert_eq!((said.exit, said.output.as_str()), (Exit::DoesNotHold, ""));
    assert!(said.remarks.starts_with("tenant acme: damage at seq 4: "), "{}", said.remarks);
}

#[tokio::test]
async fn a_record_that_does_not_follow_is_named() {
    let deleted = Event::CollectionDeleted { collection: CollectionId::created_at(Seq::new(9)) };
    let said = Stage::with(vec![created(), deleted, upserted(1)]).ask(REPLAY, &[]).await;
    assert_eq!((said.exit, said.output.as_str()), (Exit::DoesNotHold, ""));
    assert!(said.remarks.starts_with("tenant acme: record 2 does not apply: "), "{}", said.remarks);
}

#[tokio::test]
async fn a_server_that_sends_another_history_does_not_hold() {
    let stage = Stage::of_upserts(4);
    let log = stage.log();
    let mut server = Server::of(&log);
    server.bend = |mut records| {
        records[2].stored[60] ^= 1;
        records
    };
    let said = ask_server(&server.start().await, REPLAY, &[]).await;
    assert_eq!(said.exit, Exit::DoesNotHold);
    assert!(said.remarks.contains(": damage at seq 3: "), "{}", said.remarks);
}

#[tokio::test]
async fn whole_records_beyond_the_head_are_part_of_the_state() {
    let stage = Stage::beyond_its_head();
    let said = stage.ask(REPLAY, &[]).await;
    assert_eq!(said.exit, Exit::Holds);
    assert!(said.output.contains(&format!("digest       {}\n", digest(&stage))), "{}", said.output);
    assert!(said.remarks.contains("note: the records up to seq 5 lie beyond the head"), "{}", said.remarks);
}

#[tokio::test]
async fn an_empty_log_has_a_state_too() {
    let stage = Stage::with(Vec::new());
    let offline = stage.ask(REPLAY, &[]).await;
    let log = stage.log();
    let online = ask_server(&Server::of(&log).start().await, REPLAY, &[]).await;
    assert_eq!((offline.exit, online.exit), (Exit::Holds, Exit::Holds));
    let digest = Projection::new(log.log_id()).digest().to_string();
    assert!(offline.output.contains(&digest) && online.output.contains(&digest));
}
