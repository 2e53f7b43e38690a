//! Which page answers which path.

use crate::AdminState;
use crate::response::Response;

const INDEX: &str = "\
Narthex

/healthz       the process is alive
/readyz        it serves what it was told to serve
/metrics       for Prometheus
/api/status    version, counts, listeners
/api/problems  what is wrong with the manifests, and where
/api/routes    hosts, rules, backends, endpoints";

/// The answer to a GET of `path`.
pub(crate) fn answer(path: &str, state: &dyn AdminState) -> Response {
    match path {
        "/" => Response::text(200, INDEX),
        "/healthz" => Response::text(200, "ok"),
        "/readyz" => match state.readiness() {
            Ok(said) => Response::text(200, &said),
            Err(reason) => Response::text(503, &reason),
        },
        "/metrics" => Response::metrics(state.metrics()),
        "/api/status" => Response::json(&state.status()),
        "/api/problems" => Response::json(&state.problems()),
        "/api/routes" => Response::json(&state.routes()),
        _ => Response::text(404, "there is no such page; / lists those that are"),
    }
}

/// Whether an answer is short enough to be made without a thread of its own: probes must be
/// answered whatever else is going on.
pub(crate) fn is_short(path: &str) -> bool {
    !path.starts_with("/api/") && path != "/metrics"
}
