//! The admin address: health, metrics and the API; and the health address, without the API.
//!
//! In: an [`AdminState`] that the binary implements. Out: a small, bounded HTTP/1.1 server for
//! probes, Prometheus and people. Nothing of the configuration's or the proxy's types belongs
//! here: [`view`] is the shape of the API, and the binary fills it in.

mod pages;
mod query;
mod request;
mod response;
mod server;
pub mod view;

pub use pages::Pages;
pub use server::{AdminServer, BindError};

/// All metrics, as Prometheus reads them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exposition {
    /// In the OpenMetrics text format.
    OpenMetrics(String),
    /// In Prometheus' own, version 0.0.4.
    Prometheus(String),
}

impl Exposition {
    /// The text.
    pub fn as_str(&self) -> &str {
        match self {
            Self::OpenMetrics(text) | Self::Prometheus(text) => text,
        }
    }
}

/// What the admin address tells. Called on blocking threads, so that a long answer holds up
/// nothing else.
pub trait AdminState: Send + Sync + 'static {
    /// Whether requests should be sent here: what there is to say of it, `ok` if nothing; or the
    /// reason why not yet or not any more.
    ///
    /// # Errors
    /// The reason, for people.
    fn readiness(&self) -> Result<String, String>;

    /// All metrics.
    fn metrics(&self) -> Exposition;

    /// Where it is answered besides `/healthz` that the process is alive.
    fn health_path(&self) -> &str {
        "/healthz"
    }

    /// For `/api/status`.
    fn status(&self) -> view::Status;

    /// For `/api/problems`.
    fn problems(&self) -> Vec<view::Problem>;

    /// For `/api/routes`: of each listener no more than `limit` hosts, and of one `host` those
    /// that answer it, if one is given.
    fn routes(&self, host: Option<&str>, limit: usize) -> Vec<view::Listener>;

    /// For `/api/objects`.
    ///
    /// # Errors
    /// What is wrong with the question, for people.
    fn objects(&self, wanted: &view::Wanted) -> Result<view::Objects, String>;

    /// For `/api/certificates`.
    fn certificates(&self) -> Vec<view::Certificate>;

    /// For `/api/certificates/obtained`.
    fn obtained(&self) -> Vec<view::ObtainedCertificate>;

    /// For `/api/registry/credentials`.
    fn registry_credentials(&self) -> view::RegistryCredentials {
        view::RegistryCredentials::default()
    }

    /// Does what somebody orders who shows `token`. Takes as long as it takes.
    ///
    /// # Errors
    /// Why it was not done.
    fn order(&self, order: &view::Order, token: Option<&str>) -> Result<String, view::Refusal>;

    /// For `/api/explain`: which route answers a URL, for people or for programs.
    ///
    /// # Errors
    /// Why this is no URL, for people.
    fn explain(&self, url: &str, as_text: bool) -> Result<view::Explained, String>;
}
