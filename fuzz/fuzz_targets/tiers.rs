#![no_main]
libfuzzer_sys::fuzz_target!(init: vectorizer_fuzz::sow("tiers"), |bytes: &[u8]| vectorizer_fuzz::run("tiers", bytes));
