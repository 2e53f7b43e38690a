//! Which variable is what in which database, as ingress-nginx has its nginx say it.

use std::io::Write as _;

use maxminddb::{LookupResult, PathElement};
use serde::Deserialize;

/// What a database is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Country,
    City,
    Asn,
    Isp,
    ConnectionType,
    AnonymousIp,
}

impl Kind {
    /// The kinds that there are, for people.
    pub(super) const KNOWN: &str =
        "variables tell of City, Country, ASN, ISP, Connection-Type and Anonymous-IP";

    /// By its own word, as `GeoLite2-City`.
    pub(super) fn of(database_type: &str) -> Option<Self> {
        let kinds = [
            ("-City", Self::City),
            ("-Enterprise", Self::City),
            ("-Country", Self::Country),
            ("-ASN", Self::Asn),
            ("-ISP", Self::Isp),
            ("-Connection-Type", Self::ConnectionType),
            ("-Anonymous-IP", Self::AnonymousIp),
        ];
        let found = kinds.iter().find(|(word, _)| database_type.contains(word));
        found.map(|(_, kind)| *kind)
    }
}

/// Where a database has a variable's value.
#[derive(Debug)]
pub(super) struct Place {
    name: &'static str,
    pub(super) kind: Kind,
    /// The keys and, in lists, the numbers that lead there, with slashes in between.
    path: &'static str,
    /// What stands for it where the database says nothing.
    pub(super) otherwise: Option<&'static str>,
}

const fn at(name: &'static str, kind: Kind, path: &'static str) -> Place {
    Place {
        name,
        kind,
        path,
        otherwise: None,
    }
}

const fn or_zero(name: &'static str, kind: Kind, path: &'static str) -> Place {
    Place {
        otherwise: Some("0"),
        ..at(name, kind, path)
    }
}

/// All of them, by their names behind `$geoip2_`.
const PLACES: &[Place] = &[
    at("country_code", Kind::Country, "country/iso_code"),
    at("country_name", Kind::Country, "country/names/en"),
    at("country_geoname_id", Kind::Country, "country/geoname_id"),
    at("continent_code", Kind::Country, "continent/code"),
    at("continent_name", Kind::Country, "continent/names/en"),
    at(
        "continent_geoname_id",
        Kind::Country,
        "continent/geoname_id",
    ),
    at("city_country_code", Kind::City, "country/iso_code"),
    at("city_country_name", Kind::City, "country/names/en"),
    at("city_country_geoname_id", Kind::City, "country/geoname_id"),
    at("city", Kind::City, "city/names/en"),
    at("city_geoname_id", Kind::City, "city/geoname_id"),
    at("postal_code", Kind::City, "postal/code"),
    at("dma_code", Kind::City, "location/metro_code"),
    at("latitude", Kind::City, "location/latitude"),
    at("longitude", Kind::City, "location/longitude"),
    at("time_zone", Kind::City, "location/time_zone"),
    at("region_code", Kind::City, "subdivisions/0/iso_code"),
    at("region_name", Kind::City, "subdivisions/0/names/en"),
    at("region_geoname_id", Kind::City, "subdivisions/0/geoname_id"),
    at("subregion_code", Kind::City, "subdivisions/1/iso_code"),
    at("subregion_name", Kind::City, "subdivisions/1/names/en"),
    at(
        "subregion_geoname_id",
        Kind::City,
        "subdivisions/1/geoname_id",
    ),
    at("city_continent_code", Kind::City, "continent/code"),
    at("city_continent_name", Kind::City, "continent/names/en"),
    at("asn", Kind::Asn, "autonomous_system_number"),
    or_zero("asn", Kind::Isp, "autonomous_system_number"),
    at("org", Kind::Asn, "autonomous_system_organization"),
    at("isp", Kind::Isp, "isp"),
    at("isp_org", Kind::Isp, "organization"),
    at("connection_type", Kind::ConnectionType, "connection_type"),
    at("is_anon", Kind::AnonymousIp, "is_anonymous"),
    or_zero("is_anonymous", Kind::AnonymousIp, "is_anonymous"),
    or_zero("is_anonymous_vpn", Kind::AnonymousIp, "is_anonymous_vpn"),
    or_zero(
        "is_hosting_provider",
        Kind::AnonymousIp,
        "is_hosting_provider",
    ),
    or_zero("is_public_proxy", Kind::AnonymousIp, "is_public_proxy"),
    or_zero("is_tor_exit_node", Kind::AnonymousIp, "is_tor_exit_node"),
];

/// The places where a variable may be, the first one first.
pub(super) fn places(name: &str) -> impl Iterator<Item = &'static Place> {
    PLACES.iter().filter(move |place| place.name == name)
}

impl Place {
    /// What a database says here.
    pub(super) fn value<'a>(&self, found: &LookupResult<'a, Vec<u8>>) -> Option<Value<'a>> {
        let element = |part: &'static str| match part.parse() {
            Ok(index) => PathElement::Index(index),
            Err(_) => PathElement::Key(part),
        };
        let path: Vec<_> = self.path.split('/').map(element).collect();
        found.decode_path(&path).ok().flatten()
    }
}

/// A value, as databases have them.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Value<'a> {
    Bool(bool),
    Number(u64),
    Signed(i64),
    Fraction(f64),
    Text(&'a str),
}

impl Value<'_> {
    /// Appends it as nginx's module for such databases does.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let _ = match self {
            Self::Bool(is) => write!(out, "{}", u8::from(*is)),
            Self::Number(number) => write!(out, "{number}"),
            Self::Signed(number) => write!(out, "{number}"),
            Self::Fraction(number) => write!(out, "{number:.5}"),
            Self::Text(text) => out.write_all(text.as_bytes()),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn databases_are_known_by_their_own_word() {
        for (named, kind) in [
            ("GeoLite2-City", Some(Kind::City)),
            ("GeoIP2-City", Some(Kind::City)),
            ("GeoIP2-City-Europe", Some(Kind::City)),
            ("DBIP-Country-Lite", Some(Kind::Country)),
            ("GeoLite2-ASN", Some(Kind::Asn)),
            ("GeoIP2-Connection-Type", Some(Kind::ConnectionType)),
            ("GeoIP2-Domain", None),
            ("", None),
        ] {
            assert_eq!(Kind::of(named), kind, "{named}");
        }
    }

    #[test]
    fn values_are_written_as_nginxs_module_does() {
        let written = |value: Value<'_>| {
            let mut out = Vec::new();
            value.write(&mut out);
            String::from_utf8(out).expect("text")
        };
        assert_eq!(written(Value::Bool(true)), "1");
        assert_eq!(written(Value::Fraction(51.75)), "51.75000");
        assert_eq!(written(Value::Number(2635167)), "2635167");
        assert_eq!(written(Value::Text("Boxford")), "Boxford");
    }

    #[test]
    fn every_variable_that_may_be_named_is_somewhere() {
        for name in model::text::GEO {
            assert!(places(name).next().is_some(), "{name}");
        }
        for place in PLACES {
            assert!(model::text::GEO.contains(&place.name), "{}", place.name);
        }
    }

    #[test]
    fn a_variable_may_be_in_two_databases() {
        let kinds: Vec<_> = places("asn").map(|place| place.kind).collect();
        assert_eq!(kinds, [Kind::Asn, Kind::Isp]);
        assert_eq!(places("nothing").count(), 0);
    }
}
