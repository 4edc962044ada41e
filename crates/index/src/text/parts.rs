//! The parts of a word, and other spellings of it.

use std::borrow::Cow;

/// One of the forms by which a word is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part<'a> {
    /// A word of its own, which counts towards the length of the text.
    Word(Cow<'a, str>),
    /// Another word within it.
    Other(&'a str),
    /// Several words written as one, which is not stemmed.
    Whole(Cow<'a, str>),
}

/// Articles and prepositions of French, Italian, Catalan and similar languages that are joined to the next word by an
/// apostrophe.
const ELISIONS: [&str; 40] = [
    "l", "d", "j", "m", "t", "s", "n", "c", "qu", "jusqu", "lorsqu", "puisqu", "quoiqu", "quelqu", "presqu",
    "entr", "all", "dall", "dell", "nell", "sull", "coll", "pell", "un", "gl", "agl", "dagl", "degl", "negl",
    "sugl", "quell", "quest", "bell", "sant", "tutt", "anch", "mezz", "dov", "com", "cos",
];
/// English suffixes that are joined to the word before them by an apostrophe.
const CLITICS: [&str; 6] = ["s", "ll", "re", "ve", "d", "m"];

/// Whether a word has no parts: only letters, and no capital after the first.
pub(super) fn is_plain(word: &str) -> bool {
    let mut characters = word.chars();
    characters.next().is_some_and(char::is_alphabetic)
        && characters.all(|character| character.is_alphabetic() && !character.is_uppercase())
}

/// The parts of a word, a segment of UAX #29 with a letter or digit, in a script with spaces.
pub(super) fn parts(word: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    for word in word.split([':', ';']).filter(|word| word.contains(char::is_alphanumeric)) {
        split(word, &mut parts);
    }
    parts
}

fn split<'a>(word: &'a str, parts: &mut Vec<Part<'a>>) {
    let is_of_number = |character: char| character.is_ascii_digit() || matches!(character, '.' | ',' | '\'');
    let unit = word.trim_start_matches(is_of_number);
    if unit.is_empty() {
        return number(word, parts);
    }
    if unit.len() < word.len() && word.starts_with(|character: char| character.is_ascii_digit()) {
        return measure(word, unit, parts);
    }
    if let Some((head, tail)) = word.split_once('\'') {
        return apostrophe(word, head, tail, parts);
    }
    if word.contains('_') {
        return joined(word, word.split('_'), parts);
    }
    if !word.contains(['.', ',']) {
        return plain(word, parts);
    }
    let pieces: Vec<&str> = word.split(['.', ',']).filter(|piece| !piece.is_empty()).collect();
    // An abbreviation such as U.S.A.: its letters are no words.
    if pieces.iter().all(|piece| piece.chars().count() == 1) {
        parts.push(Part::Word(pieces.concat().into()));
        return;
    }
    parts.push(Part::Whole(word.into()));
    if pieces.len() == 2 && pieces.iter().any(|piece| piece.chars().count() <= 2) {
        parts.push(Part::Whole(pieces.concat().into()));
    }
    // The numbers of a version are no words.
    for piece in pieces.into_iter().filter(|piece| piece.contains(char::is_alphabetic)) {
        plain(piece, parts);
    }
}

/// `1,000,000` is also 1000000, and `3,14` is also `3.14`.
fn number<'a>(word: &'a str, parts: &mut Vec<Part<'a>>) {
    let groups: Vec<&str> = word.split([',', '.', '\'']).collect();
    parts.push(Part::Word(word.into()));
    if let [first, rest @ ..] = &groups[..]
        && !rest.is_empty()
        && (1..=3).contains(&first.len())
        && rest.iter().all(|group| group.len() == 3)
    {
        parts.push(Part::Whole(groups.concat().into()));
    } else if let [whole, decimals] = &groups[..]
        && word.contains(',')
    {
        parts.push(Part::Whole(format!("{whole}.{decimals}").into()));
    }
}

