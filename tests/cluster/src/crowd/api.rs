//! The API server from outside, many requests at a time, and events as they come.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use program_tests::http1::Conn;
use serde_json::Value;

use super::objects::ROUTES;
use super::{Crowd, NAMESPACE};
use crate::kubectl::Background;
use crate::wait;

/// Connections to the API server that create and delete.
const AT_ONCE: usize = 8;

impl Crowd<'_> {
    pub(super) fn create_routes(&self, routes: &[Value]) {
        let with_path = |route: &Value| (ROUTES.to_owned(), route.clone());
        self.create(&routes.iter().map(with_path).collect::<Vec<_>>());
    }

    /// Objects, each with where it is created.
    pub(super) fn create(&self, objects: &[(String, Value)]) {
        self.all("POST", objects.len(), |n| {
            (objects[n].0.clone(), objects[n].1.to_string())
        });
    }

    pub(super) fn delete_routes(&self, names: &[String]) {
        self.all("DELETE", names.len(), |n| {
            (format!("{ROUTES}/{}", names[n]), String::new())
        });
    }

    /// So many requests to the API server, some at a time: path and body of each.
    fn all(&self, method: &str, count: usize, request: impl Fn(usize) -> (String, String) + Sync) {
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..AT_ONCE.min(count) {
                scope.spawn(|| {
                    let mut conn = Conn::to(self.api).expect("kubectl's proxy listens");
                    loop {
                        let n = next.fetch_add(1, Ordering::Relaxed);
                        if n >= count {
                            return;
                        }
                        let (path, body) = request(n);
                        let length = body.len();
                        let answer = conn.ask(&format!(
                            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
                             Content-Length: {length}\r\n\r\n{body}"
                        ));
                        assert!(answer.status < 300, "{method} {path}: {}", answer.text());
                    }
                });
            }
        });
    }

    /// Every event about a kind from now on; `there` is an object that is there already.
    pub(super) fn follow(&self, kind: &str, there: &str) -> Events {
        let mut command = self.cluster.kubectl_command(&[
            "-n",
            NAMESPACE,
            "get",
            kind,
            "--watch",
            "--output-watch-events",
            "-o",
            "jsonpath={.type} {.object.metadata.name}{\"\\n\"}",
        ]);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("kubectl starts");
        let stdout = child.stdout.take().expect("piped");
        let seen: Arc<Mutex<Vec<String>>> = Arc::default();
        let into = Arc::clone(&seen);
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                into.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(line);
            }
        });
        let events = Events {
            _kubectl: Background(child),
            seen,
        };
        wait::until("events are followed", || {
            !events.changes(&format!("ADDED {there}")).is_empty()
        });
        events
    }
}

/// Events as kubectl tells them: `MODIFIED name`.
pub(super) struct Events {
    _kubectl: Background,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Events {
    pub(super) fn changes(&self, prefix: &str) -> Vec<String> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = seen.iter().filter(|line| line.starts_with(prefix));
        seen.cloned().collect()
    }
}

/// How often the most frequent one is among them.
pub(super) fn most(events: &[String]) -> usize {
    let mut counts = BTreeMap::new();
    for event in events {
        *counts.entry(event).or_insert(0) += 1;
    }
    counts.into_values().max().unwrap_or(0)
}
