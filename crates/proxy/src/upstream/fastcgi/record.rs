//! Records: how FastCGI frames what it says (specification, section 3.3).

/// The most content of one record.
pub(super) const MAX_CONTENT: usize = 65_535;

const VERSION: u8 = 1;
const HEADER: usize = 8;

/// Each connection carries one request, which is this.
const ID: u16 = 1;

/// The role of who answers a request by itself.
const RESPONDER: u16 = 1;

/// What a record of ours is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Begin = 1,
    Params = 4,
    Stdin = 5,
}

const END_REQUEST: u8 = 3;
const STDOUT: u8 = 6;
const STDERR: u8 = 7;

/// How long the content of an END_REQUEST record is.
const END_LENGTH: usize = 8;

/// The bytes are no records, or none that answer our request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

/// Opens a request; the connection ends after it.
pub(super) fn begin(out: &mut Vec<u8>) {
    let [high, low] = RESPONDER.to_be_bytes();
    write(out, Kind::Begin, &[high, low, 0, 0, 0, 0, 0, 0]);
}

/// Writes a record of at most [`MAX_CONTENT`] bytes, padded to a multiple of eight.
pub(super) fn write(out: &mut Vec<u8>, kind: Kind, content: &[u8]) {
    debug_assert!(content.len() <= MAX_CONTENT, "cut by the caller");
    let length = u16::try_from(content.len()).unwrap_or(u16::MAX);
    let padding = (8 - content.len() % 8) % 8;
    let ([id_high, id_low], [high, low]) = (ID.to_be_bytes(), length.to_be_bytes());
    // Below 8.
    let pad = u8::try_from(padding).unwrap_or(0);
    out.extend_from_slice(&[VERSION, kind as u8, id_high, id_low, high, low, pad, 0]);
    out.extend_from_slice(&content[..usize::from(length)]);
    out.extend_from_slice(&[0; 8][..padding]);
}

/// What is at the beginning of what was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Piece {
    /// So much of the response.
    Output(usize),
    /// So much of what the server says about itself.
    Error(usize),
    /// So much that means nothing.
    Skip(usize),
    /// More has to be read.
    More,
    /// The response has ended; whether as the server wanted.
    End { complete: bool },
}

/// Finds the contents of records in what is read.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Records {
    /// The kind of the record that has begun.
    kind: u8,
    /// So much of its content is still to come.
    content: usize,
    /// And so much behind that.
    padding: usize,
}

impl Records {
    /// What is at the beginning of `bytes`. What is [`Piece::Skip`] is gone with the next call;
    /// content stays until [`Self::used`].
    pub(super) fn next(&mut self, bytes: &[u8]) -> Result<Piece, Malformed> {
        if self.content == 0 && self.padding == 0 {
            let Some(header) = bytes.get(..HEADER) else {
                return Ok(Piece::More);
            };
            let [version, kind, id_high, id_low, high, low, padding, _] = *header else {
                return Err(Malformed);
            };
            let id = u16::from_be_bytes([id_high, id_low]);
            if version != VERSION || !(id == ID || id == 0) {
                return Err(Malformed);
            }
            let content = usize::from(u16::from_be_bytes([high, low]));
            if kind == END_REQUEST && id == ID {
                return end(bytes, content);
            }
            // Those of the connection itself (id 0) answer nothing that was asked.
            self.kind = if id == ID { kind } else { 0 };
            (self.content, self.padding) = (content, usize::from(padding));
            return Ok(Piece::Skip(HEADER));
        }
        if bytes.is_empty() {
            return Ok(Piece::More);
        }
        if self.content == 0 {
            let len = self.padding.min(bytes.len());
            self.padding -= len;
            return Ok(Piece::Skip(len));
        }
        let len = self.content.min(bytes.len());
        Ok(match self.kind {
            STDOUT => Piece::Output(len),
            STDERR => Piece::Error(len),
            _ => {
                self.content -= len;
                Piece::Skip(len)
            }
        })
    }

    /// The same, and nothing is gone.
    pub(super) fn peek(&self, bytes: &[u8]) -> Result<Piece, Malformed> {
        let (mut copy, mut bytes) = (*self, bytes);
        loop {
            match copy.next(bytes)? {
                Piece::Skip(len) => bytes = bytes.get(len..).unwrap_or_default(),
                Piece::Error(len) => {
                    copy.used(len);
                    bytes = bytes.get(len..).unwrap_or_default();
                }
                piece => return Ok(piece),
            }
        }
    }

