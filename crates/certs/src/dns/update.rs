//! Dynamic updates (RFC 2136), over TCP.

use std::net::SocketAddr;
use std::time::SystemTime;

use hickory_resolver::proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_resolver::proto::rr::rdata::TXT;
use hickory_resolver::proto::rr::{DNSClass, RData, Record as Row, RecordType};

use super::ask::{exchange, name, random_id};
use super::tsig::Signer;
use super::{Change, Record, Tsig};

/// How long resolvers may keep a record, in seconds: the next challenge has another one.
const TTL: u32 = 60;

/// Adds a text beside those that are there, or takes it away.
pub(super) async fn update(
    server: &str,
    zone: &str,
    tsig: Option<&Tsig>,
    change: Change,
    record: &Record,
) -> Result<(), String> {
    let message = message(zone, change, record)?;
    let bytes = message.to_vec().map_err(|error| error.to_string())?;
    let signer = tsig.map(Signer::new).transpose()?;
    let server = address(server).await?;
    let (bytes, mac) = match &signer {
        Some(signer) => signer.sign(bytes, SystemTime::now()),
        None => (bytes, Vec::new()),
    };
    let answer = exchange(server, &bytes).await?;
    let read = Message::from_vec(&answer);
    let read = read.map_err(|error| format!("DNS server {server}: {error}"))?;
    let of = &record.name;
    // Before the code: what is not signed may be anybody's, and says why.
    if let Some(signer) = &signer {
        signer.verify(&answer, &mac).map_err(|error| {
            let code = read.metadata.response_code;
            format!("DNS server {server}: update of {of} in zone {zone}: {error} ({code})")
        })?;
    }
    match read.metadata.response_code {
        ResponseCode::NoError => Ok(()),
        code => Err(format!(
            "DNS server {server} refused the update of {of} in zone {zone}: {code}"
        )),
    }
}

fn message(zone: &str, change: Change, record: &Record) -> Result<Message, String> {
    let mut message = Message::new(random_id()?, MessageType::Query, OpCode::Update);
    message.metadata.recursion_desired = false;
    // The sections have other names in an update (RFC 2136, section 2): this is the zone, and
    // what is to be changed is where authorities are elsewhere.
    message.add_query(Query::query(name(zone)?, RecordType::SOA));
    let parts = record.value.as_bytes().chunks(255);
    let text = TXT::from_bytes(parts.collect());
    let mut row = Row::from_rdata(name(&record.name)?, TTL, RData::TXT(text));
    if change == Change::Remove {
        // Section 2.5.4: this record alone.
        row.dns_class = DNSClass::NONE;
        row.ttl = 0;
    }
    message.add_authority(row);
    Ok(message)
}

async fn address(server: &str) -> Result<SocketAddr, String> {
    let unknown = |error: &dyn std::fmt::Display| format!("DNS server {server}: {error}");
    if let Ok(address) = server.parse() {
        return Ok(address);
    }
    if let Ok(address) = server.trim_matches(['[', ']']).parse() {
        return Ok(SocketAddr::new(address, 53));
    }
    let with_port = match server.rsplit_once(':') {
        Some(_) => server.to_owned(),
        None => format!("{server}:53"),
    };
    let mut found = tokio::net::lookup_host(with_port)
        .await
        .map_err(|error| unknown(&error))?;
    found.next().ok_or_else(|| unknown(&"it has no address"))
}
