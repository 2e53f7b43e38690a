//! Backends of HTTP/2 that break its rules, by mistake or on purpose.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use program_tests::frames::{self, END_HEADERS, END_STREAM, field, frame, setting};
use program_tests::raw_backend::Peer;
use program_tests::{
    Backend, Conn, HOST, Ingress, RawBackend, serve_with, service, service_speaking, until,
};

/// What the client gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gets {
    /// An answer of ours.
    Bad,
    /// The beginning of a response, and a cut.
    Cut,
    /// A whole response.
    Whole,
}

struct Case {
    name: &'static str,
    gets: Gets,
    script: fn(&mut Peer, u32) -> io::Result<()>,
}

fn head(flags: u8, stream: u32, block: &[u8]) -> Vec<u8> {
    frame(frames::HEADERS, flags, stream, block)
}

/// A head that is all of a response, or would be.
fn whole(stream: u32, fields: &[&[u8]]) -> Vec<u8> {
    head(END_HEADERS | END_STREAM, stream, &fields.concat())
}

fn status(code: &str) -> Vec<u8> {
    field(":status", code)
}

/// How many heads of responses that go on the client has got.
static HEADS: AtomicU64 = AtomicU64::new(0);

/// Begins a response, and waits until the client has its head, so that what follows cannot come in
/// time to replace it. There is one request at a time.
fn begin(peer: &mut Peer, stream: u32, fields: &[(&str, &str)]) -> io::Result<()> {
    let before = HEADS.load(Ordering::SeqCst);
    peer.respond(stream, "200", fields, false)?;
    until("the client has the head", || {
        HEADS.load(Ordering::SeqCst) > before
    });
    Ok(())
}

/// Writes again and again what never ends, for as long as anybody reads it.
fn endless(peer: &mut Peer, bytes: &[u8]) -> io::Result<()> {
    let end = Instant::now() + Duration::from_secs(15);
    while Instant::now() < end {
        peer.send(bytes)?;
    }
    Ok(())
}

