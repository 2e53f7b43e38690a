//! Metrics of the process, under the names that all Prometheus clients use.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// Clock ticks per second in `/proc`: the kernel's `USER_HZ`, 100 on every architecture that
/// Rust supports.
const TICKS: f64 = 100.0;

/// Reads `/proc` when it is asked.
#[derive(Debug)]
pub(super) struct ProcessCollector {
    start: f64,
}

impl ProcessCollector {
    pub(super) fn new() -> Self {
        let start = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0.0, |since| since.as_secs_f64());
        Self { start }
    }
}

impl Collector for ProcessCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let mut gauge = |name: &str, help: &str, value: Option<f64>| match value {
            Some(value) => {
                let metric = ConstGauge::new(value);
                metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
            }
            None => Ok(()),
        };
        gauge(
            "process_start_time_seconds",
            "Start, in seconds since 1970",
            Some(self.start),
        )?;
        gauge(
            "process_resident_memory_bytes",
            "Resident memory",
            resident_bytes(),
        )?;
        gauge("process_open_fds", "Open file descriptors", open_fds())?;
        if let Some(seconds) = cpu_seconds() {
            let metric = ConstCounter::new(seconds);
            let (name, help) = ("process_cpu_seconds", "User and system CPU time");
            metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)?;
        }
        Ok(())
    }
}

/// Memory in use.
pub(super) fn resident_bytes() -> Option<f64> {
    status_bytes("VmRSS:")
}

/// Address space in use.
pub(super) fn virtual_bytes() -> Option<f64> {
    status_bytes("VmSize:")
}

/// Bytes that were read (`rchar`) or written (`wchar`), from and to anywhere.
pub(super) fn io_bytes(field: &str) -> Option<f64> {
    let io = fs::read_to_string("/proc/self/io").ok()?;
    let mut fields = io.lines().filter_map(|line| line.split_once(": "));
    let (_, value) = fields.find(|(name, _)| *name == field)?;
    value.trim().parse().ok()
}

fn status_bytes(field: &str) -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024.0)
}

fn open_fds() -> Option<f64> {
    // The folder that is being read is one of them.
    let open = fs::read_dir("/proc/self/fd").ok()?.count().checked_sub(1)?;
    u32::try_from(open).ok().map(f64::from)
}

/// Time that processors have spent on this process.
pub(super) fn cpu_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is the program's name in parentheses and may hold anything; after it the
    // first field is the third one of proc(5), so that utime (14) and stime (15) follow at 11.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_ascii_whitespace().skip(11);
    let user: f64 = times.next()?.parse().ok()?;
    let system: f64 = times.next()?.parse().ok()?;
    Some((user + system) / TICKS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_measured() {
        assert!(resident_bytes().expect("Linux") > 100_000.0);
        assert!(virtual_bytes().expect("Linux") > 100_000.0);
        assert!(io_bytes("rchar").is_none_or(|bytes| bytes > 0.0));
        assert!(open_fds().expect("Linux") >= 3.0);
        assert!(cpu_seconds().expect("Linux") >= 0.0);
    }
}
