//! Requests that two parsers could read two ways, and others that are wrong: each is refused
//! before any backend sees a byte of it.

use std::time::Duration;

use program_tests::Site;

/// Sends `bytes` alone on a connection: the answer has one of these statuses (or the connection
/// is closed without an answer where `None` is among them), the connection ends, and no backend
/// saw anything.
#[track_caller]
fn refused_with(bytes: &[u8], statuses: &[u16]) {
    let site = Site::echo();
    let mut conn = site.conn();
    conn.send(bytes);
    conn.end_sending();
    let answer = conn.response();
    assert!(
        statuses.contains(&answer.status),
        "{answer:?} to {:?}",
        String::from_utf8_lossy(bytes)
    );
    assert!(
        conn.is_closed_within(Duration::from_secs(15)),
        "not closed after {}",
        answer.status
    );
    assert!(
        site.web.seen().is_empty(),
        "reached a backend: {:?}",
        site.web.seen()
    );
    assert_eq!(site.get("/after").status, 200, "still serves");
}

macro_rules! refused {
    ($($name:ident: $bytes:expr => $($status:literal)|+;)+) => {$(
        #[test]
        fn $name() {
            refused_with(AsRef::<[u8]>::as_ref($bytes), &[$($status),+]);
        }
    )+};
}

refused! {
    request_smuggling_both_cl_and_te_is_400:
        "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG" => 400;
    request_smuggling_te_before_cl_is_400:
        "POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n0\r\n\r\nG" => 400;
    two_different_lengths_are_400:
        "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab" => 400;
    a_list_of_different_lengths_is_400:
        "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 1, 2\r\n\r\nab" => 400;
    an_empty_length_is_400:
        "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length:\r\n\r\n" => 400;
    a_signed_length_is_400:
        "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: +2\r\n\r\nab" => 400;
    a_negative_length_is_400:
        "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: -2\r\n\r\nab" => 400;
    a_hexadecimal_length_is_400:
        "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 0x2\r\n\r\nab" => 400;
    a_length_beyond_64_bits_is_400:
        "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 18446744073709551617\r\n\r\na" => 400 | 413;
    an_unknown_transfer_coding_is_refused:
        "POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" => 400 | 501;
    chunked_twice_is_400:
        "POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n" => 400 | 501;
    two_transfer_encoding_fields_are_refused:
        "POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n" => 400 | 501;
    gzip_before_chunked_is_refused:
        "POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n" => 400 | 501;
    chunked_that_is_not_last_is_400:
        "POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n" => 400 | 501;
    an_empty_transfer_encoding_is_refused:
        "POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding:\r\n\r\n0\r\n\r\n" => 400 | 501;
    a_vertical_tab_before_chunked_is_refused:
        "POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n" => 400 | 501;
    a_transfer_encoding_in_http_1_0_is_400:
        "POST / HTTP/1.0\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" => 400;
    a_space_before_the_colon_is_400:
        "GET / HTTP/1.1\r\nHost: a.example\r\nX-A : b\r\n\r\n" => 400;
    a_space_before_the_colon_of_a_length_is_400:
        "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length : 2\r\n\r\nab" => 400;
    a_folded_field_is_400:
        "GET / HTTP/1.1\r\nHost: a.example\r\nX-A: b\r\n c\r\n\r\n" => 400;
    a_first_field_that_begins_with_a_space_is_400:
        "GET / HTTP/1.1\r\n Host: a.example\r\n\r\n" => 400;
    a_field_without_colon_is_400:
        "GET / HTTP/1.1\r\nHost: a.example\r\nnonsense\r\n\r\n" => 400;
    a_field_without_name_is_400:
        "GET / HTTP/1.1\r\nHost: a.example\r\n: value\r\n\r\n" => 400;
    a_field_name_with_a_strange_character_is_400:
        "GET / HTTP/1.1\r\nHost: a.example\r\nX(A): b\r\n\r\n" => 400;
    a_bare_line_feed_after_the_request_line_is_400:
        "GET / HTTP/1.1\nHost: a.example\r\n\r\n" => 400;
    a_bare_line_feed_between_fields_is_400:
        "GET / HTTP/1.1\r\nHost: a.example\nX-A: b\r\n\r\n" => 400;
    a_bare_line_feed_at_the_end_of_the_head_is_400:
        "GET / HTTP/1.1\r\nHost: a.example\r\n\n" => 400;
    a_bare_carriage_return_in_a_value_is_400:
        "GET / HTTP/1.1\r\nHost: a.example\r\nX-A: b\rc\r\n\r\n" => 400;
    a_nul_in_a_value_is_400:
        "GET / HTTP/1.1\r\nHost: a.example\r\nX-A: b\0c\r\n\r\n" => 400;
    no_host_is_400:
        "GET / HTTP/1.1\r\nX: y\r\n\r\n" => 400;
    two_hosts_are_400:
        "GET / HTTP/1.1\r\nHost: a.example\r\nHost: b.example\r\n\r\n" => 400;
    two_equal_hosts_are_400:
        "GET / HTTP/1.1\r\nHost: a.example\r\nHost: a.example\r\n\r\n" => 400;
    a_host_with_a_path_is_400:
        "GET / HTTP/1.1\r\nHost: a.example/x\r\n\r\n" => 400;
    a_host_with_user_information_is_400:
        "GET / HTTP/1.1\r\nHost: user@a.example\r\n\r\n" => 400;
    a_host_with_a_space_is_400:
        "GET / HTTP/1.1\r\nHost: a.example b.example\r\n\r\n" => 400;
    a_host_list_is_400:
        "GET / HTTP/1.1\r\nHost: a.example,b.example\r\n\r\n" => 400;
    a_host_with_a_bad_port_is_400:
        "GET / HTTP/1.1\r\nHost: a.example:99999\r\n\r\n" => 400;
    a_request_line_without_version_is_400:
        "GET /\r\nHost: a.example\r\n\r\n" => 400;
    a_request_line_with_four_parts_is_400:
        "GET / extra HTTP/1.1\r\nHost: a.example\r\n\r\n" => 400;
    two_spaces_in_the_request_line_are_400:
        "GET  / HTTP/1.1\r\nHost: a.example\r\n\r\n" => 400;
    an_unknown_version_is_refused:
        "GET / HTTP/3.0\r\nHost: a.example\r\n\r\n" => 400 | 505;
    a_lower_case_version_is_400:
        "GET / http/1.1\r\nHost: a.example\r\n\r\n" => 400 | 505;
    a_version_of_two_digits_is_400:
        "GET / HTTP/1.10\r\nHost: a.example\r\n\r\n" => 400 | 505;
    a_method_with_strange_characters_is_400:
        "GE(T) / HTTP/1.1\r\nHost: a.example\r\n\r\n" => 400;
    a_target_without_slash_is_400:
        "GET index.html HTTP/1.1\r\nHost: a.example\r\n\r\n" => 400;
    an_absolute_target_of_another_scheme_is_400:
        "GET ftp://a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n" => 400;
    a_fragment_in_the_target_is_400:
        "GET /a#b HTTP/1.1\r\nHost: a.example\r\n\r\n" => 400;
    tls_on_the_plain_port_is_refused:
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 nothing that HTTP knows\r\n\r\n" => 400;
    noise_is_400:
        b"\x00\x01\x02\x03\xff\xfe\xfd\r\n\r\n" => 400;
}