    /// Says that so much of what was content has been taken.
    pub(super) fn used(&mut self, count: usize) {
        self.content = self.content.saturating_sub(count);
    }
}

fn end(bytes: &[u8], content: usize) -> Result<Piece, Malformed> {
    if content < END_LENGTH {
        return Err(Malformed);
    }
    match bytes.get(HEADER..HEADER + END_LENGTH) {
        // Of the protocol, not of the program: 0 is FCGI_REQUEST_COMPLETE.
        Some(body) => Ok(Piece::End {
            complete: body[4] == 0,
        }),
        None => Ok(Piece::More),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(kind: u8, content: &[u8], padding: u8) -> Vec<u8> {
        let length = u16::try_from(content.len()).expect("short").to_be_bytes();
        let mut out = vec![1, kind, 0, 1, length[0], length[1], padding, 0];
        out.extend_from_slice(content);
        out.extend(std::iter::repeat_n(0xff, usize::from(padding)));
        out
    }

    /// Output, errors, and how it ended.
    type Said = (Vec<u8>, Vec<u8>, Option<bool>);

    /// All that is said, read in pieces of this size.
    fn read(bytes: &[u8], size: usize) -> Result<Said, Malformed> {
        let (mut output, mut errors) = (Vec::new(), Vec::new());
        let (mut records, mut buffer, mut rest) = (Records::default(), Vec::new(), bytes);
        loop {
            match records.next(&buffer)? {
                Piece::Output(len) => {
                    output.extend(buffer.drain(..len));
                    records.used(len);
                }
                Piece::Error(len) => {
                    errors.extend(buffer.drain(..len));
                    records.used(len);
                }
                Piece::Skip(len) => drop(buffer.drain(..len)),
                Piece::End { complete } => return Ok((output, errors, Some(complete))),
                Piece::More if rest.is_empty() => return Ok((output, errors, None)),
                Piece::More => {
                    let (some, others) = rest.split_at(size.min(rest.len()));
                    buffer.extend_from_slice(some);
                    rest = others;
                }
            }
        }
    }

    #[test]
    fn what_is_written_is_framed_and_padded() {
        let mut out = Vec::new();
        begin(&mut out);
        write(&mut out, Kind::Stdin, b"abc");
        assert_eq!(out[..8], [1, 1, 0, 1, 0, 8, 0, 0]);
        assert_eq!(out[8..16], [0, 1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(
            out[16..],
            [1, 5, 0, 1, 0, 3, 5, 0, b'a', b'b', b'c', 0, 0, 0, 0, 0]
        );
    }

    #[test]
    fn what_is_no_record_of_ours_is_refused() {
        for wrong in [
            [2, 6, 0, 1, 0, 0, 0, 0],
            [1, 6, 0, 2, 0, 0, 0, 0],
            [1, 3, 0, 1, 0, 7, 0, 0],
        ] {
            assert_eq!(Records::default().next(&wrong), Err(Malformed));
        }
    }

    proptest! {
        #[test]
        fn however_it_is_cut_the_same_is_read(
            parts in prop::collection::vec((0_u8..3, prop::collection::vec(any::<u8>(), 0..300), any::<u8>()), 0..12),
            size in 1_usize..40,
            complete in any::<bool>(),
        ) {
            let (mut bytes, mut output, mut errors) = (Vec::new(), Vec::new(), Vec::new());
            for (kind, content, padding) in &parts {
                let kind = [STDOUT, STDERR, 99][usize::from(*kind)];
                bytes.extend(record(kind, content, *padding));
                match kind {
                    STDOUT => output.extend_from_slice(content),
                    STDERR => errors.extend_from_slice(content),
                    _ => {}
                }
            }
            bytes.extend(record(END_REQUEST, &[0, 0, 0, 7, u8::from(!complete), 0, 0, 0], 0));
            let expected = Ok((output, errors, Some(complete)));
            prop_assert_eq!(&read(&bytes, size), &expected);
            prop_assert_eq!(&read(&bytes, bytes.len()), &expected);
        }

        #[test]
        fn no_bytes_make_it_panic_or_hang(bytes in prop::collection::vec(any::<u8>(), 0..600), size in 1_usize..64) {
            let _ = read(&bytes, size);
            let _ = Records::default().peek(&bytes);
        }
    }
}
