//! What takes too long for every change: `cargo xtask soak [PART…]`, against the release binary.
//!
//! Each part prints its figures and fails where one is beyond what is promised.

use std::io::{Read, Write};
use std::process::ExitCode;
use std::time::Instant;

use program_tests::backend::Then;
use program_tests::{Backend, Folder, HOST, Ingress, Narthex, Site, class, http1, service};

/// The name of a part, and what it does.
type Part = (&'static str, fn() -> Result<String, String>);

const PARTS: &[Part] = &[
    ("download", download),
    ("upload", upload),
    ("routes", routes),
];

const GIB: u64 = 1 << 30;

/// How large the large bodies are.
const BODY: u64 = 10 * GIB;

/// What a body of any size may add to the program's memory.
const BODY_MEMORY: u64 = 16 << 20;

const PIECE: usize = 256 * 1024;

fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let unknown = wanted
        .iter()
        .find(|word| !PARTS.iter().any(|(name, _)| name == word));
    if let Some(word) = unknown {
        let names: Vec<&str> = PARTS.iter().map(|(name, _)| *name).collect();
        eprintln!("`{word}` is no part; there are: {}", names.join(", "));
        return ExitCode::from(2);
    }
    let parts = PARTS
        .iter()
        .filter(|(name, _)| wanted.is_empty() || wanted.iter().any(|word| word == name));
    let (mut passed, mut failed) = (0, 0);
    for (name, part) in parts {
        println!("{name} …");
        let started = Instant::now();
        let (word, said) = match part() {
            Ok(said) => {
                passed += 1;
                ("ok", said)
            }
            Err(said) => {
                failed += 1;
                ("FAILED", said)
            }
        };
        println!("{name} {word} in {:.0?}: {said}", started.elapsed());
    }
    let word = if failed == 0 { "ok" } else { "FAILED" };
    println!("\ntest result: {word}. {passed} passed; {failed} failed; 0 ignored;");
    ExitCode::from(u8::from(failed > 0))
}

/// 10 GiB from a backend to a client.
fn download() -> Result<String, String> {
    let web = Backend::scripted("web", |exchange| {
        exchange.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {BODY}\r\n\r\n"))?;
        let piece = vec![b'x'; PIECE];
        for _ in 0..BODY / PIECE as u64 {
            exchange.send(&piece)?;
        }
        Ok(Then::Keep)
    });
    let site = Site::of(web, &["--request-timeout", "0s"]);
    let mut tcp = dial(&site)?;
    let request = format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n");
    tcp.write_all(request.as_bytes()).map_err(text)?;
    let (before, _) = site.narthex.memory();
    let started = Instant::now();
    let mut room = vec![0; PIECE];
    let (mut seen, mut head) = (0, None);
    loop {
        let count = tcp.read(&mut room).map_err(text)?;
        if count == 0 {
            break;
        }
        seen += count as u64;
        if head.is_none() {
            let end = room[..count].windows(4).position(|end| end == b"\r\n\r\n");
            head = end.map(|end| end as u64 + 4);
        }
    }
    let body = seen - head.ok_or("no head")?;
    if body != BODY {
        return Err(format!("{body} bytes of {BODY} came"));
    }
    held(&site.narthex, before, started)
}

/// 10 GiB from a client to a backend.
fn upload() -> Result<String, String> {
    let web = Backend::scripted("web", |exchange| {
        let mut left = BODY;
        let mut room = vec![0; PIECE];
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
            left -= exchange.socket().read(&mut room[..most])? as u64;
        }
        exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")?;
        Ok(Then::Close)
    });
    let flags = ["--request-timeout", "0s", "--max-body-bytes", "0"];
    let site = Site::of(web, &flags);
    let mut tcp = dial(&site)?;
    let request = format!(
        "POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {BODY}\r\nConnection: close\r\n\r\n"
    );
    tcp.write_all(request.as_bytes()).map_err(text)?;
    let (before, _) = site.narthex.memory();
    let started = Instant::now();
    let piece = vec![b'x'; PIECE];
    for _ in 0..BODY / PIECE as u64 {
        tcp.write_all(&piece).map_err(text)?;
    }
    let mut answer = String::new();
    tcp.read_to_string(&mut answer).map_err(text)?;
    if !answer.starts_with("HTTP/1.1 200 ") {
        return Err(answer);
    }
    held(&site.narthex, before, started)
}

/// What a large body did to the memory, and how fast it went.
fn held(narthex: &Narthex, before: u64, started: Instant) -> Result<String, String> {
    let (_, most) = narthex.memory();
    let grown = most.saturating_sub(before);
    #[expect(clippy::cast_precision_loss, reason = "a figure to read")]
    let rate = BODY as f64 / GIB as f64 / started.elapsed().as_secs_f64();
    let said = format!("{rate:.1} GiB/s, {} KiB more memory at most", grown >> 10);
    if grown < BODY_MEMORY {
        Ok(said)
    } else {
        Err(said)
    }
}

/// 40,000 Ingresses in a folder: how long until they are served, what they weigh, and how long a
/// change takes among them.
fn routes() -> Result<String, String> {
    const INGRESSES: usize = 40_000;
    const FILES: usize = 400;
    let web = Backend::named("web");
    let folder = Folder::of(&[class(), service("web", &[web.address()])]);
    for file in 0..FILES {
        let documents: Vec<String> = (0..INGRESSES / FILES)
            .map(|at| {
                let name = format!("site-{}", file * (INGRESSES / FILES) + at);
                let host = format!("{name}.example");
                Ingress::named(&name).host(&host).prefix("/", "web").yaml()
            })
            .collect();
        folder.write(&format!("{file}.yaml"), &program_tests::docs(&documents));
    }
    let started = Instant::now();
    let mut narthex = Narthex::on(&folder).spawn();
    while narthex.admin_status("/readyz") != Some(200) {
        if let Ok(Some(status)) = narthex.child.try_wait() {
            return Err(format!("ended: {status}\n{}", narthex.log()));
        }
        if started.elapsed().as_secs() > 300 {
            return Err("not ready within five minutes".to_owned());
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let ready = started.elapsed();
    let last = format!("site-{}.example", INGRESSES - 1);
    if narthex.backend(&last, "/") != "web" {
        return Err(format!("{last} is not served"));
    }
    let (memory, most) = narthex.memory();
    let changed = Instant::now();
    let fresh = Ingress::named("fresh").host("fresh.example");
    folder.write("fresh.yaml", &fresh.prefix("/", "web").yaml());
    while narthex.backend("fresh.example", "/") != "web" {
        if changed.elapsed().as_secs() > 60 {
            return Err("a change is not served within a minute".to_owned());
        }
    }
    Ok(format!(
        "ready in {ready:.1?}, {} MiB ({} at most), a new Ingress is served after {:.0?}",
        memory >> 20,
        most >> 20,
        changed.elapsed()
    ))
}

fn dial(site: &Site) -> Result<std::net::TcpStream, String> {
    http1::dial(([127, 0, 0, 1], site.narthex.http).into()).map_err(text)
}

fn text(error: std::io::Error) -> String {
    error.to_string()
}
