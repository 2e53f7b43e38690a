//! Where a record is to be set, and whether it is seen there.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use hickory_resolver::proto::op::Message;
use hickory_resolver::proto::rr::{Name, RData, Record as Row, RecordType};
use hickory_resolver::system_conf::read_system_conf;
use tokio::time::{Instant, sleep};

use super::ask::{addresses, ask, name, texts};
use super::{Record, Watch};

/// How many aliases in a row are followed.
const MAX_ALIASES: usize = 8;

/// The most servers of one zone, and addresses of one server, that are asked.
const MAX_SERVERS: usize = 13;

/// Between two looks.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// After how many questions without an answer a server is left out, if another one has the record.
const PATIENCE: u32 = 3;

/// How long is waited for a zone whose servers cannot be asked.
const BLIND: Duration = Duration::from_secs(60);

/// The name at the end of a name's aliases (RFC 8555, section 8.4: whoever runs a zone may let
/// another one answer for it). The name itself if that cannot be told.
pub(super) async fn target(watch: &Watch, of: &str) -> Result<String, String> {
    let mut current = name(of)?;
    for _ in 0..MAX_ALIASES {
        let Ok(answer) = resolve(watch, &current, RecordType::CNAME).await else {
            break;
        };
        let next = answer.answers.iter().find_map(|row| match &row.data {
            RData::CNAME(target) if row.name == current => Some(target.0.clone()),
            _ => None,
        });
        let Some(next) = next else { break };
        current = next;
    }
    Ok(current.to_ascii())
}

/// The zone that a name is in: where its start of authority is.
pub(super) async fn zone(watch: &Watch, of: &str) -> Result<String, String> {
    let mut current = name(of)?;
    let mut last = "no zone is known of it".to_owned();
    while !current.is_root() {
        match resolve(watch, &current, RecordType::SOA).await {
            Ok(answer) => {
                let mut rows = answer.answers.iter().chain(&answer.authorities);
                // That of an alias's target is not of this name.
                let is_start =
                    |row: &&Row| matches!(row.data, RData::SOA(_)) && row.name.zone_of(&current);
                if let Some(start) = rows.find(is_start) {
                    return Ok(start.name.to_ascii());
                }
            }
            Err(error) => last = error,
        }
        current = current.base_name();
    }
    Err(format!("{of}: {last}"))
}

/// Whether some text of a name has `part` in it.
pub(super) async fn has_text(watch: &Watch, of: &str, part: &str) -> Result<bool, String> {
    let answer = resolve(watch, &name(of)?, RecordType::TXT).await?;
    let has = |text: &Vec<u8>| String::from_utf8_lossy(text).contains(part);
    Ok(texts(&answer).iter().any(has))
}

/// Waits until all servers of the records' zones have all of them.
pub(super) async fn until_seen(watch: &Watch, records: &[Record]) -> Result<(), String> {
    if watch.blind {
        sleep(watch.longest).await;
        return Ok(());
    }
    let mut names: HashMap<&str, Vec<&str>> = HashMap::new();
    for record in records {
        names.entry(&record.name).or_default().push(&record.value);
    }
    let deadline = Instant::now() + watch.longest;
    for (of, values) in names {
        let servers = match watch.servers.as_slice() {
            [] => authorities(watch, of).await.unwrap_or_default(),
            servers => servers.to_vec(),
        };
        let mut silent = HashMap::new();
        loop {
            let missing = match missing(&servers, &name(of)?, &values, &mut silent).await {
                Look::Seen => break,
                Look::Missing(missing) => missing,
                Look::Nobody => {
                    sleep(BLIND.min(watch.longest)).await;
                    break;
                }
            };
            if Instant::now() + LOOK_AGAIN > deadline {
                return Err(format!(
                    "the record {of} is not seen after {} seconds: {missing}",
                    watch.longest.as_secs()
                ));
            }
            sleep(LOOK_AGAIN).await;
        }
    }
    Ok(())
}

/// What one look at all servers brought.
enum Look {
    Seen,
    /// Not everywhere, for people.
    Missing(String),
    /// None of them can be asked.
    Nobody,
}

async fn missing(
    servers: &[SocketAddr],
    of: &Name,
    values: &[&str],
    silent: &mut HashMap<SocketAddr, u32>,
) -> Look {
    let (mut seen, mut missing) = (false, None);
    for server in servers {
        let failures = silent.entry(*server).or_default();
        if *failures >= PATIENCE {
            continue;
        }
        match ask(*server, of, RecordType::TXT, false).await {
            Ok(answer) => {
                *failures = 0;
                let texts = texts(&answer);
                let has = |value: &&str| texts.iter().any(|text| text == value.as_bytes());
                match values.iter().all(has) {
                    true => seen = true,
                    false => missing = Some(format!("DNS server {server} does not have it")),
                }
            }
            Err(error) => {
                *failures += 1;
                if *failures < PATIENCE {
                    missing = missing.or(Some(error));
                }
            }
        }
    }
    match missing {
        Some(missing) => Look::Missing(missing),
        None if seen => Look::Seen,
        None => Look::Nobody,
    }
}

/// The servers of the zone that a name is in.
async fn authorities(watch: &Watch, of: &str) -> Result<Vec<SocketAddr>, String> {
    let zone = name(&zone(watch, of).await?)?;
    let answer = resolve(watch, &zone, RecordType::NS).await?;
    let mut servers = Vec::new();
    let hosts = answer.answers.iter().filter_map(|row| match &row.data {
        RData::NS(host) => Some(&host.0),
        _ => None,
    });
    for host in hosts.take(MAX_SERVERS) {
        for kind in [RecordType::A, RecordType::AAAA] {
            let Ok(answer) = resolve(watch, host, kind).await else {
                continue;
            };
            let all = addresses(&answer).into_iter().take(MAX_SERVERS);
            servers.extend(all.map(|address| SocketAddr::new(address, watch.port)));
        }
    }
    servers.truncate(2 * MAX_SERVERS);
    Ok(servers)
}

/// The first answer of a resolver.
async fn resolve(watch: &Watch, of: &Name, kind: RecordType) -> Result<Message, String> {
    let resolvers = match watch.resolvers.as_slice() {
        [] => system(),
        resolvers => resolvers.to_vec(),
    };
    let mut last = "no resolver is known".to_owned();
    for resolver in resolvers {
        match ask(resolver, of, kind, true).await {
            Ok(answer) => return Ok(answer),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// The system's resolvers, read each time: it may have moved.
fn system() -> Vec<SocketAddr> {
    let Ok((config, _)) = read_system_conf() else {
        return Vec::new();
    };
    let server = |it: &hickory_resolver::config::NameServerConfig| {
        let port = it.connections.first().map_or(53, |it| it.port);
        SocketAddr::new(it.ip, port)
    };
    config.name_servers().iter().map(server).collect()
}
