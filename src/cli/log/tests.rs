//! Tests of `log`, on real folders and over HTTP.

use std::io::{self, Write};

use clap::CommandFactory;
use clap::Parser;
use vectorizer_log::{ChainHash, DamageKind, Head, Seq, Timestamp};

use crate::cli::Arguments;
use crate::cli::test_support::{
    CapturedStream, Fixture, KEY, Server, commit, commit_at, run_on_server, upserted, vectorizer,
    vectorizer_with,
};
use crate::cli::{Exit, Streams};

const EXPORT: &[&str] = &["log", "export"];
const VERIFY: &[&str] = &["log", "verify"];
const TAIL: &[&str] = &["log", "tail"];

fn seqs(output: &str) -> Vec<u64> {
    output
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["seq"].as_u64().unwrap())
        .collect()
}

#[tokio::test]
async fn an_export_is_the_same_from_the_folder_and_from_the_server() {
    let fixture = Fixture::of_upserts(6);
    let choices: &[&[&str]] = &[
        &[],
        &["--from", "3"],
        &["--to", "4", "--with-vector"],
        &["--from", "2", "--to", "5", "--limit", "2", "--with-payload", "false"],
        &["--from", "5", "--to", "4"],
        &["--from", "99"],
        &["--with-stored", "--with-vector", "true"],
        &["--format", "csv"],
        &["--format", "csv", "--from", "2", "--limit", "3", "--with-payload", "false"],
        &["--format", "csv", "--from", "99"],
        &["--since", "2026-01-02T04:04:05+01:00"],
        &["--since", "2026-01-02T04:04:05.000001+01:00"],
        &["--until", "2026-01-02T03:04:05Z"],
    ];
    let mut offline = Vec::new();
    for options in choices {
        offline.push(fixture.run(EXPORT, options).await);
    }
    let log = fixture.log();
    let url = Server::of(&log).start().await;
    for (options, offline) in choices.iter().zip(offline) {
        let online = run_on_server(&url, EXPORT, options).await;
        assert_eq!((online.exit, offline.exit), (Exit::Success, Exit::Success), "{options:?}");
        assert_eq!(online.output, offline.output, "{options:?}");
        assert_eq!((online.remarks.as_str(), offline.remarks.as_str()), ("", ""), "{options:?}");
    }
}

#[tokio::test]
async fn an_export_has_the_requested_range_and_detail() {
    let fixture = Fixture::of_upserts(6);
    let all = fixture.run(EXPORT, &[]).await.output;
    assert_eq!(seqs(&all), (1..=7).collect::<Vec<_>>());
    assert!(all.contains("\"number\"") && !all.contains("\"vector\"") && !all.contains("\"stored\""));
    let part = fixture.run(EXPORT, &["--from", "2", "--limit", "3"]).await.output;
    assert_eq!(seqs(&part), [2, 3, 4]);
    let bare = fixture.run(EXPORT, &["--with-payload", "false", "--with-vector"]).await.output;
    assert!(!bare.contains("\"number\"") && bare.contains("\"vector\""));
}

#[tokio::test]
async fn an_export_by_time_ends_where_the_next_begins() {
    let fixture = Fixture::of_upserts(2);
    // Two records with later times, after those, which all have the same time.
    let mut log = fixture.log();
    for later in [10, 20] {
        commit_at(&mut log, Timestamp::from_micros(1_767_323_045_000_000 + later), [upserted(7)]);
    }
    drop(log);
    for (options, expected) in [
        (&["--until", "2026-01-02T03:04:05.000010Z"][..], &[1, 2, 3][..]),
        (&["--since", "2026-01-02T03:04:05.000010Z", "--until", "2026-01-02T03:04:05.000020Z"], &[4]),
        (&["--since", "2026-01-02T03:04:05.000011Z"], &[5]),
        (&["--since", "2026-01-02T03:04:05.000011Z", "--to", "4"], &[]),
    ] {
        let outcome = fixture.run(EXPORT, options).await;
        assert_eq!((outcome.exit, seqs(&outcome.output)), (Exit::Success, expected.to_vec()), "{options:?}");
    }
    let parse = |options: &[&str]| {
        let place = ["--data-dir", "d", "--tenant", "acme"];
        Arguments::try_parse_from([&["vectorizer", "log", "export"], &place[..], options].concat())
    };
    for wrong in [&["--since", "yesterday"][..], &["--until", "2026-01-02"], &["--format", "xlsx"]] {
        assert_eq!(parse(wrong).unwrap_err().exit_code(), 2, "{wrong:?}");
    }
}

