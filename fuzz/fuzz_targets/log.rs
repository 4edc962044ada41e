#![no_main]
libfuzzer_sys::fuzz_target!(init: vectorizer_fuzz::sow("log"), |bytes: &[u8]| vectorizer_fuzz::run("log", bytes));
