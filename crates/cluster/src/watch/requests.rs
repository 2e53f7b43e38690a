//! Requests to an API server, each with a limit to its time.

use std::borrow::Cow;
use std::pin::Pin;
use std::time::Duration;

use futures_util::io::AsyncBufReadExt as _;
use futures_util::{AsyncBufRead, AsyncReadExt as _};
use http::Request;
use kube::Client;
use kube::core::Status;
use objects::kinds::Kind;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::timeout;

use super::read::{Bookmark, Read, bookmark, read};
use super::trouble::{Trouble, request_error};

/// For an answer to begin, and for one that is no stream to be there.
const ANSWER: Duration = Duration::from_secs(30);

/// The longest event, in bytes. The largest object that etcd takes by default has 1.5 MiB.
const LONGEST: u64 = 32 << 20;

/// The events of a watch.
pub(crate) struct Events {
    kind: Kind,
    stream: Pin<Box<dyn AsyncBufRead + Send>>,
    /// What has arrived of the next one.
    line: Vec<u8>,
    /// How long nothing may come before the stream is given up.
    pub(crate) silence: Duration,
}

/// What happened.
pub(crate) enum Event {
    /// An object came or changed.
    There(Read),
    /// An object went.
    Gone(Read),
    /// Nothing, but a version was reached.
    Bookmark(Bookmark),
    /// Nothing that can be told.
    Nameless,
}

/// An event as the API server sends it.
#[derive(Deserialize)]
struct Sent<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    object: &'a RawValue,
}

type Built = Result<Request<Vec<u8>>, kube::core::request::Error>;

/// An answer's body.
pub(crate) async fn text(client: &Client, request: Built) -> Result<String, Trouble> {
    let text = timeout(ANSWER, client.request_text(request?)).await;
    text.map_err(|_| Trouble::late())?.map_err(request_error)
}

/// Opens a watch of objects of a kind, which is given up where nothing comes for as long as
/// `silence`.
pub(crate) async fn events(
    client: &Client,
    kind: Kind,
    request: Built,
    silence: Duration,
) -> Result<Events, Trouble> {
    let stream = timeout(ANSWER, client.request_stream(request?)).await;
    let stream = stream
        .map_err(|_| Trouble::late())?
        .map_err(request_error)?;
    Ok(Events {
        kind,
        stream: Box::pin(stream),
        line: Vec::new(),
        silence,
    })
}

impl Events {
    /// The next one; none at the end. Cancel safe.
    pub(crate) async fn next(&mut self) -> Result<Option<Event>, Trouble> {
        let room = LONGEST.saturating_sub(self.line.len() as u64);
        let mut stream = self.stream.as_mut().take(room);
        let read = timeout(self.silence, stream.read_until(b'\n', &mut self.line));
        let read = read.await.map_err(|_| Trouble::late())?;
        read.map_err(|error| request_error(kube::Error::ReadEvents(error)))?;
        if self.line.last() != Some(&b'\n') {
            // One that was cut is as good as none.
            return match room {
                0 => Err(Trouble::nonsense()),
                _ => Ok(None),
            };
        }
        let event = self.parse();
        self.line.clear();
        event.map(Some)
    }

    fn parse(&self) -> Result<Event, Trouble> {
        let sent: Sent<'_> = serde_json::from_slice(&self.line).map_err(|_| Trouble::nonsense())?;
        let object = || read(self.kind, sent.object);
        Ok(match &*sent.kind {
            "ADDED" | "MODIFIED" => object().map_or(Event::Nameless, Event::There),
            "DELETED" => object().map_or(Event::Nameless, Event::Gone),
            "BOOKMARK" => Event::Bookmark(bookmark(sent.object)),
            "ERROR" => {
                let status: Status =
                    serde_json::from_str(sent.object.get()).map_err(|_| Trouble::nonsense())?;
                return Err(request_error(kube::Error::Api(Box::new(status))));
            }
            _ => return Err(Trouble::nonsense()),
        })
    }
}