#[tokio::test]
async fn csv_has_a_row_for_each_record_and_no_stored_bytes() {
    let fixture = Fixture::of_upserts(2);
    let outcome = fixture.run(EXPORT, &["--format", "csv"]).await;
    let rows: Vec<_> = outcome.output.lines().collect();
    assert_eq!(rows[0], "seq,at,event,collection,key_id,via,request_id,count,details");
    assert!(rows[1].starts_with("1,2026-01-02T03:04:05.000000Z,collection_created,1,k1,rest,request-1,,"));
    assert!(rows[2].starts_with("2,2026-01-02T03:04:05.000000Z,vectors_upserted,1,k1,rest,request-1,1,"));
    assert_eq!((outcome.exit, rows.len()), (Exit::Success, 4));
    let outcome = fixture.run(EXPORT, &["--format", "csv", "--with-stored"]).await;
    assert_eq!((outcome.exit, outcome.output.as_str()), (Exit::Error, ""));
    assert!(outcome.remarks.contains("--format ndjson"), "{}", outcome.remarks);
}

#[tokio::test]
async fn damage_is_reported_after_the_readable_records() {
    let fixture = Fixture::truncated();
    for (command, options) in [(EXPORT, &[][..]), (TAIL, &["-n", "3"])] {
        let outcome = fixture.run(command, options).await;
        assert_eq!(outcome.exit, Exit::CheckFailed, "{command:?}");
        assert_eq!(seqs(&outcome.output), [1, 2, 3], "{command:?}");
        assert!(outcome.remarks.starts_with("tenant acme: damage at seq 4: "), "{}", outcome.remarks);
    }
    let before_it = fixture.run(EXPORT, &["--to", "3"]).await;
    assert_eq!((before_it.exit, seqs(&before_it.output)), (Exit::Success, vec![1, 2, 3]));
}

#[tokio::test]
async fn an_intact_log_passes_in_its_folder_and_on_the_server() {
    let fixture = Fixture::of_upserts(4);
    let offline = fixture.run(VERIFY, &[]).await;
    let log = fixture.log();
    let head = format!("head     5 {}\n", log.head().chain);
    let id = format!("log      {}\n", log.log_id());
    let mut server = Server::of(&log);
    server.answer_max = 2;
    let url = server.start().await;
    let online = run_on_server(&url, VERIFY, &[]).await;
    assert!(offline.output.starts_with("tenant acme\n"), "{}", offline.output);
    assert!(online.output.starts_with(&format!("the log at {url}")), "{}", online.output);
    for outcome in [offline, online] {
        assert_eq!(outcome.exit, Exit::Success, "{outcome:?}");
        for part in [&id, &head, "records  5\n", "\nholds\n"] {
            assert!(outcome.output.contains(part), "{part:?} is not in {}", outcome.output);
        }
    }
}

#[tokio::test]
async fn an_empty_log_passes() {
    let fixture = Fixture::with(Vec::new());
    assert_eq!(fixture.run(VERIFY, &[]).await.exit, Exit::Success);
    assert_eq!(fixture.run(TAIL, &[]).await.output, "");
    let log = fixture.log();
    let url = Server::of(&log).start().await;
    assert_eq!(run_on_server(&url, VERIFY, &[]).await.exit, Exit::Success);
    assert_eq!(run_on_server(&url, TAIL, &[]).await.output, "");
}

#[tokio::test]
async fn damage_in_the_folder_fails_and_is_reported_with_tenant_and_seq() {
    let outcome = Fixture::truncated().run(VERIFY, &[]).await;
    assert_eq!(outcome.exit, Exit::CheckFailed);
    assert!(outcome.output.contains("\ntenant acme: damage at seq 4: "), "{}", outcome.output);
    assert!(outcome.output.ends_with("does not hold\n"), "{}", outcome.output);
    let fixture = Fixture::of_upserts(2);
    std::fs::write(fixture.data().join("acme/head"), [0xff; 8192]).unwrap();
    let outcome = fixture.run(VERIFY, &[]).await;
    assert_eq!(outcome.exit, Exit::CheckFailed);
    assert!(outcome.output.contains(&DamageKind::Head.to_string()), "{}", outcome.output);
}

