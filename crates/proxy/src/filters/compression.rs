//! Responses that are compressed for clients that take it.

use std::io::{self, Write};

use brotli::CompressorWriter;
use flate2::write::GzEncoder;
use model::filter::{Coding, Compression};

use crate::client::{ClientFault, Length, ResponseSink, passes_on};
use crate::headers::{Headers, Name, RequestHead, ResponseHead, list};
use crate::record::Version;

/// How much a brotli encoder remembers: 2 to this power, in bytes (nginx: `brotli_window`).
const BROTLI_WINDOW: u32 = 19;

/// What brotli gathers before it writes.
const BROTLI_BUFFER: usize = 4096;

const VARY: &[u8] = b"Accept-Encoding";

/// What may become of a client's response.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    /// The codings that the client takes, the preferred one first: each is for some types and
    /// lengths of responses, and another may be for the rest.
    taken: [Option<(Kind, &'a Coding)>; 3],
    /// Where none is for it: what gzip would be for, of which caches are told (nginx:
    /// `gzip_vary`).
    plain: Option<&'a Coding>,
}

impl<'a> Wanted<'a> {
    /// The coding for a response.
    fn coding(&self, head: &ResponseHead, length: Length) -> Option<(Kind, &'a Coding)> {
        let mut taken = self.taken.iter().flatten().copied();
        taken.find(|(_, coding)| is_meant(coding, head, length))
    }
}

/// The codings for a client's response, if there are any.
pub(crate) fn negotiate<'a>(
    compression: &'a Compression,
    request: &RequestHead,
) -> Option<Wanted<'a>> {
    let gzip = compression.gzip.as_ref();
    let accepted = request.headers.joined(b"accept-encoding");
    let accepted = accepted.as_deref().unwrap_or_default();
    let refused = || {
        // Clients as old may not know codings (nginx: `gzip_http_version`).
        if request.version == Version::Http10 {
            return true;
        }
        let agent = request.headers.get(Name::UserAgent).unwrap_or_default();
        let some = compression.not_gzip.as_ref();
        some.is_some_and(|some| some.has(agent))
    };
    let ways = [
        (Kind::Brotli, compression.brotli.as_ref()),
        (Kind::Zstd, compression.zstd.as_ref()),
        (Kind::Gzip, gzip.filter(|_| !refused())),
    ];
    let taken = ways.map(|(kind, coding)| {
        let coding = coding.filter(|_| takes(accepted, kind.name()))?;
        Some((kind, coding))
    });
    let is_any = taken.iter().any(Option::is_some);
    (is_any || gzip.is_some()).then_some(Wanted { taken, plain: gzip })
}

/// Whether Accept-Encoding names a coding, with any weight but zero. An asterisk names none, as nginx
/// has it.
fn takes(accepted: &[u8], coding: &[u8]) -> bool {
    let weight = |item: &[u8]| {
        let mut parts = item.split(|&byte| byte == b';');
        let name = parts.next().unwrap_or_default().trim_ascii();
        let refused = parts.any(|part| {
            let part = part.trim_ascii();
            let digits = part
                .strip_prefix(b"q=")
                .or_else(|| part.strip_prefix(b"Q="));
            digits.is_some_and(|digits| digits.iter().all(|byte| matches!(byte, b'0' | b'.')))
        });
        (name.to_ascii_lowercase(), !refused)
    };
    let mut items = list(accepted).map(weight);
    let named = items.find(|(name, _)| *name == coding);
    named.is_some_and(|(_, taken)| taken)
}

/// A content coding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Brotli,
    Zstd,
    Gzip,
}

impl Kind {
    fn name(self) -> &'static [u8] {
        match self {
            Self::Brotli => b"br",
            Self::Zstd => b"zstd",
            Self::Gzip => b"gzip",
        }
    }
}

/// Where a response goes, to be compressed.
pub(crate) struct Sink<'a, S> {
    sink: &'a mut S,
    wanted: Wanted<'a>,
    /// The client asks for the head alone, which says what GET would be answered.
    head_alone: bool,
    encoder: Option<Encoder>,
    /// Something was written that may not have come out yet.
    pending: bool,
}

impl<'a, S: ResponseSink> Sink<'a, S> {
    pub(crate) fn new(sink: &'a mut S, wanted: Wanted<'a>, request: &RequestHead) -> Self {
        Self {
            sink,
            wanted,
            head_alone: request.method() == b"HEAD",
            encoder: None,
            pending: false,
        }
    }

