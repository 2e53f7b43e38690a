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
use super::read::read;
use super::requests::{Event, events, text};
use super::sources::refusal;
use super::target::Target;
use super::trouble::Trouble;

/// Within which time all lists begin again when the API server is back.
const TOGETHER: Duration = Duration::from_millis(300);

/// How many objects are asked for at one time.
const PAGE: u32 = 500;

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

/// How a stream ended that brought no error.
struct Ended {
    /// What is known now.
    version: String,
    open_for: Duration,
}

impl Feed {
    /// Runs until it is dropped.
    pub(crate) async fn run(self) {
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
    async fn step(&self, at: &mut At, backoff: &mut Backoff) -> Result<(), Trouble> {
        match std::mem::replace(at, At::Nowhere) {
            At::Nowhere => {
                *at = At::Version(self.list().await?);
                self.works(true);
                backoff.reset();
            }
            At::Suspect(version) => match self.newest().await {
                Ok(newest) if is_older(&newest, &version) => {
                    tracing::warn!(
                        watch = %self.target,
                        "the API server is at version {newest}, before {version}: its data was \
                         replaced, everything is read again"
                    );
                }
                Ok(_) => *at = At::Version(version),
                Err(trouble) => {
                    // It was away for some time: whatever it says afterwards is a new beginning.
                    *at = match trouble {
                        Trouble::Unreachable(_) => At::Nowhere,
                        _ => At::Suspect(version),
                    };
                    return Err(trouble);
                }
            },
            At::Version(version) => {
                let mut reached = version;
                match self.follow(&mut reached).await {
                    Ok(Ended { version, open_for }) => {
                        let normal = open_for >= NORMAL_END;
                        if open_for >= LONG {
                            backoff.reset();
                        }
                        *at = if normal {
                            At::Version(version)
                        } else {
                            At::Suspect(version)
                        };
                        if !normal {
                            return Err(Trouble::Cut(open_for));
                        }
                    }
                    Err(trouble) => {
                        *at = match trouble {
                            Trouble::Outdated => At::Nowhere,
                            _ => At::Suspect(reached),
                        };
                        return Err(trouble);
                    }
                }
            }
        }
        Ok(())
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

    /// Follows what happens after `reached`, which is kept up to date, until the stream ends.
    async fn follow(&self, reached: &mut String) -> Result<Ended, Trouble> {
        let seconds = fastrand::u32(STREAM);
        let silence = Duration::from_secs(seconds.into()) + GRACE;
        let mut params = self.target.watch_params();
        params.timeout = Some(seconds);
        let request = self.target.request().watch(&params, reached);
        let begin = Instant::now();
        let mut events = events(self.place.client(), self.target.kind, request, silence).await?;
        self.works(false);
        loop {
            let Some(event) = events.next().await? else {
                return Ok(Ended {
                    version: std::mem::take(reached),
                    open_for: begin.elapsed(),
                });
            };
            if let Some(version) = self.take(event) {
                *reached = version;
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
            Event::Bookmark(version) => version,
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
