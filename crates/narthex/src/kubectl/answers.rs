//! Answers of the API as people read them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;
use x509_parser::time::ASN1Time;

use super::table::{Table, plain};
use crate::check::plural;

const DAY: i64 = 24 * 60 * 60;

/// A table of replicas, and what is the matter with them.
pub(super) fn status(json: &Value) -> String {
    let mut table = Table::new(&[
        "POD",
        "READY",
        "LEADER",
        "VERSION",
        "GENERATION",
        "UPTIME",
        "HOSTS",
        "RULES",
        "ENDPOINTS",
        "ERRORS",
        "WARNINGS",
        "NODE",
    ]);
    let replicas = list(json, "replicas");
    for replica in replicas {
        let status = &replica["status"];
        let counts = &status["counts"];
        let yes = |value: &Value| {
            let said = value
                .as_bool()
                .map(|is_so| if is_so { "yes" } else { "no" });
            said.unwrap_or_default().to_owned()
        };
        table.line([
            text(&replica["pod"]),
            yes(&status["ready"]),
            yes(&status["cluster"]["is_leader"]),
            text(&status["version"]),
            text(&status["generation"]),
            status["uptime_seconds"]
                .as_i64()
                .map_or_else(String::new, duration),
            text(&counts["hosts"]),
            text(&counts["rules"]),
            text(&counts["endpoints"]),
            text(&status["problems"]["errors"]),
            text(&status["problems"]["warnings"]),
            text(&replica["node"]),
        ]);
    }
    let mut shown = table.text();
    for replica in replicas {
        if let Some(trouble) = replica["trouble"].as_str() {
            shown.push_str(&plain(trouble));
            shown.push('\n');
        }
    }
    let errors = |replica: &Value| replica["status"]["problems"]["errors"].as_u64();
    if replicas.iter().filter_map(errors).any(|errors| errors > 0) {
        shown.push_str("See kubectl narthex check for what is wrong.\n");
    }
    shown
}

/// A table of rules; one that several ports have is one line.
pub(super) fn routes(json: &Value, limit: usize) -> String {
    let mut rows: Vec<(Vec<String>, Vec<String>)> = Vec::new();
    let mut places: BTreeMap<Vec<String>, usize> = BTreeMap::new();
    let mut cut = false;
    for listener in json.as_array().into_iter().flatten() {
        let hosts = list(listener, "hosts");
        cut |= limit != 0 && hosts.len() >= limit;
        for host in hosts {
            for rule in list(host, "rules") {
                let backend = &rule["backend"];
                // What answers nothing of its own is said once, by what is not there.
                if rule["match_type"] == "Default" && backend.is_null() {
                    continue;
                }
                let row = vec![
                    text(&host["host"]),
                    format!("{} {}", text(&rule["match_type"]), text(&rule["path"])),
                    text(&rule["route"]),
                    text(&backend["name"]),
                    endpoints(backend),
                ];
                let place = *places.entry(row.clone()).or_insert_with(|| {
                    rows.push((row, Vec::new()));
                    rows.len() - 1
                });
                rows[place].1.push(text(&listener["port"]));
            }
        }
    }
    let mut table = Table::new(&["HOST", "PATH", "INGRESS", "BACKEND", "ENDPOINTS", "PORTS"]);
    for (mut row, ports) in rows {
        row.push(ports.join(","));
        table.line(row);
    }
    let mut shown = table.text();
    if cut {
        let _ = writeln!(
            shown,
            "… and perhaps more: these are the first {limit} hosts (--limit)"
        );
    }
    shown
}

fn endpoints(backend: &Value) -> String {
    const SHOWN: usize = 3;

    if let Some(why) = backend["unavailable"].as_str() {
        return format!("none: {why}");
    }
    let all = list(backend, "endpoints");
    let mut shown: Vec<String> = all.iter().take(SHOWN).map(text).collect();
    if all.len() > SHOWN {
        shown.push(format!("+{}", all.len() - SHOWN));
    }
    shown.join(",")
}

/// `error: KIND ns/name: FIELD: message (hint)`, and how many.
pub(super) fn problems(json: &Value) -> String {
    let all = json.as_array().map_or(&[][..], Vec::as_slice);
    let mut shown = String::new();
    for problem in all {
        let mut line = text(&problem["severity"]);
        for part in ["object", "field"] {
            let part = text(&problem[part]);
            if !part.is_empty() {
                let _ = write!(line, ": {part}");
            }
        }
        let _ = write!(line, ": {}", text(&problem["message"]));
        let hint = text(&problem["hint"]);
        if !hint.is_empty() {
            let _ = write!(line, " ({hint})");
        }
        shown.push_str(&plain(&line));
        shown.push('\n');
    }
    match all.len() {
        0 => shown.push_str("no problems\n"),
        count => {
            let errors = all.iter().filter(|one| one["severity"] == "error").count();
            let (all, errors) = (plural(count, "problem"), plural(errors, "error"));
            let _ = writeln!(shown, "{all} ({errors})");
        }
    }
    shown
}

