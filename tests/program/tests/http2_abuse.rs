//! HTTP/2 clients that mean harm: the connection ends, others do not notice, and memory stays where
//! it was.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use program_tests::backend::{Backend, Then};
use program_tests::frames::{
    ACK, Attack, CONTINUATION, DATA, END_HEADERS, END_STREAM, Frame, HEADERS, PADDED, PING,
    PRIORITY, RST_STREAM, SETTINGS, Sent, WINDOW_UPDATE, field, frame, request, setting,
};
use program_tests::{Conn, HOST, Load, Site};

const MIB: u64 = 1024 * 1024;
const SOON: Duration = Duration::from_secs(30);

/// Answers `/large` with 8 MiB, `/slow` after a second, everything else with an echo.
fn web() -> Backend {
    Backend::scripted("web", |exchange| match &*exchange.request.target.clone() {
        "/large" => {
            exchange.send("HTTP/1.1 200 OK\r\nContent-Length: 8388608\r\n\r\n")?;
            for _ in 0..128 {
                exchange.send([b'x'; 65536])?;
            }
            Ok(Then::Keep)
        }
        "/slow" => {
            std::thread::sleep(Duration::from_secs(1));
            exchange.reply("slow")
        }
        _ => exchange.echo(),
    })
}

/// Runs `attack` while others ask on connections of their own; they must not notice, and the
/// program must not grow.
#[track_caller]
fn bystanders_do_not_notice(flags: &[&str], attack: impl FnOnce(&Site)) {
    let site = Site::of(web(), flags);
    let load = Load::start(site.narthex.http, 2, HOST, "/", |answer| {
        answer.status == 200
    });
    load.until_more(200);
    let (before, _) = site.narthex.memory();
    attack(&site);
    load.until_more(50);
    let (_, most) = site.narthex.memory();
    load.stop().assert_perfect();
    let grown = most.saturating_sub(before);
    assert!(grown < 10 * MIB, "grew by {} KiB", grown / 1024);
    assert!(
        !site.narthex.log().contains("panicked"),
        "{}",
        site.narthex.log()
    );
}

fn stream(index: u32) -> u32 {
    index * 2 + 1
}

fn get(index: u32, path: &str) -> Vec<u8> {
    let fields = request("GET", HOST, path);
    frame(HEADERS, END_HEADERS | END_STREAM, stream(index), &fields)
}

fn open_post(index: u32) -> Vec<u8> {
    frame(
        HEADERS,
        END_HEADERS,
        stream(index),
        &request("POST", HOST, "/"),
    )
}

fn ping(index: u32) -> Vec<u8> {
    frame(PING, 0, 0, &u64::from(index).to_be_bytes())
}

fn reset(index: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream(index), &8u32.to_be_bytes())
}

#[track_caller]
fn assert_ended(attack: &Attack, sent: Sent) {
    let ended = attack.ends_within(SOON);
    assert!(
        ended,
        "{sent:?}, but not ended; GOAWAY {:?}",
        attack.goaway()
    );
}

#[test]
fn rapid_reset_ends_the_connection() {
    bystanders_do_not_notice(&[], |site| {
        let mut attack = Attack::start(site.narthex.http);
        let sent = attack.flood(100_000, |index| [get(index, "/"), reset(index)].concat());
        assert_ended(&attack, sent);
    });
}

#[test]
fn rapid_reset_that_waits_for_each_request_to_begin_ends_the_connection() {
    // So low that a slow machine's resets are as many in ten seconds.
    bystanders_do_not_notice(&["--max-h2-control-frames", "200"], |site| {
        let mut attack = Attack::start(site.narthex.http);
        let mut sent = Sent::All;
        for index in 0..2_000 {
            sent = attack.send(&get(index, "/slow"));
            std::thread::sleep(Duration::from_micros(300));
            if sent == Sent::All {
                sent = attack.send(&reset(index));
            }
            if sent != Sent::All {
                break;
            }
        }
        assert_ended(&attack, sent);
        let reached = site
            .web
            .seen()
            .iter()
            .filter(|seen| seen.target == "/slow")
            .count();
        assert!(reached < 1_000, "{reached} requests reached the backend");
    });
}

