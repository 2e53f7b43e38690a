//! One watch, for ever: reads what there is, follows what happens, and begins again wherever it
//! was interrupted.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::value::RawValue;

use super::backoff::Backoff;
use super::inbox::Inbox;
use super::pool::Place;
use super::read::{Read, read};
use super::requests::{Event, Events, events, text};
use super::sources::refusal;
use super::target::Target;
use super::trouble::Trouble;

/// Within which time all lists begin again when the API server is back.
const TOGETHER: Duration = Duration::from_millis(300);

/// How many objects are asked for at one time.
const PAGE: u32 = 500;
/// How many of a stream are taken in at one time.
const AT_ONCE: usize = 250;
/// How long a stream may be silent while it tells what there is.
const LIST_SILENCE: Duration = Duration::from_secs(15);

/// For how long the API server is asked to keep a stream open: a time by chance in this range, so
/// that not all end at once.
const STREAM: std::ops::Range<u32> = 240..290;
/// How much longer a stream may stay silent than it was to stay open, before it is given up.
const GRACE: Duration = Duration::from_secs(15);

/// A stream that ends before that time was not ended by the API server's clock …
const NORMAL_END: Duration = Duration::from_secs(200);
/// … and one that was open for this long was good for something.
const LONG: Duration = Duration::from_secs(5);

/// A watch.
pub(crate) struct Feed {
    pub(crate) place: Place,
    pub(crate) target: Target,
    pub(crate) inbox: Arc<Inbox>,
    /// Whether what there is is asked for page by page: of an API server that does not stream it.
    by_pages: bool,
}

/// A page of a list.
#[derive(Deserialize)]
struct Page<'a> {
    metadata: ListMetadata,
    #[serde(borrow)]
    items: Option<Vec<&'a RawValue>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct ListMetadata {
    resource_version: String,
    #[serde(rename = "continue")]
    next: Option<String>,
}

/// Where a watch is.
enum At {
    /// Nothing is known, or nothing that can be relied on.
    Nowhere,
    /// All up to this version is known.
    Version(String),
    /// The same, but the API server may have lost its memory since: it must be asked first.
    Suspect(String),
}

impl Feed {
    pub(crate) fn new(place: Place, target: Target, inbox: Arc<Inbox>) -> Self {
        Self {
            place,
            target,
            inbox,
            by_pages: false,
        }
    }

    /// Runs until it is dropped.
    pub(crate) async fn run(mut self) {
        let mut backoff = Backoff::default();
        let mut at = At::Nowhere;
        loop {
            match self.step(&mut at, &mut backoff).await {
                Ok(()) => {}
                Err(trouble) => {
                    self.tell(&trouble, &backoff);
                    let wait = backoff.next(trouble.retry_after());
                    self.inbox.pause(wait, &trouble, TOGETHER).await;
                }
            }
        }
    }

    /// Goes on from where it is until something ends.
    async fn step(&mut self, at: &mut At, backoff: &mut Backoff) -> Result<(), Trouble> {
        match std::mem::replace(at, At::Nowhere) {
            At::Nowhere if self.by_pages => {
                *at = At::Version(self.list().await?);
                self.works(true);
                backoff.reset();
                Ok(())
            }
            At::Nowhere => self.follow(None, at, backoff).await,
            At::Version(version) => self.follow(Some(version), at, backoff).await,
            At::Suspect(version) => {
                *at = self.ask_for_memory(version, at).await?;
                Ok(())
            }
        }
    }

