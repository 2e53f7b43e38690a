//! How many CPUs this process may use.

use std::num::NonZero;
use std::path::Path;

/// The CPUs that this process may use, at least 1: those it may run on, or less if its cgroup's
/// quota is less. A worker more than that would be held up by the others.
pub(crate) fn available() -> usize {
    let runnable = std::thread::available_parallelism().map_or(1, NonZero::get);
    let read = |path: &str| std::fs::read_to_string(Path::new("/sys/fs/cgroup").join(path)).ok();
    match cgroup_cpus(read) {
        Some(cpus) => runnable.min(cpus),
        None => runnable,
    }
}

/// The quota of the cgroup that a container sees as its root, in whole CPUs, rounded up.
fn cgroup_cpus(read: impl Fn(&str) -> Option<String>) -> Option<usize> {
    if let Some(max) = read("cpu.max") {
        let (quota, period) = max.trim().split_once(' ')?;
        return whole_cpus(quota, period);
    }
    ["cpu", "cpu,cpuacct"].into_iter().find_map(|controller| {
        let quota = read(&format!("{controller}/cpu.cfs_quota_us"))?;
        let period = read(&format!("{controller}/cpu.cfs_period_us"))?;
        whole_cpus(&quota, &period)
    })
}

/// No limit is `max` in version 2 of cgroups, and -1 in version 1: no numbers, both.
fn whole_cpus(quota: &str, period: &str) -> Option<usize> {
    let quota: usize = quota.trim().parse().ok()?;
    let period: usize = period.trim().parse().ok().filter(|&period| period > 0)?;
    Some(quota.div_ceil(period).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(files: &[(&str, &str)]) -> Option<usize> {
        cgroup_cpus(|path| {
            let (_, text) = files.iter().find(|(name, _)| *name == path)?;
            Some((*text).to_owned())
        })
    }

    #[test]
    fn version_2() {
        assert_eq!(with(&[("cpu.max", "max 100000\n")]), None);
        assert_eq!(with(&[("cpu.max", "200000 100000\n")]), Some(2));
        assert_eq!(with(&[("cpu.max", "150000 100000\n")]), Some(2));
        assert_eq!(with(&[("cpu.max", "10000 100000\n")]), Some(1));
        assert_eq!(with(&[("cpu.max", "nonsense")]), None);
    }

    #[test]
    fn version_1() {
        let files = |quota| {
            [
                ("cpu/cpu.cfs_quota_us", quota),
                ("cpu/cpu.cfs_period_us", "100000\n"),
            ]
        };
        assert_eq!(with(&files("-1\n")), None);
        assert_eq!(with(&files("400000\n")), Some(4));
        assert_eq!(with(&[]), None);
    }

    #[test]
    fn there_is_always_one() {
        assert!(available() >= 1);
    }
}
