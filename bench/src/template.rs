//! Configurations with holes.
//!
//! `@NAME@` is a value. A line marked `@log@`, `@nolog@`, `@routes@`, `@single@`, `@h2c@` or
//! `@h1@` is there only with or without a log, many routes or HTTP/2 to the backend; `@routes@` alone
//! stands for all routes.

use std::fs;
use std::path::Path;

use crate::Error;

/// How many times `route.txt` is repeated; it has five routes.
pub(crate) const HOSTS: usize = 1000;

/// What fills the holes.
pub(crate) struct Values {
    pub(crate) named: Vec<(&'static str, String)>,
    pub(crate) log: bool,
    pub(crate) routes: bool,
    pub(crate) h2c: bool,
}

/// Writes each file of the folder `from` into the folder `to`, its holes filled.
pub(crate) fn folder(from: &Path, to: &Path, values: &Values) -> Result<(), Error> {
    let failed = |error: std::io::Error| format!("{}: {error}", from.display());
    fs::create_dir_all(to).map_err(failed)?;
    let route = match values.routes {
        true => fs::read_to_string(from.join("route.txt")).unwrap_or_default(),
        false => String::new(),
    };
    let routes: String = (0..if route.is_empty() { 0 } else { HOSTS })
        .map(|number| route.replace("@N@", &number.to_string()))
        .collect();
    for entry in fs::read_dir(from).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().expect("an entry of a folder has a name");
        if name != "route.txt" {
            let text = fs::read_to_string(&path).map_err(failed)?;
            fs::write(to.join(name), fill(&text, &routes, values)).map_err(failed)?;
        }
    }
    Ok(())
}

fn fill(text: &str, routes: &str, values: &Values) -> String {
    let mut filled = String::new();
    for line in text.lines() {
        let word = line.split_whitespace().next().unwrap_or_default();
        let kept = match word {
            "@log@" => values.log,
            "@nolog@" => !values.log,
            "@routes@" => values.routes,
            "@single@" => !values.routes,
            "@h2c@" => values.h2c,
            "@h1@" => !values.h2c,
            _ => {
                filled += line;
                filled.push('\n');
                continue;
            }
        };
        if !kept {
            continue;
        }
        if line.trim() == "@routes@" {
            filled += routes;
        } else {
            filled += &line.replacen(&format!("{word} "), "", 1);
            filled.push('\n');
        }
    }
    for (name, value) in &values.named {
        filled = filled.replace(&format!("@{name}@"), value);
    }
    filled
}

#[cfg(test)]
mod tests {
    use super::{Values, fill};

    #[test]
    fn lines_come_and_go_with_what_they_are_marked_with() {
        let values = |log, routes| Values {
            named: vec![("PORT", "80".to_owned())],
            log,
            routes,
            h2c: routes,
        };
        let text =
            "listen @PORT@\n  @log@ log on\n  @nolog@ log off\n@routes@\n@single@ one\n@h2c@ two\n";
        assert_eq!(
            fill(text, "many\n", &values(true, true)),
            "listen 80\n  log on\nmany\ntwo\n"
        );
        assert_eq!(
            fill(text, "", &values(false, false)),
            "listen 80\n  log off\none\n"
        );
    }
}