#[test]
fn a_flood_of_continuations_ends_the_connection() {
    bystanders_do_not_notice(&[], |site| {
        let mut attack = Attack::start(site.narthex.http);
        attack.send(&frame(HEADERS, END_STREAM, 1, &request("GET", HOST, "/")));
        let part = field("x-filler", &"x".repeat(1000));
        let sent = attack.flood(100_000, |_| frame(CONTINUATION, 0, 1, &part));
        assert_ended(&attack, sent);
    });
}

#[test]
fn a_flood_of_empty_continuations_ends_the_connection() {
    bystanders_do_not_notice(&[], |site| {
        let mut attack = Attack::start(site.narthex.http);
        attack.send(&frame(HEADERS, END_STREAM, 1, &request("GET", HOST, "/")));
        let sent = attack.flood(1_000_000, |_| frame(CONTINUATION, 0, 1, &[]));
        assert_ended(&attack, sent);
    });
}

#[test]
fn a_flood_of_empty_data_ends_the_connection() {
    bystanders_do_not_notice(&[], |site| {
        let mut attack = Attack::start(site.narthex.http);
        attack.send(&open_post(0));
        let sent = attack.flood(1_000_000, |_| frame(DATA, 0, 1, &[]));
        assert_ended(&attack, sent);
    });
}

#[test]
fn a_flood_of_pings_ends_the_connection() {
    bystanders_do_not_notice(&[], |site| {
        let mut attack = Attack::start(site.narthex.http);
        let sent = attack.flood(200_000, ping);
        assert_ended(&attack, sent);
    });
}

