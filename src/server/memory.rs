//! The default memory budget.

use std::fs;

/// The assumed memory if it cannot be read.
const UNKNOWN_BYTES: u64 = 2 << 30;

/// Three quarters of the memory that this process may use: the machine's, or its control group's if that is less.
pub(super) fn memory_bytes() -> u64 {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| total_bytes(&text));
    let group =
        fs::read_to_string("/sys/fs/cgroup/memory.max").ok().and_then(|text| text.trim().parse().ok());
    let all = machine.into_iter().chain(group).min().unwrap_or(UNKNOWN_BYTES);
    all / 4 * 3
}

fn total_bytes(text: &str) -> Option<u64> {
    let kibibytes = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    Some(kibibytes.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machines_memory_is_parsed_in_the_kernels_format() {
        assert_eq!(total_bytes("MemTotal:       16384 kB\nMemFree:  1 kB\n"), Some(16 << 20));
        assert_eq!(total_bytes("nonsense"), None);
        assert!(memory_bytes() > 0);
    }
}
