//! What `log` promises, on real folders and over HTTP.

use std::io::{self, Write};

use clap::CommandFactory;
use clap::Parser;
use vectorizer_log::{ChainHash, DamageKind, Head, Seq, Timestamp};

use crate::cli::Arguments;
use crate::cli::stage::{
    Heard, KEY, Server, Stage, ask_server, commit, commit_at, upserted, vectorizer, vectorizer_to,
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
    let stage = Stage::of_upserts(6);
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
        offline.push(stage.ask(EXPORT, options).await);
    }
    let log = stage.log();
    let url = Server::of(&log).start().await;
    for (options, offline) in choices.iter().zip(offline) {
        let online = ask_server(&url, EXPORT, options).await;
        assert_eq!((online.exit, offline.exit), (Exit::Holds, Exit::Holds), "{options:?}");
        assert_eq!(online.output, offline.output, "{options:?}");
        assert_eq!((online.remarks.as_str(), offline.remarks.as_str()), ("", ""), "{options:?}");
    }
}

#[tokio::test]
async fn an_export_shows_the_part_and_the_detail_that_were_asked_for() {
    let stage = Stage::of_upserts(6);
    let all = stage.ask(EXPORT, &[]).await.output;
    assert_eq!(seqs(&all), (1..=7).collect::<Vec<_>>());
    assert!(all.contains("\"number\"") && !all.contains("\"vector\"") && !all.contains("\"stored\""));
    let part = stage.ask(EXPORT, &["--from", "2", "--limit", "3"]).await.output;
    assert_eq!(seqs(&part), [2, 3, 4]);
    let bare = stage.ask(EXPORT, &["--with-payload", "false", "--with-vector"]).await.output;
    assert!(!bare.contains("\"number\"") && bare.contains("\"vector\""));
}

