//! From a text to its terms.

use unicode_properties::UnicodeEmoji as _;
use unicode_segmentation::UnicodeSegmentation as _;

use super::fold::{Script, cleaned, fold};
use super::language::Analysis;
use super::parts::{Part, is_plain, parts};

/// A term has at most this many bytes; the rest of a longer word is ignored.
const TERM_BYTES_MAX: usize = 128;
/// Up to this many words with hyphens between them are also one word.
const HYPHENATED_MAX: usize = 3;

/// Whether the words are of a document or of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A document, to be found.
    Document,
    /// A query.
    Query,
}

/// The words of a text (UAX #29), each as the terms by which it is found.
///
/// - Case, width, accents, vowel points, soft hyphens and joiners are ignored (`fold`): `Crème` and `CREME` are one
///   term.
/// - A word with parts has its parts as terms too, and its other spellings (`parts`): `report.pdf` is found by
///   `report`, `l'école` by `école`, `U.S.A.` by `USA`, `e-mail` by `email`.
/// - Chinese, hiragana, Korean, Thai and similar scripts have no visible word boundaries. They are found by pairs of
///   adjacent characters, and by single characters if a query has only one. Katakana has words.
/// - An emoji is a word.
///
/// **Counts.** The count of a term is the number of words that have it, and a word has it once. The length of a text,
/// which BM25 relates counts to, is its number of words; each part of `report.pdf` and each Chinese character is one.
/// Further terms of a word do not count, so a text does not rank lower because its words have parts.
#[derive(Default)]
pub(super) struct Words {
    /// All terms, concatenated.
    all: String,
    /// The start and the end of each term in `all`, and whether it is a stop word.
    places: Vec<(u32, u32, bool)>,
    /// How many words there are.
    length: u32,
}

impl Words {
    pub(super) fn of(text: &str, analysis: Analysis, purpose: Purpose) -> Self {
        let text = cleaned(text);
        let mut reader = Reader { words: Self::default(), analysis, purpose, is_stop: false };
        reader.read(&text);
        let mut words = reader.words;
        if purpose == Purpose::Query && words.places.iter().any(|(.., is_stop)| !is_stop) {
            words.places.retain(|(.., is_stop)| !is_stop);
        }
        words
    }

    /// How many words there are.
    pub(super) fn len(&self) -> u32 {
        self.length
    }

    /// Each distinct term, in ascending order, and how many words have it.
    pub(super) fn counted(&mut self) -> impl Iterator<Item = (&str, u32)> {
        let Self { all, places, .. } = self;
        let term = |(start, end, _): (u32, u32, bool)| &all[start as usize..end as usize];
        places.sort_unstable_by(|one, other| term(*one).cmp(term(*other)));
        places
            .chunk_by(move |one, other| term(*one) == term(*other))
            .map(move |same| (term(same[0]), place(same.len())))
    }
}

/// A text has at most a few MiB of terms.
#[expect(clippy::cast_possible_truncation, reason = "texts are short")]
fn place(place: usize) -> u32 {
    place as u32
}

/// Reads a text.
struct Reader {
    words: Words,
    analysis: Analysis,
    purpose: Purpose,
    /// Whether the current word is a stop word.
    is_stop: bool,
}

/// Consecutive characters of one script.
struct Run<'a> {
    script: Script,
    /// The end of the run in the text.
    end: usize,
    characters: Vec<&'a str>,
}

/// Words separated by hyphens only.
#[derive(Default)]
struct Hyphenated {
    /// The words without the hyphens.
    joined: String,
    count: usize,
}

