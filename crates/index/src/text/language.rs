//! Stems and stop words of languages.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use rust_stemmers::{Algorithm, Stemmer};
use vectorizer_log::Language;

use super::fold::fold;

/// The longest word, in bytes, that is stemmed.
const STEMMED_BYTES_MAX: usize = 64;

/// The stop words of each language, as terms.
static STOP_WORDS: LazyLock<HashMap<Language, HashSet<String>>> = LazyLock::new(|| {
    let terms = |language: Language| {
        let words = stop_words::lookup(language.code()).unwrap_or_default();
        let terms = words.iter().map(|word| folded(word)).filter(|term| !term.is_empty());
        (language, terms.collect())
    };
    Language::ALL.into_iter().map(terms).collect()
});

/// How the words of a collection become terms: unchanged, or stemmed in one language.
///
/// Documents and queries must use the same analysis. Stop words are removed from queries only, so that a query of
/// nothing but stop words still finds them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Analysis(pub(super) Option<Language>);

impl Analysis {
    /// Whether a word is a stop word of the language.
    pub(super) fn is_stop_word(self, word: &str) -> bool {
        let words = self.0.and_then(|language| STOP_WORDS.get(&language));
        words.is_some_and(|words| words.contains(&folded(word)))
    }

    /// The stems of a word: of the word as written, and of the word without accents, which are often not typed and
    /// which the rules of a stemmer expect. `None` if the word is not stemmed.
    pub(super) fn stems(self, word: &str) -> Option<[String; 2]> {
        let language = self.0?;
        let is_stemmable = |character: char| character == '\'' || is_letter_of(language, character);
        if word.len() > STEMMED_BYTES_MAX || !word.chars().all(is_stemmable) {
            return None;
        }
        let stemmer = Stemmer::create(algorithm(language));
        let plain = folded(word);
        let written = word.to_lowercase().replace('\'', "");
        let second = stemmer.stem(&plain).into_owned();
        let first = if written == plain { second.clone() } else { folded(&stemmer.stem(&written)) };
        Some([first, second])
    }
}

fn folded(word: &str) -> String {
    let mut term = String::with_capacity(word.len());
    fold(word, &mut term);
    term
}

/// Whether a letter belongs to the script of the language. Stemmers are defined for these letters only.
fn is_letter_of(language: Language, character: char) -> bool {
    let is_in_script = match language {
        Language::Arabic => matches!(character, '\u{600}'..='\u{6ff}'),
        Language::Greek => matches!(character, '\u{370}'..='\u{3ff}' | '\u{1f00}'..='\u{1fff}'),
        Language::Russian => matches!(character, '\u{400}'..='\u{4ff}'),
        Language::Tamil => return matches!(character, '\u{b80}'..='\u{bff}'),
        Language::Danish
        | Language::Dutch
        | Language::English
        | Language::Finnish
        | Language::French
        | Language::German
        | Language::Hungarian
        | Language::Italian
        | Language::Norwegian
        | Language::Portuguese
        | Language::Romanian
        | Language::Spanish
        | Language::Swedish
        | Language::Turkish => matches!(character, '\0'..='\u{24f}'),
    };
    is_in_script && character.is_alphabetic()
}

fn algorithm(language: Language) -> Algorithm {
    match language {
        Language::Arabic => Algorithm::Arabic,
        Language::Danish => Algorithm::Danish,
        Language::Dutch => Algorithm::Dutch,
        Language::English => Algorithm::English,
        Language::Finnish => Algorithm::Finnish,
        Language::French => Algorithm::French,
        Language::German => Algorithm::German,
        Language::Greek => Algorithm::Greek,
        Language::Hungarian => Algorithm::Hungarian,
        Language::Italian => Algorithm::Italian,
        Language::Norwegian => Algorithm::Norwegian,
        Language::Portuguese => Algorithm::Portuguese,
        Language::Romanian => Algorithm::Romanian,
        Language::Russian => Algorithm::Russian,
        Language::Spanish => Algorithm::Spanish,
        Language::Swedish => Algorithm::Swedish,
        Language::Tamil => Algorithm::Tamil,
        Language::Turkish => Algorithm::Turkish,
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_language_has_stop_words_and_its_own_code() {
        for language in Language::ALL {
            assert!(STOP_WORDS[&language].len() > 30, "{language}");
            assert_eq!(language.code().parse(), Ok(language));
        }
        assert!("xx".parse::<Language>().unwrap_err().to_string().contains("ar, da, nl, en"));
    }

    #[test]
    fn forms_of_a_word_have_one_stem_with_and_without_accents() {
        let stems = |language, word| Analysis(Some(language)).stems(word).unwrap();
        for (language, one, other) in [
            (Language::English, "invoices", "invoice"),
            (Language::English, "running", "run"),
            (Language::German, "Häuser", "hauser"),
            (Language::French, "écoles", "ecole"),
            (Language::Spanish, "canciones", "canción"),
            (Language::Russian, "книги", "книга"),
        ] {
            let (one, other) = (stems(language, one), stems(language, other));
            assert!(one.iter().any(|stem| other.contains(stem)), "{one:?} {other:?}");
        }
        assert_eq!(Analysis(None).stems("invoices"), None);
        assert_eq!(Analysis(Some(Language::English)).stems("книги"), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn stemming_never_panics_whatever_the_letters(
            letters in vec(prop_oneof![
                prop::char::range('a', 'z'), prop::char::range('\u{c0}', '\u{24f}'), prop::char::range('\u{370}', '\u{4ff}'),
                prop::char::range('\u{600}', '\u{6ff}'), prop::char::range('\u{b80}', '\u{bff}'),
                prop::char::range('\u{1f00}', '\u{1fff}'),
            ], 0..24),
            ends in prop::sample::select(vec!["", "ing", "ement", "heit", "idades", "ности", "ους", "ات", "leri", "ांगள்"]),
        ) {
            // Of one script, as words are.
            for language in Language::ALL {
                let mut word: String = letters.iter().filter(|letter| is_letter_of(language, **letter)).collect();
                word.push_str(ends);
                Analysis(Some(language)).stems(&word);
            }
        }
    }
}
