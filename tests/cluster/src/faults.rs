//! What can go wrong with a cluster, on demand.

use std::time::Duration;

use crate::cluster::Cluster;
use crate::wait;

impl Cluster {
    /// The API server is killed; connections to it are refused until [`Self::start_apiserver`].
    #[track_caller]
    pub fn kill_apiserver(&self) {
        self.told("apiserver kill");
    }

    /// Starts it again; back when it is ready.
    #[track_caller]
    pub fn start_apiserver(&self) {
        self.told("apiserver start");
    }

    /// It hangs: connections stay and nothing comes, until [`Self::resume_apiserver`].
    #[track_caller]
    pub fn stop_apiserver(&self) {
        self.told("apiserver stop");
    }

    #[track_caller]
    pub fn resume_apiserver(&self) {
        self.told("apiserver cont");
    }

    /// All objects are gone, and all pods; back when the empty cluster is ready. Resource versions
    /// start anew, as after a restore from nothing.
    #[track_caller]
    pub fn wipe(&self) {
        // The one who would answer is gone first.
        let _ = self.say("etcd wipe");
        wait::eventually("the cluster is back", || self.say("ready"));
    }

    /// Each piece of the API server's answers waits, for all that are inside.
    #[track_caller]
    pub fn delay_apiserver(&self, delay: Duration) {
        self.told(&format!("relay delay {}", delay.as_millis()));
    }

    /// Resets each connection to the API server from inside with that probability; how many.
    #[track_caller]
    pub fn cut_watches(&self, seed: u64, probability: f64) -> u32 {
        let count = self.told(&format!("relay cut {seed} {probability}"));
        count.parse().expect("a number")
    }

    /// Does so with every second connection again and again; [`Duration::ZERO`] ends it.
    #[track_caller]
    pub fn cut_watches_every(&self, period: Duration, seed: u64) {
        self.told(&format!("relay cut-every {} {seed}", period.as_millis()));
    }

    /// Pods get new ServiceAccount tokens at once, which are good for `life` and replaced after
    /// 80 % of it; [`Duration::ZERO`]: for as long as pods ask again.
    #[track_caller]
    pub fn limit_tokens(&self, life: Duration) {
        self.told(&format!("tokens {}", life.as_secs()));
    }

    #[track_caller]
    fn told(&self, what: &str) -> String {
        self.say(what).unwrap_or_else(|error| panic!("{error}"))
    }
}