impl Reader {
    fn read(&mut self, text: &str) {
        let mut run: Option<Run<'_>> = None;
        let mut hyphenated = Hyphenated::default();
        // The end of the last word.
        let mut last_end = 0;
        for (start, segment) in text.split_word_bound_indices() {
            if !segment.contains(char::is_alphanumeric) {
                if let Some(emoji) = emoji(segment) {
                    self.end_run(&mut run);
                    self.is_stop = false;
                    self.word(&emoji);
                }
                continue;
            }
            let mut at = start;
            for piece in by_script(segment) {
                if !piece.contains(char::is_alphanumeric) {
                    at += piece.len();
                    continue;
                }
                let script = piece.chars().next().map_or(Script::Spaced, Script::of);
                let end = at + piece.len();
                match script {
                    Script::Spaced | Script::Katakana => {
                        self.end_run(&mut run);
                        if hyphenated.count > 0 && !is_hyphen(&text[last_end..at], piece) {
                            self.end_hyphenated(&mut hyphenated);
                        }
                        let symbol =
                            (script == Script::Spaced).then(|| symbol(piece, &text[end..])).flatten();
                        self.spaced(piece, script, symbol);
                        hyphenated.count += 1;
                        if hyphenated.count <= HYPHENATED_MAX {
                            hyphenated.joined.push_str(piece);
                        }
                    }
                    Script::Han
                    | Script::Hiragana
                    | Script::Hangul
                    | Script::Thai
                    | Script::Lao
                    | Script::Myanmar
                    | Script::Khmer => {
                        if run.as_ref().is_none_or(|run| run.script != script || run.end != at) {
                            self.end_run(&mut run);
                        }
                        let run = run.get_or_insert_with(|| Run { script, end: at, characters: Vec::new() });
                        run.characters.extend(piece.graphemes(true));
                        run.end = end;
                        self.end_hyphenated(&mut hyphenated);
                    }
                }
                at = end;
                last_end = end;
            }
        }
        self.end_run(&mut run);
        self.end_hyphenated(&mut hyphenated);
    }

    /// Adds a word of a script that has words.
    fn spaced(&mut self, word: &str, script: Script, symbol: Option<&str>) {
        if script == Script::Katakana {
            self.is_stop = false;
            // The long vowel at the end of a longer word is optional.
            let short = word.strip_suffix('ー').filter(|short| short.chars().count() >= 3);
            return self.word(short.unwrap_or(word));
        }
        self.is_stop = self.purpose == Purpose::Query && self.analysis.is_stop_word(word);
        if let Some(symbol) = symbol {
            let start = self.start();
            fold(word, &mut self.words.all);
            self.words.all.push_str(symbol);
            self.end_term(start);
        }
        if is_plain(word) {
            self.words.length += 1;
            return self.analysed(word);
        }
        // A term that two parts of one word share counts once.
        let first = self.words.places.len();
        for part in parts(word) {
            match part {
                Part::Word(word) => {
                    self.words.length += 1;
                    self.analysed(&word);
                }
                Part::Other(word) => self.analysed(word),
                Part::Whole(word) => self.term(&word),
            }
        }
        self.distinct(first);
    }

    /// Ends a run. Each pair of adjacent characters is a term; a single character is a term too, but in a query only
    /// if it is the whole run.
    fn end_run(&mut self, run: &mut Option<Run<'_>>) {
        let Some(Run { characters, .. }) = run.take() else { return };
        self.is_stop = false;
        for (number, character) in characters.iter().enumerate() {
            self.words.length += 1;
            if self.purpose == Purpose::Document || characters.len() == 1 {
                self.term(character);
            }
            if let Some(next) = characters.get(number + 1) {
                let start = self.start();
                self.words.all.push_str(character);
                self.words.all.push_str(next);
                self.end_term(start);
            }
        }
    }

    /// Ends words separated by hyphens: up to three of them are also one word.
    fn end_hyphenated(&mut self, hyphenated: &mut Hyphenated) {
        let Hyphenated { joined, count } = hyphenated;
        if (2..=HYPHENATED_MAX).contains(count) && joined.contains(char::is_alphabetic) {
            self.is_stop = false;
            self.analysed(joined);
        }
        // The buffer is reused.
        joined.clear();
        *count = 0;
    }

    /// Adds a word that is one term.
    fn word(&mut self, term: &str) {
        self.words.length += 1;
        self.term(term);
    }

    /// Adds a word, stemmed if the language has stems.
    fn analysed(&mut self, word: &str) {
        let start = self.start();
        let Some([first, second]) = self.analysis.stems(word) else {
            fold(word, &mut self.words.all);
            return self.end_term(start);
        };
        self.words.all.push_str(&first);
        self.end_term(start);
        if second != first {
            self.term(&second);
        }
    }

    fn term(&mut self, term: &str) {
        let start = self.start();
        fold(term, &mut self.words.all);
        self.end_term(start);
    }

    fn start(&self) -> usize {
        self.words.all.len()
    }

