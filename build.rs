//! Has the linker keep the release program small. It compresses the line tables, which backtraces read compressed too,
//! folds identical functions where it can, and leaves out the local symbols. The names of functions are in the `.dwp`
//! file beside the program. A profiler that reads symbols only needs a build with `VECTORIZER_KEEP_SYMBOLS=1`.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=VECTORIZER_KEEP_SYMBOLS");
    let is = |name: &str, value: &str| env::var(name).is_ok_and(|found| found == value);
    if !is("PROFILE", "release") || !is("CARGO_CFG_TARGET_OS", "linux") {
        return;
    }
    // The compiler links with lld for this target only. Other linkers do not know its options.
    if is("CARGO_CFG_TARGET_ARCH", "x86_64") && is("CARGO_CFG_TARGET_ENV", "gnu") {
        println!("cargo::rustc-link-arg-bins=-Wl,--compress-sections=.debug_[a-fh-z]*=zlib:9,--icf=all");
    } else {
        println!("cargo::rustc-link-arg-bins=-Wl,--compress-debug-sections=zlib");
    }
    if env::var_os("VECTORIZER_KEEP_SYMBOLS").is_none() {
        println!("cargo::rustc-link-arg-bins=-Wl,--discard-all");
    }
}