#[tokio::test]
async fn records_beyond_the_head_and_a_torn_slot_are_notes() {
    let outcome = Fixture::beyond_its_head().run(VERIFY, &[]).await;
    assert_eq!(outcome.exit, Exit::Success);
    assert!(
        outcome.output.contains("note     the records up to seq 5 are after the head"),
        "{}",
        outcome.output
    );
    let fixture = Fixture::of_upserts(2);
    let path = fixture.data().join("acme/head");
    let mut head = std::fs::read(&path).unwrap();
    head[5] ^= 1;
    std::fs::write(&path, head).unwrap();
    let outcome = fixture.run(VERIFY, &[]).await;
    assert_eq!(outcome.exit, Exit::Success);
    assert!(
        outcome.output.contains("note     one of the two slots of the head is torn"),
        "{}",
        outcome.output
    );
}

#[tokio::test]
async fn a_server_that_sends_another_history_fails() {
    let fixture = Fixture::of_upserts(4);
    let log = fixture.log();
    let honest = Server::of(&log);

    let mut changed = honest.clone();
    changed.alter_records = |mut records| {
        records[2].stored[60] ^= 1;
        records
    };
    let mut left_out = honest.clone();
    left_out.alter_records = |mut records| {
        records.remove(1);
        records
    };
    let mut cut = honest.clone();
    cut.alter_records = |mut records| {
        records.retain(|stored| stored.record.seq < Seq::new(5));
        records
    };
    let mut other_head = honest;
    other_head.alter_head = |head| Head { chain: ChainHash::from_bytes([7; 32]), ..head };
    for (server, seq) in [(changed, 3), (left_out, 2), (cut, 5), (other_head, 5)] {
        let outcome = run_on_server(&server.start().await, VERIFY, &[]).await;
        assert_eq!(outcome.exit, Exit::CheckFailed, "{seq}: {outcome:?}");
        assert!(outcome.output.contains(&format!(": damage at seq {seq}: ")), "{seq}: {}", outcome.output);
    }
}

#[tokio::test]
async fn errors_and_failed_checks_have_different_exit_codes() {
    let fixture = Fixture::of_upserts(1);
    let data = fixture.data().to_str().unwrap();
    for command in [EXPORT, VERIFY, TAIL] {
        let arguments = [command, &["--data-dir", data, "--tenant", "globex"]].concat();
        let stranger = vectorizer(&arguments).await;
        assert_eq!(stranger.exit, Exit::Error);
        assert!(stranger.remarks.starts_with("tenant globex: there is no log in "), "{}", stranger.remarks);
    }
    let nobody = run_on_server("http://127.0.0.1:1", VERIFY, &[]).await;
    assert_eq!(nobody.exit, Exit::Error);
    assert!(nobody.remarks.starts_with("the server cannot be reached: "), "{}", nobody.remarks);
}

#[tokio::test]
async fn a_folder_that_a_server_has_open_is_an_error() {
    let fixture = Fixture::of_upserts(1);
    let log = fixture.log();
    let outcome = fixture.run(VERIFY, &[]).await;
    drop(log);
    assert_eq!(outcome.exit, Exit::Error);
    assert!(
        outcome.remarks.contains("a server has") && outcome.remarks.contains("--url"),
        "{}",
        outcome.remarks
    );
}

#[tokio::test]
async fn a_problem_is_shown_without_the_key_and_without_control_characters() {
    let fixture = Fixture::of_upserts(1);
    let log = fixture.log();
    let url = Server::of(&log).start().await;
    let outcome = vectorizer(&["log", "export", "--url", &url, "--key", "hh_live_wrong"]).await;
    assert_eq!(outcome.exit, Exit::Error);
    let words =
        "the server answered 401 Unauthorized: Unauthorized: the key is unknown [2J (request request-7)\n";
    assert_eq!(outcome.remarks, words);
    let outcome = vectorizer(&["log", "export", "--url", &url, "--key", "hh_live\nwrong"]).await;
    assert_eq!(outcome.exit, Exit::Error);
    assert!(!outcome.remarks.contains("hh_live"), "{}", outcome.remarks);
}