/// A number with a unit, such as `500mg`, has both as parts; `90's`, `3rd` and `5G` have none.
fn measure<'a>(word: &'a str, unit: &'a str, parts: &mut Vec<Part<'a>>) {
    parts.push(Part::Word(word.into()));
    let is_ordinal = ["st", "nd", "rd", "th"].iter().any(|end| unit.eq_ignore_ascii_case(end));
    if unit.chars().count() >= 2 && unit.chars().all(char::is_alphabetic) && !is_ordinal {
        parts.push(Part::Other(word[..word.len() - unit.len()].trim_end_matches(['.', ',', '\''])));
        parts.push(Part::Other(unit));
    }
}

/// A word with an apostrophe is also found without it, and by the word that remains without an elision or a suffix.
fn apostrophe<'a>(word: &'a str, head: &'a str, tail: &'a str, parts: &mut Vec<Part<'a>>) {
    // The whole word: folding removes the apostrophe.
    parts.push(Part::Word(word.into()));
    let small = head.to_lowercase();
    let is_elision = ELISIONS.contains(&small.as_str());
    let end = tail.to_lowercase();
    let is_clitic = CLITICS.contains(&end.as_str());
    // In don't, neither don nor t is a word.
    if !is_clitic && end != "t" && (is_elision || tail.chars().count() >= 3) {
        parts.push(Part::Other(tail.rsplit('\'').next().filter(|last| last.len() > 2).unwrap_or(tail)));
    }
    // 's and the like. In Turkish and Finnish, names have longer suffixes.
    if !is_elision && end != "t" && head.chars().count() >= 2 && (is_clitic || ends_a_name(head, tail)) {
        parts.push(Part::Other(head));
    }
}

/// Whether this is a name with a case suffix, as in Ankara'da and EU'nun: a name of some length, and a short suffix.
fn ends_a_name(head: &str, tail: &str) -> bool {
    let is_name = head.starts_with(char::is_uppercase) && head.chars().count() >= 3;
    is_name && (1..=4).contains(&tail.chars().count()) && tail.chars().all(char::is_lowercase)
}

/// A word without punctuation: an identifier has parts.
fn plain<'a>(word: &'a str, parts: &mut Vec<Part<'a>>) {
    match identifier_words(word) {
        Some(identifier_words) => joined(word, identifier_words.into_iter(), parts),
        None => parts.push(Part::Word(word.into())),
    }
}

/// The parts of an identifier: each word, each pair of adjacent words, and the whole.
fn joined<'a>(word: &'a str, pieces: impl Iterator<Item = &'a str>, parts: &mut Vec<Part<'a>>) {
    let pieces: Vec<&str> = pieces.filter(|piece| piece.contains(char::is_alphanumeric)).collect();
    parts.push(Part::Whole(word.into()));
    parts.extend(pieces.windows(2).map(|pair| Part::Whole(pair.concat().into())));
    parts.extend(pieces.into_iter().map(|piece| Part::Word(piece.into())));
}

/// The words of an identifier: `getUserName`, or `HttpRequestHandler` with three or more. `JavaScript`, `YouTube`,
/// `iPhone` and `eBay` are one word.
fn identifier_words(word: &str) -> Option<Vec<&str>> {
    if !word.is_ascii() || word.bytes().all(|byte| !byte.is_ascii_uppercase()) {
        return None;
    }
    let bytes = word.as_bytes();
    let mut starts = vec![0];
    for at in 1..bytes.len() {
        let before_small = bytes.get(at + 1).is_some_and(u8::is_ascii_lowercase);
        let after_small = bytes[at - 1].is_ascii_lowercase() || bytes[at - 1].is_ascii_digit();
        if bytes[at].is_ascii_uppercase()
            && (after_small || bytes[at - 1].is_ascii_uppercase() && before_small)
        {
            starts.push(at);
        }
    }
    let begins_small = bytes[0].is_ascii_lowercase();
    let least = if begins_small { 2 } else { 3 };
    if starts.len() < least || begins_small && starts[1] < 2 {
        return None;
    }
    let ends = starts.iter().copied().skip(1).chain([word.len()]);
    Some(starts.iter().zip(ends).map(|(start, end)| &word[*start..end]).collect())
}
