//! CORS as browsers understand the answers, whichever filter gives them.

use model::filter::OriginMatch;
use model::{Filter, filter};

use super::answer::{Answer, Part};
use super::question::Question;

/// What a filter answers, or adds. Whether it has answered.
pub(super) fn step(filter: &Filter, question: &Question, answer: &mut Answer) -> bool {
    let Some(origin) = question.field("origin") else {
        return false;
    };
    let asks = question.method == "OPTIONS";
    match filter {
        Filter::IngressCors(cors) => {
            let Some(allowed) = cors.allowed(Some(origin.as_bytes())) else {
                return false;
            };
            let allowed = String::from_utf8_lossy(allowed);
            let said = Said {
                origin: &allowed,
                // With the asterisk browsers send none, whatever else is said.
                credentials: cors.credentials && allowed != "*",
                methods: list(cors.methods.split(',')),
                headers: list(cors.headers.split(',')),
                expose: list(cors.expose.split(',')),
                max_age: cors.max_age,
            };
            said.say(question, answer);
        }
        Filter::Cors(cors) => {
            if asks && question.field("access-control-request-method").is_none() {
                return false;
            }
            if !cors
                .origins
                .iter()
                .any(|one| one.matches(origin.as_bytes()))
            {
                if asks {
                    answer.status = Some(403);
                    answer.add(Part::Answer, "403 (CORS)");
                }
                return asks;
            }
            let all = !cors.credentials && cors.origins.contains(&OriginMatch::Any);
            let asked = |name: &str| question.field(name).unwrap_or_default();
            let given = |names: &[Box<str>], asked: &str| match names.iter().any(|it| **it == *"*")
            {
                true => list(asked.split(',')),
                false => list(names.iter().map(|name| &**name)),
            };
            let said = Said {
                origin: if all { "*" } else { origin },
                credentials: cors.credentials,
                methods: given(&cors.methods, asked("access-control-request-method")),
                headers: given(&cors.headers, asked("access-control-request-headers")),
                expose: list(cors.expose.iter().map(|name| &**name)),
                max_age: i64::from(cors.max_age),
            };
            said.say(question, answer);
        }
        _ => return false,
    }
    if asks {
        answer.status = Some(204);
        answer.add(Part::Answer, "204 (CORS)");
    }
    asks
}

struct Said<'a> {
    origin: &'a str,
    credentials: bool,
    methods: String,
    headers: String,
    expose: String,
    max_age: i64,
}

impl Said<'_> {
    /// What a browser heeds: of an answer to its question, what is allowed; of another, what scripts
    /// may read.
    fn say(&self, question: &Question, answer: &mut Answer) {
        let credentials = if self.credentials {
            ", credentials"
        } else {
            ""
        };
        let origin = self.origin;
        let rest = match question.method.as_str() {
            "OPTIONS" => format!(
                ", methods {}, headers {}, {} s",
                self.methods, self.headers, self.max_age
            ),
            _ if self.expose.is_empty() => String::new(),
            _ => format!(", shows {}", self.expose),
        };
        answer.add(Part::Cors, &format!("{origin}{credentials}{rest}"));
    }
}

/// Names in one case and order.
fn list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names = names.map(|name| name.trim().to_ascii_lowercase());
    let mut names: Vec<String> = names.filter(|name| !name.is_empty()).collect();
    names.sort();
    names.dedup();
    names.join(" ")
}

/// An origin that may come, as far as one can be told.
pub(super) fn origin_of(filter: &Filter) -> Option<String> {
    match filter {
        Filter::IngressCors(cors) => match &cors.origins {
            filter::ingress_cors::Origins::Any => Some("https://any.example".to_owned()),
            filter::ingress_cors::Origins::These(all) => {
                all.first().map(|one| one.to_string().replace('*', "one"))
            }
        },
        Filter::Cors(cors) => cors.origins.first().map(|one| match one {
            OriginMatch::Any => "https://any.example".to_owned(),
            OriginMatch::Exact(origin) => origin.to_string(),
            OriginMatch::Wildcard { before, after } => format!("{before}one{after}"),
        }),
        _ => None,
    }
}
