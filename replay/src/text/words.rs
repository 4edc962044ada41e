//! What words a text has.

use unicode_normalization::UnicodeNormalization as _;
use unicode_segmentation::UnicodeSegmentation as _;

/// The most bytes of a word that tell it from others.
const TERM_BYTES_MAX: usize = 128;

/// The words of a text (UAX #29), each folded so that case, width and accents make no difference: `Crème` and
/// `CREME` are one term. Chinese characters and Japanese syllables are words of their own.
#[derive(Default)]
pub(super) struct Words {
    /// One behind the other.
    all: String,
    /// Where each begins and ends in there.
    places: Vec<(u32, u32)>,
}

impl Words {
    pub(super) fn of(text: &str) -> Self {
        let mut words = Self::default();
        for word in text.unicode_words() {
            let start = words.all.len();
            fold(word, &mut words.all);
            if words.all.len() - start > TERM_BYTES_MAX {
                words.all.truncate(words.all.floor_char_boundary(start + TERM_BYTES_MAX));
            }
            words.places.push((place(start), place(words.all.len())));
        }
        words
    }

    /// How many there are.
    pub(super) fn len(&self) -> u32 {
        place(self.places.len())
    }

    /// Each different one and how often it occurs, in order.
    pub(super) fn counted(&mut self) -> impl Iterator<Item = (&str, u32)> {
        let Self { all, places } = self;
        let word = |(start, end): (u32, u32)| &all[start as usize..end as usize];
        places.sort_unstable_by(|one, other| word(*one).cmp(word(*other)));
        places
            .chunk_by(move |one, other| word(*one) == word(*other))
            .map(move |same| (word(same[0]), place(same.len())))
    }
}

/// A text has a few hundred KiB of folded words at most.
#[expect(clippy::cast_possible_truncation, reason = "texts are short")]
fn place(place: usize) -> u32 {
    place as u32
}

fn fold(word: &str, folded: &mut String) {
    if word.is_ascii() {
        folded.extend(word.bytes().map(|byte| char::from(byte.to_ascii_lowercase())));
        return;
    }
    let lower = word.nfkd().filter(|character| !is_accent(*character)).flat_map(char::to_lowercase);
    folded.extend(lower.flat_map(folded_further).nfc());
}

/// Marks over and under letters of any alphabet that are the same letter without. Vowel signs are none.
fn is_accent(character: char) -> bool {
    ('\u{300}'..='\u{36f}').contains(&character)
}

/// What lower case leaves apart, and case folding does not.
fn folded_further(character: char) -> impl Iterator<Item = char> {
    let (first, second) = match character {
        'ß' => ('s', Some('s')),
        'ς' => ('σ', None),
        other => (other, None),
    };
    std::iter::once(first).chain(second)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<(String, u32)> {
        let mut words = Words::of(text);
        words.counted().map(|(term, count)| (term.to_owned(), count)).collect()
    }

    fn terms(text: &str) -> Vec<String> {
        words(text).into_iter().map(|(term, _)| term).collect()
    }

    #[test]
    fn case_width_and_accents_make_no_difference() {
        for alike in [
            ["Crème", "CREME", "cre\u{300}me"],
            ["STRASSE", "Straße", "strasse"],
            ["ΟΔΟΣ", "οδος", "οδοσ"],
            ["ﬁle", "ｆｉｌｅ", "FILE"],
            ["İstanbul", "ISTANBUL", "istanbul"],
        ] {
            for word in alike {
                assert_eq!(terms(word), terms(alike[0]), "{word}");
            }
        }
        assert_ne!(terms("の"), terms("は"));
        // Vowel signs are letters.
        assert_ne!(terms("की"), terms("का"));
    }

    #[test]
    fn words_are_counted_and_what_is_between_them_is_none() {
        assert_eq!(
            words("To be, or NOT to be: 3.14!"),
            [
                ("3.14".to_owned(), 1),
                ("be".to_owned(), 2),
                ("not".to_owned(), 1),
                ("or".to_owned(), 1),
                ("to".to_owned(), 2)
            ]
        );
        assert!(words(" \0\n—!?… 🙂").is_empty());
        assert_eq!(terms("東京"), ["京", "東"]);
        assert_eq!(terms("don't snake_case"), ["don't", "snake_case"]);
    }

    #[test]
    fn of_a_word_without_end_only_the_first_bytes_count() {
        let long = "ä".repeat(10_000);
        assert_eq!(terms(&long), ["a".repeat(TERM_BYTES_MAX)]);
    }
}
