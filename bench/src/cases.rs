//! What is measured: one declaration a case, in the order of importance.

use crate::backend::Kind;

/// One load on one configuration.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) load: Load,
    pub(crate) backend: Kind,
    /// 1,000 hosts with 5 paths each, instead of one route.
    pub(crate) routes: bool,
    /// Narthex alone, without and with annotations.
    pub(crate) annotated: bool,
    /// With an access log.
    pub(crate) log: bool,
    /// Bytes are forwarded unread: the configurations of `peers/…-tcp`.
    pub(crate) tcp: bool,
    /// Fewer connections than the plan's: where answers are long, what is under way when a turn
    /// ends costs time and is not counted.
    pub(crate) connections: Option<usize>,
    /// Whether latency at a fixed rate is measured too.
    pub(crate) latency: bool,
    /// Part of `--smoke`.
    pub(crate) smoke: bool,
    /// Proxies that cannot take part, and why.
    pub(crate) without: &'static [(&'static str, &'static str)],
}

/// How requests are made.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Load {
    /// HTTP/1.1 by wrk.
    Http1 {
        tls: bool,
        path: &'static str,
        /// A script of `loads/`.
        script: Option<&'static str>,
        /// A connection a request.
        close: bool,
    },
    /// HTTP/2 by h2load: 4 connections with 100 streams each.
    Http2 { tls: bool },
    /// Unary gRPC calls by h2load: 4 connections with 100 streams each.
    Grpc,
    /// TLS handshakes with one request each.
    Handshakes { resume: bool },
    /// WebSocket messages.
    Websocket,
    /// Memory of so many idle connections.
    Idle(usize),
}

const GET: Load = Load::Http1 {
    tls: false,
    path: "/",
    script: None,
    close: false,
};

const NO_PARSER: (&str, &str) = ("floor", "it does not read HTTP");
const NO_TLS: (&str, &str) = ("floor", "it has no TLS");

const NO_STREAMS: (&str, &str) = ("caddy", "it forwards HTTP alone");

const PLAIN: Case = Case {
    name: "keepalive",
    about: "100-byte answers over kept connections",
    load: GET,
    backend: Kind::Nginx,
    routes: false,
    annotated: false,
    log: false,
    tcp: false,
    connections: None,
    latency: false,
    smoke: false,
    without: &[],
};

