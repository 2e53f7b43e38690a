//! `mirror-target` and its like: copies of requests.

use model::text::Text;

use super::Settings;
use super::table::{Annotation, Group, Risk};
use super::values::{BadValue, has_only_or_blanks};

/// Without its prefix.
pub(crate) const TARGET: &str = "mirror-target";

/// What besides letters and digits may be in a name of a server, which may be a pattern.
const OF_SERVERS: &str = "-._~/:^$[](){}*+?|&=\\";

const URL: &str = "http://host:port/path or https://…, with variables in the path";

/// What this group reads. ingress-nginx copies nothing where its validation refuses the target.
pub(super) const GROUP: Group = Group {
    title: "Mirror",
    annotations: &[
        Annotation::works(TARGET, Risk::High, |settings, value| {
            of(settings).target = Some(target(value.trim())?);
            Ok(())
        })
        .differs("no variables in the host; a host of one label is looked up as it is")
        .test("nginx_mirror"),
        Annotation::works("mirror-host", Risk::High, |settings, value| {
            let value = value.trim();
            let text = has_only_or_blanks(value, OF_SERVERS).then(|| Text::parse(value).ok());
            let text = text.flatten().ok_or(BadValue::unused("a host name"))?;
            of(settings).host = Some(text);
            Ok(())
        })
        .default("the target's")
        .test("nginx_mirror"),
        Annotation::works("mirror-request-body", Risk::Low, |settings, value| {
            let off = match value.trim() {
                "on" => false,
                "off" => true,
                _ => return Err(BadValue::unused("\"on\" or \"off\"")),
            };
            of(settings).without_body = off;
            Ok(())
        })
        .default("on")
        .test("nginx_mirror"),
    ],
};

/// Where copies of requests go.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Mirror {
    pub(crate) target: Option<Target>,
    /// The copies' `Host`; none is the target's.
    pub(crate) host: Option<Text>,
    pub(crate) without_body: bool,
}

/// A URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) tls: bool,
    /// Without brackets.
    pub(crate) host: Box<str>,
    pub(crate) port: u16,
    /// Beginning with a slash, perhaps with a query.
    pub(crate) path: Text,
}

fn of(settings: &mut Settings) -> &mut Mirror {
    settings.mirror.get_or_insert_default()
}

fn target(value: &str) -> Result<Target, BadValue> {
    let unused = || BadValue::unused(URL);
    if !has_only_or_blanks(value, OF_SERVERS) {
        return Err(unused());
    }
    let (scheme, rest) = value.split_once("://").ok_or_else(unused)?;
    let tls = match scheme.to_ascii_lowercase().as_str() {
        "http" => false,
        "https" => true,
        _ => return Err(unused()),
    };
    let end = rest.find(['/', '?', '$']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let (host, port) = authority_of(authority, if tls { 443 } else { 80 }).ok_or_else(unused)?;
    // nginx sends what is there: a variable that begins with a slash needs none before it.
    let path = match path.starts_with(['/', '$']) {
        true => path.to_owned(),
        false => format!("/{path}"),
    };
    Ok(Target {
        tls,
        host: host.into(),
        port,
        path: Text::parse(&path).map_err(|_| unused())?,
    })
}

/// Host, without brackets, and port.
fn authority_of(text: &str, default: u16) -> Option<(&str, u16)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']')?;
            host.parse::<std::net::Ipv6Addr>().ok()?;
            (host, rest.strip_prefix(':').filter(|_| !rest.is_empty()))
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let is_of_host =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b':');
    let is_host = !host.is_empty() && host.bytes().all(is_of_host);
    let port = match port {
        Some(port) => port.parse().ok().filter(|port| *port != 0)?,
        None => default,
    };
    is_host.then_some((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_urls_whose_path_may_have_variables() {
        let read = |value: &str| {
            let target = target(value).expect("a target");
            let path = target.path.as_literal().map(str::to_owned);
            (target.tls, target.host.to_string(), target.port, path)
        };
        let path = |path: &str| Some(path.to_owned());
        assert_eq!(
            read("http://localhost/mirror"),
            (false, "localhost".into(), 80, path("/mirror"))
        );
        assert_eq!(
            read("https://a.b:8443"),
            (true, "a.b".into(), 8443, path("/"))
        );
        assert_eq!(
            read("https://test.env.com/$request_uri"),
            (true, "test.env.com".into(), 443, None)
        );
        assert_eq!(read("http://test$request_uri").1, "test");
        assert_eq!(
            read("http://[::1]:81/"),
            (false, "::1".into(), 81, path("/"))
        );
        for wrong in [
            "localhost",
            "ftp://a/",
            "http://",
            "http://$host/",
            "http://a:0/",
            "http://a/$no_such_thing",
            "http://a b/",
            "http://a/\";evil",
        ] {
            assert!(target(wrong).is_err(), "{wrong}");
        }
    }
}
