//! Has the linker keep the release program small: it compresses the line tables, which backtraces read compressed too,
//! and leaves out the table of symbols. Names of functions are in the `.dwp` file beside the program. Profilers that read
//! the symbols only need a build with `VECTORIZER_KEEP_SYMBOLS=1`.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=VECTORIZER_KEEP_SYMBOLS");
    let is_release = env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let is_elf = env::var("CARGO_CFG_TARGET_OS").is_ok_and(|system| system == "linux");
    if is_release && is_elf {
        println!("cargo::rustc-link-arg-bins=-Wl,--compress-sections=.debug_[a-fh-z]*=zlib:9,--icf=all");
        if env::var_os("VECTORIZER_KEEP_SYMBOLS").is_none() {
            println!("cargo::rustc-link-arg-bins=-Wl,--discard-all");
        }
    }
}