pub(crate) const ALL: &[Case] = &[
    Case {
        latency: true,
        smoke: true,
        ..PLAIN
    },
    Case {
        name: "body-16k",
        about: "16 KiB answers",
        load: get("/16k"),
        ..PLAIN
    },
    Case {
        name: "body-1m",
        about: "1 MiB answers",
        load: get("/1m"),
        connections: Some(8),
        smoke: true,
        ..PLAIN
    },
    Case {
        name: "post",
        about: "POST of 16 KiB, a small answer",
        load: scripted("post.lua"),
        backend: Kind::Own,
        smoke: true,
        ..PLAIN
    },
    Case {
        name: "no-keepalive",
        about: "a connection a request from clients, kept connections to the backend",
        load: Load::Http1 {
            tls: false,
            path: "/",
            script: None,
            close: true,
        },
        without: &[NO_PARSER],
        ..PLAIN
    },
    Case {
        name: "tls-keepalive",
        about: "100-byte answers over kept TLS 1.3 connections",
        load: Load::Http1 {
            tls: true,
            path: "/",
            script: None,
            close: false,
        },
        latency: true,
        without: &[NO_TLS],
        ..PLAIN
    },
    Case {
        name: "tls-handshake",
        about: "full TLS 1.3 handshakes (ECDSA P-256, X25519) with one request each",
        load: Load::Handshakes { resume: false },
        smoke: true,
        without: &[NO_TLS],
        ..PLAIN
    },
    Case {
        name: "tls-resume",
        about: "resumed TLS 1.3 handshakes with one request each",
        load: Load::Handshakes { resume: true },
        without: &[NO_TLS],
        ..PLAIN
    },
    Case {
        name: "h2",
        about: "HTTP/2 without TLS, 4 connections with 100 streams, to HTTP/1.1",
        load: Load::Http2 { tls: false },
        smoke: true,
        without: &[NO_PARSER],
        ..PLAIN
    },
    Case {
        name: "h2-tls",
        about: "HTTP/2 over TLS 1.3, 4 connections with 100 streams, to HTTP/1.1",
        load: Load::Http2 { tls: true },
        without: &[NO_TLS],
        ..PLAIN
    },
    Case {
        name: "h2-h2c",
        about: "HTTP/2 without TLS, 4 connections with 100 streams, to HTTP/2 without TLS",
        load: Load::Http2 { tls: false },
        backend: Kind::H2c,
        smoke: true,
        without: &[NO_PARSER],
        ..PLAIN
    },
    Case {
        name: "grpc",
        about: "unary gRPC calls of 100 bytes each way, 4 connections with 100 streams",
        load: Load::Grpc,
        backend: Kind::H2c,
        smoke: true,
        without: &[NO_PARSER],
        ..PLAIN
    },
    Case {
        name: "routes-5000",
        about: "1,000 hosts with 5 paths each, asked in turn",
        load: scripted("routes.lua"),
        routes: true,
        without: &[(
            "caddy",
            "each of its routes has a connection pool of its own, which would be measured instead",
        )],
        ..PLAIN
    },
    Case {
        name: "annotations",
        about: "as keepalive, by Narthex without and with ten common annotations on its route",
        annotated: true,
        ..PLAIN
    },
    Case {
        name: "log-on",
        about: "as keepalive, with a JSON access log to a file",
        log: true,
        without: &[("floor", "it has no log")],
        ..PLAIN
    },
    Case {
        name: "idle-1000",
        about: "memory of 1,000 connections that were used once",
        load: Load::Idle(1000),
        smoke: true,
        ..PLAIN
    },
    Case {
        name: "idle-10000",
        about: "memory of 10,000 connections that were used once",
        load: Load::Idle(10_000),
        // Two descriptors for each connection do not fit under the common limit of 20,000.
        without: &[("floor", "it holds a connection to the backend for each")],
        ..PLAIN
    },
    Case {
        name: "websocket",
        about: "64-byte WebSocket messages, echoed",
        load: Load::Websocket,
        backend: Kind::Own,
        smoke: true,
        ..PLAIN
    },
    Case {
        name: "tcp",
        about: "TCP forwarded unread: 100-byte answers over kept connections",
        tcp: true,
        latency: true,
        without: &[NO_STREAMS],
        ..PLAIN
    },
    Case {
        name: "tcp-connect",
        about: "TCP forwarded unread: a connection for each 100-byte answer",
        load: Load::Http1 {
            tls: false,
            path: "/",
            script: None,
            close: true,
        },
        tcp: true,
        without: &[NO_STREAMS],
        ..PLAIN
    },
    Case {
        name: "tcp-1m",
        about: "TCP forwarded unread: 1 MiB answers over kept connections",
        load: get("/1m"),
        connections: Some(8),
        tcp: true,
        without: &[NO_STREAMS],
        ..PLAIN
    },
];

/// All names, for people.
pub(crate) fn names() -> String {
    let names: Vec<_> = ALL.iter().map(|case| case.name).collect();
    names.join(", ")
}

const fn get(path: &'static str) -> Load {
    Load::Http1 {
        tls: false,
        path,
        script: None,
        close: false,
    }
}

const fn scripted(script: &'static str) -> Load {
    Load::Http1 {
        tls: false,
        path: "/",
        script: Some(script),
        close: false,
    }
}

impl Case {
    /// Why a proxy does not take part.
    pub(crate) fn leaves_out(&self, proxy: &str) -> Option<&'static str> {
        let found = self.without.iter().find(|(name, _)| *name == proxy);
        found.map(|(_, why)| *why)
    }

    /// What the figures are per.
    pub(crate) fn unit(&self) -> &'static str {
        match self.load {
            Load::Http1 { .. } | Load::Http2 { .. } | Load::Grpc => "CPU µs per request",
            Load::Handshakes { .. } => "CPU µs per connection",
            Load::Websocket => "CPU µs per message",
            Load::Idle(_) => "bytes per connection",
        }
    }
}
