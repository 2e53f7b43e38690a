//! Bodies as they are framed: what of a buffer is content, and where the body ends.

use crate::headers::Headers;
use crate::http1::parse::{Framing, Malformed};

/// The longest line that opens a chunk; longer extensions serve attacks only.
const MAX_CHUNK_LINE: usize = 256;

/// The largest trailer section.
pub(crate) const MAX_TRAILERS: usize = 16 * 1024;

/// Finds the content of one body in what is read.
#[derive(Debug)]
pub(crate) struct Decoder {
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// So much is left.
    Length(u64),
    /// At the line that opens a chunk.
    ChunkLine,
    /// So much of the chunk is left.
    Chunk(u64),
    /// At the line end behind a chunk.
    ChunkEnd,
    /// At the trailer section.
    Trailers,
    UntilClose,
    Done,
    /// The sender has left the grammar: there is no way back into it.
    Malformed,
}

/// What is at the beginning of a buffer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// Skip so much, then so much is content.
    Content { skip: usize, len: usize },
    /// More must be read.
    More,
    /// The body is over; skip so much.
    End { skip: usize },
}

impl Decoder {
    pub(crate) fn new(framing: Framing) -> Self {
        let state = match framing {
            Framing::Length(0) => State::Done,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::ChunkLine,
            Framing::UntilClose => State::UntilClose,
        };
        Self { state }
    }

    /// Whether the body is over.
    pub(crate) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// What is at the beginning of `bytes`. Content is over once [`Self::used`] has been told so.
    /// Trailers go to `trailers`.
    ///
    /// # Errors
    /// [`Malformed`] for chunks outside of the grammar (RFC 9112, section 7.1).
    pub(crate) fn next(
        &mut self,
        bytes: &[u8],
        trailers: &mut Headers,
    ) -> Result<Piece, Malformed> {
        let piece = self.find(bytes, trailers);
        if piece.is_err() {
            self.state = State::Malformed;
        }
        piece
    }

    fn find(&mut self, bytes: &[u8], trailers: &mut Headers) -> Result<Piece, Malformed> {
        let mut skip = 0;
        loop {
            let rest = &bytes[skip..];
            match self.state {
                State::Done => return Ok(Piece::End { skip }),
                State::Malformed => return Err(Malformed),
                State::Length(left) | State::Chunk(left) => {
                    let len = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
                    return Ok(Self::content(skip, len));
                }
                State::UntilClose => return Ok(Self::content(skip, rest.len())),
                State::ChunkLine => {
                    let Some((size, len)) = chunk_line(rest)? else {
                        return Ok(Self::more(skip));
                    };
                    skip += len;
                    self.state = if size == 0 {
                        State::Trailers
                    } else {
                        State::Chunk(size)
                    };
                }
                State::ChunkEnd => match rest {
                    [b'\r', b'\n', ..] => {
                        skip += 2;
                        self.state = State::ChunkLine;
                    }
                    [] | [b'\r'] => return Ok(Self::more(skip)),
                    _ => return Err(Malformed),
                },
                State::Trailers => {
                    let Some(len) = read_trailers(rest, trailers)? else {
                        return Ok(Self::more(skip));
                    };
                    skip += len;
                    self.state = State::Done;
                }
            }
        }
    }

    /// Says that `count` bytes of content have been taken.
    pub(crate) fn used(&mut self, count: usize) {
        let count = count as u64;
        self.state = match self.state {
            State::Length(left) if left <= count => State::Done,
            State::Length(left) => State::Length(left - count),
            State::Chunk(left) if left <= count => State::ChunkEnd,
            State::Chunk(left) => State::Chunk(left - count),
            state => state,
        };
    }

    /// Says that the sender has closed. True if the body is whole.
    pub(crate) fn closed(&mut self) -> bool {
        if self.state == State::UntilClose {
            self.state = State::Done;
        }
        self.is_done()
    }

    /// An empty piece still skips: callers consume `skip` in either case.
    fn content(skip: usize, len: usize) -> Piece {
        if len == 0 && skip == 0 {
            Piece::More
        } else {
            Piece::Content { skip, len }
        }
    }

    fn more(skip: usize) -> Piece {
        Self::content(skip, 0)
    }
}

