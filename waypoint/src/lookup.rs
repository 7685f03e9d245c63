//! Asks a DNS server for the addresses of a name (RFC 1035), both families at once. It keeps nothing; see [`crate::names`].

use crate::config::DnsServers;
use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};

/// How long a server may take, and how often each is asked (resolv.conf(5) has 5 s and twice).
const ANSWER_WAIT: Duration = Duration::from_secs(2);
const ROUNDS: usize = 2;
/// Servers that are asked (resolv.conf(5)).
const SERVERS_MAX: usize = 3;
/// Most bytes of a datagram: more than any server sends to a query without EDNS (RFC 1035 §4.2.1).
const DATAGRAM_BYTES_MAX: usize = 1_500;
/// Longest chain of names that stand for other names.
const CHAIN_MAX: usize = 16;
/// The port of DNS servers.
const PORT: u16 = 53;

/// What a name stands for; no address if it stands for none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    /// Its addresses.
    pub(crate) addresses: Vec<IpAddr>,
    /// How long that holds.
    pub(crate) ttl: Duration,
}

/// Why nobody knows what a name stands for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LookupError {
    /// It is none.
    #[error("it is no name of DNS")]
    NoName,
    /// This machine asks nobody.
    #[error("/etc/resolv.conf names no server, and WEFT_DNS_UPSTREAM neither")]
    NoServer,
    /// No chance for a query that nobody can guess.
    #[error("this machine has no randomness")]
    Chance,
    /// The server is not reached.
    #[error("asking {server}")]
    Ask {
        /// Which one.
        server: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// It does not answer.
    #[error("{server} has not answered within {ANSWER_WAIT:?}")]
    Late {
        /// Which one.
        server: SocketAddr,
    },
    /// It does not say.
    #[error("{server} says {code}")]
    Code {
        /// Which one.
        server: SocketAddr,
        /// What it says instead.
        code: ResponseCode,
    },
    /// It answers something else.
    #[error("{server} has answered what is no answer")]
    Odd {
        /// Which one.
        server: SocketAddr,
    },
}

/// The addresses of a name, which is whole: no search list is tried.
///
/// # Errors
/// As [`LookupError`] says. That a name is not there is no error.
pub(crate) async fn look_up(servers: &DnsServers, name: &str) -> Result<Found, LookupError> {
    let mut name = Name::from_ascii(name).map_err(|_| LookupError::NoName)?.to_lowercase();
    name.set_fqdn(true);
    let servers = addresses(servers).await;
    let (four, six) =
        tokio::join!(ask_all(&servers, &name, RecordType::A), ask_all(&servers, &name, RecordType::AAAA));
    match (four, six) {
        (Ok(four), Ok(six)) => {
            Ok(Found { ttl: four.ttl.min(six.ttl), addresses: [four.addresses, six.addresses].concat() })
        }
        // One family is better than none; the other is asked for again soon.
        (Ok(one), Err(_)) | (Err(_), Ok(one)) if !one.addresses.is_empty() => {
            Ok(Found { ttl: Duration::ZERO, ..one })
        }
        (Err(error), _) | (_, Err(error)) => Err(error),
    }
}

async fn addresses(servers: &DnsServers) -> Vec<SocketAddr> {
    match servers {
        DnsServers::One(one) => vec![*one],
        DnsServers::Machine => {
            // Asked each time: the file changes while we run.
            let text = tokio::fs::read_to_string(Path::new("/etc/resolv.conf")).await;
            configured(&text.unwrap_or_default())
        }
    }
}

/// The servers of a `resolv.conf`.
fn configured(text: &str) -> Vec<SocketAddr> {
    let lines = text.lines().filter_map(|line| line.trim_start().strip_prefix("nameserver"));
    let all = lines.filter(|rest| rest.starts_with([' ', '\t'])).filter_map(|rest| rest.trim().parse().ok());
    all.map(|ip: IpAddr| SocketAddr::new(ip, PORT)).take(SERVERS_MAX).collect()
}

