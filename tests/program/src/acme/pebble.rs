//! Requests to pebble's two interfaces.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use x509_parser::extensions::ParsedExtension;
use x509_parser::parse_x509_certificate;

use crate::Response;
use crate::tls::Client;

/// A GET that is answered 200.
#[track_caller]
pub(super) fn get(client: &Client, port: u16, path: &str) -> Response {
    let answer = ask(client, port, "GET", path, "");
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    answer
}

/// A request on a connection of its own.
#[track_caller]
pub(super) fn ask(client: &Client, port: u16, method: &str, path: &str, body: &str) -> Response {
    let (mut conn, _) = client.connect(port, "127.0.0.1").expect("a handshake");
    // pebble answers nobody who does not say what they are.
    conn.ask(&format!(
        "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUser-Agent: tests\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    ))
}

/// The serial number of a certificate (DER), as pebble is asked for it: hexadecimal.
pub fn serial(certificate: &[u8]) -> String {
    let (_, certificate) = parse_x509_certificate(certificate).expect("a certificate");
    let mut text = String::new();
    for byte in certificate.raw_serial() {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// What names a certificate (DER) when its renewal is asked for: RFC 9773, section 4.1.
pub fn ari_id(certificate: &[u8]) -> String {
    let (_, certificate) = parse_x509_certificate(certificate).expect("a certificate");
    let issuer = certificate.extensions().iter().find_map(|extension| {
        let ParsedExtension::AuthorityKeyIdentifier(issuer) = extension.parsed_extension() else {
            return None;
        };
        issuer.key_identifier.as_ref()
    });
    let issuer = issuer.expect("the issuer's key is identified").0;
    let encode = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
    format!("{}.{}", encode(issuer), encode(certificate.raw_serial()))
}