const CASES: &[Case] = &[
    Case {
        name: "text",
        gets: Gets::Bad,
        script: |peer, _| peer.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"),
    },
    Case {
        name: "nonsense",
        gets: Gets::Bad,
        script: |peer, _| peer.send(&[0xff; 1000]),
    },
    Case {
        name: "half-a-frame",
        gets: Gets::Bad,
        script: |peer, stream| {
            peer.send(&whole(stream, &[&status("200")])[..11])?;
            Err(io::ErrorKind::Other.into())
        },
    },
    Case {
        name: "frame-too-large",
        gets: Gets::Bad,
        script: |peer, stream| peer.send(&frame(frames::DATA, 0, stream, &[0; 100_000])),
    },
    Case {
        name: "bad-hpack",
        gets: Gets::Bad,
        script: |peer, stream| peer.send(&whole(stream, &[&[0x80]])),
    },
    Case {
        name: "hpack-table-too-large",
        gets: Gets::Bad,
        script: |peer, stream| {
            peer.send(&whole(stream, &[&[0x3f, 0xff, 0xff, 0x7f], &status("200")]))
        },
    },
    Case {
        name: "upper-case-name",
        gets: Gets::Bad,
        script: |peer, stream| peer.send(&whole(stream, &[&status("200"), &field("X-Up", "1")])),
    },
    Case {
        name: "line-end-in-value",
        gets: Gets::Bad,
        script: |peer, stream| {
            peer.send(&whole(
                stream,
                &[&status("200"), &field("x-a", "1\r\nset-cookie: a=b")],
            ))
        },
    },
    Case {
        name: "nul-in-value",
        gets: Gets::Bad,
        script: |peer, stream| peer.send(&whole(stream, &[&status("200"), &field("x-a", "1\0")])),
    },
    Case {
        name: "no-status",
        gets: Gets::Bad,
        script: |peer, stream| peer.send(&whole(stream, &[&field("x-a", "1")])),
    },
    Case {
        name: "status-is-a-word",
        gets: Gets::Bad,
        script: |peer, stream| peer.send(&whole(stream, &[&status("yes")])),
    },
    Case {
        name: "status-600",
        gets: Gets::Bad,
        script: |peer, stream| peer.send(&whole(stream, &[&status("600")])),
    },
    Case {
        name: "switching-protocols",
        gets: Gets::Bad,
        script: |peer, stream| {
            peer.respond(stream, "101", &[], false)?;
            peer.respond(stream, "200", &[], true)
        },
    },
    Case {
        name: "two-statuses",
        gets: Gets::Bad,
        script: |peer, stream| peer.send(&whole(stream, &[&status("200"), &status("201")])),
    },
    Case {
        name: "pseudo-field-late",
        gets: Gets::Bad,
        script: |peer, stream| peer.send(&whole(stream, &[&field("x-a", "1"), &status("200")])),
    },
    Case {
        name: "connection-field",
        gets: Gets::Bad,
        script: |peer, stream| {
            peer.send(&whole(
                stream,
                &[&status("200"), &field("connection", "close")],
            ))
        },
    },
    Case {
        name: "transfer-encoding",
        gets: Gets::Bad,
        script: |peer, stream| {
            peer.send(&whole(
                stream,
                &[&status("200"), &field("transfer-encoding", "chunked")],
            ))
        },
    },
    Case {
        name: "huge-head",
        gets: Gets::Bad,
        script: |peer, stream| {
            let large = field("x-large", &"x".repeat(12_000));
            peer.send(&head(0, stream, &[status("200"), large.clone()].concat()))?;
            for _ in 0..20 {
                peer.send(&frame(frames::CONTINUATION, 0, stream, &large))?;
            }
            peer.send(&frame(frames::CONTINUATION, END_HEADERS, stream, &[]))
        },
    },
    Case {
        name: "many-fields",
        gets: Gets::Bad,
        script: |peer, stream| {
            let fields = field("x", "1").repeat(1500);
            peer.send(&whole(stream, &[&status("200"), &fields]))
        },
    },
    Case {
        name: "continuations-without-end",
        gets: Gets::Bad,
        script: |peer, stream| {
            peer.send(&head(0, stream, &status("200")))?;
            endless(
                peer,
                &frame(
                    frames::CONTINUATION,
                    0,
                    stream,
                    &field("x-a", &"y".repeat(8000)),
                ),
            )
        },
    },
    Case {
        name: "empty-continuations-without-end",
        gets: Gets::Bad,
        script: |peer, stream| {
            peer.send(&head(0, stream, &status("200")))?;
            endless(
                peer,
                &frame(frames::CONTINUATION, 0, stream, &[]).repeat(1000),
            )
        },
    },
    Case {
        name: "interim-without-end",
        gets: Gets::Bad,
        script: |peer, stream| {
            endless(
                peer,
                &head(END_HEADERS, stream, &status("103")).repeat(1000),
            )
        },
    },
    Case {
        name: "data-first",
        gets: Gets::Bad,
        script: |peer, stream| peer.data(stream, b"body", true),
    },
    Case {
        name: "data-on-no-stream",
        gets: Gets::Bad,
        script: |peer, _| peer.data(0, b"body", false),
    },
    Case {
        name: "head-on-a-stream-of-its-own",
        gets: Gets::Bad,
        script: |peer, _| peer.send(&whole(2, &[&status("200")])),
    },
    Case {
        name: "push",
        gets: Gets::Bad,
        script: |peer, stream| {
            let block = [&2u32.to_be_bytes()[..], &frames::request("GET", HOST, "/")].concat();
            peer.send(&frame(5, END_HEADERS, stream, &block))
        },
    },
    Case {
        name: "window-overflow",
        gets: Gets::Bad,
        script: |peer, _| {
            let update = frame(frames::WINDOW_UPDATE, 0, 0, &0x7fff_ffffu32.to_be_bytes());
            peer.send(&update.repeat(2))
        },
    },
    Case {
        name: "bad-setting",
        gets: Gets::Bad,
        script: |peer, _| peer.send(&setting(4, 0x8000_0000)),
    },
    Case {
        name: "too-short",
        gets: Gets::Cut,
        script: |peer, stream| {
            peer.respond(stream, "200", &[("content-length", "10")], false)?;
            peer.data(stream, b"short", true)
        },
    },
    Case {
        name: "too-long",
        gets: Gets::Cut,
        script: |peer, stream| {
            begin(peer, stream, &[("content-length", "2")])?;
            peer.data(stream, b"too long", true)
        },
    },
    Case {
        name: "two-lengths",
        gets: Gets::Bad,
        script: |peer, stream| {
            peer.respond(
                stream,
                "200",
                &[("content-length", "5"), ("content-length", "6")],
                false,
            )?;
            peer.data(stream, b"12345", true)
        },
    },
    Case {
        name: "length-is-a-word",
        gets: Gets::Bad,
        script: |peer, stream| {
            peer.respond(stream, "200", &[("content-length", "five")], false)?;
            peer.data(stream, b"12345", true)
        },
    },
    Case {
        // It is left out, and what it should mean nobody hears of.
        name: "pseudo-field-in-trailers",
        gets: Gets::Whole,
        script: |peer, stream| {
            begin(peer, stream, &[])?;
            peer.data(stream, b"body", false)?;
            peer.send(&whole(stream, &[&status("200")]))
        },
    },
    Case {
        name: "second-head",
        gets: Gets::Cut,
        script: |peer, stream| {
            begin(peer, stream, &[])?;
            peer.respond(stream, "200", &[], false)
        },
    },
    Case {
        name: "closed-halfway",
        gets: Gets::Cut,
        script: |peer, stream| {
            begin(peer, stream, &[])?;
            peer.data(stream, b"half", false)?;
            Err(io::ErrorKind::Other.into())
        },
    },
    Case {
        name: "beyond-the-window",
        gets: Gets::Cut,
        script: |peer, stream| {
            begin(peer, stream, &[])?;
            endless(
                peer,
                &frame(frames::DATA, 0, stream, &[b'x'; 16_000]).repeat(50),
            )
        },
    },
    Case {
        name: "resets",
        gets: Gets::Bad,
        script: |peer, stream| {
            let reset = frame(frames::RST_STREAM, 0, stream, &2u32.to_be_bytes());
            peer.send(&reset.repeat(10_000))
        },
    },
    Case {
        name: "pings-and-settings",
        gets: Gets::Whole,
        script: |peer, stream| {
            peer.send(&frame(frames::PING, 0, 0, &[1; 8]).repeat(2000))?;
            peer.send(&setting(3, 50).repeat(200))?;
            peer.send(&frame(frames::PRIORITY, 0, stream, &[0, 0, 0, 0, 1]).repeat(2000))?;
            peer.send(&frame(0xfa, 0, stream, b"no such frame").repeat(100))?;
            peer.respond(stream, "200", &[], true)
        },
    },
    Case {
        name: "empty-data",
        gets: Gets::Whole,
        script: |peer, stream| {
            peer.respond(stream, "200", &[], false)?;
            peer.send(&frame(frames::DATA, 0, stream, &[]).repeat(50))?;
            peer.data(stream, b"body", true)
        },
    },
    Case {
        name: "empty-data-without-end",
        gets: Gets::Cut,
        script: |peer, stream| {
            begin(peer, stream, &[])?;
            endless(peer, &frame(frames::DATA, 0, stream, &[]).repeat(1000))
        },
    },
];

