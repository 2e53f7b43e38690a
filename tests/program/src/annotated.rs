//! Ingresses of ingress-nginx's class, with its annotations.

use std::net::SocketAddr;

use crate::folder::service;
use crate::site::{HOST, serve_with};
use crate::{Folder, Ingress, Narthex};

/// An Ingress of ingress-nginx's class whose annotations have these names, without the prefix.
pub fn nginx(name: &str, annotations: &[(&str, &str)]) -> Ingress {
    let ingress = Ingress::named(name).class("nginx");
    annotations.iter().fold(ingress, |ingress, (name, value)| {
        ingress.annotation(&format!("nginx.ingress.kubernetes.io/{name}"), value)
    })
}

/// All of [`HOST`] sent to the Service `web` with these endpoints, by one worker.
pub fn serve_annotated(
    annotations: &[(&str, &str)],
    addresses: &[SocketAddr],
) -> (Narthex, Folder) {
    let ingress = nginx("web", annotations).host(HOST).prefix("/", "web");
    serve_with(
        &[service("web", addresses), ingress.yaml()],
        &["--workers=1"],
    )
}
