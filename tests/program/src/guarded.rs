//! Ingresses of ingress-nginx's class whose annotations say who may come in.

use std::net::SocketAddr;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::nginx::ingress;
use crate::{Backend, Folder, HOST, Ingress, Narthex, Response, service};

/// The host whose Ingress has no annotation.
pub const OPEN: &str = "open.example";

/// Annotations without their prefix.
pub type Annotations<'a> = &'a [(&'a str, &'a str)];

/// A host that is guarded, `a.example`, beside one that is not, both before an echoing backend.
pub struct Guarded {
    pub narthex: Narthex,
    pub folder: Folder,
    pub web: Backend,
}

impl Guarded {
    /// Every path of the host is guarded so.
    pub fn by(annotations: Annotations<'_>) -> Self {
        Self::with(annotations, &[], &[])
    }

    /// The same with more documents and flags.
    pub fn with(annotations: Annotations<'_>, documents: &[String], flags: &[&str]) -> Self {
        let guarded = ingress("web", annotations).host(HOST).prefix("/", "web");
        Self::of(Backend::named("web"), &guarded, documents, flags)
    }

    /// Any Ingress before any backend, which is the Service `web`.
    pub fn of(web: Backend, guarded: &Ingress, documents: &[String], flags: &[&str]) -> Self {
        let mut site = vec![
            service("web", &[web.address()]),
            ingress("open", &[]).host(OPEN).prefix("/", "web").yaml(),
        ];
        site.extend_from_slice(documents);
        let folder = Folder::of(&site);
        folder.write("ingress.yaml", &guarded.yaml());
        let narthex = Narthex::on(&folder).args(flags).start();
        Self {
            narthex,
            folder,
            web,
        }
    }

    /// Has the Ingress have other annotations.
    pub fn change(&self, annotations: Annotations<'_>) {
        let guarded = ingress("web", annotations).host(HOST).prefix("/", "web");
        self.folder.rename_over("ingress.yaml", &guarded.yaml());
    }

    #[track_caller]
    pub fn get(&self, path: &str) -> Response {
        self.narthex.get(HOST, path)
    }

    /// A GET with more header lines, each ended by CRLF.
    #[track_caller]
    pub fn get_with(&self, path: &str, lines: &str) -> Response {
        self.request("GET", path, lines)
    }

    #[track_caller]
    pub fn request(&self, method: &str, path: &str, lines: &str) -> Response {
        let head = format!("{method} {path} HTTP/1.1\r\nHost: {HOST}\r\n{lines}\r\n");
        crate::Conn::plain(self.narthex.http).ask(&head)
    }

    /// A GET as if from this address; the program has to trust us.
    #[track_caller]
    pub fn get_from(&self, client: &str) -> Response {
        self.get_with("/", &format!("X-Forwarded-For: {client}\r\n"))
    }

    /// The reason in the access log of the request for a path.
    pub fn reason(&self, path: &str) -> String {
        let line = self.narthex.access(path);
        line["reason"].as_str().unwrap_or_default().to_owned()
    }

    /// Asserts that the other host is as open as ever.
    #[track_caller]
    pub fn assert_others_are_open(&self) {
        assert_eq!(self.narthex.get(OPEN, "/").status, 200);
    }
}

/// The line of `Authorization: Basic`.
pub fn basic(name: &str, password: &str) -> String {
    let text = BASE64_STANDARD.encode(format!("{name}:{password}"));
    format!("Authorization: Basic {text}\r\n")
}

/// A Secret with texts.
pub fn opaque(name: &str, data: &[(&str, &str)]) -> String {
    let mut text = format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}}}\ndata:\n");
    for (key, value) in data {
        text += &format!("  {key}: {}\n", BASE64_STANDARD.encode(value));
    }
    text
}

/// A URL at an address.
pub fn url(address: SocketAddr, path: &str) -> String {
    format!("http://{address}{path}")
}
