//! Who may do what: asked before a request does anything.

use std::net::SocketAddr;

use futures_util::future::BoxFuture;
use http::request::Parts;
use hyper::body::Incoming;
use rustls::pki_types::CertificateDer;

use super::answer::Answer;
use crate::name::RepositoryName;

/// What is done to a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Reading content, tags and referrers.
    Pull,
    /// Adding content and tags.
    Push,
    /// Taking them away.
    Delete,
    /// Naming what there is.
    List,
}

/// What a request wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Want<'a> {
    /// To what is wanted.
    pub action: Action,
    /// In which repository; `None` is the registry as a whole.
    pub repository: Option<&'a RepositoryName>,
}

/// From whom a request comes.
#[derive(Debug, Clone)]
pub struct Peer {
    /// The other end of the connection.
    pub address: SocketAddr,
    /// Whether the connection is TLS.
    pub is_tls: bool,
    /// The certificate that the client has shown to be its own, and those above it.
    pub certificates: Vec<CertificateDer<'static>>,
}

/// Who may do what.
pub trait Door: std::fmt::Debug + Send + Sync {
    /// Lets a request do all of what it wants, or answers it. A request that wants nothing asks
    /// whether the registry is there (`GET /v2/`).
    fn admit<'a>(
        &'a self,
        head: &'a Parts,
        peer: &'a Peer,
        wants: &'a [Want<'a>],
    ) -> BoxFuture<'a, Result<(), Answer>>;

    /// Answers what is asked of the door itself, as tokens are. `None` if this is not.
    fn answer<'a>(
        &'a self,
        head: &'a Parts,
        body: &'a mut Incoming,
        peer: &'a Peer,
    ) -> BoxFuture<'a, Option<Answer>>;

    /// Whether the name of a repository may be told to whoever sent this request.
    fn may_know<'a>(
        &'a self,
        head: &'a Parts,
        peer: &'a Peer,
        repository: &'a RepositoryName,
    ) -> BoxFuture<'a, bool>;

    /// Whether whoever sent this request may have a blob of any repository, by its digest alone.
    fn may_mount_any<'a>(&'a self, head: &'a Parts, peer: &'a Peer) -> BoxFuture<'a, bool>;
}

/// Everybody may do everything.
#[derive(Debug)]
pub struct Open;

impl Door for Open {
    fn admit<'a>(
        &'a self,
        _: &'a Parts,
        _: &'a Peer,
        _: &'a [Want<'a>],
    ) -> BoxFuture<'a, Result<(), Answer>> {
        Box::pin(async { Ok(()) })
    }

    fn answer<'a>(
        &'a self,
        _: &'a Parts,
        _: &'a mut Incoming,
        _: &'a Peer,
    ) -> BoxFuture<'a, Option<Answer>> {
        Box::pin(async { None })
    }

    fn may_know<'a>(
        &'a self,
        _: &'a Parts,
        _: &'a Peer,
        _: &'a RepositoryName,
    ) -> BoxFuture<'a, bool> {
        Box::pin(async { true })
    }

    fn may_mount_any<'a>(&'a self, _: &'a Parts, _: &'a Peer) -> BoxFuture<'a, bool> {
        Box::pin(async { true })
    }
}
