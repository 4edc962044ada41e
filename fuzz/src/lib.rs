//! What `cargo fuzz` runs: the targets that `tests/fuzzing.rs` has too, where memory is bounded.

pub mod targets;

use std::alloc::System;
use std::fs;
use std::path::Path;

use cap::Cap;

#[global_allocator]
static MEMORY: Cap<System> = Cap::new(System, usize::MAX);

/// The target of this name.
fn target(name: &str) -> targets::Target {
    *targets::ALL.iter().find(|target| target.name == name).expect("a target has this name")
}

/// Puts the target's seeds into its corpus, `corpus/{name}`.
pub fn sow(name: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
    fs::create_dir_all(&folder).expect("the corpus can be written to");
    for (number, seed) in (target(name).seeds)().into_iter().enumerate() {
        fs::write(folder.join(format!("seed-{number:03}")), seed).expect("the corpus can be written to");
    }
}

/// Runs the target of this name. Taking more memory for it than it may have ends the process.
pub fn run(name: &str, bytes: &[u8]) {
    let target = target(name);
    let limit = MEMORY.allocated().saturating_add(target.memory_bytes_max);
    MEMORY.set_limit(limit).expect("nothing is allocated meanwhile that is as large as that");
    (target.run)(bytes);
}
