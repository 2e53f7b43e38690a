//! A case from its start to its figures: proxies in turn, round after round, one running at a time.

use std::time::Instant;

use tempfile::TempDir;

use crate::Error;
use crate::backend::{self, Backend, Kind};
use crate::cases::{Case, Load};
use crate::load::{self, Target};
use crate::peers::{self, Certificate, Peer, Programs, Proxy};
use crate::process::{Cpu, core_busy};

/// The part of the core's busy time that others may have without a turn being taken again, and how
/// often it is.
const CALM: f64 = 0.2;
const AGAIN: usize = 2;

/// How long and how often.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) rounds: usize,
    pub(crate) seconds: f64,
    pub(crate) rate: f64,
    pub(crate) connections: usize,
}

/// One turn of one proxy.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sample {
    /// Microseconds per request; bytes per connection, as `user`, where the case is about memory.
    pub(crate) cost: Cpu,
    pub(crate) per_second: f64,
    pub(crate) errors: f64,
    /// All memory of the process in bytes, where the case is about memory.
    pub(crate) memory: f64,
    /// The part of the core's busy time that was not the proxy's.
    pub(crate) strangers: f64,
    /// p50, p90, p99 and p99.9 at the plan's rate, in microseconds.
    pub(crate) latency: Option<[f64; 4]>,
}

/// A proxy's turns, or why it had none.
#[derive(Clone, Debug)]
pub(crate) struct Column {
    pub(crate) proxy: Proxy,
    pub(crate) samples: Result<Vec<Sample>, String>,
}

/// A running proxy with its turns so far, or why it has no more.
type Turns = Result<(Peer, Vec<Sample>), Error>;

/// What came of a case.
pub(crate) struct Outcome {
    pub(crate) case: &'static Case,
    pub(crate) columns: Vec<Column>,
    /// Requests a second that the backend alone answers to this load.
    pub(crate) backend_per_second: Option<f64>,
}

/// Measures a case.
pub(crate) fn case(
    case: &'static Case,
    proxies: &[Proxy],
    programs: &Programs,
    plan: &Plan,
) -> Result<Outcome, Error> {
    let folder = TempDir::with_prefix("bench-").map_err(|error| error.to_string())?;
    let certificate = Certificate::make()?;
    certificate.write(folder.path())?;
    let backend = backend::start(case.backend, programs, folder.path())?;
    let plan = Plan {
        connections: case
            .connections
            .map_or(plan.connections, |most| most.min(plan.connections)),
        ..*plan
    };
    let room = Room {
        case,
        backend,
        certificate,
        folder,
        programs,
        plan,
    };
    let columns = match case.load {
        Load::Idle(connections) => room.memory(proxies, connections),
        _ => room.rounds(proxies),
    };
    let backend_per_second = room.backend_alone()?;
    Ok(Outcome {
        case,
        columns,
        backend_per_second,
    })
}

/// What a case is measured in.
struct Room<'a> {
    case: &'static Case,
    backend: Backend,
    certificate: Certificate,
    folder: TempDir,
    programs: &'a Programs,
    plan: Plan,
}

