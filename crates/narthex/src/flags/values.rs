//! Values of flags: how they are written, and what to say when they are not.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use ipnet::IpNet;
use proxy::Collector;
use tracing_subscriber::filter::{LevelFilter, Targets};

/// A Service, and perhaps one of its ports: `namespace/name[:port]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServicePort {
    pub(crate) namespace: String,
    pub(crate) name: String,
    /// A port's name or number.
    pub(crate) port: Option<String>,
}

/// An object of a namespace: `namespace/name`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NamespacedName {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

/// An endpoint of a Service: `namespace/service[:port]=host:port`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) service: ServicePort,
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// Where the admin address may be: `address:port`, `localhost:port`, `:port`.
pub(crate) fn admin_address(text: &str) -> Result<SocketAddr, String> {
    let wrong =
        || "write ADDRESS:PORT, as in 127.0.0.1:9090, [::1]:9090 or 0.0.0.0:9090".to_owned();
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let port = port.parse().map_err(|_| wrong())?;
    match host {
        "localhost" => Ok(SocketAddr::from(([127, 0, 0, 1], port))),
        "" => Ok(SocketAddr::from(([0, 0, 0, 0], port))),
        _ => Err(wrong()),
    }
}

/// Where the webhook may be: as [`admin_address`], but that `:port` is every address.
pub(crate) fn webhook_address(text: &str) -> Result<SocketAddr, String> {
    let every = |port: &str| {
        Some(SocketAddr::from((
            Ipv6Addr::UNSPECIFIED,
            port.parse().ok()?,
        )))
    };
    if let Some(address) = text.strip_prefix(':').and_then(every) {
        return Ok(address);
    }
    admin_address(text).map_err(|_| "write :PORT or ADDRESS:PORT, as in :8443".to_owned())
}

/// `500ms`, `5s`, `1m`, `1h`, `1m30s`, or a plain number of seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || {
        "write a duration as 500ms, 5s, 1m, 1h or a plain number of seconds; 0 is off".to_owned()
    };
    if let Ok(seconds) = text.parse::<u32>() {
        return Ok(Duration::from_secs(seconds.into()));
    }
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let (number, after) = split_number(rest);
        let number: u32 = number.parse().map_err(|_| wrong())?;
        let unit_len = after
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_len);
        let milliseconds = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" | "min" => 60 * 1000,
            "h" => 60 * 60 * 1000,
            _ => return Err(wrong()),
        };
        total += Duration::from_millis(u64::from(number) * milliseconds);
        rest = after;
    }
    if text.is_empty() {
        Err(wrong())
    } else {
        Ok(total)
    }
}

/// `32KiB`, `10m`, `1g` (as nginx and Kubernetes write them, in powers of 1024), or bytes.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let wrong = || "write a size as 512, 32KiB, 10m or 1GiB (powers of 1024)".to_owned();
    let (number, unit) = split_number(text);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let shift = match unit {
        "" | "B" | "b" => 0,
        "k" | "K" | "Ki" | "KiB" => 10,
        "m" | "M" | "Mi" | "MiB" => 20,
        "g" | "G" | "Gi" | "GiB" => 30,
        _ => return Err(wrong()),
    };
    number
        .checked_mul(1 << shift)
        .ok_or_else(|| "this is more than a number of 64 bits".to_owned())
}

/// A size that must fit memory, more than zero.
pub(crate) fn memory_size(text: &str) -> Result<usize, String> {
    match usize::try_from(size(text)?) {
        Ok(0) => Err("it must be more than 0".to_owned()),
        Ok(size) => Ok(size),
        Err(error) => Err(error.to_string()),
    }
}

/// A CIDR block, or a single address.
pub(crate) fn network(text: &str) -> Result<IpNet, String> {
    let text = text.trim();
    text.parse::<IpNet>()
        .map(|network| network.trunc())
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
        .map_err(|_| "write a CIDR block as 10.0.0.0/8 or fd00::/8, or one address".to_owned())
}

/// `namespace/name`.
pub(crate) fn namespaced_name(text: &str) -> Result<NamespacedName, String> {
    split_name(text)
        .map(|(namespace, name)| NamespacedName {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        })
        .ok_or_else(|| "write NAMESPACE/NAME, as in default/web".to_owned())
}