#[test]
fn a_flood_just_above_the_limit_is_told_why_it_ends() {
    bystanders_do_not_notice(&["--max-h2-control-frames", "50"], |site| {
        let mut attack = Attack::start(site.narthex.http);
        // Slow enough that nothing is unread when the connection is closed, which could overtake
        // the GOAWAY.
        for index in 0..200 {
            if attack.send(&ping(index)) != Sent::All {
                break;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        assert!(attack.ends_within(SOON));
        assert_eq!(attack.goaway(), Some(11), "ENHANCE_YOUR_CALM");
        let counted = "narthex_http2_abusive_connections_total 1";
        program_tests::until("it is counted", || site.narthex.metrics().contains(counted));
    });
}

#[test]
fn a_flood_of_pings_whose_answers_are_not_read_is_held_back() {
    bystanders_do_not_notice(&[], |site| {
        let mut attack = Attack::unread(site.narthex.http);
        let sent = attack.flood(3_000_000, ping);
        assert_ne!(sent, Sent::All);
    });
}

#[test]
fn a_flood_of_settings_ends_the_connection() {
    bystanders_do_not_notice(&[], |site| {
        let mut attack = Attack::start(site.narthex.http);
        let sent = attack.flood(200_000, |index| setting(4, 65_535 + index % 2));
        assert_ended(&attack, sent);
    });
}

#[test]
fn a_flood_of_settings_whose_answers_are_not_read_is_held_back() {
    bystanders_do_not_notice(&[], |site| {
        let mut attack = Attack::unread(site.narthex.http);
        let sent = attack.flood(5_000_000, |index| setting(4, 65_535 + index % 2));
        assert_ne!(sent, Sent::All);
    });
}

#[test]
fn acknowledgements_that_nobody_asked_for_end_the_connection() {
    bystanders_do_not_notice(&[], |site| {
        let mut attack = Attack::start(site.narthex.http);
        let sent = attack.flood(10_000, |_| frame(SETTINGS, ACK, 0, &[]));
        assert_ended(&attack, sent);
    });
}

#[test]
fn a_flood_of_priorities_ends_the_connection() {
    bystanders_do_not_notice(&[], |site| {
        let mut attack = Attack::start(site.narthex.http);
        let sent = attack.flood(500_000, |index| {
            frame(PRIORITY, 0, stream(index % 100_000), &[0, 0, 0, 0, 1])
        });
        assert_ended(&attack, sent);
    });
}

#[test]
fn a_flood_of_window_updates_ends_the_connection() {
    for on_a_stream in [false, true] {
        bystanders_do_not_notice(&[], |site| {
            let mut attack = Attack::start(site.narthex.http);
            attack.send(&open_post(0));
            let sent = attack.flood(500_000, |_| {
                frame(
                    WINDOW_UPDATE,
                    0,
                    u32::from(on_a_stream),
                    &1u32.to_be_bytes(),
                )
            });
            assert_ended(&attack, sent);
        });
    }
}

#[test]
fn a_flood_of_headers_without_anything_in_them_ends_the_connection() {
    bystanders_do_not_notice(&[], |site| {
        let mut attack = Attack::start(site.narthex.http);
        let sent = attack.flood(100_000, |index| {
            frame(HEADERS, END_HEADERS | END_STREAM, stream(index), &[])
        });
        assert_ended(&attack, sent);
    });
}

#[test]
fn a_flood_of_data_that_is_only_padding_ends_the_connection() {
    bystanders_do_not_notice(&[], |site| {
        let mut attack = Attack::start(site.narthex.http);
        attack.send(&open_post(0));
        let sent = attack.flood(1_000_000, |_| frame(DATA, PADDED, 1, &[0]));
        assert_ended(&attack, sent);
    });
}

#[test]
fn made_you_reset_by_a_window_of_nothing_ends_the_connection() {
    bystanders_do_not_notice(&[], |site| {
        let mut attack = Attack::start(site.narthex.http);
        let sent = attack.flood(50_000, |index| {
            let nothing = frame(WINDOW_UPDATE, 0, stream(index), &0u32.to_be_bytes());
            [get(index, "/slow"), nothing].concat()
        });
        assert_ended(&attack, sent);
    });
}

#[test]
fn made_you_reset_by_a_window_too_large_ends_the_connection() {
    bystanders_do_not_notice(&[], |site| {
        let mut attack = Attack::start(site.narthex.http);
        let sent = attack.flood(50_000, |index| {
            let much = frame(
                WINDOW_UPDATE,
                0,
                stream(index),
                &0x7fff_ffff_u32.to_be_bytes(),
            );
            [get(index, "/slow"), much].concat()
        });
        assert_ended(&attack, sent);
    });
}

#[test]
fn made_you_reset_by_data_after_the_end_ends_the_connection() {
    bystanders_do_not_notice(&[], |site| {
        let mut attack = Attack::start(site.narthex.http);
        let sent = attack.flood(50_000, |index| {
            [get(index, "/slow"), frame(DATA, 0, stream(index), b"x")].concat()
        });
        assert_ended(&attack, sent);
    });
}

#[test]
fn requests_that_are_malformed_again_and_again_end_the_connection() {
    bystanders_do_not_notice(&[], |site| {
        let mut attack = Attack::start(site.narthex.http);
        let fields = [request("GET", HOST, "/"), field("connection", "x")].concat();
        let sent = attack.flood(50_000, |index| {
            frame(HEADERS, END_HEADERS | END_STREAM, stream(index), &fields)
        });
        assert_ended(&attack, sent);
    });
}

#[test]
fn an_hpack_bomb_is_refused_without_being_unpacked() {
    bystanders_do_not_notice(&[], |site| {
        let mut attack = Attack::start(site.narthex.http);
        // One entry of nearly the whole table, then references of one byte each.
        let mut entry = field("x-bomb", &"x".repeat(3900));
        entry[0] = 0x40;
        let seed = [request("GET", HOST, "/"), entry].concat();
        attack.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &seed));
        let bomb = [request("GET", HOST, "/"), vec![0xbe; 14_000]].concat();
        let sent = attack.flood(5_000, |index| {
            frame(HEADERS, END_HEADERS | END_STREAM, stream(index + 1), &bomb)
        });
        assert_ended(&attack, sent);
        let seen = site.web.seen();
        assert!(seen.iter().all(|seen| seen.raw.len() < 40_000));
    });
}

#[test]
fn streams_beyond_the_limit_are_refused() {
    bystanders_do_not_notice(&["--max-h2-streams", "10"], |site| {
        let mut attack = Attack::start(site.narthex.http);
        attack.flood(5_000, open_post);
        attack.ends_within(Duration::from_secs(1));
        let posts = site
            .web
            .seen()
            .iter()
            .filter(|seen| seen.method == "POST")
            .count();
        assert!(posts <= 10, "{posts}");
    });
}

