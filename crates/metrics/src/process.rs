//! This process, under the usual names of Prometheus clients.

use std::fs;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Counter, Gauge};

/// Reads `/proc` when it is collected. A value that cannot be read keeps its last value.
#[derive(Debug)]
pub(super) struct Process {
    cpu_seconds: Counter,
    resident_bytes: Gauge,
    virtual_bytes: Gauge,
    open_fds: Gauge,
    max_fds: Gauge,
    threads: Gauge,
}

/// Clock ticks per second, the unit of CPU time in `/proc`. Linux guarantees this number to programs.
const TICKS_EACH_SECOND: f64 = 100.0;

impl Default for Process {
    fn default() -> Self {
        let gauge = |name: &str, help: &str| Gauge::new(name, help).expect("the name is well-formed");
        let cpu = Counter::new("process_cpu_seconds_total", "Processor time used, in seconds.");
        Self {
            cpu_seconds: cpu.expect("the name is well-formed"),
            resident_bytes: gauge("process_resident_memory_bytes", "Memory in use, in bytes."),
            virtual_bytes: gauge("process_virtual_memory_bytes", "Address space in use, in bytes."),
            open_fds: gauge("process_open_fds", "Open file descriptors."),
            max_fds: gauge("process_max_fds", "File descriptors that may be open at once."),
            threads: gauge("process_threads", "Threads."),
        }
    }
}

impl Collector for Process {
    fn desc(&self) -> Vec<&Desc> {
        self.parts().into_iter().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.read();
        self.parts().into_iter().flat_map(Collector::collect).collect()
    }
}

impl Process {
    fn parts(&self) -> [&dyn Collector; 6] {
        let Self { cpu_seconds, resident_bytes, virtual_bytes, open_fds, max_fds, threads } = self;
        [cpu_seconds, resident_bytes, virtual_bytes, open_fds, max_fds, threads]
    }

    fn read(&self) {
        let read = |file| fs::read_to_string(file).unwrap_or_default();
        let status = read("/proc/self/status");
        for (field, gauge, unit) in [
            ("VmRSS:", &self.resident_bytes, 1024.0),
            ("VmSize:", &self.virtual_bytes, 1024.0),
            ("Threads:", &self.threads, 1.0),
        ] {
            if let Some(value) = number_after(&status, field) {
                gauge.set(value * unit);
            }
        }
        if let Some(max) = number_after(&read("/proc/self/limits"), "Max open files") {
            self.max_fds.set(max);
        }
        if let Ok(entries) = fs::read_dir("/proc/self/fd") {
            // Without the descriptor that reads them.
            let open = u32::try_from(entries.count().saturating_sub(1)).unwrap_or(u32::MAX);
            self.open_fds.set(open.into());
        }
        if let Some(seconds) = cpu_seconds(&read("/proc/self/stat")) {
            self.cpu_seconds.inc_by((seconds - self.cpu_seconds.get()).max(0.0));
        }
    }
}

/// The first number after `field` at the start of a line.
fn number_after(text: &str, field: &str) -> Option<f64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(field))?;
    rest.split_whitespace().next()?.parse().ok()
}

/// User and system time of a `/proc/…/stat`. The program's name, in parentheses, may have any character.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<f64>().ok();
    Some((ticks()? + ticks()?) / TICKS_EACH_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_files_threads_and_has_worked() {
        let process = Process::default();
        process.read();
        let Process { cpu_seconds, resident_bytes, virtual_bytes, open_fds, max_fds, threads } = &process;
        for (gauge, at_least) in
            [(resident_bytes, 1e5), (virtual_bytes, 1e6), (open_fds, 3.0), (max_fds, 64.0), (threads, 1.0)]
        {
            assert!(gauge.get() >= at_least, "{gauge:?}");
        }
        assert!(cpu_seconds.get() < 1e6);
    }

    #[test]
    fn the_processors_time_is_found_behind_any_name() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194304 1 2 3 4 250 50 9 9 20 0 3 0 100";
        assert_eq!(cpu_seconds(stat), Some(3.0));
        assert_eq!(cpu_seconds(""), None);
    }
}
