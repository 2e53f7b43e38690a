//! Which page answers which path.

use crate::AdminState;
use crate::query;
use crate::response::Response;
use crate::view;

/// What an address shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pages {
    /// Health, metrics and the API: for the machine's own people. Answers only to IP addresses
    /// and to localhost.
    All,
    /// Health and metrics alone: for probes and Prometheus, by whatever name they know it.
    Health,
}

const HEALTH: &str = "\
Narthex

/healthz       the process is alive
/readyz        it serves what it was told to serve
/metrics       for Prometheus";

const API: &str = "\
/api/status    version, counts, listeners
/api/problems  what is wrong with the manifests, and where
/api/routes    hosts, rules, backends, endpoints; ?host=NAME, ?limit=N hosts
/api/objects   Gateway API's objects with their status; ?kind=, ?namespace=, ?name=, ?limit=N, ?after=NEXT
/api/explain   which route answers ?url=URL, and why each other does not; &format=text
/api/certificates  of each host: where it is from, and until when it is valid
/api/certificates/obtained  those that are obtained here: from whom, how it stands, what went wrong
/api/registry/credentials   credentials of outside registries: from whom, until when, what went wrong";

impl Pages {
    /// What people call the address.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::All => "admin address",
            Self::Health => "health address",
        }
    }

    /// What opens it.
    pub(crate) fn flag(self) -> &'static str {
        match self {
            Self::All => "--admin-address",
            Self::Health => "--health-address",
        }
    }
}

/// The answer to a GET of `path`.
pub(crate) fn answer(pages: Pages, path: &str, query: &str, state: &dyn AdminState) -> Response {
    match path {
        "/" if pages == Pages::Health => Response::text(200, HEALTH),
        _ if pages == Pages::Health && path.starts_with("/api/") => Response::text(
            403,
            "the API is on the admin address, not on the health address",
        ),
        "/" => Response::text(200, &format!("{HEALTH}\n{API}")),
        "/healthz" => Response::text(200, "ok"),
        path if path == state.health_path() => Response::text(200, "ok"),
        "/readyz" => match state.readiness() {
            Ok(said) => Response::text(200, &said),
            Err(reason) => Response::text(503, &reason),
        },
        "/metrics" => Response::metrics(state.metrics()),
        "/api/status" => Response::json(&state.status()),
        "/api/problems" => Response::json(&state.problems()),
        "/api/routes" => match query::number(query, "limit") {
            Ok(limit) => {
                let host = query::value(query, "host");
                Response::json(&state.routes(host.as_deref(), limit.unwrap_or(usize::MAX)))
            }
            Err(wrong) => Response::text(400, &wrong),
        },
        "/api/objects" => objects(query, state),
        "/api/certificates/obtained" => Response::json(&state.obtained()),
        "/api/registry/credentials" => Response::json(&state.registry_credentials()),
        "/api/certificates" => Response::json(&state.certificates()),
        "/api/explain" => explain(query, state),
        _ => Response::text(404, "there is no such page; / lists those that are"),
    }
}

/// What is to be done by a POST of `path`.
pub(crate) fn order(pages: Pages, path: &str) -> Option<view::OrderKind> {
    let name = path.strip_prefix("/api/certificates/")?;
    let kind = match name {
        "renew" => view::OrderKind::Renew,
        "revoke" => view::OrderKind::Revoke,
        "import" => view::OrderKind::Import,
        "export" => view::OrderKind::Export,
        _ => return None,
    };
    (pages == Pages::All).then_some(kind)
}

/// Has it done.
pub(crate) fn obey(
    kind: view::OrderKind,
    query: &str,
    token: Option<&str>,
    body: &[u8],
    state: &dyn AdminState,
) -> Response {
    let order = view::Order {
        kind,
        secret: query::value(query, "secret").unwrap_or_default(),
        reason: query::value(query, "reason"),
        body: String::from_utf8_lossy(body).into_owned(),
    };
    match state.order(&order, token) {
        Ok(said) => Response::text(200, said.trim_end()),
        Err(view::Refusal::Forbidden(why)) => Response::text(403, &why),
        Err(view::Refusal::Failed(why)) => Response::text(409, &why),
    }
}

/// How many objects are in an answer if nobody says, and how many at most.
const OBJECTS: usize = 500;
const MOST_OBJECTS: usize = 5000;

fn objects(query: &str, state: &dyn AdminState) -> Response {
    let wanted = query::number(query, "limit").map(|limit| view::Wanted {
        kind: query::value(query, "kind"),
        namespace: query::value(query, "namespace"),
        name: query::value(query, "name"),
        after: query::value(query, "after"),
        limit: limit.unwrap_or(OBJECTS).clamp(1, MOST_OBJECTS),
    });
    match wanted.and_then(|wanted| state.objects(&wanted)) {
        Ok(objects) => Response::json(&objects),
        Err(wrong) => Response::text(400, &wrong),
    }
}

fn explain(query: &str, state: &dyn AdminState) -> Response {
    let Some(url) = query::value(query, "url") else {
        return Response::text(
            400,
            "give a URL, as /api/explain?url=https://example.com/path",
        );
    };
    let as_text = query::value(query, "format").as_deref() == Some("text");
    match state.explain(&url, as_text) {
        Ok(view::Explained::Text(text)) => Response::text(200, text.trim_end()),
        Ok(view::Explained::Json(json)) => Response::made_json(json),
        Err(wrong) => Response::text(400, &wrong),
    }
}

/// Whether an answer is short enough to be made without a thread of its own: probes must be
/// answered whatever else is going on.
pub(crate) fn is_short(path: &str) -> bool {
    !path.starts_with("/api/") && path != "/metrics"
}