    /// Gives what has come out of the encoder to the client.
    async fn drain(&mut self) -> Result<(), ClientFault> {
        let Some(encoder) = &mut self.encoder else {
            return Ok(());
        };
        let out = encoder.out();
        if out.is_empty() {
            return Ok(());
        }
        let ready = std::mem::take(out);
        let sent = self.sink.data(&ready, false).await;
        if let Some(encoder) = &mut self.encoder {
            let mut ready = ready;
            ready.clear();
            *encoder.out() = ready;
        }
        sent
    }
}

/// How long the body would be that the answer to HEAD does not have.
fn told(head: &ResponseHead) -> Length {
    let length = head.headers.get(Name::ContentLength);
    let length = length.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
    length.map_or(Length::Unknown, Length::Known)
}

/// Whether a response is one that is compressed.
fn is_meant(coding: &Coding, head: &ResponseHead, length: Length) -> bool {
    let headers = &head.headers;
    let is_short = match length {
        Length::Absent => true,
        Length::Known(length) => length < coding.least.max(1),
        Length::Unknown => false,
    };
    let content_type = headers.get(Name::ContentType);
    let forbidden = || {
        let control = headers.joined(b"cache-control").unwrap_or_default();
        let mut directives = list(&control);
        directives.any(|directive| directive.eq_ignore_ascii_case(b"no-transform"))
    };
    matches!(head.status, 200 | 403 | 404)
        && !is_short
        && content_type.is_some_and(|value| coding.takes(value))
        && headers.joined(b"content-encoding").is_none()
        && !forbidden()
}

/// The head of the same response, compressed if it is.
fn rewritten(head: &ResponseHead, kind: Option<Kind>) -> ResponseHead {
    let mut new = ResponseHead::default();
    new.start(head.status, head.reason());
    let mut varies = false;
    for (token, name, value) in head.headers.iter() {
        let of_bytes = token == Name::ContentLength || name.eq_ignore_ascii_case(b"accept-ranges");
        if of_bytes && kind.is_some() {
            continue;
        }
        varies |= name.eq_ignore_ascii_case(b"vary")
            && list(value).any(|it| it == b"*" || it.eq_ignore_ascii_case(VARY));
        // The bytes are others (RFC 9110, section 8.8.1).
        let is_tag = kind.is_some() && name.eq_ignore_ascii_case(b"etag");
        if is_tag && !value.starts_with(b"W/") {
            // What is no tag cannot be made a weak one.
            if value.starts_with(b"\"") {
                new.headers.push(name, &[b"W/", value].concat());
            }
            continue;
        }
        new.headers.push_known(token, name, value);
    }
    if let Some(kind) = kind {
        new.headers.push(b"Content-Encoding", kind.name());
    }
    if !varies {
        new.headers.push(b"Vary", VARY);
    }
    new
}

impl<S: ResponseSink> ResponseSink for Sink<'_, S> {
    passes_on!();

    async fn head(
        &mut self,
        head: &ResponseHead,
        length: Length,
        keep: bool,
    ) -> Result<(), ClientFault> {
        let of_body = match self.head_alone {
            true => told(head),
            false => length,
        };
        let Some((kind, coding)) = self.wanted.coding(head, of_body) else {
            let plain = self.wanted.plain;
            return match plain.is_some_and(|coding| is_meant(coding, head, of_body)) {
                true => self.sink.head(&rewritten(head, None), length, keep).await,
                false => self.sink.head(head, length, keep).await,
            };
        };
        if self.head_alone {
            let head = rewritten(head, Some(kind));
            return self.sink.head(&head, Length::Unknown, keep).await;
        }
        let Ok(encoder) = Encoder::new(kind, coding.level) else {
            // There is no memory for it: as it is, then.
            return self.sink.head(head, length, keep).await;
        };
        self.encoder = Some(encoder);
        let head = rewritten(head, Some(kind));
        self.sink.head(&head, Length::Unknown, keep).await
    }

    async fn data(&mut self, bytes: &[u8], last: bool) -> Result<(), ClientFault> {
        let Some(encoder) = &mut self.encoder else {
            return self.sink.data(bytes, last).await;
        };
        encoder.write(bytes).map_err(|_| ClientFault::Closed)?;
        self.pending = true;
        self.drain().await
    }

    async fn flush(&mut self) -> Result<(), ClientFault> {
        if std::mem::take(&mut self.pending)
            && let Some(encoder) = &mut self.encoder
        {
            encoder.flush().map_err(|_| ClientFault::Closed)?;
            self.drain().await?;
        }
        self.sink.flush().await
    }

    async fn end(&mut self, trailers: &Headers) -> Result<(), ClientFault> {
        if let Some(encoder) = self.encoder.take() {
            let rest = encoder.finish().map_err(|_| ClientFault::Closed)?;
            self.sink.data(&rest, false).await?;
        }
        self.sink.end(trailers).await
    }
}