impl Room<'_> {
    fn start(&self, proxy: Proxy) -> Result<Peer, Error> {
        if let Some(why) = self.case.leaves_out(proxy.name()) {
            return Err(why.to_owned());
        }
        let (folder, programs) = (self.folder.path(), self.programs);
        let port = self.backend.port;
        let peer = peers::start(proxy, self.case, port, &self.certificate, programs, folder)?;
        let reads = proxy != Proxy::Floor && !self.case.tcp;
        if self.case.backend != Kind::Own && reads {
            let missing = peers::missing_fields(&peer)?;
            if !missing.is_empty() {
                return Err(format!("does less work: no {}", missing.join(", ")));
            }
        }
        Ok(peer)
    }

    /// Each proxy once a round, ABCD ABCD …, so that what disturbs the machine disturbs all.
    fn rounds(&self, proxies: &[Proxy]) -> Vec<Column> {
        let mut entrants: Vec<(Proxy, Turns)> = Vec::new();
        for &proxy in proxies {
            let started = self.start(proxy).and_then(|peer| {
                let warm_up = (self.plan.seconds / 4.0).min(0.3);
                self.load(&peer, warm_up)?;
                peer.server.pause();
                Ok((peer, Vec::new()))
            });
            entrants.push((proxy, started));
        }
        for _ in 0..self.plan.rounds {
            for (_, entrant) in &mut entrants {
                let Ok((peer, samples)) = entrant else {
                    continue;
                };
                peer.server.resume();
                let sample = self.calm_turn(peer);
                peer.server.pause();
                match sample {
                    Ok(sample) => samples.push(sample),
                    Err(error) => *entrant = Err(error),
                }
            }
        }
        let column = |(proxy, entrant): (Proxy, Turns)| Column {
            proxy,
            samples: entrant.map(|(_, samples)| samples),
        };
        entrants.into_iter().map(column).collect()
    }

    /// The calmest of a few turns; the first, where nobody disturbs it.
    fn calm_turn(&self, peer: &Peer) -> Result<Sample, Error> {
        let mut calmest = self.turn(peer)?;
        for _ in 0..AGAIN {
            if calmest.strangers <= CALM {
                break;
            }
            let again = self.turn(peer)?;
            if again.strangers < calmest.strangers {
                calmest = again;
            }
        }
        Ok(calmest)
    }

    fn turn(&self, peer: &Peer) -> Result<Sample, Error> {
        let (before, busy_before, started) = (peer.server.cpu()?, core_busy(), Instant::now());
        let counted = self.load(peer, self.plan.seconds)?;
        let cpu = peer.server.cpu()?.since(before);
        let (busy, seconds) = (core_busy() - busy_before, started.elapsed().as_secs_f64());
        if counted.requests == 0.0 {
            return Err("answered nothing".to_owned());
        }
        if counted.errors > counted.requests / 1000.0 {
            return Err(format!(
                "{} errors in {} requests",
                counted.errors, counted.requests
            ));
        }
        let latency = match (self.case.latency, self.case.load) {
            (true, Load::Http1 { tls, .. }) => {
                Some(load::latency(tls, peer.into(), self.programs, &self.plan)?)
            }
            _ => None,
        };
        Ok(Sample {
            cost: Cpu {
                user: cpu.user / counted.requests,
                system: cpu.system / counted.requests,
            },
            memory: 0.0,
            per_second: counted.requests / seconds,
            errors: counted.errors,
            strangers: (1.0 - cpu.total() / busy.max(1.0)).max(0.0),
            latency,
        })
    }

    fn load(&self, peer: &Peer, seconds: f64) -> Result<load::Counted, Error> {
        load::run(
            self.case.load,
            peer.into(),
            self.programs,
            &self.plan,
            seconds,
        )
    }

    /// A fresh process for each sample: memory that was used once is seldom given back.
    fn memory(&self, proxies: &[Proxy], connections: usize) -> Vec<Column> {
        let sample = |proxy| -> Result<Sample, Error> {
            let peer = self.start(proxy)?;
            let before = peer.server.memory()?;
            let held = load::idle(peer.http, connections, self.programs, || {
                peer.server.memory()
            })?;
            let grown = held.saturating_sub(before) as f64;
            Ok(Sample {
                cost: Cpu {
                    user: grown / connections as f64,
                    system: 0.0,
                },
                memory: held as f64,
                ..Sample::default()
            })
        };
        let rounds = self.plan.rounds.min(3);
        let column = |&proxy| Column {
            proxy,
            samples: (0..rounds).map(|_| sample(proxy)).collect(),
        };
        proxies.iter().map(column).collect()
    }

    /// What the backend answers without a proxy, where the load can go to it directly.
    fn backend_alone(&self) -> Result<Option<f64>, Error> {
        let port = self.backend.port;
        let target = Target {
            http: port,
            https: port,
            h2c: port,
        };
        match self.case.load {
            Load::Http1 { tls: false, .. } | Load::Websocket => {}
            _ => return Ok(None),
        }
        let (seconds, started) = (self.plan.seconds, Instant::now());
        let counted = load::run(self.case.load, target, self.programs, &self.plan, seconds)?;
        Ok(Some(counted.requests / started.elapsed().as_secs_f64()))
    }
}
