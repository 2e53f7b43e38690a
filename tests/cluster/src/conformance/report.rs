//! Upstream's report, in an order that is the same for every run.

/// The profiles in the order in which the report has them; the suite's own is that of a map.
const PROFILES: [&str; 5] = [
    "GATEWAY-HTTP",
    "GATEWAY-GRPC",
    "GATEWAY-TLS",
    "GATEWAY-TCP",
    "GATEWAY-UDP",
];

/// The same report with its profiles in order, and each one's features.
pub(super) fn in_order(report: &str) -> String {
    let Some((head, rest)) = report.split_once("\nprofiles:\n") else {
        return report.to_owned();
    };
    // A list stands at its key's own depth, and ends with the next key.
    let is_of_list = |line: &&str| line.starts_with("- ") || line.starts_with(' ');
    let list: Vec<&str> = rest.lines().take_while(is_of_list).collect();
    let tail: Vec<&str> = rest.lines().skip(list.len()).collect();
    let mut profiles: Vec<Vec<&str>> = Vec::new();
    for line in list {
        match profiles.last_mut() {
            Some(profile) if !line.starts_with("- ") => profile.push(line),
            _ => profiles.push(vec![line]),
        }
    }
    profiles.sort_by_key(|profile| rank(profile));
    profiles.iter_mut().for_each(|profile| sort_lists(profile));
    let lines = head.lines().chain(["profiles:"]);
    let lines = lines.chain(profiles.into_iter().flatten()).chain(tail);
    lines.flat_map(|line| [line, "\n"]).collect()
}

/// Its place among the known ones, then its name.
fn rank(profile: &[&str]) -> (usize, String) {
    let mut names = profile.iter().filter_map(|line| {
        let line = line
            .strip_prefix("- ")
            .or_else(|| line.strip_prefix("  "))?;
        line.strip_prefix("name: ")
    });
    let name = names.next().unwrap_or_default();
    let known = PROFILES.iter().position(|known| *known == name);
    (known.unwrap_or(PROFILES.len()), name.to_owned())
}

/// Sorts each list inside of a profile.
fn sort_lists(profile: &mut [&str]) {
    let is_entry = |line: &&str| line.trim_start().starts_with("- ") && line.starts_with(' ');
    for run in profile.chunk_by_mut(|a, b| is_entry(a) && is_entry(b)) {
        run.sort_unstable();
    }
}

#[cfg(test)]
mod tests {
    use super::in_order;

    #[test]
    fn profiles_and_features_have_an_order_and_all_else_stays() {
        let profile = |name: &str, features: &[&str]| {
            let features: String = features.iter().map(|it| format!("    - {it}\n")).collect();
            format!(
                "- core:\n    result: success\n  extended:\n    supportedFeatures:\n{features}  \
                 name: {name}\n  summary: done\n"
            )
        };
        let (tcp, other) = (profile("GATEWAY-TCP", &["A"]), profile("MESH-X", &[]));
        let (http, sorted) = (
            profile("GATEWAY-HTTP", &["B", "A"]),
            profile("GATEWAY-HTTP", &["A", "B"]),
        );
        let report = |profiles: &[&str]| {
            let profiles = profiles.concat();
            format!("date: today\nprofiles:\n{profiles}succeededProvisionalTests:\n- Z\n- Y\n")
        };
        let expected = report(&[&sorted, &tcp, &other]);
        assert_eq!(in_order(&report(&[&other, &tcp, &http])), expected);
        assert_eq!(in_order(&expected), expected);
        assert_eq!(in_order("kind: Other\n"), "kind: Other\n");
    }
}