/// Bodies go wrong after the head went upstream; what matters is that nothing more is taken for a
/// request, and that no backend takes the body for whole.
#[track_caller]
fn broken_body(chunks: &str) {
    let site = Site::echo();
    let mut conn = site.conn();
    conn.send(format!(
        "POST /first HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}\
         GET /smuggled HTTP/1.1\r\nHost: a.example\r\n\r\n"
    ));
    conn.end_sending();
    // It may also be closed without an answer.
    if let Ok(answer) = conn.try_response(false) {
        assert!(matches!(answer.status, 400 | 502), "{chunks:?}: {answer:?}");
    }
    assert!(conn.is_closed_within(Duration::from_secs(15)), "{chunks:?}");
    let seen = site.web.seen();
    assert!(
        seen.iter().all(|request| request.target == "/first"),
        "{chunks:?}: {seen:?}"
    );
}

#[test]
fn chunks_outside_the_grammar_end_the_connection() {
    for chunks in [
        "5 \r\nhello\r\n0\r\n\r\n",
        " 5\r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "5_\r\nhello\r\n0\r\n\r\n",
        "\r\nhello\r\n0\r\n\r\n",
        "5\nhello\r\n0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhelloXX0\r\n\r\n",
        "5\rhello\r\n0\r\n\r\n",
        "FFFFFFFFFFFFFFFFF\r\nhello\r\n0\r\n\r\n",
        "g\r\nhello\r\n0\r\n\r\n",
        "5;ext\nhello\r\n0\r\n\r\n",
        "5;a=\"\r\nhello\r\n0\r\n\r\n",
        "0\r\nX: y\n\r\n",
        "0\r\nno colon\r\n\r\n",
        "0\r\n X: folded\r\n\r\n",
    ] {
        broken_body(chunks);
    }
}

