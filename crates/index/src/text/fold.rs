//! Folding of letters: equivalent letters become the same.

use std::borrow::Cow;

use unicode_normalization::char::canonical_combining_class;
use unicode_normalization::{IsNormalized, UnicodeNormalization as _, is_nfkc_quick};

/// The text in NFKC, without invisible characters: soft hyphens, joiners, marks of direction, the Arabic tatweel. Every
/// apostrophe becomes `'`.
pub(super) fn cleaned(text: &str) -> Cow<'_, str> {
    if text.is_ascii() && !text.contains('`') {
        return text.into();
    }
    let mut cleaned = String::with_capacity(text.len());
    let mut before = ' ';
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        let after = characters.peek().copied().unwrap_or(' ');
        let kept = match character {
            '\u{ad}'
            | '\u{34f}'
            | '\u{61c}'
            | '\u{640}'
            | '\u{180e}'
            | '\u{200c}'
            | '\u{200e}'
            | '\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}' => None,
            // A zero-width space separates words of scripts without spaces.
            '\u{200b}' => is_unspaced(before).then_some(' '),
            // A zero-width joiner is part of an emoji.
            '\u{200d}' => (before >= '\u{2000}' && !before.is_alphabetic()).then_some(character),
            '\u{2018}' | '\u{2019}' | '\u{201b}' | '\u{2032}' | '\u{2bb}' | '\u{2bc}' | '\u{2bd}'
            | '\u{2b9}' | '\u{a78c}' | '\u{ff07}' | '\u{55a}' | '\u{5f3}' => Some('\''),
            '`' | '\u{b4}' if before.is_alphabetic() && after.is_alphabetic() => Some('\''),
            // NFKC makes letters of these, which would be part of the previous word.
            '\u{2122}' | '\u{2120}' | '\u{ae}' | '\u{a9}' => Some(' '),
            other => Some(other),
        };
        cleaned.extend(kept);
        before = kept.unwrap_or(before);
    }
    if is_nfkc_quick(cleaned.chars()) == IsNormalized::Yes {
        return cleaned.into();
    }
    cleaned.nfkc().collect::<String>().into()
}

/// Appends a folded word: without differences of case, accents, vowel points and letter variants, and without
/// apostrophes and other marks that Unicode allows within words.
pub(super) fn fold(word: &str, folded: &mut String) {
    let is_within = |character: char| matches!(character, '\'' | '\u{b7}' | '"' | '\u{5f4}' | '\u{2027}');
    if word.is_ascii() {
        let kept = word.chars().filter(|character| !is_within(*character));
        folded.extend(kept.map(|character| character.to_ascii_lowercase()));
        return;
    }
    let plain = word.nfkd().filter(|character| !is_within(*character) && !is_mark(*character));
    let start = folded.len();
    for character in plain.flat_map(char::to_lowercase).filter(|character| !is_mark(*character)) {
        match variant_of(character) {
            Some(letters) => folded.push_str(letters),
            None => folded.push(digit(character).unwrap_or(character)),
        }
    }
    // Decomposed syllables, and marks that make another letter, are composed again.
    if is_nfkc_quick(folded[start..].chars()) != IsNormalized::Yes {
        let composed: String = folded[start..].nfc().collect();
        folded.truncate(start);
        folded.push_str(&composed);
    }
}

/// Whether a mark is optional in writing: accents of any alphabet, vowel points of Hebrew, Arabic and Syriac. Vowel
/// signs of other scripts, and the voicing marks of kana, are not.
fn is_mark(character: char) -> bool {
    if character < '\u{300}' {
        return false;
    }
    let class = canonical_combining_class(character);
    (10..=36).contains(&class) || class >= 200 || matches!(character, '\u{20dd}'..='\u{20e4}')
}

/// The letter that a variant letter is folded to.
fn variant_of(character: char) -> Option<&'static str> {
    Some(match character {
        'ß' => "ss",
        'ς' => "σ",
        'ı' | 'ɨ' => "i",
        'ł' | 'ƚ' => "l",
        'ø' => "o",
        'đ' | 'ð' => "d",
        'ħ' => "h",
        'ŧ' => "t",
        'æ' => "ae",
        'œ' => "oe",
        'þ' => "th",
        'ŋ' => "n",
        'ĸ' => "k",
        'ƶ' => "z",
        'ƀ' => "b",
        'ǥ' => "g",
        'ʉ' => "u",
        // Arabic letters in their Persian and Urdu forms, or written carelessly.
        'ى' | 'ی' | 'ې' => "ي",
        'ک' | 'ڪ' => "ك",
        'ة' | 'ۀ' | 'ہ' | 'ھ' | 'ە' => "ه",
        'ٱ' => "ا",
        _ => return None,
    })
}

/// The ASCII digit of a digit of another script.
fn digit(character: char) -> Option<char> {
    const ZEROS: [char; 13] = [
        '\u{660}', '\u{6f0}', '\u{7c0}', '\u{966}', '\u{9e6}', '\u{a66}', '\u{ae6}', '\u{b66}', '\u{be6}',
        '\u{c66}', '\u{ce6}', '\u{e50}', '\u{ed0}',
    ];
    let above = |zero: &char| u32::from(character).checked_sub(u32::from(*zero)).filter(|above| *above < 10);
    char::from_digit(ZEROS.iter().find_map(above)?, 10)
}

/// The way to find the words of a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Script {
    /// Words are separated by spaces and punctuation.
    Spaced,
    /// Katakana: a run of it is a word.
    Katakana,
    /// Scripts without visible word boundaries: Chinese, hiragana, the scripts of South-East Asia. In Korean,
    /// particles are attached to words.
    Han,
    Hiragana,
    Hangul,
    Thai,
    Lao,
    Myanmar,
    Khmer,
}

impl Script {
    pub(super) fn of(character: char) -> Self {
        // Most letters are below this one.
        if character < '\u{e00}' {
            return Self::Spaced;
        }
        match character {
            '\u{e00}'..='\u{e7f}' => Self::Thai,
            '\u{e80}'..='\u{eff}' => Self::Lao,
            '\u{1000}'..='\u{109f}' | '\u{a9e0}'..='\u{a9ff}' | '\u{aa60}'..='\u{aa7f}' => Self::Myanmar,
            '\u{1780}'..='\u{17ff}' => Self::Khmer,
            '\u{1100}'..='\u{11ff}' | '\u{3130}'..='\u{318f}' | '\u{ac00}'..='\u{d7ff}' => Self::Hangul,
            '\u{3041}'..='\u{309f}' => Self::Hiragana,
            '\u{30a1}'..='\u{30ff}' | '\u{31f0}'..='\u{31ff}' => Self::Katakana,
            '\u{3005}'
            | '\u{3007}'
            | '\u{3021}'..='\u{3029}'
            | '\u{3038}'..='\u{303b}'
            | '\u{3400}'..='\u{4dbf}'
            | '\u{4e00}'..='\u{9fff}'
            | '\u{f900}'..='\u{faff}'
            | '\u{20000}'..='\u{323af}' => Self::Han,
            _ => Self::Spaced,
        }
    }
}

fn is_unspaced(character: char) -> bool {
    !matches!(Script::of(character), Script::Spaced | Script::Hangul)
}