/// `namespace/service[:port]=host:port`.
pub(crate) fn endpoint(text: &str) -> Result<Endpoint, String> {
    let parse = || {
        let (service, address) = text.split_once('=')?;
        let (host, port) = address.rsplit_once(':')?;
        let host = host
            .strip_prefix('[')
            .map_or(Some(host), |rest| rest.strip_suffix(']'))?;
        // An IPv6 address without brackets would be cut at its last colon.
        let bare_v6 = host.contains(':') && !address.starts_with('[');
        let port = port.parse().ok().filter(|&port| port != 0)?;
        (!host.is_empty() && !bare_v6).then_some(Endpoint {
            service: parse_service(service)?,
            host: host.to_owned(),
            port,
        })
    };
    parse().ok_or_else(|| {
        "write NAMESPACE/SERVICE=HOST:PORT or NAMESPACE/SERVICE:PORT=HOST:PORT, \
         as in default/web=127.0.0.1:3000"
            .to_owned()
    })
}

/// A level, or levels by part of the program: `info`, `info,narthex_proxy=debug`.
pub(crate) fn log_filter(text: &str) -> Result<Targets, String> {
    let is_level = |level: &str| level.parse::<LevelFilter>().is_ok();
    let good = text
        .split(',')
        .all(|part| is_level(part.split_once('=').map_or(part, |(_, level)| level)));
    good.then(|| text.parse().ok()).flatten().ok_or_else(|| {
        "write error, warn, info, debug, trace or off, \
         also by part as in info,narthex_proxy=debug"
            .to_owned()
    })
}

fn parse_service(text: &str) -> Option<ServicePort> {
    let (service, port) = match text.split_once(':') {
        Some((_, "")) => return None,
        Some((service, port)) => (service, Some(port.to_owned())),
        None => (text, None),
    };
    let (namespace, name) = split_name(service)?;
    Some(ServicePort {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        port,
    })
}

fn split_name(text: &str) -> Option<(&str, &str)> {
    let (namespace, name) = text.split_once('/')?;
    (is_name(namespace) && is_name(name)).then_some((namespace, name))
}

/// Whether Kubernetes could have an object of this name.
fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte))
}

fn split_number(text: &str) -> (&str, &str) {
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    text.split_at(digits)
}

