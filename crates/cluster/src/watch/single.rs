//! The watch of one object, for which no right to list is needed.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use kube::api::GetParams;
use objects::kinds::ObjectKey;
use serde_json::value::RawValue;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};

use super::backoff::Backoff;
use super::inbox::Inbox;
use super::pool::Place;
use super::read::{Read, read};
use super::requests::{Event, events, text};
use super::sources::refusal;
use super::target::Target;
use super::trouble::Trouble;

/// For how long the API server is asked to keep a stream open.
const STREAM: std::ops::Range<u32> = 480..580;
/// How much longer a stream may stay silent.
const GRACE: Duration = Duration::from_secs(15);

/// Within which time all begin again when the API server is back.
const TOGETHER: Duration = Duration::from_secs(3);

/// A stream that was open for this long was good for something.
const LONG: Duration = Duration::from_secs(5);

/// The watch of one object.
///
/// It begins without a version, so that what is there comes as an event, and once it is
/// established the object is asked for by its name: only so is it known that there is none.
pub(crate) struct Single {
    pub(crate) place: Place,
    pub(crate) key: ObjectKey,
    pub(crate) target: Target,
    pub(crate) inbox: Arc<Inbox>,
}

impl Single {
    /// Watches it until this is dropped.
    pub(crate) async fn watch(self) {
        let mut backoff = Backoff::default();
        loop {
            let begin = Instant::now();
            let trouble = match self.follow().await {
                Ok(()) => Trouble::Cut(begin.elapsed()),
                Err(trouble) => trouble,
            };
            if begin.elapsed() >= LONG {
                backoff.reset();
            }
            self.tell(&trouble);
            let wait = backoff.next(trouble.retry_after());
            self.inbox.pause(wait, &trouble, TOGETHER).await;
        }
    }

    /// Asks for it again and again until this is dropped, while `at_once` allows.
    pub(crate) async fn poll(self, at_once: Arc<Semaphore>, wait: impl Fn() -> Duration) {
        loop {
            // It is never closed.
            let permit = at_once.acquire().await;
            let answer = self.ask().await;
            drop(permit);
            match answer {
                Ok(answer) => self.take_answer(answer),
                Err(trouble) => self.tell(&trouble),
            }
            sleep(wait()).await;
        }
    }

    async fn follow(&self) -> Result<(), Trouble> {
        let seconds = fastrand::u32(STREAM);
        let silence = Duration::from_secs(seconds.into()) + GRACE;
        let mut params = self.target.watch_params();
        params.timeout = Some(seconds);
        let request = self.target.request().watch(&params, "");
        let mut events = events(self.place.client(), self.key.kind, request, silence).await?;
        let mut asking = pin!(self.ask());
        let mut asked = false;
        loop {
            tokio::select! {
                biased;
                event = events.next() => match event? {
                    // An event is newer than an answer, or the same.
                    Some(event) => asked |= self.take(event),
                    None => return Ok(()),
                },
                answer = &mut asking, if !asked => {
                    asked = true;
                    self.take_answer(answer?);
                }
            }
        }
    }

    /// The object as it is now.
    async fn ask(&self) -> Result<Option<Box<RawValue>>, Trouble> {
        let request = self.target.request();
        let request = request.get(&self.key.name, &GetParams::default());
        match text(self.place.client(), request).await {
            Ok(text) => RawValue::from_string(text)
                .map(Some)
                .map_err(|_| Trouble::nonsense()),
            Err(Trouble::NotThere) => Ok(None),
            Err(trouble) => Err(trouble),
        }
    }

    /// Takes an event in. Whether it says if the object is there.
    fn take(&self, event: Event) -> bool {
        match event {
            Event::There(read) => self.put(Some(read)),
            Event::Gone(_) => self.inbox.gone(self.key.clone()),
            Event::Bookmark(_) | Event::Nameless => return false,
        }
        self.inbox.event(&self.target);
        self.answered();
        true
    }

    fn take_answer(&self, answer: Option<Box<RawValue>>) {
        match answer {
            Some(raw) => self.put(read(self.key.kind, &raw)),
            None => self.inbox.gone(self.key.clone()),
        }
        self.answered();
    }

    fn put(&self, read: Option<Read>) {
        // What is said of another object is not believed.
        self.inbox.read(read.filter(|read| read.key == self.key));
    }

    fn answered(&self) {
        let was_down = self.inbox.sources(|sources| sources.synced(&self.target));
        if was_down.is_some() {
            self.inbox.revived();
        }
    }

    fn tell(&self, trouble: &Trouble) {
        self.inbox.sources(|sources| {
            if let Trouble::Refused { code, said } = trouble {
                sources.refused(&self.target, refusal(&self.target, *code, said));
            }
            if !matches!(trouble, Trouble::Cut(_) | Trouble::Outdated) {
                sources.fails(&self.target, trouble.to_string());
            }
        });
        tracing::debug!(watch = %self.target, "{trouble}");
    }
}
