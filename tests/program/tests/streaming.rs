//! Bodies larger than any buffer.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use program_tests::backend::Hash;
use program_tests::wait::PATIENCE;
use program_tests::{Backend, HOST, Site, Then, until};

const MIB: u64 = 1024 * 1024;
/// Large enough that holding it shows, small enough for every run.
const LARGE: u64 = 256 * MIB;
/// What a program that holds no body may grow by.
const GROWTH: u64 = 32 * MIB;

fn pattern() -> Vec<u8> {
    (0..64 * 1024_u32)
        .map(|index| (index.wrapping_mul(31) >> 3) as u8)
        .collect()
}

fn hash_of(total: u64) -> u64 {
    let block = pattern();
    let mut hash = Hash::START;
    for _ in 0..total / block.len() as u64 {
        hash = Hash::of(hash, &block);
    }
    hash
}

/// Sends `LARGE` bytes with their length, or as chunks to `/chunked`.
fn generous() -> Backend {
    Backend::scripted("web", |exchange| {
        let block = pattern();
        let chunked = exchange.request.target == "/chunked";
        let framing = if chunked {
            "Transfer-Encoding: chunked".to_owned()
        } else {
            format!("Content-Length: {LARGE}")
        };
        exchange.send(format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n"))?;
        for _ in 0..LARGE / block.len() as u64 {
            if chunked {
                exchange.send(format!("{:x}\r\n", block.len()))?;
            }
            exchange.send(&block)?;
            if chunked {
                exchange.send("\r\n")?;
            }
        }
        if chunked {
            exchange.send("0\r\n\r\n")?;
        }
        Ok(Then::Keep)
    })
}

#[test]
fn a_large_upload_passes_in_constant_memory() {
    let site = Site::echo();
    let (before, _) = site.narthex.memory();
    let mut conn = site.conn();
    conn.send(format!(
        "PUT /x HTTP/1.1\r\nHost: a.example\r\nContent-Length: {LARGE}\r\n\r\n"
    ));
    let block = pattern();
    for _ in 0..LARGE / block.len() as u64 {
        conn.write_all(&block).expect("the proxy reads on");
    }
    let echo = conn.response().echo();
    assert_eq!(echo.body_length, LARGE);
    assert_eq!(echo.body_hash, hash_of(LARGE));
    let (_, peak) = site.narthex.memory();
    assert!(peak < before + GROWTH, "{before} before, {peak} at most");
}

#[test]
fn a_large_download_passes_in_constant_memory() {
    let site = Site::of(generous(), &[]);
    let (before, _) = site.narthex.memory();
    let mut conn = site.conn();
    conn.send("GET /length HTTP/1.1\r\nHost: a.example\r\n\r\n");
    let head = conn.try_head().expect("a head");
    assert_eq!(
        head.header("content-length"),
        Some(LARGE.to_string().as_str())
    );
    let mut hash = Hash::START;
    let mut block = vec![0; 64 * 1024];
    for _ in 0..LARGE / block.len() as u64 {
        conn.read_exact(&mut block).expect("the body goes on");
        hash = Hash::of(hash, &block);
    }
    assert_eq!(hash, hash_of(LARGE));
    let (_, peak) = site.narthex.memory();
    assert!(peak < before + GROWTH, "{before} before, {peak} at most");
}

#[test]
fn a_large_chunked_download_passes_in_constant_memory() {
    let site = Site::of(generous(), &[]);
    let (before, _) = site.narthex.memory();
    let mut conn = site.conn();
    conn.send("GET /chunked HTTP/1.1\r\nHost: a.example\r\n\r\n");
    conn.try_head().expect("a head");
    let (mut hash, mut length) = (Hash::START, 0);
    while let Some(chunk) = conn.chunk().expect("a chunk") {
        hash = Hash::of(hash, &chunk);
        length += chunk.len() as u64;
    }
    assert_eq!((length, hash), (LARGE, hash_of(LARGE)));
    let (_, peak) = site.narthex.memory();
    assert!(peak < before + GROWTH, "{before} before, {peak} at most");
}

#[test]
fn a_client_that_does_not_read_holds_the_backend_back() {
    let sent = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&sent);
    let web = Backend::scripted("web", move |exchange| {
        let block = pattern();
        exchange.send(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n"
        ))?;
        for _ in 0..LARGE / block.len() as u64 {
            exchange.send(&block)?;
            count.fetch_add(block.len() as u64, Ordering::SeqCst);
        }
        Ok(Then::Keep)
    });
    let site = Site::of(web, &[]);
    let (before, _) = site.narthex.memory();
    let mut conn = site.conn();
    conn.send("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n");
    conn.try_head().expect("a head");
    let mut last = u64::MAX;
    until("the backend is held back", || {
        std::thread::sleep(Duration::from_millis(300));
        let now = sent.load(Ordering::SeqCst);
        let still = now == last;
        last = now;
        still
    });
    assert!(
        last < LARGE / 4,
        "only socket buffers were filled, not {last} bytes"
    );
    let (_, peak) = site.narthex.memory();
    assert!(peak < before + GROWTH, "{before} before, {peak} at most");
    let mut rest = Vec::new();
    Read::by_ref(&mut conn)
        .take(LARGE)
        .read_to_end(&mut rest)
        .expect("and goes on when it reads");
    assert_eq!(rest.len() as u64, LARGE);
}

#[test]
fn a_backend_that_does_not_read_holds_the_client_back() {
    let (end, ended) = mpsc::channel::<()>();
    let ended = Mutex::new(ended);
    let web = Backend::scripted("web", move |_| {
        let ended = ended.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = ended.recv_timeout(PATIENCE);
        Ok(Then::Close)
    });
    let site = Site::of(web, &[]);
    let (before, _) = site.narthex.memory();
    let mut conn = site.conn();
    conn.send(format!(
        "PUT / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {LARGE}\r\n\r\n"
    ));
    // While the backend stays: what comes after its failure is read and forgotten.
    conn.set_write_timeout(Duration::from_secs(1));
    let block = pattern();
    let mut sent = 0;
    while sent < LARGE && conn.write_all(&block).is_ok() {
        sent += block.len() as u64;
    }
    assert!(
        sent < LARGE / 4,
        "only socket buffers were filled, not {sent} bytes"
    );
    let (_, peak) = site.narthex.memory();
    assert!(peak < before + GROWTH, "{before} before, {peak} at most");
    drop(end);
}

#[test]
fn a_body_flows_while_its_answer_flows() {
    let web = Backend::scripted("web", |exchange| {
        exchange.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
        // Each line of the request's chunks comes back as it arrives.
        for _ in 0..3 {
            let mut line = [0; 9];
            exchange.socket().read_exact(&mut line)?;
            let text: Vec<u8> = line[3..7].to_vec();
            exchange.send("4\r\n")?;
            exchange.send(&text)?;
            exchange.send("\r\n")?;
        }
        exchange.send("0\r\n\r\n")?;
        Ok(Then::Close)
    });
    let site = Site::of(web, &[]);
    let mut conn = site.conn();
    conn.send("POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n");
    let mut head = false;
    for text in ["ping", "pong", "last"] {
        conn.send(format!("4\r\n{text}\r\n"));
        if !head {
            assert_eq!(
                conn.try_head()
                    .expect("a head before the body's end")
                    .status,
                200
            );
            head = true;
        }
        assert_eq!(
            conn.chunk().expect("a chunk").expect("not the last"),
            text.as_bytes()
        );
    }
}