    /// Ends the term that was written since `start`.
    fn end_term(&mut self, start: usize) {
        let Self { words, is_stop, .. } = self;
        if words.all.len() - start > TERM_BYTES_MAX {
            words.all.truncate(words.all.floor_char_boundary(start + TERM_BYTES_MAX));
        }
        if words.all.len() > start {
            words.places.push((place(start), place(words.all.len()), *is_stop));
        }
    }

    /// Removes duplicate terms from the one at `first` on.
    fn distinct(&mut self, first: usize) {
        let Words { all, places, .. } = &mut self.words;
        if places.len() - first < 2 {
            return;
        }
        let term = |(start, end, _): &(u32, u32, bool)| &all[*start as usize..*end as usize];
        places[first..].sort_unstable_by(|one, other| term(one).cmp(term(other)));
        let mut kept = first;
        for at in first..places.len() {
            if at == first || term(&places[at]) != term(&places[kept - 1]) {
                places[kept] = places[at];
                kept += 1;
            }
        }
        places.truncate(kept);
    }
}

/// Splits a segment into pieces of one script each. Marks belong to the letter before them.
fn by_script(segment: &str) -> impl Iterator<Item = &str> {
    let mut rest = segment;
    std::iter::from_fn(move || {
        let mut characters = rest.char_indices();
        let (_, first) = characters.next()?;
        let script = Script::of(first);
        let belongs = |character: char| {
            let other = Script::of(character);
            other == script
                || other == Script::Spaced && !character.is_alphanumeric() && !character.is_ascii()
                || character == 'ー' && script == Script::Hiragana
        };
        let end = characters.find(|(_, character)| !belongs(*character)).map_or(rest.len(), |(at, _)| at);
        let (piece, others) = rest.split_at(end);
        rest = others;
        Some(piece)
    })
}

/// Whether the text between two words is a hyphen, or a hyphen at the end of a line before a lower-case letter.
fn is_hyphen(between: &str, next: &str) -> bool {
    let Some(rest) = between.strip_prefix(['-', '\u{2010}', '\u{2011}', '\u{5be}']) else { return false };
    rest.is_empty()
        || rest.trim().is_empty() && rest.contains(['\n', '\r']) && next.starts_with(char::is_lowercase)
}

/// The symbol in the name of a programming language: C++ and C#.
fn symbol(word: &str, rest: &str) -> Option<&'static str> {
    let symbol = ["++", "#"].into_iter().find(|symbol| rest.starts_with(symbol))?;
    let is_name = symbol == "++" || word.len() == 1;
    let ends = !rest[symbol.len()..].starts_with(char::is_alphanumeric);
    (is_name && ends && word.ends_with(char::is_alphabetic)).then_some(symbol)
}

/// The segment without skin tones, if it is an emoji.
fn emoji(segment: &str) -> Option<String> {
    let first = segment.chars().next()?;
    let is_emoji = first > '\u{ff}' && first.is_emoji_char();
    is_emoji.then(|| {
        segment.chars().filter(|character| !('\u{1f3fb}'..='\u{1f3ff}').contains(character)).collect()
    })
}

#[cfg(test)]
mod tests {
    use vectorizer_log::Language;

    use super::*;

    fn words(text: &str, purpose: Purpose) -> Vec<(String, u32)> {
        let mut words = Words::of(text, Analysis::default(), purpose);
        words.counted().map(|(term, count)| (term.to_owned(), count)).collect()
    }

    fn terms(text: &str) -> Vec<String> {
        words(text, Purpose::Document).into_iter().map(|(term, _)| term).collect()
    }

    fn len(text: &str) -> u32 {
        Words::of(text, Analysis::default(), Purpose::Document).len()
    }

    /// Whether a query finds a document.
    fn finds(query: &str, document: &str, language: Option<Language>) -> bool {
        let of = |text, purpose| {
            let mut words = Words::of(text, Analysis(language), purpose);
            words.counted().map(|(term, _)| term.to_owned()).collect::<Vec<_>>()
        };
        let document = of(document, Purpose::Document);
        of(query, Purpose::Query).iter().any(|term| document.contains(term))
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
        assert_ne!(terms("ば"), terms("は"));
        // Vowel signs are letters.
        assert_ne!(terms("की"), terms("का"));
    }