/// The size in a line that opens a chunk, and the line's length. Extensions are read over: they
/// end at this hop (RFC 9112, section 7.1.1).
fn chunk_line(bytes: &[u8]) -> Result<Option<(u64, usize)>, Malformed> {
    let Some(end) = bytes.iter().position(|&byte| byte == b'\n') else {
        return if bytes.len() > MAX_CHUNK_LINE {
            Err(Malformed)
        } else {
            Ok(None)
        };
    };
    let line = bytes[..end].strip_suffix(b"\r").ok_or(Malformed)?;
    if line.len() > MAX_CHUNK_LINE {
        return Err(Malformed);
    }
    let digits = line
        .iter()
        .take_while(|byte| byte.is_ascii_hexdigit())
        .count();
    let (digits, extension) = line.split_at(digits);
    // 15 digits cannot overflow, nor come near it in sums.
    if digits.is_empty() || digits.len() > 15 || !is_extension(extension) {
        return Err(Malformed);
    }
    let size = digits.iter().fold(0, |size, &digit| {
        size << 4 | u64::from(char::from(digit).to_digit(16).unwrap_or_default())
    });
    Ok(Some((size, end + 1)))
}

/// Chunk extensions (RFC 9112, section 7.1.1), without the white space that the grammar lets
/// stand around `;` and `=` and that not all parsers know.
fn is_extension(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    while let [first, after @ ..] = rest {
        let Some(mut after) = skip_token(after).filter(|_| *first == b';') else {
            return false;
        };
        if let [b'=', value @ ..] = after {
            let skipped = match value {
                [b'"', quoted @ ..] => skip_quoted(quoted),
                _ => skip_token(value),
            };
            let Some(skipped) = skipped else { return false };
            after = skipped;
        }
        rest = after;
    }
    true
}

/// What follows a token.
fn skip_token(bytes: &[u8]) -> Option<&[u8]> {
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    let len = bytes.iter().take_while(|byte| is_token(byte)).count();
    (len > 0).then(|| &bytes[len..])
}

/// What follows a quoted string whose opening quote is past.
fn skip_quoted(bytes: &[u8]) -> Option<&[u8]> {
    let mut rest = bytes;
    loop {
        rest = match rest {
            [b'"', after @ ..] => return Some(after),
            [b'\\', escaped, after @ ..] if is_quotable(*escaped) => after,
            [byte, after @ ..] if *byte != b'\\' && is_quotable(*byte) => after,
            _ => return None,
        };
    }
}

fn is_quotable(byte: u8) -> bool {
    matches!(byte, b'\t' | b' ') || byte.is_ascii_graphic()
}

/// Reads a whole trailer section with its empty line, and tells its length.
fn read_trailers(bytes: &[u8], trailers: &mut Headers) -> Result<Option<usize>, Malformed> {
    if bytes.starts_with(b"\r\n") {
        return Ok(Some(2));
    }
    let Some(len) = bytes
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .map(|at| at + 4)
    else {
        return if bytes.len() > MAX_TRAILERS {
            Err(Malformed)
        } else {
            Ok(None)
        };
    };
    let section = &bytes[..len];
    let bare = section
        .iter()
        .enumerate()
        .any(|(at, &byte)| byte == b'\n' && (at == 0 || section[at - 1] != b'\r'));
    let mut fields = [httparse::EMPTY_HEADER; 64];
    match httparse::parse_headers(section, &mut fields) {
        Ok(httparse::Status::Complete((parsed, fields))) if parsed == len && !bare => {
            for field in fields {
                let name = crate::headers::Name::of(field.name.as_bytes());
                if !name.is_forbidden_in_trailers() {
                    trailers.push_known(name, field.name.as_bytes(), field.value);
                }
            }
            Ok(Some(len))
        }
        _ => Err(Malformed),
    }
}

