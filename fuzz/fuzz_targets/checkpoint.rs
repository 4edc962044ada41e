#![no_main]
libfuzzer_sys::fuzz_target!(init: vectorizer_fuzz::sow("checkpoint"), |bytes: &[u8]| vectorizer_fuzz::run("checkpoint", bytes));