/// `--flag` or `--flag=value`.
pub(super) fn flag(text: &str) -> Result<String, String> {
    let name = text.strip_prefix("--").map(|rest| rest.split('=').next());
    let is_right = |name: &str| {
        let mut bytes = name.bytes();
        bytes.next().is_some_and(|byte| byte.is_ascii_lowercase())
            && bytes.all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    match name.flatten() {
        Some(name) if is_right(name) => Ok(text.to_owned()),
        _ => Err("write a flag with its value, as --read-timeout=30s".to_owned()),
    }
}

/// `FIRST-LAST`, both from 1 on.
pub(super) fn port_range(text: &str) -> Result<RangeInclusive<u16>, String> {
    let range = text.split_once('-').and_then(|(first, last)| {
        let number = |text: &str| text.trim().parse::<u16>().ok().filter(|port| *port > 0);
        Some(number(first)?..=number(last)?)
    });
    range
        .filter(|range| !range.is_empty())
        .ok_or_else(|| "two ports, the lower one first, as 20000-29999".to_owned())
}

/// The port at which collectors take OTLP by gRPC.
const OTLP_PORT: u16 = 4317;

/// A collector of traces: `http://HOST[:PORT]`, or with `https`.
pub(crate) fn collector(text: &str) -> Result<Collector, String> {
    const WANTED: &str = "a URL as http://collector.example:4317";
    let (tls, rest) = match text.strip_prefix("https://") {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix("http://").unwrap_or(text)),
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let (host, port) = match rest.rsplit_once(':') {
        // What is after the last colon of an IPv6 address is no port.
        Some((host, port)) if !port.ends_with(']') => {
            (host, port.parse().map_err(|_| WANTED.to_owned())?)
        }
        _ => (rest, OTLP_PORT),
    };
    let is_right = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
    match !host.is_empty() && port > 0 && host.bytes().all(is_right) {
        true => Ok(Collector {
            host: host.into(),
            port,
            tls,
        }),
        false => Err(WANTED.to_owned()),
    }
}

/// A part of something, from 0 to 1.
pub(crate) fn ratio(text: &str) -> Result<model::Ratio, String> {
    let part = text.parse().ok().and_then(model::Ratio::new);
    part.ok_or_else(|| "a number from 0 to 1, as 0.25".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn collectors_are_urls_or_hosts_with_a_port() {
        let read = |text: &str| {
            let read = collector(text).ok()?;
            Some((read.host.into_string(), read.port))
        };
        let is = |host: &str, port| Some((host.to_owned(), port));
        assert_eq!(read("https://a:1"), is("a", 1));
        assert!(collector("https://a").is_ok_and(|it| it.tls && it.port == 4317));
        assert_eq!(read("http://otel.example:4318/"), is("otel.example", 4318));
        assert_eq!(read("http://otel.example"), is("otel.example", 4317));
        assert_eq!(read("otel:1"), is("otel", 1));
        assert_eq!(read("http://[::1]:5"), is("[::1]", 5));
        assert_eq!(read("http://[::1]"), is("[::1]", 4317));
        for wrong in ["", "http://", "a:b", "a:0", "http://a/b", "a b"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
        assert!(ratio("0.5").is_ok() && ratio("2").is_err() && ratio("x").is_err());
    }

    #[test]
    fn durations() {
        let milliseconds = |text| duration(text).map(|duration| duration.as_millis());
        assert_eq!(milliseconds("500ms"), Ok(500));
        assert_eq!(milliseconds("5s"), Ok(5000));
        assert_eq!(milliseconds("1m"), Ok(60_000));
        assert_eq!(milliseconds("2h"), Ok(7_200_000));
        assert_eq!(milliseconds("1m30s"), Ok(90_000));
        assert_eq!(milliseconds("75"), Ok(75_000));
        assert_eq!(milliseconds("0"), Ok(0));
        for wrong in ["", "5x", "s", "-1s", "1.5s", "5 s", "99999999999s"] {
            let message = duration(wrong).expect_err(wrong);
            assert!(message.contains("500ms, 5s, 1m"), "{message}");
        }
    }

    #[test]
    fn sizes() {
        assert_eq!(size("0"), Ok(0));
        assert_eq!(size("512"), Ok(512));
        assert_eq!(size("32KiB"), Ok(32 * 1024));
        assert_eq!(size("10m"), Ok(10 << 20));
        assert_eq!(size("1GiB"), Ok(1 << 30));
        for wrong in [
            "",
            "m",
            "10 m",
            "1.5m",
            "10MB",
            "-1",
            "99999999999999999999",
        ] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
        assert!(size("18446744073709551615k").is_err());
        assert!(memory_size("0").is_err());
    }

    #[test]
    fn endpoints() {
        let parsed = endpoint("shop/web:http=127.0.0.1:3000").expect("right");
        assert_eq!(
            parsed.service,
            parse_service("shop/web:http").expect("right")
        );
        assert_eq!((parsed.host.as_str(), parsed.port), ("127.0.0.1", 3000));
        let parsed = endpoint("default/web=[::1]:80").expect("right");
        assert_eq!(parsed.service.port, None);
        assert_eq!(parsed.host, "::1");
        assert_eq!(
            endpoint("default/web=localhost:80").expect("right").host,
            "localhost"
        );
        for wrong in [
            "web=127.0.0.1:80",
            "default/web",
            "default/web=127.0.0.1",
            "default/web=::1:80",
            "default/web=127.0.0.1:0",
            "default/web:=127.0.0.1:80",
            "default/Web=127.0.0.1:80",
            "default/web=:80",
            "/web=127.0.0.1:80",
        ] {
            let message = endpoint(wrong).expect_err(wrong);
            assert!(message.contains("default/web=127.0.0.1:3000"), "{message}");
        }
    }

    #[test]
    fn networks() {
        assert_eq!(
            network("10.1.2.3/8").expect("right").to_string(),
            "10.0.0.0/8"
        );
        assert_eq!(
            network("192.0.2.1").expect("right").to_string(),
            "192.0.2.1/32"
        );
        assert_eq!(network("fd00::/8").expect("right").to_string(), "fd00::/8");
        assert!(network("10.0.0.0/33").is_err());
    }

    #[test]
    fn flags_of_others() {
        for right in ["--read-timeout=30s", "--take-over", "--a=b=c"] {
            assert_eq!(flag(right).as_deref(), Ok(right));
        }
        for wrong in [
            "",
            "--",
            "read-timeout=30s",
            "-r",
            "--=x",
            "--Read=1",
            "--a b",
        ] {
            assert!(flag(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn admin_addresses() {
        let text = |text| admin_address(text).map(|address| address.to_string());
        assert_eq!(text("127.0.0.1:9090").as_deref(), Ok("127.0.0.1:9090"));
        assert_eq!(text("localhost:1").as_deref(), Ok("127.0.0.1:1"));
        assert_eq!(text(":10254").as_deref(), Ok("0.0.0.0:10254"));
        assert!(text("9090").is_err());
        assert!(text("example.com:80").is_err());
    }

    #[test]
    fn log_filters() {
        assert!(log_filter("info").is_ok());
        assert!(log_filter("warn,narthex_proxy=debug").is_ok());
        assert!(log_filter("loud").is_err());
        assert!(log_filter("narthex_proxy=loud").is_err());
    }
}
