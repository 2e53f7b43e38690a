//! What requests come to by Ingress, host and path, under ingress-nginx's names
//! (`--metrics-names=ingress-nginx`).
//!
//! A worker keeps a table of its own, which no other thread reads. Each entry's counters are
//! shared with whoever scrapes; the list of all is locked when an entry is made, and not when it is
//! counted.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, UNIX_EPOCH};

use hashbrown::{Equivalent, HashMap};

use super::{Counter, METHODS, method_index};
use crate::access_log::{Claim, Detail};
use crate::record::Record;
use crate::settings::IngressMetrics;

/// The most entries of one worker. Beyond them, those go that were not counted for [`IDLE`].
const MOST: usize = 16 * 1024;
const IDLE: Duration = Duration::from_secs(3600);
/// What all names begin with.
const PREFIX: &str = "nginx_ingress_controller_";

/// One worker's table.
#[derive(Debug)]
pub(crate) struct ByIngress {
    settings: Arc<IngressMetrics>,
    entries: RefCell<HashMap<Key, Arc<Entry>>>,
    all: Arc<All>,
}

/// The entries of all workers.
#[derive(Debug)]
pub(crate) struct All {
    settings: Arc<IngressMetrics>,
    entries: Mutex<Vec<Weak<Entry>>>,
}

/// What is told apart, as it stands in labels.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    host: Box<str>,
    /// `namespace/name`
    route: Box<str>,
    /// `namespace/service:port`
    backend: Box<str>,
    /// The same of a canary.
    canary: Box<str>,
    path: Box<str>,
    method: u8,
    /// Or its class.
    status: u16,
}

/// The same of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Asked<'a> {
    host: &'a str,
    route: &'a str,
    backend: &'a str,
    canary: &'a str,
    path: &'a str,
    method: u8,
    status: u16,
}

/// The counters of one key.
#[derive(Debug)]
struct Entry {
    key: Key,
    /// When it was last counted, in minutes since 1970.
    used: AtomicU32,
    requests: Counter,
    histograms: [Histogram; HISTOGRAMS.len()],
}

#[derive(Debug)]
struct Histogram {
    /// One for each bound, and one for what is above all. Empty if it is left out.
    buckets: Box<[Counter]>,
    /// An `f64`'s bits.
    sum: AtomicU64,
}

/// A histogram's name, what it is of, and which bounds it has.
const HISTOGRAMS: [(&str, &str, Bounds); 7] = [
    (
        "connect_duration_seconds",
        "Seconds until there was a connection to the endpoint",
        Bounds::Time,
    ),
    (
        "header_duration_seconds",
        "Seconds until the endpoint's response began",
        Bounds::Time,
    ),
    (
        "response_duration_seconds",
        "Seconds until the endpoint's response had ended",
        Bounds::Time,
    ),
    (
        "request_duration_seconds",
        "Seconds from a request's first byte to the end of its response",
        Bounds::Time,
    ),
    (
        "request_size",
        "Bytes of requests with their heads",
        Bounds::Length,
    ),
    (
        "response_size",
        "Bytes of responses with their heads",
        Bounds::Length,
    ),
    (
        "bytes_sent",
        "The same as response_size in other buckets",
        Bounds::Size,
    ),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bounds {
    Time,
    Length,
    Size,
}

impl Bounds {
    fn of(self, settings: &IngressMetrics) -> &[f64] {
        match self {
            Self::Time => &settings.time_buckets,
            Self::Length => &settings.length_buckets,
            Self::Size => &settings.size_buckets,
        }
    }
}

impl All {
    pub(crate) fn new(settings: Arc<IngressMetrics>) -> Arc<Self> {
        Arc::new(Self {
            settings,
            entries: Mutex::default(),
        })
    }

    /// A worker's table.
    pub(crate) fn worker(self: &Arc<Self>) -> ByIngress {
        ByIngress {
            settings: Arc::clone(&self.settings),
            entries: RefCell::default(),
            all: Arc::clone(self),
        }
    }

    /// Writes all in Prometheus' text format, with `labels`, written out, in each series.
    pub(crate) fn write(&self, labels: &str, out: &mut String) {
        let entries: Vec<Arc<Entry>> = {
            let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
            entries.retain(|entry| entry.strong_count() > 0);
            entries.iter().filter_map(Weak::upgrade).collect()
        };
        let mut by_key: BTreeMap<&Key, Vec<&Entry>> = BTreeMap::new();
        for entry in &entries {
            by_key.entry(&entry.key).or_default().push(entry);
        }
        let series: Vec<(String, Vec<&Entry>)> = by_key
            .into_iter()
            .map(|(key, entries)| (self.labels(key, labels), entries))
            .collect();
        if !self.settings.leaves_out("requests") && !series.is_empty() {
            head(out, "requests", "Requests", "counter");
            for (labels, entries) in &series {
                let count: u64 = entries.iter().map(|entry| entry.requests.get()).sum();
                // Writing to a String cannot fail.
                let _ = writeln!(out, "{PREFIX}requests{{{labels}}} {count}");
            }
        }
        for (index, (name, help, bounds)) in HISTOGRAMS.into_iter().enumerate() {
            let bounds = bounds.of(&self.settings);
            let mut is_first = true;
            for (labels, entries) in &series {
                let parts = entries.iter().map(|entry| &entry.histograms[index]);
                let Some(total) = Total::of(parts, bounds.len()) else {
                    continue;
                };
                if std::mem::take(&mut is_first) {
                    head(out, name, help, "histogram");
                }
                total.write(out, name, labels, bounds);
            }
        }
    }

    fn labels(&self, key: &Key, constant: &str) -> String {
        let (namespace, ingress) = split(&key.route, '/');
        let (_, service) = split(&key.backend, '/');
        let mut out = constant.to_owned();
        let status = match key.status {
            class @ 1..=9 => format!("{class}xx"),
            status => format!("{status:03}"),
        };
        let method = METHODS[usize::from(key.method)];
        let canary = key.canary.replace(['/', ':'], "-");
        label(&mut out, "canary", &canary);
        if self.settings.per_host {
            label(&mut out, "host", &key.host);
        }
        for (name, value) in [
            ("ingress", ingress),
            ("method", method),
            ("namespace", namespace),
            ("path", &*key.path),
            ("service", split(service, ':').0),
            ("status", &*status),
        ] {
            label(&mut out, name, value);
        }
        out
    }
}

/// A histogram of all workers.
struct Total {
    buckets: Vec<u64>,
    sum: f64,
}

impl Total {
    /// None if nothing was observed.
    fn of<'a>(parts: impl Iterator<Item = &'a Histogram>, bounds: usize) -> Option<Self> {
        let mut total = Self {
            buckets: vec![0; bounds + 1],
            sum: 0.0,
        };
        for part in parts {
            for (sum, bucket) in total.buckets.iter_mut().zip(&part.buckets) {
                *sum += bucket.get();
            }
            total.sum += f64::from_bits(part.sum.load(Ordering::Relaxed));
        }
        total
            .buckets
            .iter()
            .any(|count| *count > 0)
            .then_some(total)
    }

    fn write(&self, out: &mut String, name: &str, labels: &str, bounds: &[f64]) {
        let mut below = 0;
        for (bound, count) in bounds.iter().zip(&self.buckets) {
            below += count;
            let _ = writeln!(
                out,
                "{PREFIX}{name}_bucket{{{labels},le=\"{bound}\"}} {below}"
            );
        }
        let all: u64 = self.buckets.iter().sum();
        let sum = self.sum;
        let _ = writeln!(out, "{PREFIX}{name}_bucket{{{labels},le=\"+Inf\"}} {all}");
        let _ = writeln!(out, "{PREFIX}{name}_sum{{{labels}}} {sum}");
        let _ = writeln!(out, "{PREFIX}{name}_count{{{labels}}} {all}");
    }
}

