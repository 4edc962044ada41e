#![no_main]
libfuzzer_sys::fuzz_target!(init: vectorizer_fuzz::sow("key"), |bytes: &[u8]| vectorizer_fuzz::run("key", bytes));