#[test]
fn a_window_of_nothing_holds_no_memory_and_ends_in_time() {
    bystanders_do_not_notice(&["--write-timeout", "1s"], |site| {
        let mut attack = Attack::start(site.narthex.http);
        attack.send(&setting(4, 0));
        attack.flood(20, |index| get(index, "/large"));
        program_tests::until("all are reset", || {
            let is_reset = |frame: &&Frame| frame.kind == RST_STREAM;
            attack.frames().iter().filter(is_reset).count() == 20
        });
    });
}

#[test]
fn windows_of_a_byte_hold_no_memory_and_cost_the_others_nothing() {
    bystanders_do_not_notice(&["--write-timeout", "2s"], |site| {
        let mut attack = Attack::start(site.narthex.http);
        attack.send(&setting(4, 1));
        attack.flood(20, |index| get(index, "/large"));
        for round in 0..2_000 {
            let more = frame(WINDOW_UPDATE, 0, stream(round % 20), &1u32.to_be_bytes());
            if attack.send(&more) != Sent::All {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    });
}

#[test]
fn a_client_that_never_reads_is_let_go() {
    bystanders_do_not_notice(&["--write-timeout", "1s"], |site| {
        let mut attack = Attack::unread(site.narthex.http);
        attack.send(&setting(4, 0x7fff_ffff));
        attack.send(&frame(WINDOW_UPDATE, 0, 0, &0x7000_0000_u32.to_be_bytes()));
        attack.flood(20, |index| get(index, "/large"));
        std::thread::sleep(Duration::from_secs(3));
    });
}

#[test]
fn a_flood_of_frames_of_unknown_types_ends_the_connection() {
    bystanders_do_not_notice(&[], |site| {
        let mut attack = Attack::start(site.narthex.http);
        let sent = attack.flood(200_000, |_| frame(0xee, 0xff, 1, b"whatever"));
        assert_ended(&attack, sent);
    });
}

/// The slowest of a hundred, of as many requests on one connection.
fn p99(conn: &mut Conn, times: usize) -> Duration {
    let mut spans: Vec<_> = (0..times)
        .map(|_| {
            let start = Instant::now();
            assert_eq!(conn.get(HOST, "/").status, 200);
            start.elapsed()
        })
        .collect();
    spans.sort_unstable();
    spans[times * 99 / 100]
}

/// A bystander's p99 beside an attack that never rests, over that of one at an instance that nobody
/// attacks, asked in turns: the least of several rounds, up to the first that is below `enough`. The
/// attacker takes its share of the machine from both, and so does whoever else there is.
fn disturbance(enough: f64, attack: impl Fn(&mut Attack, u32) -> Sent + Sync) -> f64 {
    let [attacked, untouched] = [(); 2].map(|()| Site::of(web(), &["--workers=2"]));
    let (stop, ended) = (AtomicBool::new(false), AtomicU32::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::SeqCst) {
                let mut connection = Attack::start(attacked.narthex.http);
                attack(&mut connection, ended.load(Ordering::SeqCst));
                ended.fetch_add(1, Ordering::SeqCst);
            }
        });
        let _stop = StopAtEnd(&stop);
        program_tests::until("connections are ended", || ended.load(Ordering::SeqCst) > 1);
        let mut least = f64::MAX;
        for _ in 0..20 {
            let (mut near, mut far) = (attacked.conn(), untouched.conn());
            let (mut near_all, mut far_all) = (Vec::new(), Vec::new());
            for _ in 0..10 {
                near_all.push(p99(&mut near, 30));
                far_all.push(p99(&mut far, 30));
            }
            near_all.sort_unstable();
            far_all.sort_unstable();
            least = least.min(near_all[5].as_secs_f64() / far_all[5].as_secs_f64());
            if least < enough {
                break;
            }
        }
        least
    })
}

