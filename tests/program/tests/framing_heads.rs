//! Heads that two parsers could read two ways never reach an origin; the others mean the same to all.

use program_tests::framing::{BAD, Case, Lab, Verdict};

const AMBIGUOUS: &[Case] = &[
    (
        "a bare line feed ends the request line",
        b"GET / HTTP/1.1\nHost: $H\r\n\r\n",
        BAD,
    ),
    (
        "a bare line feed ends a field",
        b"GET / HTTP/1.1\r\nHost: $H\r\nX-A: b\n\r\n",
        BAD,
    ),
    (
        "a bare line feed ends the head",
        b"GET / HTTP/1.1\r\nHost: $H\r\n\n",
        BAD,
    ),
    (
        "a bare carriage return ends the request line",
        b"GET / HTTP/1.1\rHost: $H\r\n\r\n",
        BAD,
    ),
    (
        "a bare carriage return ends a field",
        b"GET / HTTP/1.1\r\nHost: $H\r\nX-A: b\rX-C: d\r\n\r\n",
        BAD,
    ),
    (
        "a carriage return stands twice before a line feed",
        b"GET / HTTP/1.1\r\nHost: $H\r\nX-A: b\r\r\n\r\n",
        BAD,
    ),
    (
        "a carriage return begins a value",
        b"GET / HTTP/1.1\r\nHost: $H\r\nX-A: \rb\r\n\r\n",
        BAD,
    ),
    (
        "a carriage return begins a name",
        b"GET / HTTP/1.1\r\nHost: $H\r\n\rX-A: b\r\n\r\n",
        BAD,
    ),
    (
        "a line of a single carriage return and space",
        b"GET / HTTP/1.1\r\nHost: $H\r\n\r \r\n\r\n",
        BAD,
    ),
    (
        "a field folded with a space",
        b"GET / HTTP/1.1\r\nHost: $H\r\nX-A: b\r\n c\r\n\r\n",
        BAD,
    ),
    (
        "a field folded with a tab",
        b"GET / HTTP/1.1\r\nHost: $H\r\nX-A: b\r\n\tc\r\n\r\n",
        BAD,
    ),
    (
        "an empty field folded",
        b"GET / HTTP/1.1\r\nHost: $H\r\nX-A:\r\n b\r\n\r\n",
        BAD,
    ),
    (
        "a length folded",
        b"POST /p HTTP/1.1\r\nHost: $H\r\nContent-Length:\r\n 2\r\n\r\nab",
        BAD,
    ),
    (
        "a coding folded",
        b"POST /p HTTP/1.1\r\nHost: $H\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
        BAD,
    ),
    (
        "a folded line before any field",
        b"GET / HTTP/1.1\r\n Host: $H\r\nHost: $H\r\n\r\n",
        BAD,
    ),
    (
        "a tab before the first field",
        b"GET / HTTP/1.1\r\n\tX: y\r\nHost: $H\r\n\r\n",
        BAD,
    ),
    (
        "a space before the colon",
        b"GET / HTTP/1.1\r\nHost: $H\r\nX-A : b\r\n\r\n",
        BAD,
    ),
    (
        "a tab before the colon",
        b"GET / HTTP/1.1\r\nHost: $H\r\nX-A\t: b\r\n\r\n",
        BAD,
    ),
    (
        "a space before the colon of Host",
        b"GET / HTTP/1.1\r\nHost : $H\r\n\r\n",
        BAD,
    ),
    (
        "a space inside a name",
        b"GET / HTTP/1.1\r\nHost: $H\r\nX A: b\r\n\r\n",
        BAD,
    ),
    (
        "a field without a colon",
        b"GET / HTTP/1.1\r\nHost: $H\r\nnonsense\r\n\r\n",
        BAD,
    ),
    (
        "a field without a name",
        b"GET / HTTP/1.1\r\nHost: $H\r\n: b\r\n\r\n",
        BAD,
    ),
    (
        "a colon alone",
        b"GET / HTTP/1.1\r\nHost: $H\r\n:\r\n\r\n",
        BAD,
    ),
    (
        "a name in quotes",
        b"GET / HTTP/1.1\r\nHost: $H\r\n\"X\": b\r\n\r\n",
        BAD,
    ),
    (
        "a name with parentheses",
        b"GET / HTTP/1.1\r\nHost: $H\r\nX(a): b\r\n\r\n",
        BAD,
    ),
    (
        "a name with a slash",
        b"GET / HTTP/1.1\r\nHost: $H\r\nX/a: b\r\n\r\n",
        BAD,
    ),
    (
        "a name with an at sign",
        b"GET / HTTP/1.1\r\nHost: $H\r\nX@a: b\r\n\r\n",
        BAD,
    ),
    (
        "a name with a bracket",
        b"GET / HTTP/1.1\r\nHost: $H\r\nX[a]: b\r\n\r\n",
        BAD,
    ),
    (
        "a name with a brace",
        b"GET / HTTP/1.1\r\nHost: $H\r\nX{a}: b\r\n\r\n",
        BAD,
    ),
    (
        "a name with a comma",
        b"GET / HTTP/1.1\r\nHost: $H\r\nX,a: b\r\n\r\n",
        BAD,
    ),
    (
        "a name with a semicolon",
        b"GET / HTTP/1.1\r\nHost: $H\r\nX;a: b\r\n\r\n",
        BAD,
    ),
    (
        "a name with an equals sign",
        b"GET / HTTP/1.1\r\nHost: $H\r\nX=a: b\r\n\r\n",
        BAD,
    ),
    (
        "a name with a backslash",
        b"GET / HTTP/1.1\r\nHost: $H\r\nX\\a: b\r\n\r\n",
        BAD,
    ),
    (
        "a name with a nul",
        b"GET / HTTP/1.1\r\nHost: $H\r\nX\0a: b\r\n\r\n",
        BAD,
    ),
    (
        "a name with a byte beyond ASCII",
        b"GET / HTTP/1.1\r\nHost: $H\r\nX\xe9: b\r\n\r\n",
        BAD,
    ),
    (
        "a name with a delete",
        b"GET / HTTP/1.1\r\nHost: $H\r\nX\x7f: b\r\n\r\n",
        BAD,
    ),
    (
        "a nul in a value",
        b"GET / HTTP/1.1\r\nHost: $H\r\nX-A: b\0c\r\n\r\n",
        BAD,
    ),
    (
        "a nul ends a value",
        b"GET / HTTP/1.1\r\nHost: $H\r\nX-A: b\0\r\n\r\n",
        BAD,
    ),
    (
        "a bell in a value",
        b"GET / HTTP/1.1\r\nHost: $H\r\nX-A: b\x07c\r\n\r\n",
        BAD,
    ),
    (
        "a vertical tab in a value",
        b"GET / HTTP/1.1\r\nHost: $H\r\nX-A: b\x0bc\r\n\r\n",
        BAD,
    ),
    (
        "a form feed in a value",
        b"GET / HTTP/1.1\r\nHost: $H\r\nX-A: b\x0cc\r\n\r\n",
        BAD,
    ),
    (
        "a delete in a value",
        b"GET / HTTP/1.1\r\nHost: $H\r\nX-A: b\x7fc\r\n\r\n",
        BAD,
    ),
    (
        "an escape in a value",
        b"GET / HTTP/1.1\r\nHost: $H\r\nX-A: b\x1bc\r\n\r\n",
        BAD,
    ),
    (
        "two spaces after the method",
        b"GET  / HTTP/1.1\r\nHost: $H\r\n\r\n",
        BAD,
    ),
    (
        "two spaces before the version",
        b"GET /  HTTP/1.1\r\nHost: $H\r\n\r\n",
        BAD,
    ),
    (
        "a tab after the method",
        b"GET\t/ HTTP/1.1\r\nHost: $H\r\n\r\n",
        BAD,
    ),
    (
        "a tab before the version",
        b"GET /\tHTTP/1.1\r\nHost: $H\r\n\r\n",
        BAD,
    ),
    (
        "a space before the method",
        b" GET / HTTP/1.1\r\nHost: $H\r\n\r\n",
        BAD,
    ),
    (
        "a space after the version",
        b"GET / HTTP/1.1 \r\nHost: $H\r\n\r\n",
        BAD,
    ),
    (
        "a target with a space",
        b"GET /a b HTTP/1.1\r\nHost: $H\r\n\r\n",
        BAD,
    ),
    ("no version", b"GET /\r\nHost: $H\r\n\r\n", BAD),
    ("no target", b"GET HTTP/1.1\r\nHost: $H\r\n\r\n", BAD),
    ("an empty method", b" / HTTP/1.1\r\nHost: $H\r\n\r\n", BAD),
    (
        "a method with a colon",
        b"GE:T / HTTP/1.1\r\nHost: $H\r\n\r\n",
        BAD,
    ),
    (
        "a method with a nul",
        b"GE\0T / HTTP/1.1\r\nHost: $H\r\n\r\n",
        BAD,
    ),
    (
        "a method beyond ASCII",
        b"G\xc9T / HTTP/1.1\r\nHost: $H\r\n\r\n",
        BAD,
    ),
    ("HTTP 1.2", b"GET / HTTP/1.2\r\nHost: $H\r\n\r\n", BAD),
    (
        "HTTP 0.9 with fields",
        b"GET / HTTP/0.9\r\nHost: $H\r\n\r\n",
        BAD,
    ),
    (
        "HTTP 2.0 without its preface",
        b"GET / HTTP/2.0\r\nHost: $H\r\n\r\n",
        BAD,
    ),
    ("HTTP 3", b"GET / HTTP/3\r\nHost: $H\r\n\r\n", BAD),
    (
        "HTTP in lower case",
        b"GET / http/1.1\r\nHost: $H\r\n\r\n",
        BAD,
    ),
    (
        "a version of two digits",
        b"GET / HTTP/1.10\r\nHost: $H\r\n\r\n",
        BAD,
    ),
    (
        "a version with a leading zero",
        b"GET / HTTP/01.1\r\nHost: $H\r\n\r\n",
        BAD,
    ),
    (
        "a version with a comma",
        b"GET / HTTP/1,1\r\nHost: $H\r\n\r\n",
        BAD,
    ),
    (
        "a version of another protocol",
        b"GET / RTSP/1.0\r\nHost: $H\r\n\r\n",
        BAD,
    ),
    (
        "a version with a sign",
        b"GET / HTTP/+1.1\r\nHost: $H\r\n\r\n",
        BAD,
    ),
    (
        "a version cut off",
        b"GET / HTTP/1.\r\nHost: $H\r\n\r\n",
        BAD,
    ),
    (
        "a nul in the target",
        b"GET /a\0b HTTP/1.1\r\nHost: $H\r\n\r\n",
        BAD,
    ),
    (
        "a delete in the target",
        b"GET /a\x7fb HTTP/1.1\r\nHost: $H\r\n\r\n",
        BAD,
    ),
    (
        "a fragment in the target",
        b"GET /a#b HTTP/1.1\r\nHost: $H\r\n\r\n",
        BAD,
    ),
    (
        "a fragment in the query",
        b"GET /a?b#c HTTP/1.1\r\nHost: $H\r\n\r\n",
        BAD,
    ),
    (
        "a target without a slash",
        b"GET index HTTP/1.1\r\nHost: $H\r\n\r\n",
        BAD,
    ),
    (
        "a target of a query alone",
        b"GET ?a HTTP/1.1\r\nHost: $H\r\n\r\n",
        BAD,
    ),
    (
        "an asterisk asked for with GET",
        b"GET * HTTP/1.1\r\nHost: $H\r\n\r\n",
        BAD,
    ),
    (
        "an asterisk with a path",
        b"OPTIONS */a HTTP/1.1\r\nHost: $H\r\n\r\n",
        BAD,
    ),
    (
        "an absolute target of another scheme",
        b"GET ftp://$H/ HTTP/1.1\r\nHost: $H\r\n\r\n",
        BAD,
    ),
    (
        "an absolute target without a path but with a query",
        b"GET http://$H?a HTTP/1.1\r\nHost: $H\r\n\r\n",
        BAD,
    ),
    (
        "an absolute target that contradicts Host",
        b"GET http://other.example/ HTTP/1.1\r\nHost: $H\r\n\r\n",
        BAD,
    ),
    (
        "an absolute target with user information",
        b"GET http://user@$H/ HTTP/1.1\r\nHost: $H\r\n\r\n",
        BAD,
    ),
    (
        "an absolute target without an authority",
        b"GET http:///a HTTP/1.1\r\nHost: $H\r\n\r\n",
        BAD,
    ),
    (
        "a tunnel to anywhere",
        b"CONNECT $H:80 HTTP/1.1\r\nHost: $H\r\n\r\n",
        Verdict::Refused(&[405]),
    ),
    ("no Host", b"GET / HTTP/1.1\r\nX: y\r\n\r\n", BAD),
    ("no fields at all", b"GET / HTTP/1.1\r\n\r\n", BAD),
    ("an empty Host", b"GET / HTTP/1.1\r\nHost:\r\n\r\n", BAD),
    (
        "two equal Hosts",
        b"GET / HTTP/1.1\r\nHost: $H\r\nHost: $H\r\n\r\n",
        BAD,
    ),
    (
        "two Hosts that differ",
        b"GET / HTTP/1.1\r\nHost: $H\r\nHost: other.example\r\n\r\n",
        BAD,
    ),
    (
        "two Hosts, one in disguise",
        b"GET / HTTP/1.1\r\nHost: $H\r\nHost_: x\r\nHOST: $H\r\n\r\n",
        BAD,
    ),
    (
        "Hosts as a list",
        b"GET / HTTP/1.1\r\nHost: $H, other.example\r\n\r\n",
        BAD,
    ),
    (
        "Host with user information",
        b"GET / HTTP/1.1\r\nHost: a@$H\r\n\r\n",
        BAD,
    ),
    (
        "Host with a path",
        b"GET / HTTP/1.1\r\nHost: $H/a\r\n\r\n",
        BAD,
    ),
    (
        "Host with a query",
        b"GET / HTTP/1.1\r\nHost: $H?a\r\n\r\n",
        BAD,
    ),
    (
        "Host with a fragment",
        b"GET / HTTP/1.1\r\nHost: $H#a\r\n\r\n",
        BAD,
    ),
    (
        "Host with a space",
        b"GET / HTTP/1.1\r\nHost: $H other\r\n\r\n",
        BAD,
    ),
    (
        "Host with a port beyond 65535",
        b"GET / HTTP/1.1\r\nHost: $H:65536\r\n\r\n",
        BAD,
    ),
    (
        "Host with a port of letters",
        b"GET / HTTP/1.1\r\nHost: $H:http\r\n\r\n",
        BAD,
    ),
    (
        "Host with a signed port",
        b"GET / HTTP/1.1\r\nHost: $H:+80\r\n\r\n",
        BAD,
    ),
    (
        "Host with two ports",
        b"GET / HTTP/1.1\r\nHost: $H:80:80\r\n\r\n",
        BAD,
    ),
    (
        "Host with a backslash",
        b"GET / HTTP/1.1\r\nHost: $H\\a\r\n\r\n",
        BAD,
    ),
    (
        "Host that is percent-encoded",
        b"GET / HTTP/1.1\r\nHost: %61$H\r\n\r\n",
        BAD,
    ),
    (
        "Host beyond ASCII",
        b"GET / HTTP/1.1\r\nHost: \xc3\xa9$H\r\n\r\n",
        BAD,
    ),
    (
        "Host in brackets that is no address",
        b"GET / HTTP/1.1\r\nHost: [$H]\r\n\r\n",
        BAD,
    ),
    (
        "a stray preface of HTTP 2",
        b"PRI * HTTP/2.0\r\nX: y\r\n\r\nSM\r\n\r\n",
        BAD,
    ),
    (
        "a TLS record",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        BAD,
    ),
    (
        "a PROXY protocol line where none is expected",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nGET / HTTP/1.1\r\nHost: $H\r\n\r\n",
        BAD,
    ),
    (
        "a byte order mark",
        b"\xef\xbb\xbfGET / HTTP/1.1\r\nHost: $H\r\n\r\n",
        BAD,
    ),
    (
        "a path that leaves the root",
        b"GET /../a HTTP/1.1\r\nHost: $H\r\n\r\n",
        BAD,
    ),
    (
        "an encoded nul in the path",
        b"GET /a%00b HTTP/1.1\r\nHost: $H\r\n\r\n",
        BAD,
    ),
    (
        "a broken percent-encoding",
        b"GET /a%zz HTTP/1.1\r\nHost: $H\r\n\r\n",
        BAD,
    ),
    (
        "an encoded slash that could climb",
        b"GET /a/..%2fb HTTP/1.1\r\nHost: $H\r\n\r\n",
        Verdict::Refused(&[400]),
    ),
];