    #[test]
    fn words_are_counted_and_separators_are_not() {
        assert_eq!(
            words("To be, or NOT to be: 3.14!", Purpose::Document),
            [
                ("3.14".to_owned(), 1),
                ("be".to_owned(), 2),
                ("not".to_owned(), 1),
                ("or".to_owned(), 1),
                ("to".to_owned(), 2)
            ]
        );
        assert!(words(" \0\n—!?… ++ ™ ®", Purpose::Document).is_empty());
        assert_eq!(terms("東京"), ["京", "東", "東京"]);
        assert_eq!(words("東京", Purpose::Query), [("東京".to_owned(), 1)]);
        assert_eq!(words("東", Purpose::Query), [("東".to_owned(), 1)]);
        assert_eq!(terms("don't"), ["dont"]);
        assert_eq!(terms("snake_case"), ["case", "snake", "snake_case", "snakecase"]);
        assert_eq!(terms("l'école"), ["ecole", "lecole"]);
        assert_eq!(terms("report.pdf"), ["pdf", "report", "report.pdf"]);
        assert_eq!(terms("U.S.A."), ["usa"]);
        assert_eq!(terms("e-mail"), ["e", "email", "mail"]);
        assert_eq!(terms("500mg"), ["500", "500mg", "mg"]);
    }

    #[test]
    fn the_length_of_a_text_is_its_number_of_words_not_of_terms() {
        for (text, length) in [
            ("", 0),
            ("to be or not to be", 6),
            ("don't l'école U.S.A. 1,000,000 500mg", 5),
            ("report.pdf", 2),
            ("getUserName get_user_name", 6),
            ("e-mail state-of-the-art", 6),
            ("東京タワー 학교에서", 7),
            ("👍🏽 👩‍💻", 2),
        ] {
            assert_eq!(len(text), length, "{text}");
        }
        // A word counts a term once; two words count it twice.
        assert_eq!(words("report.report report", Purpose::Document)[0], ("report".to_owned(), 2));
    }

    #[test]
    fn a_word_is_found_as_people_type_it() {
        for (document, query) in [
            ("We don\u{2019}t ship on Sundays", "don't"),
            ("We don't ship", "don\u{2019}t"),
            ("We don`t and don\u{b4}t", "dont"),
            ("Contract with O\u{2019}Neill", "O'Neill"),
            ("Contract with O'Neill", "ONeill"),
            ("Contract with O\u{2018}Neill", "neill"),
            ("Bienvenue à l'école", "école"),
            ("l\u{2019}école", "l'école"),
            ("école", "l'école"),
            ("aujourd'hui, d'or et qu'il", "or"),
            ("la strada dell\u{2019}acqua", "acqua"),
            ("the company's policy", "company"),
            ("the companies\u{2019} policy", "companies"),
            ("inter\u{ad}natio\u{ad}nal law", "international"),
            ("inter-\nnational law", "international"),
            ("data\u{200b}base", "database"),
            ("می\u{200c}خواهم", "میخواهم"),
            ("مُحَمَّد", "محمد"),
            ("محـمـد", "محمد"),
            ("إسلام", "اسلام"),
            ("مدرسة", "مدرسه"),
            ("کتاب", "كتاب"),
            ("٢٠٢٤", "2024"),
            ("שָׁלוֹם", "שלום"),
            ("צה״ל", "צה\"ל"),
            ("Łódź", "lodz"),
            ("Sjælland København", "kobenhavn"),
            ("Sjælland", "sjaelland"),
            ("Đà Nẵng", "da nang"),
            ("학교에서 공부한다", "학교"),
            ("ฉันรักประเทศไทย", "ประเทศไทย"),
            ("我住在北京市", "北京"),
            ("我住在北京市", "京"),
            ("コンピューター室", "コンピューター"),
            ("コンピューター室", "コンピュータ"),
            ("ﾃｽﾄとﾃﾞｰﾀ", "テスト"),
            ("ﾃｽﾄとﾃﾞｰﾀ", "データ"),
            ("great product 👍", "👍"),
            ("great product 👍🏽", "👍"),
            ("I ❤️ it", "❤"),
            ("by 👩‍💻", "👩‍💻"),
            ("in 🇩🇪", "🇩🇪"),
            ("written in C++ and C#", "C++"),
            ("call get_user_name() first", "user"),
            ("call get_user_name() first", "get_user_name"),
            ("the getUserName method", "username"),
            ("see report.pdf", "report"),
            ("see report.pdf", "report.pdf"),
            ("the report", "report.pdf"),
            ("with Node.js", "nodejs"),
            ("mail to info@example.com", "example"),
            ("made in the U.S.A.", "USA"),
            ("made in the USA", "U.S.A."),
            ("made in the U.S.A", "usa"),
            ("state-of-the-art", "art"),
            ("send an e-mail", "email"),
            ("send an email", "e-mail"),
            ("non\u{2011}breaking", "nonbreaking"),
            ("1,000,000 euros", "1000000"),
            ("1.000.000 euros", "1000000"),
            ("3,14", "3.14"),
            ("500mg tablet", "500 mg"),
            ("1.5kg", "kg"),
            ("key:value", "value"),
            ("ışık", "isik"),
            ("oﬃce", "office"),
            ("Straße", "STRASSE"),
            ("Cafe\u{301}", "café"),
            ("to be or not to be", "to be"),
            ("Ankara\u{2019}da", "Ankara"),
        ] {
            assert!(finds(query, document, None), "{query:?} in {document:?}: {:?}", terms(document));
        }
    }

