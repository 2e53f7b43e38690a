//! What only nginx's formats tell of an exchange, noted while it is under way.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use model::AccessLogs;
use model::access_log::LogFormat;
use model::text::{Named, Piece, Variable};

use crate::headers::{Headers, RequestHead};

/// What only nginx's formats tell of an exchange. The format is that of its beginning.
#[derive(Debug)]
pub(crate) struct Trail {
    logs: Option<Arc<AccessLogs>>,
    /// Bytes of the request's head.
    head: usize,
    /// The request's host, once it is known, and who claims it.
    host: Option<(Box<str>, Claim)>,
    /// Fields of the request as the client sent them, as far as the format asks for them.
    asked: Vec<(Box<str>, Box<[u8]>)>,
    /// The same of the response as the backend sent it.
    answered: Vec<(Box<str>, Box<[u8]>)>,
    /// In their order.
    pub(super) attempts: Vec<Step>,
}

/// Who claims a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Claim {
    /// Somebody claims just this one.
    Exact,
    /// Somebody claims all of its domain.
    Wildcard,
    /// Nobody; whoever takes all hosts may have it.
    Nobody,
}

/// A part of the way to an answer.
#[derive(Debug)]
pub(super) enum Step {
    /// An endpoint was asked.
    Attempt(Attempt),
    /// Another backend is asked from here on.
    Turn,
}

/// An attempt at an endpoint.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) address: SocketAddr,
    pub(super) begun: Instant,
    /// Until there was a connection.
    pub(super) connected: Option<Duration>,
    /// Until its response began.
    pub(super) head: Option<Duration>,
    /// In all; none as long as it lasts.
    pub(super) took: Option<Duration>,
    /// 0 is none.
    pub(super) status: u16,
    /// Bytes of its response's body.
    pub(super) length: u64,
}

/// How an attempt has ended.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Ended {
    /// When there was a connection.
    pub(crate) connected: Option<Instant>,
    /// From then on until the response began.
    pub(crate) head: Option<Duration>,
    /// 0 is none.
    pub(crate) status: u16,
    /// Bytes of the response's body.
    pub(crate) length: u64,
}

impl Trail {
    /// Of a request that begins, where no format asks for anything.
    pub(crate) fn plain(request: &RequestHead) -> Self {
        Self {
            logs: None,
            head: request.headers.text_bytes(),
            host: None,
            asked: Vec::new(),
            answered: Vec::new(),
            attempts: Vec::new(),
        }
    }

    /// Of a request that begins.
    pub(super) fn new(logs: Option<Arc<AccessLogs>>, request: &RequestHead) -> Self {
        let mut trail = Self {
            logs,
            ..Self::plain(request)
        };
        let fields = trail.format().text.pieces().iter().filter_map(asked);
        let fields = fields.filter_map(|name| value(&request.headers, name));
        trail.asked = fields.collect();
        trail
    }

    /// How the line looks.
    pub(super) fn format(&self) -> &LogFormat {
        requests(self.logs.as_deref())
    }

    /// Which host it is for, and by which name it is configured.
    pub(crate) fn routed(&mut self, host: &str, configured: &str) {
        let claim = match configured {
            "" => Claim::Nobody,
            name if name == host => Claim::Exact,
            _ => Claim::Wildcard,
        };
        self.host = Some((host.into(), claim));
    }

    /// The same, if it came so far.
    pub(crate) fn host(&self) -> Option<(&str, Claim)> {
        self.host.as_ref().map(|(host, claim)| (&**host, *claim))
    }

    /// Bytes of the request's head.
    pub(crate) fn head_bytes(&self) -> u64 {
        self.head as u64
    }

    /// How long the attempt took until there was a connection, until its response began, and in
    /// all; if there was just one.
    pub(crate) fn only_attempt(&self) -> Option<[Option<Duration>; 3]> {
        match &*self.attempts {
            [Step::Attempt(attempt)] => Some([attempt.connected, attempt.head, attempt.took]),
            _ => None,
        }
    }

    /// An endpoint is asked.
    pub(crate) fn begin(&mut self, address: SocketAddr, begun: Instant) {
        self.attempts.push(Step::Attempt(Attempt {
            address,
            begun,
            connected: None,
            head: None,
            took: None,
            status: 0,
            length: 0,
        }));
    }

    /// The attempt that was begun last has ended, if it had not.
    pub(crate) fn end(&mut self, ended: Ended) {
        if let Some(Step::Attempt(attempt)) = self.attempts.last_mut()
            && attempt.took.is_none()
        {
            attempt.took = Some(attempt.begun.elapsed());
            let connected = ended.connected.map(|at| at.duration_since(attempt.begun));
            attempt.connected = connected;
            attempt.head = ended.head.map(|head| connected.unwrap_or_default() + head);
            attempt.status = ended.status;
            attempt.length = ended.length;
        }
    }

    /// Another backend is asked from here on.
    pub(crate) fn turn(&mut self) {
        if !self.attempts.is_empty() {
            self.attempts.push(Step::Turn);
        }
    }

    /// A backend has answered with these fields.
    pub(crate) fn answered(&mut self, headers: &Headers) {
        let fields = self.format().text.pieces().iter();
        let fields = fields.filter_map(|piece| match piece {
            Piece::Variable(Variable::UpstreamHeader(name)) => value(headers, name),
            _ => None,
        });
        self.answered = fields.collect();
    }

    /// A field of the request as the client sent it.
    pub(super) fn request_field(&self, name: &str) -> Option<&[u8]> {
        find(&self.asked, name)
    }

    /// A field of the response as the backend sent it.
    pub(super) fn upstream_field(&self, name: &str) -> Option<&[u8]> {
        find(&self.answered, name)
    }
}

/// The format of requests.
pub(super) fn requests(logs: Option<&AccessLogs>) -> &LogFormat {
    let own = logs.and_then(|logs| logs.requests.as_ref());
    own.unwrap_or_else(|| LogFormat::of_requests())
}

/// The field of the request that a piece of a format asks for.
fn asked(piece: &Piece) -> Option<&str> {
    match piece {
        Piece::Variable(Variable::Header(name)) => Some(name),
        Piece::Variable(Variable::Cookie(_)) => Some("cookie"),
        Piece::Variable(Variable::Named(Named::RemoteUser)) => Some("authorization"),
        Piece::Variable(Variable::Named(Named::ForwardedFor)) => Some("x-forwarded-for"),
        Piece::Variable(Variable::Named(Named::ContentLength)) => Some("content-length"),
        Piece::Variable(Variable::Named(Named::ContentType)) => Some("content-type"),
        _ => None,
    }
}

fn value(headers: &Headers, name: &str) -> Option<(Box<str>, Box<[u8]>)> {
    let value = headers.joined(name.as_bytes())?;
    Some((name.into(), value.into_owned().into()))
}

fn find<'a>(fields: &'a [(Box<str>, Box<[u8]>)], name: &str) -> Option<&'a [u8]> {
    let found = fields.iter().find(|(known, _)| **known == *name);
    found.map(|(_, value)| &**value)
}
