#![no_main]
libfuzzer_sys::fuzz_target!(init: vectorizer_fuzz::sow("body"), |bytes: &[u8]| vectorizer_fuzz::run("body", bytes));
