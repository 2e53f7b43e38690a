//! The head of a script's answer (RFC 3875, section 6).

use crate::headers::{Name, ResponseHead};

/// The most fields.
const MAX_FIELDS: usize = 200;

/// The bytes are no head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

/// The length of a head with its empty line, once that is there. Lines end in LF, and perhaps in
/// CR before it.
pub(super) fn end(bytes: &[u8]) -> Option<usize> {
    let mut start = 0;
    while let Some(at) = memchr::memchr(b'\n', &bytes[start..]) {
        let line = &bytes[start..start + at];
        start += at + 1;
        if matches!(line, b"" | b"\r") {
            return Some(start);
        }
    }
    None
}

/// Reads a whole head. Returns the length of the body, if it says one.
pub(super) fn parse(bytes: &[u8], head: &mut ResponseHead) -> Result<Option<u64>, Malformed> {
    head.start(200, b"OK");
    let (mut status, mut located, mut length) = (None, false, None);
    for (count, line) in bytes.split(|&byte| byte == b'\n').enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            break;
        }
        if count >= MAX_FIELDS {
            return Err(Malformed);
        }
        let at = memchr::memchr(b':', line).ok_or(Malformed)?;
        let (name, value) = (&line[..at], line[at + 1..].trim_ascii());
        if name.is_empty() || !name.iter().all(|&byte| is_token(byte)) {
            return Err(Malformed);
        }
        if value
            .iter()
            .any(|&byte| (byte < b' ' && byte != b'\t') || byte == 0x7f)
        {
            return Err(Malformed);
        }
        if name.eq_ignore_ascii_case(b"status") {
            status = Some(value);
            continue;
        }
        let token = Name::of(name);
        match token {
            // How a body is framed is FastCGI's business.
            Name::TransferEncoding => continue,
            Name::ContentLength => {
                let text = std::str::from_utf8(value).map_err(|_| Malformed)?;
                let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
                let said: u64 = digits
                    .then(|| text.parse().ok())
                    .flatten()
                    .ok_or(Malformed)?;
                if length.replace(said).is_some() {
                    return Err(Malformed);
                }
            }
            _ => located |= name.eq_ignore_ascii_case(b"location"),
        }
        head.headers.push_known(token, name, value);
    }
    match status {
        Some(value) => set_status(value, head)?,
        // Without a status a script sends its client elsewhere.
        None if located => head.status = 302,
        None => {}
    }
    Ok(length)
}

/// `404 Not Found`, or the number alone.
fn set_status(value: &[u8], head: &mut ResponseHead) -> Result<(), Malformed> {
    let digits = value.get(..3).ok_or(Malformed)?;
    let behind = value.get(3).copied();
    if behind.is_some_and(|byte| byte != b' ') {
        return Err(Malformed);
    }
    let text = std::str::from_utf8(digits).map_err(|_| Malformed)?;
    let status: u16 = text.parse().map_err(|_| Malformed)?;
    // Interim responses are no answer.
    if !(200..=599).contains(&status) {
        return Err(Malformed);
    }
    head.status = status;
    Ok(())
}

/// RFC 9110, section 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Result<(u16, Option<u64>, Vec<String>), Malformed> {
        let mut head = ResponseHead::default();
        assert_eq!(end(text.as_bytes()), Some(text.len()));
        let length = parse(text.as_bytes(), &mut head)?;
        let names = head.headers.iter();
        let names = names.map(|(_, name, _)| String::from_utf8_lossy(name).into_owned());
        Ok((head.status, length, names.collect()))
    }

    #[test]
    fn a_head_is_cgis_and_its_status_is_a_field() {
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(
            read("Content-type: text/html\r\n\r\n"),
            Ok((200, None, names(&["Content-type"])))
        );
        assert_eq!(
            read("Status: 404 Not Found\nX-A: b\nContent-Length: 12\n\n"),
            Ok((404, Some(12), names(&["X-A", "Content-Length"])))
        );
        assert_eq!(
            read("Location: /a\n\n"),
            Ok((302, None, names(&["Location"])))
        );
        assert_eq!(
            read("Status: 201\nLocation: /a\nTransfer-Encoding: chunked\n\n"),
            Ok((201, None, names(&["Location"])))
        );
        for wrong in [
            "no colon\n\n",
            "Status: 1000 x\n\n",
            "Status: 101 Switching\n\n",
            "Status: abc\n\n",
            "Bad Name: x\n\n",
            "Content-Length: -1\n\n",
            "Content-Length: 1\nContent-Length: 2\n\n",
        ] {
            assert_eq!(read(wrong), Err(Malformed), "{wrong:?}");
        }
        assert_eq!(end(b"A: b\r\n"), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            if let Some(len) = end(&bytes) {
                let _ = parse(&bytes[..len], &mut ResponseHead::default());
            }
        }
    }
}
