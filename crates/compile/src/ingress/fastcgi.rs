//! What an Ingress's FastCGI servers are told (`fastcgi-index`, `fastcgi-params-configmap`).

use std::sync::Arc;

use model::text::Text;
use model::transport::{FastCgi, FastCgiParam, FastCgiPart};

use super::annotations::fastcgi::{PARAMS, is_plain};
use super::parse::Parsed;
use super::resolve::World;
use crate::name::NameRef;
use crate::report::{Problems, annotation_field};

/// nginx's variable, in both its forms.
const SCRIPT_NAME: [&str; 2] = ["${fastcgi_script_name}", "$fastcgi_script_name"];

/// The ConfigMap that an Ingress names for this, if it is one of its namespace.
pub(crate) fn config_map(parsed: &Parsed) -> Option<NameRef<'_>> {
    let written = parsed.settings.fastcgi.as_ref()?.params.as_deref()?;
    let named = parsed.named(written)?;
    // Where others may be named, ingress-nginx still looks in its own for what has the name.
    let namespace = parsed.namespace();
    Some(NameRef { namespace, ..named })
}

/// What the servers are told; none if what is to be told cannot be found out, which denies the paths.
pub(super) fn resolve(
    parsed: &Parsed,
    world: &World<'_>,
    problems: &mut Problems,
) -> Option<Arc<FastCgi>> {
    let Some(settings) = parsed.settings.fastcgi.as_deref() else {
        return Some(Arc::default());
    };
    let prefix = &world.options.annotations_prefix;
    let field = || annotation_field(&format!("{prefix}/{PARAMS}"));
    let mut told = FastCgi {
        index: settings.index.clone(),
        ..FastCgi::default()
    };
    let Some(written) = &settings.params else {
        return Some(Arc::new(told));
    };
    let Some(name) = config_map(parsed) else {
        let own = parsed.namespace();
        let message = format!("{written:?} is no ConfigMap of namespace {own}; it has no effect");
        problems.error(field(), message, "the name of one");
        return Some(Arc::default());
    };
    match read(name, world) {
        Ok(params) => told.params = params,
        Err(message) => {
            let hint = "a ConfigMap whose keys are names of parameters, and whose values have \
                        letters, digits, -_./ and nginx's variables";
            problems.error(field(), format!("{message}; its paths answer 503"), hint);
            return None;
        }
    }
    Some(Arc::new(told))
}

fn read(name: NameRef<'_>, world: &World<'_>) -> Result<Box<[FastCgiParam]>, String> {
    let map = world.store.config_map(name.namespace, name.name);
    let map = map.ok_or_else(|| format!("there is no ConfigMap {name}"))?;
    let entries = map.data.iter().flatten();
    let params = entries.map(|(key, value)| {
        let allowed = |byte: u8| is_plain(byte) || b"${}/".contains(&byte);
        if key.is_empty() || !key.bytes().all(is_plain) {
            return Err(format!("ConfigMap {name}: {key:?} is no parameter's name"));
        }
        if !value.bytes().all(allowed) {
            return Err(format!(
                "ConfigMap {name}: the value of {key} is not allowed"
            ));
        }
        let value = parts(value).map_err(|why| format!("ConfigMap {name}: {key}: {why}"))?;
        let name = key.as_str().into();
        Ok(FastCgiParam { name, value })
    });
    params.collect()
}

/// A value, with what only FastCGI's variables mean taken out of its text.
fn parts(value: &str) -> Result<Box<[FastCgiPart]>, String> {
    let mut parts = Vec::new();
    let mut rest = value
        .replace("${document_root}", FastCgi::DOCUMENT_ROOT)
        .replace("$document_root", FastCgi::DOCUMENT_ROOT)
        .replace("${fastcgi_path_info}", "")
        .replace("$fastcgi_path_info", "");
    let text = |text: &str, parts: &mut Vec<_>| {
        if !text.is_empty() {
            let text = Text::parse(text).map_err(|unknown| unknown.to_string())?;
            parts.push(FastCgiPart::Text(text));
        }
        Ok::<_, String>(())
    };
    loop {
        let found = SCRIPT_NAME.iter().filter_map(|name| {
            let at = rest.find(name)?;
            Some((at, name.len()))
        });
        let Some((at, len)) = found.min() else {
            text(&rest, &mut parts)?;
            return Ok(parts.into());
        };
        text(&rest[..at], &mut parts)?;
        parts.push(FastCgiPart::ScriptName);
        rest = rest[at + len..].to_owned();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scripts_name_stands_where_it_is_written() {
        let text = |text: &str| FastCgiPart::Text(Text::parse(text).expect("right"));
        let script = FastCgiPart::ScriptName;
        for (value, expected) in [
            (
                "/srv$fastcgi_script_name",
                vec![text("/srv"), script.clone()],
            ),
            (
                "${fastcgi_script_name}/$host",
                vec![script.clone(), text("/$host")],
            ),
            ("200", vec![text("200")]),
            ("", vec![]),
            (
                "$document_root$fastcgi_script_name",
                vec![text("/usr/local/nginx/html"), script],
            ),
        ] {
            assert_eq!(parts(value).as_deref(), Ok(&*expected), "{value}");
        }
        assert!(parts("$no_such_variable").is_err());
    }
}