    #[test]
    fn another_word_is_not_found() {
        for (document, query) in [
            ("I can't", "don't"),
            ("Don Quixote", "don't"),
            ("a t-shirt", "don't"),
            ("JavaScript", "Java"),
            ("YouTube", "tube"),
            ("iPhone", "phone"),
            ("南京", "北京"),
            ("京都", "東京"),
            ("プリンター", "コンピューター"),
            ("documentation", "docu"),
            ("invoices", "invoice"),
            ("resume", "result"),
            ("C", "C++"),
            ("dell", "dell'acqua"),
            ("dell'acqua", "dell"),
            ("O'Neill", "o"),
            ("U.S.A.", "s"),
            ("3.14", "14"),
            ("v1.2.3", "2"),
            ("the 3rd", "rd"),
            ("5G", "G"),
            ("👎", "👍"),
            ("👩", "👩‍💻"),
            ("🇫🇷", "🇩🇪"),
            ("سلام", "محمد"),
            ("שלום", "שולחן"),
            ("hers", "hearse"),
            ("well-known", "now"),
            ("therapist", "the"),
            ("quran", "an"),
            ("Qur'an", "an"),
            ("10:30", "103"),
        ] {
            let is_symbol = query == "C++";
            assert!(
                is_symbol || !finds(query, document, None),
                "{query:?} in {document:?}: {:?}",
                terms(document)
            );
        }
        // Its whole spelling is a term too, so it ranks first.
        assert!(terms("C++").contains(&"c++".to_owned()) && !terms("C").contains(&"c++".to_owned()));
    }

    #[test]
    fn with_a_language_words_are_stemmed_and_stop_words_ignored_unless_alone() {
        use Language::{English, French, German};
        for (language, document, query) in [
            (English, "two invoices", "invoice"),
            (English, "the company\u{2019}s policies", "policy company"),
            (English, "to be or not to be", "to be"),
            (German, "die Häuser", "hauser"),
            (German, "Rechnungen", "Rechnung"),
            (French, "les écoles", "l'ecole"),
        ] {
            assert!(finds(query, document, Some(language)), "{query:?} in {document:?}");
        }
        assert!(!finds("the invoice", "the report", Some(English)));
        assert!(finds("the invoice", "the report", None));
        assert!(!finds("what is an invoice", "what it is not", Some(English)));
    }

    #[test]
    fn a_term_has_only_the_first_bytes_of_a_very_long_word() {
        let long = "ä".repeat(10_000);
        assert_eq!(terms(&long), ["a".repeat(TERM_BYTES_MAX)]);
        for joined in ["a_", "aB", "a-", "a.", "1,", "東", "학", "l'"] {
            let text = joined.repeat(30_000);
            let mut words = Words::of(&text, Analysis::default(), Purpose::Document);
            assert!(words.all.len() < 16 * text.len(), "{joined}: {}", words.all.len());
            assert!(words.counted().all(|(term, _)| term.len() <= TERM_BYTES_MAX));
        }
    }
}
