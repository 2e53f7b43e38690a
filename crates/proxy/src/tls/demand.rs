//! Handshakes that ask for a name that no certificate is for, where one can be obtained then.
//!
//! Clients choose the names, so all of it is bounded: how many handshakes are held, for how long,
//! and how many names wait to be looked at. Whoever finds no place is served as if nothing were
//! obtained.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use model::TlsSites;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use super::is_unnamed;

/// How many handshakes one worker holds at the most.
const MOST: usize = 256;

/// How long one is held at the most.
const LONGEST: Duration = Duration::from_secs(10);

/// A name that a client asks for, and no certificate is for.
#[derive(Debug)]
pub struct Wanted {
    /// In lower case.
    pub name: Box<str>,
    /// Told if there is to be a certificate soon, for which the client waits. It does not where this
    /// is dropped.
    pub will_be: oneshot::Sender<()>,
}

/// One worker's handshakes that wait for a certificate.
#[derive(Debug)]
pub(super) struct Demand {
    wanted: mpsc::Sender<Wanted>,
    held: Cell<usize>,
    served: Notify,
    longest: Duration,
}

/// A place among those that are held.
struct Place<'a>(&'a Cell<usize>);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl Demand {
    /// `handshake` is how long a handshake may take; zero is without a limit.
    pub(super) fn new(wanted: mpsc::Sender<Wanted>, handshake: Duration) -> Self {
        // What is left is for the client's part of the handshake.
        let most = handshake * 3 / 4;
        Self {
            wanted,
            held: Cell::new(0),
            served: Notify::new(),
            longest: match most.is_zero() {
                true => LONGEST,
                false => LONGEST.min(most),
            },
        }
    }

    /// Those that wait look again.
    pub(super) fn served(&self) {
        self.served.notify_waiters();
    }

    /// Waits until there is a certificate for a name, or there will be none in time. What is served
    /// then, if anything was waited for.
    pub(super) async fn hold(
        &self,
        name: &str,
        current: &dyn Fn() -> Option<Arc<TlsSites>>,
    ) -> Option<Arc<TlsSites>> {
        if self.held.get() >= MOST {
            return None;
        }
        let (will_be, told) = oneshot::channel();
        let name = Box::from(name);
        // A full channel is a client that is not waited for, and a closed one the process's end.
        self.wanted
            .try_send(Wanted {
                name: Box::clone(&name),
                will_be,
            })
            .ok()?;
        self.held.set(self.held.get() + 1);
        let _place = Place(&self.held);
        let end = Instant::now() + self.longest;
        timeout_at(end, told).await.ok()?.ok()?;
        loop {
            let mut served = std::pin::pin!(self.served.notified());
            // From here on nothing is missed.
            served.as_mut().enable();
            let sites = current()?;
            if !is_unnamed(&sites, sites.find(Some(&name)), Some(&name))
                || timeout_at(end, served).await.is_err()
            {
                return Some(sites);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::{Pin, pin};
    use std::task::Poll;

    use super::*;

    const NAME: &str = "shop.example";

    fn demand(places: usize) -> (Demand, mpsc::Receiver<Wanted>) {
        let (wanted, receiver) = mpsc::channel(places);
        (Demand::new(wanted, Duration::from_secs(10)), receiver)
    }

    /// What a future has come to.
    async fn once<F: Future>(mut future: Pin<&mut F>) -> Poll<F::Output> {
        poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await
    }

    #[tokio::test]
    async fn no_more_are_held_than_there_are_places_and_who_leaves_makes_room() {
        let (demand, mut wanted) = demand(2 * MOST);
        let current = || Some(Arc::default());
        let hold = || Box::pin(demand.hold(NAME, &current));
        let mut held: Vec<_> = (0..MOST).map(|_| hold()).collect();
        for one in &mut held {
            assert!(once(one.as_mut()).await.is_pending());
        }
        let more = once(hold().as_mut()).await;
        assert!(matches!(more, Poll::Ready(None)), "there is no place");
        assert_eq!(wanted.len(), MOST);
        drop(held.pop());
        let mut again = hold();
        assert!(once(again.as_mut()).await.is_pending());
        held.push(again);
        // What is to be none is told by silence.
        while let Ok(one) = wanted.try_recv() {
            assert_eq!(&*one.name, NAME);
        }
        for one in &mut held {
            assert!(one.as_mut().await.is_none());
        }
        drop(held);
        assert_eq!(demand.held.get(), 0);
    }

    #[tokio::test]
    async fn nobody_waits_where_nobody_can_be_told() {
        let (demand, wanted) = demand(1);
        let current = || Some(Arc::default());
        let mut first = pin!(demand.hold(NAME, &current));
        assert!(once(first.as_mut()).await.is_pending());
        let full = once(pin!(demand.hold(NAME, &current))).await;
        assert!(matches!(full, Poll::Ready(None)));
        drop(wanted);
        assert!(matches!(once(first.as_mut()).await, Poll::Ready(None)));
        let closed = once(pin!(demand.hold(NAME, &current))).await;
        assert!(matches!(closed, Poll::Ready(None)));
    }

    #[tokio::test]
    async fn less_time_than_a_handshake_has_is_waited() {
        let longest = |seconds| {
            let (wanted, _) = mpsc::channel(1);
            Demand::new(wanted, Duration::from_secs(seconds)).longest
        };
        assert_eq!(longest(4), Duration::from_secs(3));
        assert_eq!(longest(60), LONGEST);
        assert_eq!(longest(0), LONGEST);
    }
}