/// Appends the line that opens a chunk of `size` bytes.
pub(crate) fn write_chunk_line(out: &mut Vec<u8>, size: usize) {
    let mut digits = [0; 16];
    let mut at = digits.len();
    let mut left = size;
    loop {
        at -= 1;
        digits[at] = b"0123456789abcdef"[left & 15];
        left >>= 4;
        if left == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
    out.extend_from_slice(b"\r\n");
}

/// Appends the end of a chunked body.
pub(crate) fn write_last_chunk(out: &mut Vec<u8>, trailers: &Headers) {
    out.extend_from_slice(b"0\r\n");
    trailers.write_to(out);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Decodes what arrives in pieces of the given sizes: content, trailers' count and the rest.
    fn decode(
        framing: Framing,
        bytes: &[u8],
        sizes: &[usize],
    ) -> Result<(Vec<u8>, usize, Vec<u8>), Malformed> {
        let mut decoder = Decoder::new(framing);
        let (mut content, mut trailers) = (Vec::new(), Headers::default());
        let (mut held, mut arrived) = (Vec::new(), 0);
        let mut sizes = sizes.iter().copied().cycle();
        loop {
            match decoder.next(&held, &mut trailers)? {
                Piece::Content { skip, len } => {
                    content.extend_from_slice(&held[skip..skip + len]);
                    decoder.used(len);
                    held.drain(..skip + len);
                }
                Piece::End { skip } => {
                    held.drain(..skip);
                    held.extend_from_slice(&bytes[arrived..]);
                    return Ok((content, trailers.len(), held));
                }
                Piece::More if arrived == bytes.len() => {
                    return if decoder.closed() {
                        Ok((content, trailers.len(), held))
                    } else {
                        Err(Malformed)
                    };
                }
                Piece::More => {
                    let count = sizes.next().unwrap_or(1).clamp(1, bytes.len() - arrived);
                    held.extend_from_slice(&bytes[arrived..arrived + count]);
                    arrived += count;
                }
            }
        }
    }

    #[test]
    fn chunks_are_put_together_and_what_follows_is_left() {
        let bytes = b"5\r\nhello\r\n0006;ext=\"1\\\"\";b;c=d\r\n world\r\n0\r\nX-A: 1\r\nContent-Length: 9\r\n\r\nGET";
        let decoded = decode(Framing::Chunked, bytes, &[1000]);
        assert_eq!(decoded, Ok((b"hello world".to_vec(), 1, b"GET".to_vec())));
    }

    #[test]
    fn chunks_outside_of_the_grammar_are_refused() {
        for bytes in [
            "\r\n",
            "x\r\n",
            " 5\r\nhello\r\n0\r\n\r\n",
            "5 \r\nhello\r\n0\r\n\r\n",
            "0x5\r\nhello\r\n0\r\n\r\n",
            "+5\r\nhello\r\n0\r\n\r\n",
            "5\nhello\r\n0\r\n\r\n",
            "5\r\nhelloX\r\n0\r\n\r\n",
            "5\r\nhello\n0\r\n\r\n",
            "5\r\nhello0\r\n\r\n",
            "ffffffffffffffff\r\n",
            "5;\u{1}\r\nhello\r\n0\r\n\r\n",
            "0\r\nbad trailer\r\n\r\n",
            "0\r\nA: b\n\r\n\r\n",
            "5 ;a\r\nhello\r\n0\r\n\r\n",
            "5;\r\nhello\r\n0\r\n\r\n",
            "5;a=\"\r\nhello\r\n0\r\n\r\n",
            "5;a=\r\nhello\r\n0\r\n\r\n",
        ] {
            assert_eq!(
                decode(Framing::Chunked, bytes.as_bytes(), &[1000]),
                Err(Malformed),
                "{bytes:?}"
            );
        }
        let long = format!("5;{}\r\nhello\r\n0\r\n\r\n", "a".repeat(MAX_CHUNK_LINE));
        assert_eq!(
            decode(Framing::Chunked, long.as_bytes(), &[1]),
            Err(Malformed)
        );
    }

    #[test]
    fn what_was_refused_once_stays_refused() {
        let mut decoder = Decoder::new(Framing::Chunked);
        let mut trailers = Headers::default();
        let bytes = b"2\r\nab\r\n0\r\nnonsense\r\n\r\n";
        let first = decoder.next(bytes, &mut trailers);
        assert_eq!(first, Ok(Piece::Content { skip: 3, len: 2 }));
        decoder.used(2);
        for _ in 0..3 {
            assert_eq!(decoder.next(&bytes[5..], &mut trailers), Err(Malformed));
        }
        assert!(!decoder.is_done());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back_however_it_arrives(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..6),
            sizes in prop::collection::vec(1usize..20, 1..5),
        ) {
            let mut bytes = Vec::new();
            for chunk in &chunks {
                write_chunk_line(&mut bytes, chunk.len());
                bytes.extend_from_slice(chunk);
                bytes.extend_from_slice(b"\r\n");
            }
            write_last_chunk(&mut bytes, &Headers::default());
            bytes.extend_from_slice(b"next");
            prop_assert_eq!(
                decode(Framing::Chunked, &bytes, &sizes),
                Ok((chunks.concat(), 0, b"next".to_vec()))
            );
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..128), size in 1usize..9) {
            let _ = decode(Framing::Chunked, &bytes, &[size]);
        }

        #[test]
        fn a_length_takes_that_many(length in 0usize..50, extra in 0usize..10, size in 1usize..9) {
            let bytes = vec![b'x'; length + extra];
            let (content, _, rest) = decode(Framing::Length(length as u64), &bytes, &[size]).expect("a whole body");
            prop_assert_eq!((content.len(), rest.len()), (length, extra));
        }
    }
}
