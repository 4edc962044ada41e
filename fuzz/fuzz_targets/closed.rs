#![no_main]
libfuzzer_sys::fuzz_target!(init: vectorizer_fuzz::sow("closed"), |bytes: &[u8]| vectorizer_fuzz::run("closed", bytes));
