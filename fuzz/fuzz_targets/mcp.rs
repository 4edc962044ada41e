#![no_main]
libfuzzer_sys::fuzz_target!(init: vectorizer_fuzz::sow("mcp"), |bytes: &[u8]| vectorizer_fuzz::run("mcp", bytes));
