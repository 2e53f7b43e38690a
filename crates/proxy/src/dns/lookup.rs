//! One name's addresses, of both families.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use hickory_resolver::config::{ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::op::Query;
use hickory_resolver::proto::rr::{Name, RecordType};
use hickory_resolver::system_conf::read_system_conf;
use hickory_resolver::{Hosts, TokioResolver};
use tokio::time::{sleep, timeout};

use super::{FIRST_RETRY, MAX_TTL};

/// How long the second family's answer may come after the first's: some servers never answer the
/// question for AAAA.
const SECOND_FAMILY: Duration = Duration::from_secs(1);
/// The whole lookup, whatever resolv.conf says of attempts and search domains.
const LOOKUP: Duration = Duration::from_secs(20);

/// What a name stands for.
pub(super) struct Answer {
    /// At least one.
    pub(super) addresses: Vec<IpAddr>,
    /// How long that holds.
    pub(super) ttl: Duration,
}

/// A DNS client that follows the system's configuration.
#[derive(Debug)]
pub(super) struct Client {
    /// Locked to clone or replace it, never while waiting.
    current: Mutex<Current>,
    follow_system: bool,
}

#[derive(Debug, Clone)]
struct Current {
    resolver: TokioResolver,
    hosts: Arc<Hosts>,
    search: Vec<Name>,
    stamps: Stamps,
}

/// When the system's configuration was changed.
type Stamps = [Option<SystemTime>; 2];

fn stamps() -> Stamps {
    ["/etc/resolv.conf", "/etc/hosts"]
        .map(|path| fs::metadata(path).and_then(|meta| meta.modified()).ok())
}

impl Client {
    /// With the system's configuration.
    pub(super) fn system() -> Result<Self, NetError> {
        let stamps = stamps();
        let (config, options) = read_system_conf().unwrap_or_else(|error| {
            tracing::warn!(
                %error,
                "/etc/resolv.conf cannot be used: external names resolve from /etc/hosts only"
            );
            let nobody = ResolverConfig::from_parts(None, Vec::new(), Vec::new());
            (nobody, ResolverOpts::default())
        });
        let hosts = Hosts::from_system().unwrap_or_default();
        Ok(Self {
            current: Mutex::new(Current::new(config, options, hosts, stamps)?),
            follow_system: true,
        })
    }

    #[cfg(test)]
    pub(super) fn fixed(config: ResolverConfig, options: ResolverOpts, hosts: Hosts) -> Self {
        Self {
            current: Mutex::new(Current::new(config, options, hosts, [None; 2]).unwrap()),
            follow_system: false,
        }
    }

    /// The addresses of a host.
    ///
    /// # Errors
    /// If there is none, or no answer.
    pub(super) async fn lookup(&self, host: &str) -> Result<Answer, NetError> {
        let current = self.current();
        let lookup = current.lookup(host);
        // Boxed: a task waits in here for seconds a day and must not keep room for it all day.
        timeout(LOOKUP, Box::pin(lookup))
            .await
            .unwrap_or(Err(NetError::Timeout))
    }

    fn current(&self) -> Current {
        // Nothing that could panic happens under the lock; and what it guards is whole anyway.
        let lock = |mutex: &Mutex<Current>| match mutex.lock() {
            Ok(guard) => guard.clone(),
            Err(poisoned) => poisoned.into_inner().clone(),
        };
        let current = lock(&self.current);
        if !self.follow_system || stamps() == current.stamps {
            return current;
        }
        match Self::system().map(|new| lock(&new.current)) {
            Ok(new) => {
                if let Ok(mut place) = self.current.lock() {
                    *place = new.clone();
                }
                new
            }
            Err(_) => current,
        }
    }
}