#[tokio::test]
async fn an_export_by_time_ends_where_the_next_begins() {
    let stage = Stage::of_upserts(2);
    // Behind those, all of one moment, two of later ones.
    let mut log = stage.log();
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
        let said = stage.ask(EXPORT, options).await;
        assert_eq!((said.exit, seqs(&said.output)), (Exit::Holds, expected.to_vec()), "{options:?}");
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
async fn a_table_has_a_row_for_each_record_and_no_stored_bytes() {
    let stage = Stage::of_upserts(2);
    let said = stage.ask(EXPORT, &["--format", "csv"]).await;
    let rows: Vec<_> = said.output.lines().collect();
    assert_eq!(rows[0], "seq,at,event,collection,key_id,via,request_id,count,details");
    assert!(rows[1].starts_with("1,2026-01-02T03:04:05.000000Z,collection_created,1,k1,rest,request-1,,"));
    assert!(rows[2].starts_with("2,2026-01-02T03:04:05.000000Z,vectors_upserted,1,k1,rest,request-1,1,"));
    assert_eq!((said.exit, rows.len()), (Exit::Holds, 4));
    let said = stage.ask(EXPORT, &["--format", "csv", "--with-stored"]).await;
    assert_eq!((said.exit, said.output.as_str()), (Exit::CouldNotAsk, ""));
    assert!(said.remarks.contains("--format ndjson"), "{}", said.remarks);
}

#[tokio::test]
async fn damage_is_named_behind_what_is_readable() {
    let stage = Stage::without_its_end();
    for (command, options) in [(EXPORT, &[][..]), (TAIL, &["-n", "3"])] {
        let said = stage.ask(command, options).await;
        assert_eq!(said.exit, Exit::DoesNotHold, "{command:?}");
        assert_eq!(seqs(&said.output), [1, 2, 3], "{command:?}");
        assert!(said.remarks.starts_with("tenant acme: damage at seq 4: "), "{}", said.remarks);
    }
    let before_it = stage.ask(EXPORT, &["--to", "3"]).await;
    assert_eq!((before_it.exit, seqs(&before_it.output)), (Exit::Holds, vec![1, 2, 3]));
}

#[tokio::test]
async fn a_whole_log_holds_in_its_folder_and_on_the_server() {
    let stage = Stage::of_upserts(4);
    let offline = stage.ask(VERIFY, &[]).await;
    let log = stage.log();
    let head = format!("head     5 {}\n", log.head().chain);
    let id = format!("log      {}\n", log.log_id());
    let mut server = Server::of(&log);
    server.answer_max = 2;
    let url = server.start().await;
    let online = ask_server(&url, VERIFY, &[]).await;
    assert!(offline.output.starts_with("tenant acme\n"), "{}", offline.output);
    assert!(online.output.starts_with(&format!("the log at {url}")), "{}", online.output);
    for said in [offline, online] {
        assert_eq!(said.exit, Exit::Holds, "{said:?}");
        for part in [&id, &head, "records  5\n", "\nholds\n"] {
            assert!(said.output.contains(part), "{part:?} is not in {}", said.output);
        }
    }
}

#[tokio::test]
async fn an_empty_log_holds() {
    let stage = Stage::with(Vec::new());
    assert_eq!(stage.ask(VERIFY, &[]).await.exit, Exit::Holds);
    assert_eq!(stage.ask(TAIL, &[]).await.output, "");
    let log = stage.log();
    let url = Server::of(&log).start().await;
    assert_eq!(ask_server(&url, VERIFY, &[]).await.exit, Exit::Holds);
    assert_eq!(ask_server(&url, TAIL, &[]).await.output, "");
}

#[tokio::test]
async fn damage_in_the_folder_does_not_hold_and_is_named_by_tenant_and_seq() {
    let said = Stage::without_its_end().ask(VERIFY, &[]).await;
    assert_eq!(said.exit, Exit::DoesNotHold);
    assert!(said.output.contains("\ntenant acme: damage at seq 4: "), "{}", said.output);
    assert!(said.output.ends_with("does not hold\n"), "{}", said.output);
    let stage = Stage::of_upserts(2);
    std::fs::write(stage.data().join("acme/head"), [0xff; 8192]).unwrap();
    let said = stage.ask(VERIFY, &[]).await;
    assert_eq!(said.exit, Exit::DoesNotHold);
    assert!(said.output.contains(&DamageKind::Head.to_string()), "{}", said.output);
}

#[tokio::test]
async fn records_beyond_the_head_and_a_torn_slot_are_notes() {
    let said = Stage::beyond_its_head().ask(VERIFY, &[]).await;
    assert_eq!(said.exit, Exit::Holds);
    assert!(said.output.contains("note     the records up to seq 5 lie beyond the head"), "{}", said.output);
    let stage = Stage::of_upserts(2);
    let path = stage.data().join("acme/head");
    let mut head = std::fs::read(&path).unwrap();
    head[5] ^= 1;
    std::fs::write(&path, head).unwrap();
    let said = stage.ask(VERIFY, &[]).await;
    assert_eq!(said.exit, Exit::Holds);
    assert!(said.output.contains("note     one of the head's two slots is torn"), "{}", said.output);
}

#[tokio::test]
async fn a_server_that_sends_another_history_does_not_hold() {
    let stage = Stage::of_upserts(4);
    let log = stage.log();
    let honest = Server::of(&log);

    let mut changed = honest.clone();
    changed.bend = |mut records| {
        records[2].stored[60] ^= 1;
        records
    };
    let mut left_out = honest.clone();
    left_out.bend = |mut records| {
        records.remove(1);
        records
    };
    let mut cut = honest.clone();
    cut.bend = |mut records| {
        records.retain(|stored| stored.record.seq < Seq::new(5));
        records
    };
    let mut other_head = honest;
    other_head.bend_head = |head| Head { chain: ChainHash::from_bytes([7; 32]), ..head };
    for (server, seq) in [(changed, 3), (left_out, 2), (cut, 5), (other_head, 5)] {
        let said = ask_server(&server.start().await, VERIFY, &[]).await;
        assert_eq!(said.exit, Exit::DoesNotHold, "{seq}: {said:?}");
        assert!(said.output.contains(&format!(": damage at seq {seq}: ")), "{seq}: {}", said.output);
    }
}

#[tokio::test]
async fn what_cannot_be_asked_is_told_from_what_does_not_hold() {
    let stage = Stage::of_upserts(1);
    let data = stage.data().to_str().unwrap();
    for command in [EXPORT, VERIFY, TAIL] {
        let arguments = [command, &["--data-dir", data, "--tenant", "globex"]].concat();
        let stranger = vectorizer(&arguments).await;
        assert_eq!(stranger.exit, Exit::CouldNotAsk);
        assert!(stranger.remarks.starts_with("tenant globex: there is no log in "), "{}", stranger.remarks);
    }
    let nobody = ask_server("http://127.0.0.1:1", VERIFY, &[]).await;
    assert_eq!(nobody.exit, Exit::CouldNotAsk);
    assert!(nobody.remarks.starts_with("the server cannot be reached: "), "{}", nobody.remarks);
}

#[tokio::test]
async fn a_folder_that_a_server_has_open_is_left_to_the_server() {
    let stage = Stage::of_upserts(1);
    let log = stage.log();
    let said = stage.ask(VERIFY, &[]).await;
    drop(log);
    assert_eq!(said.exit, Exit::CouldNotAsk);
    assert!(said.remarks.contains("a server has") && said.remarks.contains("--url"), "{}", said.remarks);
}

#[tokio::test]
async fn a_refusal_is_told_in_the_servers_words_without_the_key_and_without_steering_the_terminal() {
    let stage = Stage::of_upserts(1);
    let log = stage.log();
    let url = Server::of(&log).start().await;
    let said = vectorizer(&["log", "export", "--url", &url, "--key", "hh_live_wrong"]).await;
    assert_eq!(said.exit, Exit::CouldNotAsk);
    let words =
        "the server answered 401 Unauthorized: Unauthorized: the key is unknown [2J (request request-7)\n";
    assert_eq!(said.remarks, words);
    let said = vectorizer(&["log", "export", "--url", &url, "--key", "hh_live\nwrong"]).await;
    assert_eq!(said.exit, Exit::CouldNotAsk);
    assert!(!said.remarks.contains("hh_live"), "{}", said.remarks);
}

#[tokio::test]
async fn the_tail_is_the_last_lines_of_the_export() {
    let stage = Stage::of_upserts(12);
    let export = stage.ask(EXPORT, &[]).await.output;
    let mut offline = Vec::new();
    for count in ["0", "4", "10", "99"] {
        offline.push((count, stage.ask(TAIL, &["-n", count]).await));
    }
    assert_eq!(stage.ask(TAIL, &[]).await.output, offline[2].1.output);
    let log = stage.log();
    let url = Server::of(&log).start().await;
    for (count, said) in offline {
        let lines: Vec<_> = export.split_inclusive('\n').collect();
        let last = lines[lines.len().saturating_sub(count.parse().unwrap())..].concat();
        assert_eq!(said.output, last, "{count}");
        assert_eq!(ask_server(&url, TAIL, &["-n", count]).await.output, last, "{count}");
    }
}

#[tokio::test]
async fn following_goes_on_with_what_is_written_later() {
    let stage = Stage::of_upserts(3);
    let mut log = stage.log();
    let mut server = Server::of(&log);
    server.followed_max = 4;
    let url = server.start().await;
    let output = Heard::default();
    let streams = Streams::new(output.clone(), Heard::default());
    let following = tokio::spawn(async move {
        let arguments = ["log", "tail", "-n", "2", "--follow", "--url", &url, "--key", KEY];
        vectorizer_to(&arguments, streams).await
    });
    while seqs(&output.text()) != [3, 4] {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    commit(&mut log, [upserted(7), upserted(8)]);
    // The server ends the stream, which following never wants.
    assert_eq!(following.await.unwrap(), Exit::CouldNotAsk);
    assert_eq!(seqs(&output.text()), [3, 4, 5, 6]);
}

#[tokio::test]
async fn a_folder_cannot_be_followed() {
    let said = Stage::of_upserts(1).ask(TAIL, &["--follow"]).await;
    assert_eq!((said.exit, said.output.as_str()), (Exit::CouldNotAsk, ""));
    assert!(said.remarks.contains("--url"), "{}", said.remarks);
}

/// What `head` leaves of a pipe.
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
async fn an_output_that_nobody_reads_any_more_ends_quietly_and_changes_no_finding() {
    let whole = Stage::of_upserts(2);
    let damaged = Stage::without_its_end();
    for (stage, command, exit) in
        [(&whole, EXPORT, Exit::Holds), (&whole, VERIFY, Exit::Holds), (&damaged, VERIFY, Exit::DoesNotHold)]
    {
        let remarks = Heard::default();
        let place = ["--data-dir", stage.data().to_str().unwrap(), "--tenant", "acme"];
        let said = vectorizer_to(&[command, &place].concat(), Streams::new(Closed, remarks.clone())).await;
        assert_eq!((said, remarks.text().as_str()), (exit, ""), "{command:?}");
    }
}

#[test]
fn a_command_names_one_place_and_its_help_no_key() {
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
    // A key in the environment is also there when a folder is read.
    assert!(parse(&["--data-dir", "d", "--tenant", "acme", "--key", KEY]).is_ok());
    assert!(!format!("{:?}", parse(&["--url", "http://h", "--key", KEY])).contains(KEY));
}
