//! The gate as the registry's door.

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::request::Parts;
use http::{Method, Response};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;

use super::endpoint::{LARGEST_FORM, PATH};
use super::{Action, Gate, Peer, Refusal, Visitor, certificate};
use crate::name::RepositoryName;
use crate::serve::answer::Answer;
use crate::serve::door::{self as serve, Door, Want};

impl Door for Gate {
    fn admit<'a>(
        &'a self,
        head: &'a Parts,
        peer: &'a serve::Peer,
        wants: &'a [Want<'a>],
    ) -> BoxFuture<'a, Result<(), Answer>> {
        Box::pin(async move {
            let judged = match self.visitor(head, peer).await {
                Ok(visitor) => judge(&visitor, wants),
                Err(refusal) => Err(refusal),
            };
            judged.map_err(|refusal| sent(refusal.response()))
        })
    }

    fn answer<'a>(
        &'a self,
        head: &'a Parts,
        body: &'a mut Incoming,
        peer: &'a serve::Peer,
    ) -> BoxFuture<'a, Option<Answer>> {
        Box::pin(async move {
            if head.uri.path() != PATH {
                return None;
            }
            let mut form = Bytes::new();
            if head.method == Method::POST {
                let read = Limited::new(body, LARGEST_FORM).collect().await;
                // What is too long or breaks off asks for nothing.
                form = read.map(|it| it.to_bytes()).unwrap_or_default();
            }
            Some(sent(self.token(head, &form, &of(peer)).await))
        })
    }

    fn may_know<'a>(
        &'a self,
        head: &'a Parts,
        peer: &'a serve::Peer,
        repository: &'a RepositoryName,
    ) -> BoxFuture<'a, bool> {
        Box::pin(async move {
            let visitor = self.visitor(head, peer).await;
            visitor.is_ok_and(|it| it.may_see(repository.as_str()))
        })
    }

    fn may_mount_any<'a>(&'a self, head: &'a Parts, peer: &'a serve::Peer) -> BoxFuture<'a, bool> {
        Box::pin(async move {
            let visitor = self.visitor(head, peer).await;
            visitor.is_ok_and(|it| it.may_pull_all())
        })
    }
}

impl Gate {
    async fn visitor(&self, head: &Parts, peer: &serve::Peer) -> Result<Visitor, Refusal> {
        let authority = head.uri.authority().map(|it| it.as_str());
        self.enter(&head.headers, authority, &of(peer)).await
    }
}

fn judge(visitor: &Visitor, wants: &[Want<'_>]) -> Result<(), Refusal> {
    if wants.is_empty() {
        return visitor.ping();
    }
    wants.iter().try_for_each(|want| match want.repository {
        Some(repository) => visitor.require(action(want.action), repository.as_str()),
        None => visitor.require_catalog(),
    })
}

fn action(action: serve::Action) -> Action {
    match action {
        serve::Action::Pull => Action::Pull,
        serve::Action::Push => Action::Push,
        serve::Action::Delete => Action::Delete,
        serve::Action::List => Action::List,
    }
}

fn of(peer: &serve::Peer) -> Peer {
    Peer {
        address: peer.address.ip(),
        is_tls: peer.is_tls,
        certificate: peer.certificates.first().map(certificate::names),
    }
}

fn sent(response: Response<Bytes>) -> Answer {
    response.map(|bytes| {
        Full::new(bytes)
            .map_err(|never| match never {})
            .boxed_unsync()
    })
}