#[test]
fn no_breach_of_the_protocol_hangs_or_harms_anybody() {
    let good = Backend::named("good");
    let mut documents = vec![service("good", &[good.address()])];
    let mut ingress = Ingress::named("web").host(HOST).prefix("/good", "good");
    let backends: Vec<_> = CASES
        .iter()
        .map(|case| {
            let script = case.script;
            RawBackend::start(move |peer| {
                peer.greet(&[])?;
                loop {
                    let stream = peer.request()?;
                    script(peer, stream)?;
                }
            })
        })
        .collect();
    for (case, backend) in CASES.iter().zip(&backends) {
        let addresses = [backend.address()];
        documents.push(service_speaking(
            case.name,
            "kubernetes.io/h2c",
            &[],
            &addresses,
        ));
        ingress = ingress.prefix(&format!("/{}", case.name), case.name);
    }
    documents.push(ingress.yaml());
    let (narthex, _folder) = serve_with(&documents, &["--read-timeout=20s"]);
    let (before, _) = narthex.memory();
    for case in CASES {
        let path = format!("/{}", case.name);
        for round in 0..2 {
            let begin = Instant::now();
            let mut conn = Conn::plain(narthex.http);
            conn.send(format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
            let gets = match conn.try_head() {
                Err(_) => Gets::Cut,
                Ok(mut head) => {
                    // Interim ones are passed on until there are too many.
                    while head.status < 200 {
                        head = conn.try_head().expect("an answer behind the interim ones");
                    }
                    match head.status {
                        502 => Gets::Bad,
                        200 if head.header("content-length") == Some("0") => Gets::Whole,
                        200 => {
                            HEADS.fetch_add(1, Ordering::SeqCst);
                            loop {
                                match conn.chunk() {
                                    Ok(Some(_)) => {}
                                    Ok(None) => break Gets::Whole,
                                    Err(_) => break Gets::Cut,
                                }
                            }
                        }
                        other => panic!("{}: {other}", case.name),
                    }
                }
            };
            assert_eq!(gets, case.gets, "{} ({round})", case.name);
            let took = begin.elapsed();
            assert!(took < Duration::from_secs(19), "{}: {took:?}", case.name);
            if gets != Gets::Whole {
                let reason = narthex.access(&path)["reason"].clone();
                let reason = reason.as_str().unwrap_or_default();
                assert!(reason.starts_with("upstream_"), "{}: {reason}", case.name);
            }
            assert_eq!(
                narthex.get(HOST, "/good").backend(),
                "good",
                "after {}",
                case.name
            );
        }
    }
    let (_, most) = narthex.memory();
    let grown = most.saturating_sub(before);
    assert!(grown < 64 * 1024 * 1024, "{grown} bytes more");
    assert!(!narthex.log().contains("panic"), "{}", narthex.log());
}

#[test]
fn a_flood_of_small_pieces_for_a_client_that_reads_nothing_ends_within_bounds() {
    let sent = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&sent);
    let backend = RawBackend::start(move |peer| {
        peer.greet(&[])?;
        let stream = peer.request()?;
        peer.respond(stream, "200", &[], false)?;
        // One byte each, in the window or not: and interim heads between them are none any more.
        let pieces = frame(frames::DATA, 0, stream, b"x").repeat(1000);
        let end = Instant::now() + Duration::from_secs(10);
        while Instant::now() < end {
            peer.send(&pieces)?;
            counted.fetch_add(1000, Ordering::SeqCst);
        }
        Ok(())
    });
    let ingress = Ingress::named("web").host(HOST).prefix("/", "web");
    let documents = [
        service_speaking("web", "kubernetes.io/h2c", &[], &[backend.address()]),
        ingress.yaml(),
    ];
    let (narthex, _folder) = serve_with(&documents, &["--workers=1"]);
    let mut conn = Conn::plain(narthex.http);
    conn.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    until("it floods", || sent.load(Ordering::SeqCst) > 100_000);
    std::thread::sleep(Duration::from_secs(3));
    let (_, most) = narthex.memory();
    assert!(most < 150 * 1024 * 1024, "{most} bytes");
    drop(conn);
}