/// What the first server that knows says.
async fn ask_all(servers: &[SocketAddr], name: &Name, kind: RecordType) -> Result<Found, LookupError> {
    let mut error = LookupError::NoServer;
    for server in servers.iter().cycle().take(servers.len() * ROUNDS) {
        match tokio::time::timeout(ANSWER_WAIT, ask(*server, name, kind)).await {
            Ok(Ok(found)) => return Ok(found),
            Ok(Err(why)) => error = why,
            Err(_) => error = LookupError::Late { server: *server },
        }
    }
    Err(error)
}

async fn ask(server: SocketAddr, name: &Name, kind: RecordType) -> Result<Found, LookupError> {
    let failed = |source| LookupError::Ask { server, source };
    let mut query = Message::new(chance()?, MessageType::Query, OpCode::Query);
    query.metadata.recursion_desired = true;
    query.add_query(Query::query(name.clone(), kind));
    let bytes = query.to_vec().map_err(|_| LookupError::NoName)?;
    let any: IpAddr =
        if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    // The kernel takes any port, and lets through what comes from the server.
    let socket = UdpSocket::bind((any, 0)).await.map_err(failed)?;
    socket.connect(server).await.map_err(failed)?;
    socket.send(&bytes).await.map_err(failed)?;
    let mut buffer = [0; DATAGRAM_BYTES_MAX];
    loop {
        let length = socket.recv(&mut buffer).await.map_err(failed)?;
        // What answers no question of ours may be somebody's attempt to be taken for the server.
        let Some(answer) = answer_to(&query, buffer.get(..length).unwrap_or_default()) else { continue };
        if !answer.metadata.truncation {
            return found(&answer, name, kind, server);
        }
        let answer = ask_at_length(server, &bytes).await.map_err(failed)?;
        let answer = answer_to(&query, &answer).ok_or(LookupError::Odd { server })?;
        return found(&answer, name, kind, server);
    }
}

/// Over a connection, for what no datagram holds (RFC 1035 §4.2.2).
async fn ask_at_length(server: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(query.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), query].concat()).await?;
    let mut answer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

/// A number that nobody guesses (RFC 5452 §4.3).
fn chance() -> Result<u16, LookupError> {
    let mut bytes = [0; 2];
    let random = rustls::crypto::aws_lc_rs::default_provider().secure_random;
    random.fill(&mut bytes).map_err(|_| LookupError::Chance)?;
    Ok(u16::from_be_bytes(bytes))
}

fn answer_to(query: &Message, bytes: &[u8]) -> Option<Message> {
    let answer = Message::from_vec(bytes).ok()?;
    let same = answer.metadata.id == query.metadata.id
        && answer.metadata.message_type == MessageType::Response
        && answer.queries == query.queries;
    same.then_some(answer)
}

