//! What the whole-program tests stand on: the program started on a folder of manifests, backends
//! that record what reaches them, and clients that send exactly what a test says.
//!
//! In comes the built binary (`NARTHEX_BIN`, or the one beside the test executables), out go
//! assertions over real sockets. Nothing of the product's own crates is used here: a test knows
//! only what a user knows. Every wait has a deadline and everything started is ended on drop.

#![allow(
    missing_docs,
    reason = "helpers of tests, named for how the tests read"
)]
#![allow(
    clippy::missing_panics_doc,
    reason = "a helper that fails ends its test, which is its purpose"
)]

pub mod acme;
pub mod backend;
pub mod balancing;
pub mod certificate;
pub mod client_hello;
pub mod collector;
pub mod curl;
pub mod e2e;
pub mod fastcgi;
pub mod files;
pub mod folder;
pub mod frames;
pub mod framing;
pub mod gateway;
pub mod grpc;
pub mod guarded;
pub mod h2_backend;
pub mod hand_over;
pub mod http1;
pub mod http2;
pub mod ingress;
pub mod load;
pub mod mmdb;
pub mod named;
pub mod nginx;
pub mod ocsp;
pub mod origins;
pub mod ports;
pub mod program;
pub mod raw_backend;
pub mod registry;
pub mod site;
pub mod tcp;
pub mod tls;
pub mod udp;
pub mod wait;
pub mod websocket;

pub use acme::Acme;
pub use backend::{Backend, Echo, Exchange, Seen, Then};
pub use certificate::Certificate;
pub use curl::curl;
pub use files::allow_open_files;
pub use folder::{Folder, class, docs, secret, service, service_in, service_on, service_speaking};
pub use h2_backend::H2Backend;
pub use http1::{Conn, Response};
pub use ingress::Ingress;
pub use load::{Kind, Load};
pub use named::Named;
pub use program::{Narthex, run};
pub use raw_backend::RawBackend;
pub use site::{HOST, Site, serve, serve_speaking, serve_with, services};
pub use wait::{eventually, never, until};
