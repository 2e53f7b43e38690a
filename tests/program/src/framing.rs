//! Payloads against real origins: each is refused, or means the same to all of them.

use std::io::Write;
use std::time::Duration;

use crate::folder::{class, service};
use crate::http1::{Conn, Response};
use crate::origins::{Origin, Recorder, Understood};
use crate::{Folder, Ingress, Narthex};

/// What must become of a payload.
#[derive(Clone, Copy, Debug)]
pub enum Verdict {
    /// Answered with one of these before any origin sees a byte, and the connection ends.
    Refused(&'static [u16]),
    /// Its head was good and its body is not: no origin takes it for whole, and the connection
    /// ends, with 400 or without an answer.
    Cut,
    /// It is one request to everyone: method, target and body. The connection stays in step.
    Forwarded(&'static str, &'static str, &'static str),
    /// The same, but an origin may have a narrower idea of what it serves and refuse it, whole.
    ForwardedOrRefused(&'static str, &'static str, &'static str),
}

pub const BAD: Verdict = Verdict::Refused(&[400]);

/// A payload with the name of what it tries. `$H` in it is the host.
pub type Case = (&'static str, &'static [u8], Verdict);

/// What follows a payload that is not to be forwarded: nobody may ever see it.
const SMUGGLED: &[u8] = b"GET /smuggled HTTP/1.1\r\nHost: $H\r\n\r\n";

/// nginx, Python, Node and a recording socket behind one program.
pub struct Lab {
    narthex: Narthex,
    origins: Vec<Origin>,
    recorder: Recorder,
    _folder: Folder,
}

impl Default for Lab {
    fn default() -> Self {
        Self::start()
    }
}

impl Lab {
    #[track_caller]
    pub fn start() -> Self {
        let origins = vec![Origin::nginx(), Origin::python(), Origin::node()];
        let recorder = Recorder::start();
        let mut documents = vec![class()];
        let mut ingress = Ingress::named("origins");
        let addresses = origins.iter().map(|origin| (origin.name, origin.address));
        for (name, address) in addresses.chain([("recorder", recorder.address)]) {
            documents.push(service(name, &[address]));
            ingress = ingress.host(&host(name)).prefix("/", name);
        }
        documents.push(ingress.yaml());
        let folder = Folder::of(&documents);
        let narthex = Narthex::on(&folder).start();
        Self {
            narthex,
            origins,
            recorder,
            _folder: folder,
        }
    }

    /// Runs every case against every origin; panics with all that went wrong.
    #[track_caller]
    pub fn assert_all(&self, cases: &[Case]) {
        let mut wrong = Vec::new();
        for case in cases {
            let names = self.origins.iter().map(|origin| origin.name);
            for name in names.chain(["recorder"]) {
                if let Err(what) = self.check(name, case) {
                    wrong.push(format!("{} at {name}: {what}", case.0));
                }
            }
        }
        assert!(
            wrong.is_empty(),
            "{} wrong:\n{}",
            wrong.len(),
            wrong.join("\n")
        );
    }

    fn check(&self, name: &str, (_, payload, verdict): &Case) -> Result<(), String> {
        let mut bytes = with_host(payload, &host(name));
        let mut conn = Conn::plain(self.narthex.http);
        let forwarded = match *verdict {
            Verdict::Refused(_) | Verdict::Cut => None,
            Verdict::Forwarded(method, target, body)
            | Verdict::ForwardedOrRefused(method, target, body) => Some(Understood {
                method: method.to_owned(),
                target: target.to_owned(),
                body: body.to_owned(),
            }),
        };
        if forwarded.is_none() {
            bytes.extend(with_host(SMUGGLED, &host(name)));
        }
        conn.write_all(&bytes).map_err(|error| error.to_string())?;
        match (verdict, forwarded) {
            (_, Some(expected)) => {
                let may_refuse = matches!(verdict, Verdict::ForwardedOrRefused(..));
                self.check_forwarded(name, conn, &expected, may_refuse)
            }
            (Verdict::Refused(statuses), _) => self.check_refused(name, conn, statuses),
            _ => self.check_cut(name, conn),
        }
    }

    fn check_refused(&self, name: &str, mut conn: Conn, statuses: &[u16]) -> Result<(), String> {
        conn.end_sending();
        let answer = conn
            .try_response(false)
            .map_err(|error| format!("no answer: {error}"))?;
        if !statuses.contains(&answer.status) {
            return Err(format!("answered {}", answer.status));
        }
        if answer.header("connection") != Some("close") {
            return Err("does not say that the connection closes".to_owned());
        }
        self.assert_end(name, &mut conn, &[])
    }

    fn check_cut(&self, name: &str, mut conn: Conn) -> Result<(), String> {
        conn.end_sending();
        match conn.try_response(false) {
            Ok(Response { status: 400, .. }) | Err(_) => {}
            Ok(answer) => return Err(format!("answered {}", answer.status)),
        }
        self.assert_end(name, &mut conn, &[])
    }

    fn check_forwarded(
        &self,
        name: &str,
        mut conn: Conn,
        expected: &Understood,
        may_refuse: bool,
    ) -> Result<(), String> {
        let answer = conn
            .try_response(expected.method == "HEAD")
            .map_err(|error| format!("no answer: {error}"))?;
        if may_refuse && (400..=501).contains(&answer.status) {
            return self.assert_seen(name, &[]);
        }
        if answer.status != 200 {
            return Err(format!("answered {} {}", answer.status, answer.text()));
        }
        self.assert_seen(name, std::slice::from_ref(expected))?;
        if answer.header("connection") == Some("close") {
            return self.assert_end(name, &mut conn, &[]);
        }
        let after = format!("GET /after HTTP/1.1\r\nHost: {}\r\n\r\n", host(name));
        conn.write_all(after.as_bytes())
            .and_then(|()| conn.try_response(false))
            .map_err(|error| format!("the next request fails: {error}"))?;
        let after = Understood {
            method: "GET".to_owned(),
            target: "/after".to_owned(),
            body: String::new(),
        };
        self.assert_seen(name, &[after])
    }

    fn assert_end(&self, name: &str, conn: &mut Conn, seen: &[Understood]) -> Result<(), String> {
        if !conn.is_closed_within(Duration::from_secs(5)) {
            return Err("the connection is not closed".to_owned());
        }
        self.assert_seen(name, seen)
    }

    fn assert_seen(&self, name: &str, expected: &[Understood]) -> Result<(), String> {
        let origin = self.origins.iter().find(|origin| origin.name == name);
        let seen = match origin {
            Some(origin) => origin.take_seen(),
            None => {
                let messages = self.recorder.take_seen();
                let read = messages.into_iter().map(|message| {
                    let raw = String::from_utf8_lossy(&message.raw).into_owned();
                    message.read.map_err(|what| format!("{what} in {raw:?}"))
                });
                read.collect::<Result<_, _>>()?
            }
        };
        if seen == expected {
            Ok(())
        } else {
            Err(format!("it understood {seen:?}"))
        }
    }
}

fn host(name: &str) -> String {
    format!("{name}.example")
}

fn with_host(payload: &[u8], host: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(payload.len() + 32);
    let mut rest = payload;
    while let Some(at) = rest.windows(2).position(|window| window == b"$H") {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(host.as_bytes());
        rest = &rest[at + 2..];
    }
    out.extend_from_slice(rest);
    out
}
