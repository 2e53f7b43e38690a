//! gRPC-Web: calls of browsers, translated to and from gRPC as they pass.
//!
//! A gRPC-Web body is that of gRPC, with the trailers as one message more at its end, marked by
//! the highest bit of its first byte (PROTOCOL-WEB.md of the grpc project). In text mode all of it
//! is base64, in pieces of which each may be padded. Nothing is held but what a piece needs.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::Encoding;
use crate::client::{ClientFault, Closed, Length, RequestBody, ResponseSink, passes_on};
use crate::headers::{Headers, Name, ResponseHead};

/// The most that is decoded at once; three quarters of it come out.
const PIECE: usize = 16 * 1024;

/// What marks the message with the trailers.
const TRAILERS: u8 = 0x80;

/// The content type that the backend is told: `-web` and `-web-text` are left out.
pub(crate) fn plain_content_type(value: &[u8]) -> Vec<u8> {
    let end = value.iter().position(|byte| b"+; \t".contains(byte));
    [b"application/grpc", &value[end.unwrap_or(value.len())..]].concat()
}

/// The content type that the client is told, for one of the backend's.
fn web_content_type(value: &[u8], encoding: Encoding) -> Vec<u8> {
    let end = value.iter().position(|byte| b"+; \t".contains(byte));
    let format = &value[end.unwrap_or(value.len())..];
    let kind: &[u8] = match encoding {
        Encoding::Binary => b"application/grpc-web",
        Encoding::Text => b"application/grpc-web-text",
    };
    let format: &[u8] = if format.is_empty() { b"+proto" } else { format };
    [kind, format].concat()
}

/// A gRPC-Web request's body, as gRPC has it.
pub(crate) struct Body<'a, B> {
    body: &'a mut B,
    encoding: Encoding,
    decoded: Vec<u8>,
    used: usize,
    /// Up to three digits whose group is not complete.
    digits: Vec<u8>,
    none: Headers,
}

impl<'a, B: RequestBody> Body<'a, B> {
    pub(crate) fn new(body: &'a mut B, encoding: Encoding) -> Self {
        Self {
            body,
            encoding,
            decoded: Vec::new(),
            used: 0,
            digits: Vec::new(),
            none: Headers::default(),
        }
    }

    /// Decodes the next piece; false at the end.
    async fn decode(&mut self) -> Result<bool, ClientFault> {
        let bytes = self.body.fill().await?;
        if bytes.is_empty() {
            return if self.digits.is_empty() {
                Ok(false)
            } else {
                Err(ClientFault::Malformed)
            };
        }
        let count = bytes.len().min(PIECE);
        self.digits.extend_from_slice(&bytes[..count]);
        self.body.consume(count);
        self.decoded.clear();
        self.used = 0;
        let whole = self.digits.len() / 4 * 4;
        decode_groups(&self.digits[..whole], &mut self.decoded)
            .map_err(|Malformed| ClientFault::Malformed)?;
        self.digits.drain(..whole);
        Ok(true)
    }
}

/// Outside of the grammar.
#[derive(Debug, PartialEq, Eq)]
struct Malformed;

/// Decodes whole groups of four digits, of which any may be padded.
fn decode_groups(digits: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    let mut rest = digits;
    while !rest.is_empty() {
        let padding = rest.iter().position(|&digit| digit == b'=');
        // To the end of the group that is padded.
        let end = padding.map_or(rest.len(), |at| (at / 4 + 1) * 4);
        let (part, after) = rest.split_at_checked(end).ok_or(Malformed)?;
        STANDARD.decode_vec(part, out).map_err(|_| Malformed)?;
        rest = after;
    }
    Ok(())
}

impl<B: RequestBody> RequestBody for Body<'_, B> {
    fn length(&self) -> Length {
        match self.body.length() {
            Length::Known(1..) => Length::Unknown,
            length => length,
        }
    }

    async fn fill(&mut self) -> Result<&[u8], ClientFault> {
        if self.encoding == Encoding::Binary {
            return self.body.fill().await;
        }
        while self.used == self.decoded.len() {
            if !self.decode().await? {
                return Ok(&[]);
            }
        }
        Ok(&self.decoded[self.used..])
    }

    fn consume(&mut self, count: usize) {
        match self.encoding {
            Encoding::Binary => self.body.consume(count),
            Encoding::Text => self.used += count,
        }
    }

    fn is_done(&self) -> bool {
        self.used == self.decoded.len() && self.digits.is_empty() && self.body.is_done()
    }

    fn has_buffered(&mut self) -> bool {
        self.used < self.decoded.len() || self.body.has_buffered()
    }

    async fn closed(&mut self) -> Closed {
        self.body.closed().await
    }

    fn trailers(&self) -> &Headers {
        // gRPC has none in this direction.
        &self.none
    }

    fn become_tunnel(&mut self) {
        self.body.become_tunnel();
    }
}

/// Where a gRPC response goes, to be one of gRPC-Web.
pub(crate) struct Sink<'a, S> {
    sink: &'a mut S,
    encoding: Encoding,
    head: ResponseHead,
    text: Vec<u8>,
    /// The response has no body: its trailers are in its head, for the client as well.
    trailers_only: bool,
    /// What the client asked for, should the backend name no content type.
    content_type: Vec<u8>,
    /// The response is no gRPC, and passes as it is.
    foreign: bool,
}

impl<'a, S: ResponseSink> Sink<'a, S> {
    pub(crate) fn new(sink: &'a mut S, encoding: Encoding, content_type: &[u8]) -> Self {
        Self {
            sink,
            encoding,
            head: ResponseHead::default(),
            text: Vec::new(),
            trailers_only: false,
            content_type: content_type.to_vec(),
            foreign: false,
        }
    }