    /// Follows what happens after a version until the stream ends; without one, also reads what
    /// there is.
    async fn follow(
        &mut self,
        version: Option<String>,
        at: &mut At,
        backoff: &mut Backoff,
    ) -> Result<(), Trouble> {
        let mut reached = version;
        let begin = Instant::now();
        let ended = self.stream(&mut reached, backoff).await;
        let open_for = begin.elapsed();
        if open_for >= LONG && reached.is_some() {
            backoff.reset();
        }
        let outdated = matches!(ended, Err(Trouble::Outdated));
        *at = match reached {
            Some(version) if !outdated && open_for >= NORMAL_END && ended.is_ok() => {
                At::Version(version)
            }
            Some(version) if !outdated => At::Suspect(version),
            _ => At::Nowhere,
        };
        match ended {
            Ok(()) if open_for >= NORMAL_END => Ok(()),
            Ok(()) => Err(Trouble::Cut(open_for)),
            Err(trouble) => Err(trouble),
        }
    }

    /// Whether a version means what it meant: an API server that has lost its data begins to count
    /// anew, and a watch from a version that it has not reached tells nothing.
    async fn ask_for_memory(&self, version: String, at: &mut At) -> Result<At, Trouble> {
        match self.newest().await {
            Ok(newest) if is_older(&newest, &version) => {
                tracing::warn!(
                    watch = %self.target,
                    "the API server is at version {newest}, before {version}: its data was \
                     replaced, everything is read again"
                );
                Ok(At::Nowhere)
            }
            Ok(_) => Ok(At::Version(version)),
            Err(trouble) => {
                // If it was away for some time, whatever it says then is a new beginning.
                *at = match trouble {
                    Trouble::Unreachable(_) => At::Nowhere,
                    _ => At::Suspect(version),
                };
                Err(trouble)
            }
        }
    }

    /// Reads what there is, page by page. The version at which it was so.
    async fn list(&self) -> Result<String, Trouble> {
        let request = self.target.request();
        let mut params = self.target.list_params();
        params.limit = Some(PAGE);
        let mut names = HashSet::new();
        loop {
            let text = text(self.place.client(), request.list(&params)).await?;
            let page: Page<'_> = serde_json::from_str(&text).map_err(|_| Trouble::nonsense())?;
            let items = page.items.unwrap_or_default();
            let read: Vec<_> = items
                .iter()
                .filter_map(|raw| read(self.target.kind, raw))
                .collect();
            names.extend(read.iter().map(|read| read.key.clone()));
            self.inbox.read(read);
            match page.metadata.next.filter(|next| !next.is_empty()) {
                Some(next) => params.continue_token = Some(next),
                None if page.metadata.resource_version.is_empty() => {
                    return Err(Trouble::nonsense());
                }
                None => {
                    self.inbox.listed(&self.target, names);
                    return Ok(page.metadata.resource_version);
                }
            }
            // Probes are answered on the same thread.
            tokio::task::yield_now().await;
        }
    }

    /// The API server's version now.
    async fn newest(&self) -> Result<String, Trouble> {
        let mut params = self.target.list_params();
        params.limit = Some(1);
        let request = self.target.request().list(&params);
        let text = text(self.place.client(), request).await?;
        let page: Page<'_> = serde_json::from_str(&text).map_err(|_| Trouble::nonsense())?;
        Ok(page.metadata.resource_version)
    }

    /// Takes events in until the stream ends. `reached` is kept up to date; where it is none at
    /// the beginning, the stream begins with what there is.
    async fn stream(
        &mut self,
        reached: &mut Option<String>,
        backoff: &mut Backoff,
    ) -> Result<(), Trouble> {
        let seconds = fastrand::u32(STREAM);
        let silence = Duration::from_secs(seconds.into()) + GRACE;
        let mut params = self.target.watch_params();
        params.timeout = Some(seconds);
        params.send_initial_events = reached.is_none();
        let version = reached.as_deref().unwrap_or_default();
        let request = self.target.request().watch(&params, version);
        let events = events(self.place.client(), self.target.kind, request, silence).await;
        let mut events = match events {
            Err(Trouble::NotUnderstood(said)) if reached.is_none() => {
                tracing::debug!(watch = %self.target, "lists are not streamed: {said}");
                self.by_pages = true;
                return Ok(());
            }
            events => events?,
        };
        if reached.is_none() {
            *reached = Some(self.list_from(&mut events).await?);
            events.silence = silence;
            self.works(true);
            backoff.reset();
        } else {
            self.works(false);
        }
        while let Some(event) = events.next().await? {
            if let Some(version) = self.take(event) {
                *reached = Some(version);
            }
        }
        Ok(())
    }