#[test]
fn a_body_that_ends_early_never_counts_as_whole() {
    let site = Site::echo();
    let mut conn = site.conn();
    conn.send("POST /x HTTP/1.1\r\nHost: a.example\r\nContent-Length: 10\r\n\r\nhalf");
    conn.end_sending();
    if let Ok(answer) = conn.try_response(false) {
        assert!(matches!(answer.status, 400 | 408 | 499 | 502), "{answer:?}");
    }
    assert_eq!(site.get("/after").status, 200);
}

#[test]
fn bytes_after_a_body_are_the_next_request() {
    let site = Site::echo();
    let mut conn = site.conn();
    conn.send(
        "POST /one HTTP/1.1\r\nHost: a.example\r\nContent-Length: 3\r\n\r\nabc\
         GET /two HTTP/1.1\r\nHost: a.example\r\n\r\n",
    );
    assert_eq!(conn.response().echo().body, "abc");
    assert_eq!(conn.response().echo().target, "/two");
}

#[test]
fn a_repeated_equal_length_goes_upstream_once_or_is_400() {
    let site = Site::echo();
    let answer = site.conn().ask(
        "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nab",
    );
    match answer.status {
        200 => assert_eq!(answer.echo().all("content-length"), ["2"]),
        status => assert_eq!(status, 400),
    }
}

#[test]
fn what_goes_upstream_has_one_framing_only() {
    let site = Site::echo();
    site.conn().ask(
        "POST / HTTP/1.1\r\nHost: a.example\r\ntransfer-ENCODING:  chunked \r\n\r\n2\r\nab\r\n0\r\n\r\n",
    );
    let seen = &site.web.seen()[0];
    let framing = seen.headers.iter().filter(|(name, _)| {
        name.eq_ignore_ascii_case("content-length")
            || name.eq_ignore_ascii_case("transfer-encoding")
    });
    assert_eq!(framing.count(), 1, "{:?}", seen.headers);
    let raw = String::from_utf8_lossy(&seen.raw);
    assert!(
        !raw.contains('\0') && !raw.replace("\r\n", "").contains(['\r', '\n']),
        "{raw:?}"
    );
}

#[test]
fn empty_lines_before_a_request_are_forgiven() {
    let site = Site::echo();
    let answer = site
        .conn()
        .ask("\r\n\r\nGET / HTTP/1.1\r\nHost: a.example\r\n\r\n");
    assert!(matches!(answer.status, 200 | 400), "{answer:?}");
}

#[test]
fn a_refused_request_is_logged_with_its_reason() {
    let site = Site::echo();
    site.conn()
        .ask("GET /x HTTP/1.1\r\nHost: a.example\r\nX-A : b\r\n\r\n");
    let line = program_tests::eventually("a line for the refusal", || {
        site.narthex
            .access_log()
            .into_iter()
            .find(|line| line["status"] == 400)
    });
    assert!(
        line["reason"]
            .as_str()
            .is_some_and(|reason| !reason.is_empty()),
        "{line}"
    );
}

#[test]
fn a_client_that_connects_and_leaves_is_no_error() {
    let site = Site::echo();
    for _ in 0..50 {
        drop(site.conn());
    }
    assert_eq!(site.get("/").status, 200);
    let log = site.narthex.log().to_lowercase();
    assert!(!log.contains("error") && !log.contains("panic"), "{log}");
}

#[test]
fn noise_of_every_length_ends_no_program() {
    let site = Site::echo();
    // A small linear congruential generator: the same noise every run.
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut byte = move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) as u8
    };
    for length in (1..400).step_by(13) {
        let noise: Vec<u8> = (0..length).map(|_| byte()).collect();
        let mut conn = site.conn();
        conn.send(&noise);
        conn.end_sending();
        // Any answer, or none, but an end.
        let _ = conn.try_response(false);
        assert!(conn.is_closed_within(Duration::from_secs(15)), "{noise:?}");
    }
    assert_eq!(site.get("/").status, 200);
    assert!(
        !site.narthex.log().contains("panicked"),
        "{}",
        site.narthex.log()
    );
}