    async fn piece(&mut self, bytes: &[u8]) -> Result<(), ClientFault> {
        if self.encoding == Encoding::Binary || self.foreign {
            return self.sink.data(bytes, false).await;
        }
        for piece in bytes.chunks(PIECE) {
            self.text.clear();
            self.text.resize(piece.len().div_ceil(3) * 4, 0);
            // The room is exactly what it takes.
            let len = STANDARD.encode_slice(piece, &mut self.text).unwrap_or(0);
            self.sink.data(&self.text[..len], false).await?;
        }
        Ok(())
    }
}

impl<S: ResponseSink> ResponseSink for Sink<'_, S> {
    passes_on!();

    async fn head(
        &mut self,
        head: &ResponseHead,
        length: Length,
        keep: bool,
    ) -> Result<(), ClientFault> {
        let content_type = head.headers.get(Name::ContentType);
        self.foreign = head.status != 200
            || content_type.is_some_and(|value| super::of_content_type(value).is_none());
        if self.foreign {
            return self.sink.head(head, length, keep).await;
        }
        let content_type = match content_type {
            Some(value) => web_content_type(value, self.encoding),
            None => std::mem::take(&mut self.content_type),
        };
        self.trailers_only = matches!(length, Length::Absent | Length::Known(0));
        self.head.start(head.status, head.reason());
        self.head
            .headers
            .push_known(Name::ContentType, b"Content-Type", &content_type);
        for (token, name, value) in head.headers.iter() {
            // Its length is another one.
            if !matches!(
                token,
                Name::ContentType | Name::ContentLength | Name::Trailer
            ) {
                self.head.headers.push_known(token, name, value);
            }
        }
        let length = match self.trailers_only {
            true => Length::Known(0),
            false => Length::Unknown,
        };
        self.sink.head(&self.head, length, keep).await
    }

    async fn data(&mut self, bytes: &[u8], last: bool) -> Result<(), ClientFault> {
        if self.foreign {
            return self.sink.data(bytes, last).await;
        }
        self.piece(bytes).await
    }

    async fn flush(&mut self) -> Result<(), ClientFault> {
        self.sink.flush().await
    }

    async fn end(&mut self, trailers: &Headers) -> Result<(), ClientFault> {
        if self.foreign {
            return self.sink.end(trailers).await;
        }
        if !self.trailers_only {
            let message = trailers_message(trailers);
            self.piece(&message).await?;
        }
        self.sink.end(&Headers::default()).await
    }
}

/// The trailers as a message: HTTP/1 fields with names in lower case.
fn trailers_message(trailers: &Headers) -> Vec<u8> {
    let mut message = vec![TRAILERS, 0, 0, 0, 0];
    for (_, name, value) in trailers.iter() {
        message.extend(name.iter().map(u8::to_ascii_lowercase));
        message.extend_from_slice(b": ");
        message.extend_from_slice(value);
        message.extend_from_slice(b"\r\n");
    }
    // What trailers come to is limited to far less.
    let length = u32::try_from(message.len() - 5).unwrap_or(u32::MAX);
    message[1..5].copy_from_slice(&length.to_be_bytes());
    message
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn content_types_are_translated_with_their_message_format() {
        for (web, plain) in [
            ("application/grpc-web", "application/grpc"),
            ("application/grpc-web+proto", "application/grpc+proto"),
            (
                "application/grpc-web-text+json; a=b",
                "application/grpc+json; a=b",
            ),
        ] {
            assert_eq!(plain_content_type(web.as_bytes()), plain.as_bytes());
        }
        let text = web_content_type(b"application/grpc", Encoding::Text);
        assert_eq!(text, b"application/grpc-web-text+proto");
        let binary = web_content_type(b"application/grpc+json", Encoding::Binary);
        assert_eq!(binary, b"application/grpc-web+json");
    }

    #[test]
    fn trailers_are_a_message_of_their_own() {
        let mut trailers = Headers::default();
        trailers.push(b"Grpc-Status", b"0");
        trailers.push(b"grpc-message", b"all%20well");
        let message = trailers_message(&trailers);
        let text = b"grpc-status: 0\r\ngrpc-message: all%20well\r\n";
        assert_eq!(message[..5], [0x80, 0, 0, 0, 42]);
        assert_eq!(&message[5..], text);
    }

    #[test]
    fn padding_may_stand_between_pieces_and_nonsense_is_refused() {
        let decode = |text: &str| {
            let mut out = Vec::new();
            decode_groups(text.as_bytes(), &mut out).map(|()| out)
        };
        assert_eq!(decode("YQ==YmM=ZGVm"), Ok(b"abcdef".to_vec()));
        for text in ["Y===", "=QQQ", "YQ=a", "a b=", "\u{e4}\u{e4}"] {
            assert_eq!(decode(text), Err(Malformed), "{text}");
        }
    }

    proptest! {
        #[test]
        fn pieces_of_any_size_are_put_together(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..6),
            size in 1usize..30,
        ) {
            let text: Vec<u8> = pieces.iter().flat_map(|piece| STANDARD.encode(piece).into_bytes()).collect();
            let (mut held, mut out) = (Vec::new(), Vec::new());
            for part in text.chunks(size) {
                held.extend_from_slice(part);
                let whole = held.len() / 4 * 4;
                prop_assert_eq!(decode_groups(&held[..whole], &mut out), Ok(()));
                held.drain(..whole);
            }
            prop_assert_eq!(out, pieces.concat());
            prop_assert!(held.is_empty());
        }
    }
}