    /// Takes in what there is, up to the bookmark that ends it. The version at which it was so.
    async fn list_from(&mut self, events: &mut Events) -> Result<String, Trouble> {
        events.silence = LIST_SILENCE;
        let mut names = HashSet::new();
        let mut batch = Vec::new();
        loop {
            let event = match events.next().await {
                Ok(Some(event)) => event,
                // It may not know of such lists, and have sent all that it will.
                Ok(None) | Err(Trouble::Unreachable(_)) => {
                    self.by_pages = true;
                    return Err(Trouble::late());
                }
                Err(trouble) => return Err(trouble),
            };
            match event {
                Event::There(read) => {
                    names.insert(read.key.clone());
                    batch.push(read);
                }
                Event::Gone(read) => {
                    names.remove(&read.key);
                    batch.retain(|other: &Read| other.key != read.key);
                    self.inbox.gone(read.key);
                }
                Event::Bookmark(bookmark) if bookmark.is_end_of_list => {
                    self.inbox.read(batch);
                    self.inbox.listed(&self.target, names);
                    return Ok(bookmark.version);
                }
                Event::Bookmark(_) | Event::Nameless => {}
            }
            if batch.len() >= AT_ONCE {
                self.inbox.read(std::mem::take(&mut batch));
                // Probes are answered on the same thread.
                tokio::task::yield_now().await;
            }
        }
    }

    /// Takes an event in. The version that is reached with it.
    fn take(&self, event: Event) -> Option<String> {
        let version = match event {
            Event::There(read) => {
                let version = read.version.clone();
                self.inbox.read([read]);
                self.inbox.event(&self.target);
                version
            }
            Event::Gone(read) => {
                self.inbox.gone(read.key);
                self.inbox.event(&self.target);
                read.version
            }
            Event::Bookmark(bookmark) => bookmark.version,
            Event::Nameless => {
                tracing::warn!(watch = %self.target, "an object without a name is passed over");
                return None;
            }
        };
        Some(version).filter(|version| !version.is_empty())
    }

    /// Notes that it works; `synced` if what there is was read.
    fn works(&self, synced: bool) {
        let was_down = self.inbox.sources(|sources| match synced {
            true => sources.synced(&self.target),
            false => sources.works(&self.target),
        });
        if was_down.is_some() {
            self.inbox.revived();
        }
        if let Some(down) = was_down.filter(|down| *down >= LONG) {
            tracing::info!(watch = %self.target, "the API server answers again, after {down:.1?}");
        }
    }

    /// Notes that it does not.
    fn tell(&self, trouble: &Trouble, backoff: &Backoff) {
        if let Trouble::Refused { code, said } = trouble {
            let problem = refusal(&self.target, *code, said);
            self.inbox
                .sources(|sources| sources.refused(&self.target, problem));
        }
        let first = self
            .inbox
            .sources(|sources| sources.fails(&self.target, trouble.to_string()));
        // A stream that was cut once is nothing to tell of.
        let routine = matches!(trouble, Trouble::Cut(_) | Trouble::Outdated);
        if routine && backoff.failures() == 0 {
            tracing::debug!(watch = %self.target, "{trouble}");
        } else if first || backoff.failures() == 1 {
            tracing::warn!(watch = %self.target, "{trouble}; trying again");
        }
    }
}

/// Whether a version is older than another. Versions are numbers since Kubernetes 1.35 promises
/// it, and have been ever before; of those that are not, nothing is known.
fn is_older(version: &str, other: &str) -> bool {
    match (version.parse::<u64>(), other.parse::<u64>()) {
        (Ok(version), Ok(other)) => version < other,
        _ => false,
    }
}