/// A table of certificates.
pub(super) fn certificates(json: &Value, now: SystemTime) -> String {
    let now = now
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    let mut table = Table::new(&["HOST", "SOURCE", "EXPIRES", "LEFT"]);
    for certificate in json.as_array().into_iter().flatten() {
        let end = certificate["not_after"].as_i64();
        let date = end.and_then(|end| ASN1Time::from_timestamp(end).ok()?.to_rfc2822().ok());
        let left = end.map(|end| match end.saturating_sub(now) {
            left @ 0.. => duration(left),
            _ => "expired".to_owned(),
        });
        table.line([
            text(&certificate["host"]),
            text(&certificate["source"]),
            date.unwrap_or_default(),
            left.unwrap_or_default(),
        ]);
    }
    table.text()
}

/// Of the certificates that are obtained.
pub(crate) fn obtained(json: &Value, now: SystemTime) -> String {
    let now = now
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    let left = |json: &Value, over: &str| match json.as_i64() {
        Some(at) if at > now => duration(at - now),
        Some(_) => over.to_owned(),
        None => String::new(),
    };
    let all = json.as_array().map_or(&[][..], Vec::as_slice);
    if all.is_empty() {
        return "no certificate is asked for: see the annotation cert-manager.io/cluster-issuer or \
                narthex.dev/issuer\n"
            .to_owned();
    }
    let mut table = Table::new(&[
        "SECRET",
        "NAMES",
        "ISSUER",
        "STATE",
        "EXPIRES IN",
        "NEXT IN",
    ]);
    for one in all {
        let names = one["names"].as_array().map_or(&[][..], Vec::as_slice);
        let names: Vec<String> = names.iter().map(text).collect();
        table.line([
            text(&one["secret"]),
            names.join(","),
            text(&one["issuer"]),
            text(&one["state"]),
            left(&one["expires"], "expired"),
            left(&one["next"], "now"),
        ]);
    }
    let mut said = table.text();
    for one in all.iter().filter(|one| one["error"].is_string()) {
        said.push_str(&format!(
            "\n{}: {}\n",
            plain(&text(&one["secret"])),
            plain(&text(&one["error"]))
        ));
    }
    said
}

fn list<'a>(json: &'a Value, name: &str) -> &'a [Value] {
    json[name].as_array().map_or(&[][..], Vec::as_slice)
}

fn text(json: &Value) -> String {
    match json {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// `3d`, `5h`, `12m` or `40s`.
fn duration(seconds: i64) -> String {
    match seconds {
        ..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m", seconds / 60),
        3_600..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / DAY),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    #[test]
    fn a_rule_of_both_ports_is_one_line() {
        let host = json!({"host": "x.test", "rules": [
            {"match_type": "Prefix", "path": "/a", "route": "default/web", "backend":
                {"name": "default/web:80", "endpoints": ["10.0.0.1:80", "10.0.0.2:80",
                 "10.0.0.3:80", "10.0.0.4:80"], "unavailable": null}},
            {"match_type": "Default", "path": "", "route": "", "backend": null},
        ]});
        let json = json!([{"port": 80, "hosts": [host]}, {"port": 443, "hosts": [host]}]);
        let shown = routes(&json, 500);
        let lines: Vec<_> = shown.lines().collect();
        assert_eq!(lines.len(), 2, "{shown}");
        let cells: Vec<_> = lines[1].split_whitespace().collect();
        assert_eq!(cells[..4], ["x.test", "Prefix", "/a", "default/web"]);
        assert_eq!(
            cells[5..],
            ["10.0.0.1:80,10.0.0.2:80,10.0.0.3:80,+1", "80,443"]
        );
        assert!(routes(&json, 1).contains("perhaps more"));
    }

    #[test]
    fn problems_are_lines_and_counted() {
        let json = json!([{"severity": "error", "object": "Ingress default/web",
            "field": "spec.rules[0].host", "message": "is no host", "hint": "a name"}]);
        assert_eq!(
            problems(&json),
            "error: Ingress default/web: spec.rules[0].host: is no host (a name)\n\
             1 problem (1 error)\n"
        );
        assert_eq!(problems(&json!([])), "no problems\n");
    }

    #[test]
    fn what_is_left_of_a_certificate_is_told_in_days() {
        let json = json!([
            {"host": "x.test", "source": "Secret default/x", "not_after": 100 * DAY},
            {"host": "*", "source": "self-signed", "not_after": 1},
        ]);
        let now = UNIX_EPOCH + Duration::from_secs(10 * 24 * 60 * 60);
        let shown = certificates(&json, now);
        assert!(
            shown.contains("90d") && shown.contains("expired"),
            "{shown}"
        );
    }

    #[test]
    fn answers_of_other_versions_are_shown_as_far_as_they_go() {
        for json in [
            json!(null),
            json!({}),
            json!([{}, 1]),
            json!({"replicas": [{}]}),
        ] {
            drop((status(&json), routes(&json, 0), problems(&json)));
            drop(certificates(&json, UNIX_EPOCH));
        }
    }
}
