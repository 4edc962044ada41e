#![no_main]
libfuzzer_sys::fuzz_target!(init: vectorizer_fuzz::sow("envelope"), |bytes: &[u8]| vectorizer_fuzz::run("envelope", bytes));