fn head(out: &mut String, name: &str, help: &str, kind: &str) {
    let _ = writeln!(out, "# HELP {PREFIX}{name} {help}");
    let _ = writeln!(out, "# TYPE {PREFIX}{name} {kind}");
}

/// Appends a label after others.
fn label(out: &mut String, name: &str, value: &str) {
    if !out.is_empty() {
        out.push(',');
    }
    let _ = write!(out, "{name}=\"");
    for character in value.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            other => out.push(other),
        }
    }
    out.push('"');
}

fn split(text: &str, separator: char) -> (&str, &str) {
    text.split_once(separator).unwrap_or((text, ""))
}

impl ByIngress {
    /// Counts an exchange that has ended.
    pub(crate) fn count(&self, record: &Record<'_>, detail: &Detail<'_>) {
        let settings = &*self.settings;
        let Some((host, claim)) = detail.trail.host() else {
            // It was no request that a location of nginx's could have had.
            return;
        };
        if settings.per_host && claim != Claim::Exact && !settings.undefined_hosts {
            return;
        }
        let (backend, canary) = detail.backends();
        let status = match detail.status(record) {
            status if settings.status_classes => status / 100,
            status => status,
        };
        let asked = Asked {
            host: if settings.per_host { host } else { "" },
            route: record.route,
            backend: if record.route.is_empty() { "" } else { backend },
            canary,
            path: match record.route {
                "" => "/",
                _ => detail.location(),
            },
            // There are ten.
            method: method_index(record.method) as u8,
            status,
        };
        let now = record.start.duration_since(UNIX_EPOCH).unwrap_or_default();
        let minute = u32::try_from(now.as_secs() / 60).unwrap_or(u32::MAX);
        let mut entries = self.entries.borrow_mut();
        if let Some(entry) = entries.get(&asked) {
            return entry.count(settings, record, detail, minute);
        }
        if entries.len() >= MOST {
            let oldest = minute.saturating_sub((IDLE.as_secs() / 60) as u32);
            entries.retain(|_, entry| entry.used.load(Ordering::Relaxed) >= oldest);
            if entries.len() >= MOST {
                return;
            }
        }
        let entry = Arc::new(Entry::new(asked.key(), settings));
        entry.count(settings, record, detail, minute);
        let all = self.all.entries.lock();
        all.unwrap_or_else(PoisonError::into_inner)
            .push(Arc::downgrade(&entry));
        entries.insert(asked.key(), entry);
    }
}

