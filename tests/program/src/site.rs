//! The smallest site: one backend behind one host.

use crate::certificate::Authority;
use crate::folder::{class, docs, secret, service, service_speaking};
use crate::{Backend, Certificate, Conn, Folder, Ingress, Narthex, Response};

/// The host of every [`Site`].
pub const HOST: &str = "a.example";

/// The backend `web` behind `a.example`, and the program that serves it.
pub struct Site {
    pub narthex: Narthex,
    pub folder: Folder,
    pub web: Backend,
}

impl Site {
    /// An echoing backend, no flags.
    pub fn echo() -> Self {
        Self::with_flags(&[])
    }

    /// An echoing backend and some flags.
    pub fn with_flags(flags: &[&str]) -> Self {
        Self::of(Backend::named("web"), flags)
    }

    /// Any backend and some flags.
    pub fn of(web: Backend, flags: &[&str]) -> Self {
        let folder = Folder::of(&Self::manifests(&web));
        let narthex = Narthex::on(&folder).args(flags).start();
        Self {
            narthex,
            folder,
            web,
        }
    }

    /// The same with a certificate, so that it is served on both ports.
    pub fn secure(flags: &[&str]) -> (Self, Certificate, Authority) {
        let web = Backend::named("web");
        let authority = Authority::new();
        let certificate = authority.ecdsa(&[HOST]);
        let ingress = Ingress::named("web")
            .annotation("nginx.ingress.kubernetes.io/ssl-redirect", "false")
            .tls(&[HOST], "a-tls")
            .host(HOST)
            .prefix("/", "web");
        let folder = Folder::of(&[
            class(),
            service("web", &[web.address()]),
            secret("a-tls", &certificate),
            ingress.yaml(),
        ]);
        let narthex = Narthex::on(&folder).args(flags).start();
        (
            Self {
                narthex,
                folder,
                web,
            },
            certificate,
            authority,
        )
    }

    fn manifests(web: &Backend) -> Vec<String> {
        let ingress = Ingress::named("web").host(HOST).prefix("/", "web");
        vec![class(), service("web", &[web.address()]), ingress.yaml()]
    }

    pub fn conn(&self) -> Conn {
        Conn::plain(self.narthex.http)
    }

    #[track_caller]
    pub fn get(&self, path: &str) -> Response {
        self.narthex.get(HOST, path)
    }

    /// A GET with more header lines, each ended by CRLF.
    #[track_caller]
    pub fn get_with(&self, path: &str, lines: &str) -> Response {
        self.conn().ask(&format!(
            "GET {path} HTTP/1.1\r\nHost: {HOST}\r\n{lines}\r\n"
        ))
    }
}

/// One Service `web` behind `a.example` that speaks `app_protocol`, without and with TLS towards
/// clients.
pub fn serve_speaking(
    app_protocol: &str,
    annotations: &[(&str, &str)],
    addresses: &[std::net::SocketAddr],
    flags: &[&str],
) -> (Narthex, Folder) {
    let ingress = Ingress::named("web")
        .annotation("nginx.ingress.kubernetes.io/ssl-redirect", "false")
        .tls(&[HOST], "a-tls")
        .host(HOST)
        .prefix("/", "web");
    let documents = [
        service_speaking("web", app_protocol, annotations, addresses),
        secret("a-tls", &Certificate::of(&[HOST])),
        ingress.yaml(),
    ];
    serve_with(&documents, flags)
}

/// A program on these documents behind the default class.
pub fn serve(documents: &[String]) -> (Narthex, Folder) {
    serve_with(documents, &[])
}

/// The same with flags.
pub fn serve_with(documents: &[String], flags: &[&str]) -> (Narthex, Folder) {
    let folder = Folder::new();
    folder.write("class.yaml", &class());
    folder.write("site.yaml", &docs(documents));
    (Narthex::on(&folder).args(flags).start(), folder)
}

/// The Services of some backends, each under the backend's name.
pub fn services(backends: &[(&str, &Backend)]) -> Vec<String> {
    backends
        .iter()
        .map(|(name, backend)| service(name, &[backend.address()]))
        .collect()
}