const PLAIN: &[Case] = &[
    ("the plainest request", b"GET / HTTP/1.1\r\nHost: $H\r\n\r\n", Verdict::Forwarded("GET", "/", "")),
    ("an empty line before the request", b"\r\nGET /e HTTP/1.1\r\nHost: $H\r\n\r\n", Verdict::Forwarded("GET", "/e", "")),
    ("white space around a value", b"GET / HTTP/1.1\r\nHost: $H\r\nX-A: \t b \t \r\n\r\n", Verdict::Forwarded("GET", "/", "")),
    ("no white space before a value", b"GET / HTTP/1.1\r\nHost: $H\r\nX-A:b\r\n\r\n", Verdict::Forwarded("GET", "/", "")),
    ("an empty value", b"GET / HTTP/1.1\r\nHost: $H\r\nX-A:\r\n\r\n", Verdict::Forwarded("GET", "/", "")),
    ("a tab inside a value", b"GET / HTTP/1.1\r\nHost: $H\r\nX-A: b\tc\r\n\r\n", Verdict::Forwarded("GET", "/", "")),
    ("a value of bytes beyond ASCII", b"GET / HTTP/1.1\r\nHost: $H\r\nX-A: caf\xe9\r\n\r\n", Verdict::Forwarded("GET", "/", "")),
    ("a name of every token character", b"GET / HTTP/1.1\r\nHost: $H\r\nX!#$%&'*+-.^`|~0: b\r\n\r\n", Verdict::Forwarded("GET", "/", "")),
    ("colons in a value", b"GET / HTTP/1.1\r\nHost: $H\r\nX-A: b: c: d\r\n\r\n", Verdict::Forwarded("GET", "/", "")),
    ("one name many times", b"GET / HTTP/1.1\r\nHost: $H\r\nX-A: b\r\nX-A: b\r\nX-A: b\r\nX-A: b\r\nX-A: b\r\nX-A: b\r\nX-A: b\r\nX-A: b\r\nX-A: b\r\nX-A: b\r\nX-A: b\r\nX-A: b\r\nX-A: b\r\nX-A: b\r\nX-A: b\r\nX-A: b\r\nX-A: b\r\nX-A: b\r\nX-A: b\r\nX-A: b\r\n\r\n", Verdict::Forwarded("GET", "/", "")),
    ("a query of strange characters", b"GET /a?b=c&d[]=%20;e HTTP/1.1\r\nHost: $H\r\n\r\n", Verdict::Forwarded("GET", "/a?b=c&d[]=%20;e", "")),
    ("an absolute target", b"GET http://$H/a?b HTTP/1.1\r\nHost: $H\r\n\r\n", Verdict::Forwarded("GET", "/a?b", "")),
    ("an absolute target without a path", b"GET http://$H HTTP/1.1\r\nHost: $H\r\n\r\n", Verdict::Forwarded("GET", "/", "")),
    ("an absolute target in capitals", b"GET HTTP://$H/a HTTP/1.1\r\nHost: $H\r\n\r\n", Verdict::Forwarded("GET", "/a", "")),
    ("HTTP 1.0", b"GET /0 HTTP/1.0\r\nHost: $H\r\n\r\n", Verdict::Forwarded("GET", "/0", "")),
    ("HTTP 1.0 that keeps its connection", b"GET /0 HTTP/1.0\r\nHost: $H\r\nConnection: keep-alive\r\n\r\n", Verdict::Forwarded("GET", "/0", "")),
    ("HEAD", b"HEAD / HTTP/1.1\r\nHost: $H\r\n\r\n", Verdict::Forwarded("HEAD", "/", "")),
    ("a method that nobody knows", b"BREW / HTTP/1.1\r\nHost: $H\r\n\r\n", Verdict::ForwardedOrRefused("BREW", "/", "")),
    ("a method in lower case", b"get / HTTP/1.1\r\nHost: $H\r\n\r\n", Verdict::ForwardedOrRefused("get", "/", "")),
    ("OPTIONS of a path", b"OPTIONS /o HTTP/1.1\r\nHost: $H\r\n\r\n", Verdict::Forwarded("OPTIONS", "/o", "")),
    ("fields that a CGI would take for ours", b"GET / HTTP/1.1\r\nHost: $H\r\nX_Forwarded_For: 192.0.2.1\r\n\r\n", Verdict::Forwarded("GET", "/", "")),
    ("Connection names the length", b"POST /p HTTP/1.1\r\nHost: $H\r\nContent-Length: 2\r\nConnection: Content-Length\r\n\r\nab", Verdict::Forwarded("POST", "/p", "ab")),
    ("Connection names Host", b"GET / HTTP/1.1\r\nHost: $H\r\nConnection: Host\r\n\r\n", Verdict::Forwarded("GET", "/", "")),
    ("Connection names the coding", b"POST /p HTTP/1.1\r\nHost: $H\r\nTransfer-Encoding: chunked\r\nConnection: Transfer-Encoding\r\n\r\n2\r\nab\r\n0\r\n\r\n", Verdict::Forwarded("POST", "/p", "ab")),
    ("an upgrade to cleartext HTTP 2", b"GET / HTTP/1.1\r\nHost: $H\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n", Verdict::Forwarded("GET", "/", "")),
    ("Host with its port", b"GET / HTTP/1.1\r\nHost: $H:80\r\n\r\n", Verdict::Forwarded("GET", "/", "")),
    ("Host with a dot at its end", b"GET / HTTP/1.1\r\nHost: $H.\r\n\r\n", Verdict::Forwarded("GET", "/", "")),
];

#[test]
fn heads_that_could_be_read_two_ways_reach_no_origin() {
    Lab::start().assert_all(AMBIGUOUS);
}

#[test]
fn heads_that_are_read_one_way_mean_the_same_to_every_origin() {
    Lab::start().assert_all(PLAIN);
}