impl Entry {
    fn new(key: Key, settings: &IngressMetrics) -> Self {
        let histograms = HISTOGRAMS.map(|(name, _, bounds)| {
            let buckets = match settings.leaves_out(name) {
                true => 0,
                false => bounds.of(settings).len() + 1,
            };
            Histogram {
                buckets: std::iter::repeat_with(Counter::default)
                    .take(buckets)
                    .collect(),
                sum: AtomicU64::new(0),
            }
        });
        Self {
            key,
            used: AtomicU32::new(0),
            requests: Counter::default(),
            histograms,
        }
    }

    fn count(
        &self,
        settings: &IngressMetrics,
        record: &Record<'_>,
        detail: &Detail<'_>,
        minute: u32,
    ) {
        self.used.store(minute, Ordering::Relaxed);
        self.requests.add(1);
        // Of several, none is observed, as ingress-nginx does it.
        let [connect, head, response] = detail.trail.only_attempt().unwrap_or_default();
        let seconds = |time: Option<Duration>| time.map(|time| time.as_secs_f64());
        // Exact up to 2^53.
        let bytes = |count: u64| Some(count as f64);
        let sent = bytes(record.bytes_out + detail.head_sent());
        let values = [
            seconds(connect),
            seconds(head),
            seconds(response),
            seconds(Some(record.duration)),
            bytes(record.bytes_in + detail.trail.head_bytes()),
            sent,
            sent,
        ];
        for ((histogram, value), (_, _, bounds)) in
            self.histograms.iter().zip(values).zip(HISTOGRAMS)
        {
            if let Some(value) = value {
                histogram.observe(bounds.of(settings), value);
            }
        }
    }
}

impl Histogram {
    fn observe(&self, bounds: &[f64], value: f64) {
        let index = bounds.partition_point(|bound| *bound < value);
        if let Some(bucket) = self.buckets.get(index) {
            bucket.add(1);
            // One thread writes, as with all counters here.
            let sum = f64::from_bits(self.sum.load(Ordering::Relaxed)) + value;
            self.sum.store(sum.to_bits(), Ordering::Relaxed);
        }
    }
}

impl Asked<'_> {
    fn key(&self) -> Key {
        Key {
            host: self.host.into(),
            route: self.route.into(),
            backend: self.backend.into(),
            canary: self.canary.into(),
            path: self.path.into(),
            method: self.method,
            status: self.status,
        }
    }
}

impl Key {
    fn asked(&self) -> Asked<'_> {
        Asked {
            host: &self.host,
            route: &self.route,
            backend: &self.backend,
            canary: &self.canary,
            path: &self.path,
            method: self.method,
            status: self.status,
        }
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.asked().hash(state);
    }
}

impl Equivalent<Key> for Asked<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        *self == key.asked()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(all: &Arc<All>, host: &str, status: u16) -> Arc<Entry> {
        let asked = Asked {
            host,
            route: "default/shop",
            backend: "default/web:80",
            canary: "",
            path: "/a\"b",
            method: 0,
            status,
        };
        let entry = Arc::new(Entry::new(asked.key(), &all.settings));
        let mut entries = all.entries.lock().unwrap();
        entries.push(Arc::downgrade(&entry));
        entry
    }

    #[test]
    fn workers_are_added_up_by_their_labels() {
        let settings = IngressMetrics {
            excluded: ["bytes_sent".into()].into(),
            time_buckets: [0.5, 1.0].into(),
            ..IngressMetrics::default()
        };
        let all = All::new(Arc::new(settings));
        let (one, two) = (entry(&all, "a", 200), entry(&all, "a", 200));
        let gone = entry(&all, "gone", 2);
        for (entry, seconds) in [(&one, 0.25), (&two, 0.75), (&two, 2.0)] {
            entry.requests.add(1);
            entry.histograms[3].observe(&all.settings.time_buckets, seconds);
            entry.histograms[6].observe(&all.settings.size_buckets, 1.0);
        }
        drop(gone);
        let mut text = String::new();
        all.write("c=\"d\"", &mut text);
        let labels = "c=\"d\",canary=\"\",host=\"a\",ingress=\"shop\",method=\"GET\",\
                      namespace=\"default\",path=\"/a\\\"b\",service=\"web\",status=\"200\"";
        let name = "nginx_ingress_controller_request_duration_seconds";
        assert_eq!(
            text.lines()
                .filter(|line| !line.starts_with("# HELP"))
                .collect::<Vec<_>>(),
            [
                "# TYPE nginx_ingress_controller_requests counter".to_owned(),
                format!("nginx_ingress_controller_requests{{{labels}}} 3"),
                format!("# TYPE {name} histogram"),
                format!("{name}_bucket{{{labels},le=\"0.5\"}} 1"),
                format!("{name}_bucket{{{labels},le=\"1\"}} 2"),
                format!("{name}_bucket{{{labels},le=\"+Inf\"}} 3"),
                format!("{name}_sum{{{labels}}} 3"),
                format!("{name}_count{{{labels}}} 3"),
            ]
        );
    }
}
