#![no_main]
libfuzzer_sys::fuzz_target!(init: vectorizer_fuzz::sow("filter"), |bytes: &[u8]| vectorizer_fuzz::run("filter", bytes));