#[tokio::test]
async fn the_tail_is_the_last_lines_of_the_export() {
    let fixture = Fixture::of_upserts(12);
    let export = fixture.run(EXPORT, &[]).await.output;
    let mut offline = Vec::new();
    for count in ["0", "4", "10", "99"] {
        offline.push((count, fixture.run(TAIL, &["-n", count]).await));
    }
    assert_eq!(fixture.run(TAIL, &[]).await.output, offline[2].1.output);
    let log = fixture.log();
    let url = Server::of(&log).start().await;
    for (count, outcome) in offline {
        let lines: Vec<_> = export.split_inclusive('\n').collect();
        let last = lines[lines.len().saturating_sub(count.parse().unwrap())..].concat();
        assert_eq!(outcome.output, last, "{count}");
        assert_eq!(run_on_server(&url, TAIL, &["-n", count]).await.output, last, "{count}");
    }
}

#[tokio::test]
async fn following_prints_later_records() {
    let fixture = Fixture::of_upserts(3);
    let mut log = fixture.log();
    let mut server = Server::of(&log);
    server.followed_max = 4;
    let url = server.start().await;
    let output = CapturedStream::default();
    let streams = Streams::new(output.clone(), CapturedStream::default());
    let following = tokio::spawn(async move {
        let arguments = ["log", "tail", "-n", "2", "--follow", "--url", &url, "--key", KEY];
        vectorizer_with(&arguments, streams).await
    });
    while seqs(&output.text()) != [3, 4] {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    commit(&mut log, [upserted(7), upserted(8)]);
    // The server ends the stream, which is an error while following.
    assert_eq!(following.await.unwrap(), Exit::Error);
    assert_eq!(seqs(&output.text()), [3, 4, 5, 6]);
}

#[tokio::test]
async fn a_folder_cannot_be_followed() {
    let outcome = Fixture::of_upserts(1).run(TAIL, &["--follow"]).await;
    assert_eq!((outcome.exit, outcome.output.as_str()), (Exit::Error, ""));
    assert!(outcome.remarks.contains("--url"), "{}", outcome.remarks);
}

/// A closed pipe, as `head` leaves it.
struct Closed;

impl Write for Closed {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Err(io::ErrorKind::BrokenPipe.into())
    }
}

#[tokio::test]
async fn a_closed_output_is_not_an_error_and_does_not_change_the_exit_code() {
    let whole = Fixture::of_upserts(2);
    let damaged = Fixture::truncated();
    for (fixture, command, exit) in [
        (&whole, EXPORT, Exit::Success),
        (&whole, VERIFY, Exit::Success),
        (&damaged, VERIFY, Exit::CheckFailed),
    ] {
        let remarks = CapturedStream::default();
        let place = ["--data-dir", fixture.data().to_str().unwrap(), "--tenant", "acme"];
        let outcome =
            vectorizer_with(&[command, &place].concat(), Streams::new(Closed, remarks.clone())).await;
        assert_eq!((outcome, remarks.text().as_str()), (exit, ""), "{command:?}");
    }
}

#[test]
fn a_command_has_one_source_and_its_help_no_key() {
    Arguments::command().debug_assert();
    let parse =
        |options: &[&str]| Arguments::try_parse_from([&["vectorizer", "log", "verify"], options].concat());
    for wrong in [
        &[][..],
        &["--data-dir", "d"],
        &["--tenant", "acme"],
        &["--data-dir", "d", "--tenant", "../acme"],
        &["--data-dir", "d", "--tenant", "acme", "--url", "http://h"],
        &["--url", "http://h", "--tenant", "acme"],
        &["--url", "http://h", "--scratch", "s"],
        &["--url", "ftp://h"],
    ] {
        assert_eq!(parse(wrong).unwrap_err().exit_code(), 2, "{wrong:?}");
    }
    // The environment may have a key also when a folder is read.
    assert!(parse(&["--data-dir", "d", "--tenant", "acme", "--key", KEY]).is_ok());
    assert!(!format!("{:?}", parse(&["--url", "http://h", "--key", KEY])).contains(KEY));
}