fn found(answer: &Message, name: &Name, kind: RecordType, server: SocketAddr) -> Result<Found, LookupError> {
    match answer.metadata.response_code {
        ResponseCode::NoError | ResponseCode::NXDomain => {}
        code => return Err(LookupError::Code { server, code }),
    }
    let mut ttl = u32::MAX;
    let mut owner = name;
    for _ in 0..CHAIN_MAX {
        let next = answer.answers.iter().find_map(|record| match &record.data {
            RData::CNAME(next) if record.name == *owner => Some((&next.0, record.ttl)),
            _ => None,
        });
        let Some((next, lives)) = next else { break };
        (owner, ttl) = (next, ttl.min(lives));
    }
    let own = answer.answers.iter().filter(|record| record.name == *owner && record.record_type() == kind);
    let mut addresses = Vec::new();
    for record in own {
        match &record.data {
            RData::A(ip) => addresses.push(IpAddr::from(ip.0)),
            RData::AAAA(ip) => addresses.push(IpAddr::from(ip.0).to_canonical()),
            _ => continue,
        }
        ttl = ttl.min(record.ttl);
    }
    Ok(Found { addresses, ttl: Duration::from_secs(ttl.into()) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::rr::Record;
    use hickory_proto::rr::rdata::{A, CNAME};

    fn name(text: &str) -> Name {
        Name::from_ascii(text).expect("a name")
    }

    fn alias(from: &str, ttl: u32, to: &str) -> Record {
        Record::from_rdata(name(from), ttl, RData::CNAME(CNAME(name(to))))
    }

    fn address(from: &str, ttl: u32, last: u8) -> Record {
        Record::from_rdata(name(from), ttl, RData::A(A([192, 0, 2, last].into())))
    }

    #[test]
    fn servers_of_a_resolv_conf() {
        for (case, text, want) in [
            ("none", "search a\noptions ndots:5\n", ""),
            ("some", "# x\nnameserver 10.0.0.1\n nameserver\t2001:db8::1 \n", "10.0.0.1:53 [2001:db8::1]:53"),
            ("no address", "nameserver x\nnameservers 10.0.0.1\n", ""),
            (
                "more than three",
                "nameserver 10.0.0.1\nnameserver 10.0.0.2\nnameserver 10.0.0.3\nnameserver 10.0.0.4",
                "10.0.0.1:53 10.0.0.2:53 10.0.0.3:53",
            ),
        ] {
            let got: Vec<_> = configured(text).iter().map(ToString::to_string).collect();
            assert_eq!(got.join(" "), want, "{case}");
        }
    }

    #[test]
    fn addresses_at_the_end_of_a_chain() {
        for (case, records, want, ttl) in [
            ("none", vec![], vec![], u32::MAX),
            ("two", vec![address("a.org.", 60, 1), address("a.org.", 30, 2)], vec![1, 2], 30),
            ("by another name", vec![alias("a.org.", 20, "b.org."), address("b.org.", 60, 3)], vec![3], 20),
            ("of somebody else", vec![address("c.org.", 60, 4)], vec![], u32::MAX),
            ("a circle", vec![alias("a.org.", 9, "b.org."), alias("b.org.", 9, "a.org.")], vec![], 9),
        ] {
            let mut answer = Message::new(1, MessageType::Response, OpCode::Query);
            answer.add_answers(records);
            let server = SocketAddr::from(([127, 0, 0, 1], PORT));
            let got = found(&answer, &name("a.org."), RecordType::A, server).expect(case);
            let want: Vec<IpAddr> = want.into_iter().map(|last| IpAddr::from([192, 0, 2, last])).collect();
            assert_eq!((got.addresses, got.ttl), (want, Duration::from_secs(ttl.into())), "{case}");
        }
    }

    #[tokio::test]
    async fn a_server_is_asked_for_both_families() {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
        let server = socket.local_addr().expect("it is bound");
        let serving = tokio::spawn(async move {
            let mut buffer = [0; 512];
            loop {
                let (length, client) = socket.recv_from(&mut buffer).await.expect("a query");
                let query = Message::from_vec(&buffer[..length]).expect("a query");
                let mut reply = Message::response(query.metadata.id, OpCode::Query);
                let question = query.queries[0].clone();
                reply.add_query(question.clone());
                // Somebody else's answer is not taken.
                let mut forged = reply.clone();
                forged.metadata.id = query.metadata.id.wrapping_add(1);
                forged.add_answer(address("a.org.", 60, 66));
                socket.send_to(&forged.to_vec().expect("bytes"), client).await.expect("sent");
                match question.query_type() {
                    RecordType::A => drop(reply.add_answer(address("a.org.", 60, 1))),
                    _ => reply.metadata.response_code = ResponseCode::ServFail,
                }
                socket.send_to(&reply.to_vec().expect("bytes"), client).await.expect("sent");
            }
        });
        let got = look_up(&DnsServers::One(server), "A.org").await.expect("an address");
        serving.abort();
        assert_eq!(got.addresses, [IpAddr::from([192, 0, 2, 1])]);
        assert_eq!(got.ttl, Duration::ZERO, "the other family is asked for again soon");
    }
}
