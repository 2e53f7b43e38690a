//! Requests that never pause and must not fail.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use program_tests::http1::Conn;

use super::objects::host;

/// Requests one after the other, until told to end.
pub(super) struct Steady {
    end: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<(usize, Vec<String>)>,
}

impl Steady {
    pub(super) fn start(door: SocketAddr, route: &str) -> Self {
        let end = Arc::new(AtomicBool::new(false));
        let (ends, host) = (Arc::clone(&end), host(route));
        let thread = std::thread::spawn(move || {
            let (mut asked, mut failures) = (0, Vec::new());
            let mut conn = None;
            while !ends.load(Ordering::Relaxed) {
                asked += 1;
                if let Err(error) = ask(&mut conn, door, &host) {
                    failures.push(error);
                    conn = None;
                }
            }
            failures.truncate(10);
            (asked, failures)
        });
        Self { end, thread }
    }

    /// How many requests there were, and what went wrong.
    pub(super) fn end(self) -> (usize, Vec<String>) {
        self.end.store(true, Ordering::Relaxed);
        self.thread.join().expect("it does not panic")
    }
}

fn ask(conn: &mut Option<Conn>, door: SocketAddr, host: &str) -> Result<(), String> {
    let text = |error: std::io::Error| error.to_string();
    let conn = match conn {
        Some(conn) => conn,
        none => none.insert(Conn::to(door).map_err(text)?),
    };
    let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
    conn.write_all(request.as_bytes()).map_err(text)?;
    match conn.try_response(false).map_err(text)?.status {
        200 => Ok(()),
        status => Err(format!("answered {status}")),
    }
}
