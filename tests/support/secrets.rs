//! No secret is said or written down by anything that the tests start, whatever they do with it: everything
//! that a server prints while it says all it can, every file it leaves behind and every answer is searched for
//! the secrets of all keys that the tests have made or were given.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use aho_corasick::AhoCorasick;
use serde_json::Value;
use vectorizer_access::ApiKey;

/// How much of a secret is too much: a third of a key's.
const PART_BYTES: usize = 14;
/// What every key begins with. A key is found by its beginning even if it was not watched.
const KEY_STARTS: [&[u8]; 2] = [b"hh_live_", b"hh_test_"];
/// Longer than a key.
const OVERLAP_BYTES: usize = 128;
/// The file of `dev` and `hub` that holds the keys, for the owner of the folder.
const KEYS_FILE: &str = "dev-keys.json";
/// Flags with a secret behind them.
const SECRET_FLAGS: [&str; 4] = ["--hivehub-api-key", "--embedding-key", "--key", "--hub-key"];

struct Watched {
    parts: BTreeSet<Vec<u8>>,
    /// What finds them; made anew when there are more.
    search: Option<Arc<AhoCorasick>>,
}

static WATCHED: Mutex<Watched> = Mutex::new(Watched { parts: BTreeSet::new(), search: None });

/// From now on no part of this secret may be found anywhere. Of a key that is not its id, which may be shown.
pub(crate) fn watch(secret: &str) {
    let secret = match ApiKey::parse(secret) {
        Ok(key) => key.expose().split('_').nth(3).unwrap().to_owned(),
        Err(_) => secret.to_owned(),
    };
    let mut watched = WATCHED.lock().unwrap_or_else(PoisonError::into_inner);
    for part in secret.as_bytes().chunks_exact(PART_BYTES) {
        if watched.parts.insert(part.to_vec()) {
            watched.search = None;
        }
    }
}

/// The same for every secret that stands behind its flag.
pub(crate) fn watch_flags(flags: &[&str]) {
    for pair in flags.windows(2) {
        if SECRET_FLAGS.contains(&pair[0]) {
            watch(pair[1]);
        }
    }
}

/// The same for all keys that a server has made for its demo.
pub(crate) fn watch_keys_of(data: &Path) {
    fn all(value: &Value) {
        match value {
            Value::String(text) => watch(text),
            Value::Array(values) => values.iter().for_each(all),
            Value::Object(fields) => {
                // What is no secret, and may be shorter than one or stand in any answer.
                let secret = |name: &str| !["id", "name"].contains(&name);
                fields.iter().filter(|(name, _)| secret(name)).for_each(|(_, value)| all(value));
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
    if let Ok(keys) = fs::read(data.join(KEYS_FILE)) {
        all(&serde_json::from_slice(&keys).unwrap());
    }
}

/// Whether this is a line in which `dev` shows a key: an indented level, and the key.
pub(crate) fn is_shown_key(line: &str) -> bool {
    let words: Vec<&str> = line.split_whitespace().collect();
    line.starts_with("    ") && words.len() == 2 && ApiKey::parse(words[1]).is_ok()
}

/// Panics if there is a part of a secret in what was said here.
pub(crate) fn are_not_in(place: &str, said: &[u8]) {
    if let Some(found) = found(said) {
        panic!("{place} holds a part of a secret: {found}");
    }
}

/// A folder that is searched when this is dropped.
pub(crate) struct Searched(pub(crate) PathBuf);

impl Drop for Searched {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_eq!(found_below(&self.0), [""; 0], "files hold parts of secrets");
        }
    }
}

/// The files below the folder in which there is one, and what is there.
fn found_below(folder: &Path) -> Vec<String> {
    let (mut all, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        // What is gone meanwhile, or cannot be read because a test has seen to that, holds nothing either.
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(path),
                Ok(kind) if kind.is_file() && entry.file_name() != KEYS_FILE => {
                    if let Ok(Some(found)) = fs::File::open(&path).and_then(found_in) {
                        all.push(format!("{}: {found}", path.display()));
                    }
                }
                _ => {}
            }
        }
    }
    all
}

/// The first part of a secret that can be read from there.
pub(crate) fn found_in(mut from: impl Read) -> io::Result<Option<String>> {
    let mut buffer = vec![0; 1 << 20];
    let mut kept = 0;
    loop {
        let read = from.read(&mut buffer[kept..])?;
        if read == 0 {
            return Ok(None);
        }
        let filled = kept + read;
        if let Some(found) = found(&buffer[..filled]) {
            return Ok(Some(found));
        }
        // What is cut in two here is found with what comes next.
        kept = filled.min(OVERLAP_BYTES);
        buffer.copy_within(filled - kept..filled, 0);
    }
}

/// The first part of a secret in these bytes, with what is in front of it.
fn found(bytes: &[u8]) -> Option<String> {
    let search = search();
    let is_secret = |pattern: usize, end: usize| pattern >= KEY_STARTS.len() || is_key(&bytes[end..]);
    let mut hits = search.find_iter(bytes);
    let hit = hits.find(|hit| is_secret(hit.pattern().as_usize(), hit.end()))?;
    let around = &bytes[hit.start().saturating_sub(200)..bytes.len().min(hit.end() + 60)];
    Some(String::from_utf8_lossy(around).into_owned())
}

/// Whether a key's id and a good part of its secret stand here.
fn is_key(rest: &[u8]) -> bool {
    let parts: Vec<&[u8]> = rest[..rest.len().min(OVERLAP_BYTES)].splitn(3, |byte| *byte == b'_').collect();
    let digits = |part: &[u8]| part.iter().take_while(|byte| byte.is_ascii_alphanumeric()).count();
    matches!(&parts[..], [id, secret, ..] if digits(id) == id.len() && digits(secret) >= PART_BYTES)
}

fn search() -> Arc<AhoCorasick> {
    let mut watched = WATCHED.lock().unwrap_or_else(PoisonError::into_inner);
    let Watched { parts, search } = &mut *watched;
    let make = || {
        let patterns = KEY_STARTS.into_iter().chain(parts.iter().map(Vec::as_slice));
        Arc::new(AhoCorasick::new(patterns).unwrap())
    };
    Arc::clone(search.get_or_insert_with(make))
}

#[test]
fn a_secret_is_found_wherever_it_is_and_a_keys_id_is_none() {
    let mut entropy = [0x5C; ApiKey::ENTROPY_BYTES];
    entropy[20..28].copy_from_slice(&std::process::id().to_be_bytes().repeat(2));
    let key = ApiKey::generate(vectorizer_access::Environment::Test, &entropy);
    let text = key.expose();
    assert!(found(format!("the key is {text}").as_bytes()).is_some(), "it was not watched");
    let secret = text.split('_').nth(3).unwrap();
    assert!(found(secret.as_bytes()).is_none());
    watch(text);
    for part in [secret, &secret[..PART_BYTES], &secret[PART_BYTES - 5..]] {
        assert!(found(part.as_bytes()).is_some(), "{part}");
    }
    for shown in [&format!("{key:?}"), key.id().as_str(), &key.sha256().to_string()] {
        assert!(found(shown.as_bytes()).is_none(), "{shown}");
    }
    // At every place around the border of what is read at once.
    for at in (1 << 20) - 64..(1 << 20) + 8 {
        let mut said = vec![b'.'; at];
        said.extend_from_slice(text.as_bytes());
        assert!(found_in(&said[..]).unwrap().is_some(), "{at}");
    }
    assert!(is_shown_key(&format!("    ADMIN      {text}")) && !is_shown_key(&format!("key={text}")));
}