/// An encoder into memory.
enum Encoder {
    Brotli(Box<CompressorWriter<Vec<u8>>>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
    Gzip(GzEncoder<Vec<u8>>),
}

impl Encoder {
    fn new(kind: Kind, level: u8) -> io::Result<Self> {
        let out = Vec::new();
        Ok(match kind {
            Kind::Brotli => Self::Brotli(Box::new(CompressorWriter::new(
                out,
                BROTLI_BUFFER,
                level.into(),
                BROTLI_WINDOW,
            ))),
            Kind::Zstd => Self::Zstd(zstd::stream::write::Encoder::new(out, level.into())?),
            Kind::Gzip => {
                let level = flate2::Compression::new(level.into());
                Self::Gzip(GzEncoder::new(out, level))
            }
        })
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Brotli(encoder) => encoder.write_all(bytes),
            Self::Zstd(encoder) => encoder.write_all(bytes),
            Self::Gzip(encoder) => encoder.write_all(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Brotli(encoder) => encoder.flush(),
            Self::Zstd(encoder) => encoder.flush(),
            Self::Gzip(encoder) => encoder.flush(),
        }
    }

    /// What has come out.
    fn out(&mut self) -> &mut Vec<u8> {
        match self {
            Self::Brotli(encoder) => encoder.get_mut(),
            Self::Zstd(encoder) => encoder.get_mut(),
            Self::Gzip(encoder) => encoder.get_mut(),
        }
    }

    /// The rest.
    fn finish(self) -> io::Result<Vec<u8>> {
        match self {
            Self::Brotli(encoder) => Ok(encoder.into_inner()),
            Self::Zstd(encoder) => encoder.finish(),
            Self::Gzip(encoder) => encoder.finish(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn a_coding_is_taken_if_its_weight_is_not_zero() {
        for (accepted, gzip, brotli) in [
            ("gzip", true, false),
            ("gzip, deflate, br", true, true),
            ("GZIP;q=0.1", true, false),
            ("gzip;q=0, br", false, true),
            ("gzip;q=0.000", false, false),
            ("*", false, false),
            ("br;q=0, *", false, false),
            ("gzip, *;q=0", true, false),
            ("identity", false, false),
            ("", false, false),
        ] {
            assert_eq!(takes(accepted.as_bytes(), b"gzip"), gzip, "{accepted}");
            assert_eq!(takes(accepted.as_bytes(), b"br"), brotli, "{accepted}");
        }
    }

    #[test]
    fn what_was_flushed_can_be_read_before_the_end() {
        for kind in [Kind::Brotli, Kind::Zstd, Kind::Gzip] {
            let mut encoder = Encoder::new(kind, 4).expect("memory");
            encoder.write(b"first").expect("taken");
            encoder.flush().expect("flushed");
            let mut all = std::mem::take(encoder.out());
            let mut first = [0; 5];
            let read = |bytes: &[u8], to: &mut [u8]| match kind {
                Kind::Brotli => brotli::Decompressor::new(bytes, 4096).read_exact(to),
                Kind::Zstd => zstd::stream::read::Decoder::new(bytes)?.read_exact(to),
                Kind::Gzip => flate2::read::GzDecoder::new(bytes).read_exact(to),
            };
            read(&all, &mut first).expect("it is there");
            assert_eq!(&first, b"first", "{kind:?}");
            encoder.write(b" second").expect("taken");
            all.extend(encoder.finish().expect("finished"));
            let mut both = [0; 12];
            read(&all, &mut both).expect("all is there");
            assert_eq!(&both, b"first second", "{kind:?}");
        }
    }
}
