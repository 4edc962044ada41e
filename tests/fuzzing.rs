//! The targets of `fuzz/`, on what was found with them and on some changes of what real encoders write: nothing
//! panics, and memory stays within bounds.

#[path = "../fuzz/src/targets/mod.rs"]
#[expect(
    dead_code,
    unreachable_pub,
    reason = "the crate in `fuzz` bounds each target's memory, and is another crate"
)]
mod targets;

use std::alloc::System;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use cap::Cap;
use targets::{ALL, Target};
use vectorizer_testing::Random;

/// For all that run at the same time.
const MEMORY_BYTES_MAX: usize = 1 << 30;

#[global_allocator]
static MEMORY: Cap<System> = Cap::new(System, MEMORY_BYTES_MAX);

fn target(name: &str) -> Target {
    *ALL.iter().find(|target| target.name == name).expect("a target has this name")
}

/// Runs the target; says which input it was if that goes wrong.
fn run(target: Target, from: &str, bytes: &[u8]) {
    let ran = catch_unwind(AssertUnwindSafe(|| (target.run)(bytes)));
    assert!(ran.is_ok(), "{} on {from}: {:?}", target.name, bytes.escape_ascii().to_string());
}

/// Each seed as it is, and so many changes of some.
fn changes(name: &str, count: usize) {
    let target = target(name);
    let seeds = (target.seeds)();
    for (number, seed) in seeds.iter().enumerate() {
        run(target, &format!("seed {number}"), seed);
    }
    let mut random = Random::new(7);
    for number in 0..count {
        let mut bytes = seeds[random.index(seeds.len())].clone();
        for _ in 0..=random.index(4) {
            change(&mut bytes, &seeds, &mut random);
        }
        run(target, &format!("change {number}"), &bytes);
    }
}

fn change(bytes: &mut Vec<u8>, seeds: &[Vec<u8>], random: &mut Random) {
    if bytes.is_empty() {
        bytes.push(0);
    }
    let at = random.index(bytes.len());
    let end = at + random.index((bytes.len() - at).min(64)) + 1;
    match random.index(8) {
        0 => bytes[at] ^= 1 << random.index(8),
        1 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff, b'"', b'[', b'{', b'0', b'-'][random.index(10)],
        2 => bytes[at..end].fill([0, 0xff][random.index(2)]),
        3 => drop(bytes.drain(at..end)),
        4 => {
            let piece = bytes[at..end].to_vec();
            bytes.splice(at..at, piece);
        }
        5 => {
            let other = &seeds[random.index(seeds.len())];
            let from = random.index(other.len().max(1)).min(other.len());
            bytes.splice(at.., other[from..].iter().copied());
        }
        6 => bytes.truncate(at),
        _ => bytes.insert(at, b"0123456789[]{}\",:\\eE.+-\0\xff"[random.index(25)]),
    }
}

/// What was found once stays mended.
#[test]
fn findings_stay_fixed() {
    let findings = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/findings");
    for target in ALL {
        let Ok(entries) = fs::read_dir(findings.join(target.name)) else { continue };
        for entry in entries {
            let path = entry.expect("the folder can be read").path();
            run(target, &path.display().to_string(), &fs::read(&path).expect("the file can be read"));
        }
    }
}

#[test]
fn an_unverified_record_is_decoded_or_refused() {
    changes("record", 20_000);
}

#[test]
fn an_envelope_of_version_2_is_decoded_or_refused() {
    changes("envelope", 20_000);
}

#[test]
fn a_log_with_changed_bytes_on_disk_is_recovered_or_refused() {
    changes("log", 20_000);
}

#[test]
fn the_file_of_a_closed_log_is_read_or_refused() {
    changes("closed", 5_000);
}

#[test]
fn a_history_of_segments_and_a_base_is_read_or_refused() {
    changes("tiers", 3_000);
}

#[test]
fn a_checkpoint_is_restored_or_refused() {
    changes("checkpoint", 20_000);
}

#[test]
fn a_text_is_a_key_or_is_refused() {
    changes("key", 50_000);
}

#[test]
fn a_filter_is_asked_or_refused() {
    changes("filter", 20_000);
}

#[test]
fn a_request_is_answered_or_refused() {
    changes("body", 5_000);
}

#[test]
fn a_message_is_answered_or_refused() {
    changes("mcp", 5_000);
}
