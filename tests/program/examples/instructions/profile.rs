//! What callgrind writes, as far as it is needed here: the total, and what functions cost with all
//! that they call.

use std::collections::HashMap;

/// One dump.
#[derive(Debug, Default)]
pub(crate) struct Profile {
    /// All instructions.
    pub(crate) total: u64,
    functions: HashMap<String, Called>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Called {
    calls: u64,
    instructions: u64,
}

impl Profile {
    /// Reads a dump in callgrind's format. Each name is spelled once and then called by its
    /// number: `cfn=(12) name`, later `cfn=(12)`. Behind `calls=COUNT …` stands a line whose last
    /// number is what these calls cost.
    pub(crate) fn parse(text: &str) -> Self {
        let mut profile = Self::default();
        let mut names: HashMap<&str, &str> = HashMap::new();
        let (mut callee, mut calls) = (None, None);
        for line in text.lines() {
            if let Some(total) = line
                .strip_prefix("totals: ")
                .or_else(|| line.strip_prefix("summary: "))
            {
                profile.total = total.trim().parse().unwrap_or_default();
            } else if let Some(name) = line.strip_prefix("cfn=") {
                callee = Some(named(name, &mut names));
            } else if let Some(name) = line.strip_prefix("fn=") {
                named(name, &mut names);
            } else if let Some(counts) = line.strip_prefix("calls=") {
                calls = counts
                    .split(' ')
                    .next()
                    .and_then(|count| count.parse::<u64>().ok());
            } else if let (Some(name), Some(calls)) = (callee, calls.take()) {
                let cost = line
                    .rsplit(' ')
                    .next()
                    .and_then(|cost| cost.parse::<u64>().ok());
                let called = profile.functions.entry(name.to_owned()).or_default();
                called.calls += calls;
                called.instructions += cost.unwrap_or_default();
                callee = None;
            }
        }
        profile
    }

    /// What one call of a function costs on average; none if it was not called.
    pub(crate) fn per_call(&self, function: &str) -> Option<u64> {
        let called = self.functions.get(function)?;
        called.instructions.checked_div(called.calls)
    }
}

fn named<'a>(name: &'a str, names: &mut HashMap<&'a str, &'a str>) -> &'a str {
    match name.split_once(' ') {
        Some((number, name)) => {
            names.insert(number, name);
            name
        }
        None => names.get(name).copied().unwrap_or(name),
    }
}
