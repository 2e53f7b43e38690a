//! `proxy-body-size`, `proxy-buffering` and their like: how large bodies are, and who waits for them.
//!
//! What ingress-nginx's validation refuses here, but for `client-body-buffer-size`, does not leave
//! the Ingress out: its default stands.

use super::Settings;
use super::table::{Annotation, Group, Reader, Risk};
use super::values::{BadValue, size, switch, whole};

/// Why there is nothing to do for what is about nginx's own buffers.
const BUFFERS: &str = "responses go on as they come, in buffers that grow and shrink by themselves";

const HELD: &str = "up to 1 MiB is held in memory and nothing on disk: a larger body goes on as it \
                    comes, and so do all while a worker holds 64 MiB";

/// What this group reads.
pub(super) const GROUP: Group = Group {
    title: "Bodies and buffers",
    annotations: &[
        Annotation::works("proxy-body-size", Risk::Medium, |settings, value| {
            let most = size(value).map_err(BadValue::tolerated)?;
            of(settings).most = Some(most);
            Ok(())
        })
        .default("1m; of our own classes `--max-body-size`")
        .test("nginx_bodies"),
        Annotation::works("proxy-request-buffering", Risk::Low, |settings, value| {
            let gathers = switch(value).map_err(BadValue::tolerated)?;
            of(settings).gathers = Some(gathers);
            Ok(())
        })
        .default("on; of our own classes off")
        .differs(HELD)
        .test("nginx_bodies"),
        Annotation::idle(
            "client-body-buffer-size",
            Risk::Low,
            "what is held of a body has a limit of its own: see `proxy-request-buffering`",
            |_, value| size(value).map(drop),
        )
        .test("nginx_bodies"),
        Annotation::idle("proxy-buffering", Risk::Low, BUFFERS, |_, value| {
            switch(value).map(drop).map_err(BadValue::tolerated)
        })
        .default("off")
        .differs("on has nothing wait")
        .test("nginx_bodies"),
        Annotation::idle(
            "proxy-buffer-size",
            Risk::Low,
            "the head of a response may have 60 KiB, whatever is said",
            A_SIZE,
        )
        .differs("no head is refused for being larger than is said")
        .test("nginx_bodies"),
        Annotation::idle("proxy-buffers-number", Risk::Low, BUFFERS, |_, value| {
            whole(value).map(drop)
        })
        .test("nginx_bodies"),
        Annotation::idle("proxy-busy-buffers-size", Risk::Low, BUFFERS, A_SIZE)
            .test("nginx_bodies"),
        Annotation::idle(
            "proxy-max-temp-file-size",
            Risk::Low,
            "nothing is written to files",
            A_SIZE,
        )
        .test("nginx_bodies"),
    ],
};

const A_SIZE: Reader = |_, value| size(value).map(drop).map_err(BadValue::tolerated);

/// What is said of bodies.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Bodies {
    /// The largest body of a request in bytes; 0 is no limit.
    pub(crate) most: Option<u64>,
    /// Whether it is read to its end before any of it goes to a backend.
    pub(crate) gathers: Option<bool>,
}

fn of(settings: &mut Settings) -> &mut Bodies {
    settings.bodies.get_or_insert_default()
}