/// Ends the attack, however the test ends.
struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn bystanders_are_served_as_promptly_as_where_nobody_attacks() {
    const MOST: f64 = 5.0;
    let pings = disturbance(MOST, |attack, _| attack.flood(100_000, ping));
    let settings = disturbance(MOST, |attack, _| {
        attack.flood(100_000, |_| setting(4, 65_535))
    });
    let empty = disturbance(MOST, |attack, _| {
        attack.send(&open_post(0));
        attack.flood(100_000, |_| frame(DATA, 0, 1, &[]))
    });
    let resets = disturbance(MOST, |attack, _| {
        attack.flood(100_000, |index| [get(index, "/"), reset(index)].concat())
    });
    let all = [pings, settings, empty, resets];
    assert!(all.iter().all(|&ratio| ratio < MOST), "{all:?}");
}

#[test]
fn a_talkative_client_is_never_taken_for_a_flood() {
    let site = Site::of(web(), &[]);
    // For each piece of a response, two WINDOW_UPDATEs and a PING, as no client but a naive one.
    let mut client = Attack::start(site.narthex.http);
    let mut taken = 0;
    for index in 0..3 {
        client.send(&get(index, "/large"));
        let end = |client: &Attack| {
            let frames = client.frames();
            let ends = |frame: &Frame| {
                frame.kind == DATA && frame.stream == stream(index) && frame.flags & END_STREAM != 0
            };
            frames.iter().any(ends)
        };
        program_tests::until("the response ends", || {
            let pieces = client
                .frames()
                .iter()
                .filter(|frame| frame.kind == DATA)
                .count();
            for piece in taken..pieces {
                let more = 16_384u32.to_be_bytes();
                let answers = [
                    frame(WINDOW_UPDATE, 0, 0, &more),
                    frame(WINDOW_UPDATE, 0, stream(index), &more),
                    ping(u32::try_from(piece).expect("few")),
                ];
                assert_eq!(client.send(&answers.concat()), Sent::All);
            }
            taken = pieces.max(taken);
            end(&client)
        });
    }
    // Pings at a rate that no keep-alive has.
    for index in 0..300 {
        assert_eq!(client.send(&ping(index)), Sent::All);
        std::thread::sleep(Duration::from_millis(12));
    }
    client.send(&get(10, "/"));
    program_tests::until("it is still served", || {
        client
            .frames()
            .iter()
            .any(|frame| frame.stream == stream(10))
    });
    assert_eq!(client.goaway(), None);
    assert_no_abuse(&site);
}

#[test]
fn heavy_traffic_is_never_taken_for_a_flood() {
    let (site, ..) = Site::secure(&["--access-log-format=off"]);
    let url = format!("https://127.0.0.1:{}/", site.narthex.https);
    let mut h2load = std::process::Command::new("h2load");
    h2load.args([
        "-n",
        "10000",
        "-c",
        "4",
        "-m",
        "100",
        "-H",
        ":authority: a.example",
        &url,
    ]);
    let ended = program_tests::program::end(h2load);
    assert!(
        ended.said().contains("10000 succeeded, 0 failed"),
        "{}",
        ended.said()
    );
    program_tests::http2::block_on(async {
        let h2 = program_tests::http2::H2::connect(site.narthex.https, HOST).await;
        let body = bytes::Bytes::from(vec![b'x'; 32 * 1024 * 1024]);
        let answer = h2.post(HOST, "/", body, None).await.expect("an answer");
        assert_eq!(answer.echo().body_length, 32 * 1024 * 1024);
    });
    assert_no_abuse(&site);
}

#[track_caller]
fn assert_no_abuse(site: &Site) {
    let metrics = site.narthex.metrics();
    let none = metrics.contains("narthex_http2_abusive_connections_total 0");
    assert!(none, "{metrics}");
}

#[test]
fn a_preface_and_silence_is_let_go() {
    bystanders_do_not_notice(&["--keep-alive-timeout", "1s"], |site| {
        let attack = Attack::start(site.narthex.http);
        assert!(attack.ends_within(SOON), "GOAWAY {:?}", attack.goaway());
    });
}

#[test]
fn pings_do_not_keep_an_unused_connection() {
    bystanders_do_not_notice(&["--keep-alive-timeout", "1s"], |site| {
        let mut attack = Attack::start(site.narthex.http);
        let mut ended = false;
        for _ in 0..100 {
            ended = attack.send(&ping(0)) == Sent::Ended;
            if ended {
                break;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        assert!(ended || attack.ends_within(SOON));
    });
}
