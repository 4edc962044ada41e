#![no_main]
libfuzzer_sys::fuzz_target!(init: vectorizer_fuzz::sow("record"), |bytes: &[u8]| vectorizer_fuzz::run("record", bytes));
