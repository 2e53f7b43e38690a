//! The whole configuration at one moment.

use std::sync::Arc;

use crate::certificate::CertificateTable;
use crate::host::HostTable;
use crate::path::NormalPath;
use crate::route::Rule;
use crate::router::PathRouter;

/// The whole configuration at one moment, shared by all workers through one pointer.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Counts compilations, from 1.
    pub generation: u64,
    /// What is listened on, sorted by port.
    pub listeners: Box<[Arc<Listener>]>,
}

impl Snapshot {
    /// The listener of a port.
    pub fn listener(&self, port: u16) -> Option<&Arc<Listener>> {
        let index = self
            .listeners
            .binary_search_by_key(&port, |listener| listener.port)
            .ok()?;
        Some(&self.listeners[index])
    }
}

/// What is spoken on a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP without TLS.
    Http,
    /// HTTP inside TLS, terminated here.
    Https,
}

/// One port and what is served there.
#[derive(Debug)]
pub struct Listener {
    /// The port as configured; what is bound may differ (a privileged port + 8000).
    pub port: u16,
    /// What is spoken.
    pub protocol: Protocol,
    /// Virtual hosts.
    pub hosts: Arc<HostTable<VirtualHost>>,
    /// Answers what no host claims.
    pub default: Arc<VirtualHost>,
    /// Certificates, for [`Protocol::Https`].
    pub certificates: Option<Arc<CertificateTable>>,
}

impl Listener {
    /// The rule that answers a request, and the path that goes upstream.
    ///
    /// # Errors
    /// [`AmbiguousPath`] if an encoded slash, read as a slash, would select another rule.
    #[inline(never)] // The instruction counts name it.
    pub fn select<'a>(
        &'a self,
        host: &str,
        path: &'a NormalPath<'_>,
    ) -> Result<Selection<'a>, AmbiguousPath> {
        let host = self.hosts.find(host).unwrap_or(&self.default);
        host.select(path)
    }
}

/// One host's rules.
#[derive(Debug)]
pub struct VirtualHost {
    /// The host as configured: a name, `*.` and a name, or empty for all.
    pub name: Arc<str>,
    /// Its rules.
    pub rules: Box<[Arc<Rule>]>,
    /// From paths to indexes of `rules`.
    pub paths: PathRouter,
    /// Answers the paths that no rule claims.
    pub default: Arc<Rule>,
    /// Which counters of the metrics the host's requests go to; 0 is shared by unknown hosts.
    pub metrics_slot: u16,
}

/// What [`Listener::select`] found.
#[derive(Debug)]
pub struct Selection<'a> {
    /// The host that was selected.
    pub host: &'a Arc<VirtualHost>,
    /// The rule that answers.
    pub rule: &'a Arc<Rule>,
    /// The path to send upstream: one that every reader reads as this rule's.
    pub path: &'a [u8],
}

/// A path that two readers would read as two rules' paths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AmbiguousPath;

impl VirtualHost {
    /// The rule for a path.
    pub fn rule(&self, path: &[u8]) -> &Arc<Rule> {
        match self.paths.find(path) {
            Some(index) => &self.rules[index as usize],
            None => &self.default,
        }
    }

    fn select<'a>(
        self: &'a Arc<Self>,
        path: &'a NormalPath<'_>,
    ) -> Result<Selection<'a>, AmbiguousPath> {
        let rule = self.rule(path.routed());
        if let Some(slashed) = path.slashed()
            && !Arc::ptr_eq(rule, self.rule(slashed))
        {
            return Err(AmbiguousPath);
        }
        // Empty elements go upstream as they came where that changes nothing.
        let kept = path.kept();
        let path = if Arc::ptr_eq(rule, self.rule(kept)) {
            kept
        } else {
            path.routed()
        };
        Ok(Selection {
            host: self,
            rule,
            path,
        })
    }
}
