//! Sites of Ingresses of the class `nginx`, which nothing defines.

use std::net::SocketAddr;

use crate::folder::{config_map, service};
use crate::site::{HOST, serve_with, services};
use crate::{Backend, Folder, Ingress, Narthex};

/// What ingress-nginx's annotations begin with.
pub const PREFIX: &str = "nginx.ingress.kubernetes.io";

/// An Ingress of the class `nginx` with annotations, whose names are without their prefix.
pub fn ingress(name: &str, annotations: &[(&str, &str)]) -> Ingress {
    let ingress = Ingress::named(name).class("nginx");
    annotations.iter().fold(ingress, |ingress, (name, value)| {
        let name = match name.contains('/') {
            true => (*name).to_owned(),
            false => format!("{PREFIX}/{name}"),
        };
        ingress.annotation(&name, value)
    })
}

/// The flag that names the ConfigMap [`CONTROLLER`].
pub const CONFIGURED: &str = "--configmap=ingress-nginx/controller";

/// What the controller's ConfigMap is called.
pub const CONTROLLER: &str = "ingress-nginx/controller";

/// A program with these documents, whose ConfigMap [`CONTROLLER`] has some keys.
pub fn configured(
    documents: &[String],
    lines: &[(&str, &str)],
    flags: &[&str],
) -> (Narthex, Folder) {
    let folder = Folder::of(documents);
    folder.write(CONFIG, &config_map(CONTROLLER, lines));
    let narthex = Narthex::on(&folder).arg(CONFIGURED).args(flags).start();
    (narthex, folder)
}

/// Has the ConfigMap have other keys.
pub fn configure(folder: &Folder, lines: &[(&str, &str)]) {
    folder.rename_over(CONFIG, &config_map(CONTROLLER, lines));
}

/// Where the ConfigMap is.
const CONFIG: &str = "config.yaml";

/// All of [`HOST`] sent to the Service `web` with these endpoints, by one worker.
pub fn serve_annotated(
    annotations: &[(&str, &str)],
    addresses: &[SocketAddr],
) -> (Narthex, Folder) {
    let ingress = ingress("web", annotations).host(HOST).prefix("/", "web");
    serve_with(
        &[service("web", addresses), ingress.yaml()],
        &["--workers=1"],
    )
}

/// A program with the backends `web` and `other`, which echo.
pub struct Nginx {
    pub narthex: Narthex,
    pub folder: Folder,
    pub web: Backend,
    pub other: Backend,
}

impl Nginx {
    pub fn with(ingresses: &[Ingress]) -> Self {
        let documents: Vec<_> = ingresses.iter().map(Ingress::yaml).collect();
        Self::with_documents(&documents, &[])
    }

    pub fn with_documents(documents: &[String], flags: &[&str]) -> Self {
        let (web, other) = (Backend::named("web"), Backend::named("other"));
        let mut all = services(&[("web", &web), ("other", &other)]);
        all.extend(documents.iter().cloned());
        let folder = Folder::of(&all);
        let narthex = Narthex::on(&folder).args(flags).start();
        Self {
            narthex,
            folder,
            web,
            other,
        }
    }

    /// The target that the backend got.
    #[track_caller]
    pub fn target(&self, host: &str, path: &str) -> String {
        self.narthex.get(host, path).echo().target
    }

    /// Status and `Location`.
    #[track_caller]
    pub fn sent(&self, host: &str, path: &str) -> (u16, String) {
        let answer = self.narthex.get(host, path);
        let location = answer.header("location").unwrap_or_default();
        (answer.status, location.to_owned())
    }
}
