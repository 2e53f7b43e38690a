//! Questions to one DNS server (RFC 1035, section 4): by UDP, or TCP where an answer is too long
//! for it or has to be sure.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use aws_lc_rs::rand;
use hickory_resolver::proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

/// How long one attempt may take.
const ATTEMPT: Duration = Duration::from_secs(3);

/// How often a datagram is sent.
const ATTEMPTS: usize = 2;

/// How long an exchange over TCP may take.
const EXCHANGE: Duration = Duration::from_secs(10);

/// A record's name, as it is sent: with its dot at the end.
pub(super) fn name(text: &str) -> Result<Name, String> {
    let mut name =
        Name::from_ascii(text).map_err(|error| format!("{text:?} is no name of DNS: {error}"))?;
    name.set_fqdn(true);
    Ok(name)
}

/// The answer to a question; `recursive` asks the server to find out.
pub(super) async fn ask(
    server: SocketAddr,
    of: &Name,
    kind: RecordType,
    recursive: bool,
) -> Result<Message, String> {
    let mut question = Message::new(random_id()?, MessageType::Query, OpCode::Query);
    question.metadata.recursion_desired = recursive;
    question.add_query(Query::query(of.clone(), kind));
    let bytes = question.to_vec().map_err(|error| error.to_string())?;
    let at = |error: &dyn fmt::Display| format!("DNS server {server}: {error}");
    let mut last = at(&"no answer");
    for _ in 0..ATTEMPTS {
        let answer = match timeout(ATTEMPT, datagram(server, &bytes)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => {
                last = at(&error);
                continue;
            }
            Err(_) => continue,
        };
        if !answer.metadata.truncation {
            return well(answer, of).map_err(|error| at(&error));
        }
        let answer = exchange(server, &bytes).await?;
        let answer = Message::from_vec(&answer).map_err(|error| at(&error))?;
        return well(answer, of).map_err(|error| at(&error));
    }
    Err(last)
}

/// The answer over TCP to a message that is ready to be sent; its id is that of the message.
pub(super) async fn exchange(server: SocketAddr, message: &[u8]) -> Result<Vec<u8>, String> {
    let at = |error: &dyn fmt::Display| format!("DNS server {server}: {error}");
    let length = u16::try_from(message.len()).map_err(|_| at(&"the message is too long"))?;
    let exchange = async {
        let mut stream = TcpStream::connect(server).await?;
        // In one piece: some servers read no further than the first.
        let mut framed = length.to_be_bytes().to_vec();
        framed.extend_from_slice(message);
        stream.write_all(&framed).await?;
        let mut length = [0; 2];
        stream.read_exact(&mut length).await?;
        let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut answer).await?;
        io::Result::Ok(answer)
    };
    let answer = timeout(EXCHANGE, exchange).await;
    let answer = answer.map_err(|_| at(&"no answer"))?;
    let answer = answer.map_err(|error| at(&error))?;
    if answer.get(..2) != message.get(..2) {
        return Err(at(&"the answer is to another question"));
    }
    Ok(answer)
}

/// An id that nobody can guess: of datagrams anybody may send the answer.
pub(super) fn random_id() -> Result<u16, String> {
    let mut id = [0; 2];
    rand::fill(&mut id).map_err(|_| "the system has no random bytes".to_owned())?;
    Ok(u16::from_be_bytes(id))
}

/// The texts of a name, each in one piece.
pub(super) fn texts(answer: &Message) -> Vec<Vec<u8>> {
    let text = |record: &Record| match &record.data {
        RData::TXT(text) => Some(text.txt_data.concat()),
        _ => None,
    };
    answer.answers.iter().filter_map(text).collect()
}

/// The addresses that an answer has.
pub(super) fn addresses(answer: &Message) -> Vec<IpAddr> {
    let address = |record: &Record| match &record.data {
        RData::A(address) => Some(IpAddr::V4(address.0)),
        RData::AAAA(address) => Some(IpAddr::V6(address.0)),
        _ => None,
    };
    answer.answers.iter().filter_map(address).collect()
}

async fn datagram(server: SocketAddr, question: &[u8]) -> io::Result<Message> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => [0; 4].into(),
        SocketAddr::V6(_) => [0u16; 8].into(),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    socket.send(question).await?;
    let mut buffer = vec![0; 4096];
    loop {
        let length = socket.recv(&mut buffer).await?;
        let is_ours = buffer.get(..2) == question.get(..2);
        if let (true, Ok(answer)) = (is_ours, Message::from_vec(&buffer[..length])) {
            return Ok(answer);
        }
    }
}

/// An answer that answers: a name that is not there is one too.
fn well(answer: Message, of: &Name) -> Result<Message, String> {
    let is_ours = answer.queries.first().is_none_or(|it| it.name() == of);
    if answer.metadata.message_type != MessageType::Response || !is_ours {
        return Err("the answer is to another question".to_owned());
    }
    match answer.metadata.response_code {
        ResponseCode::NoError | ResponseCode::NXDomain => Ok(answer),
        code => Err(format!("{of}: {code}")),
    }
}