impl Current {
    fn new(
        config: ResolverConfig,
        mut options: ResolverOpts,
        hosts: Hosts,
        stamps: Stamps,
    ) -> Result<Self, NetError> {
        let mut search: Vec<Name> = config.domain.iter().cloned().collect();
        if !config.search.is_empty() {
            search.clone_from(&config.search);
        }
        // The cache must not outlive what we think an answer's life is.
        options.positive_max_ttl = Some(MAX_TTL);
        options.negative_max_ttl = Some(FIRST_RETRY / 2);
        options.use_hosts_file = ResolveHosts::Never; // see in_hosts_file
        let provider = TokioRuntimeProvider::default();
        let mut builder = TokioResolver::builder_with_config(config, provider);
        *builder.options_mut() = options;
        Ok(Self {
            resolver: builder.build()?,
            hosts: Arc::new(hosts),
            search,
            stamps,
        })
    }

    /// A name is first taken as it stands, whatever `ndots` says: an ExternalName is what a CNAME
    /// would be, and pods' `ndots:5` would send every outside name through the cluster's domains.
    async fn lookup(&self, host: &str) -> Result<Answer, NetError> {
        let name = Name::from_ascii(host)?;
        let mut names = vec![name.clone()];
        if !name.is_fqdn() {
            let domains = self.search.iter();
            names.extend(domains.filter_map(|domain| name.clone().append_domain(domain).ok()));
        }
        let mut result = Err(NetError::NoConnections);
        for (index, mut name) in names.into_iter().enumerate() {
            name.set_fqdn(true);
            match self.both_families(name).await {
                Ok(answer) => return Ok(answer),
                // Only a name that is known not to exist may be looked for elsewhere.
                Err(error) if !error.is_no_records_found() => return Err(error),
                Err(error) if index == 0 => result = Err(error),
                Err(_) => {}
            }
        }
        result
    }

    async fn both_families(&self, name: Name) -> Result<Answer, NetError> {
        if let Some(answer) = self.in_hosts_file(&name) {
            return Ok(answer);
        }
        let v4 = self.resolver.lookup(name.clone(), RecordType::A);
        let v6 = self.resolver.lookup(name, RecordType::AAAA);
        tokio::pin!(v4, v6);
        let (first, second) = tokio::select! {
            v4 = &mut v4 => {
                let found = v4.is_ok();
                (v4, second(v6, found).await)
            }
            v6 = &mut v6 => {
                let found = v6.is_ok();
                (v6, second(v4, found).await)
            }
        };
        let mut found = Vec::new();
        let mut ttl = MAX_TTL;
        let mut failure: Option<NetError> = None;
        for family in [first, second] {
            match family {
                Ok(lookup) => {
                    found.extend(addresses(&lookup));
                    let left = lookup
                        .valid_until()
                        .saturating_duration_since(Instant::now());
                    ttl = ttl.min(left);
                }
                // "There is none" says less than "the server did not answer".
                Err(error) => match &failure {
                    Some(failure) if !failure.is_no_records_found() => {}
                    _ => failure = Some(error),
                },
            }
        }
        match failure {
            Some(failure) if found.is_empty() => Err(failure),
            None if found.is_empty() => Err(io::Error::other("no address").into()),
            _ => Ok(Answer {
                addresses: found,
                ttl,
            }),
        }
    }

    /// A name in the hosts file has the addresses that are there and no others: one family from
    /// there and the other from DNS could be two machines.
    fn in_hosts_file(&self, name: &Name) -> Option<Answer> {
        let addresses: Vec<IpAddr> = [RecordType::A, RecordType::AAAA]
            .into_iter()
            .filter_map(|family| {
                let query = Query::query(name.clone(), family);
                self.hosts.lookup_static_host(&query)
            })
            .flat_map(|lookup| addresses(&lookup))
            .collect();
        (!addresses.is_empty()).then_some(Answer {
            addresses,
            ttl: MAX_TTL,
        })
    }
}

fn addresses(lookup: &Lookup) -> Vec<IpAddr> {
    let answers = lookup.answers().iter();
    answers.filter_map(|record| record.data.ip_addr()).collect()
}

/// Waits for the other family, not long if there is something already.
async fn second(
    lookup: impl Future<Output = Result<Lookup, NetError>>,
    found: bool,
) -> Result<Lookup, NetError> {
    tokio::select! {
        result = lookup => result,
        () = sleep(SECOND_FAMILY), if found => Err(NetError::Timeout),
    }
}
