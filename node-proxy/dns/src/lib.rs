//! What the mesh answers to a pod's DNS query: bytes and a snapshot in, bytes or a verdict out.
//!
//! It holds no socket, no cache and no clock. Names that the mesh does not know are the cluster's own DNS server's
//! business; carrying queries there is the caller's.
#![forbid(unsafe_code)]

mod reply;
mod find;
mod name;
pub mod tcp;

use crate::find::{Found, find};
use crate::name::HostName;
use crate::reply::Reply;
use hickory_proto::op::{Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::{DNSClass, RecordType};
use weft_core::balance::Chance;
use weft_core::snapshot::Snapshot;
use weft_core::workload::Workload;

pub use reply::server_failure;

/// How long a client may keep an answer, in seconds. Addresses of headless services change with their pods, and
/// the clusters' usual DNS server says 5 as well, so applications see nothing new.
pub const TTL_SECONDS: u32 = 5;

/// Who asks, and what the answer is taken from.
pub struct Context<'a> {
    /// What the mesh knows.
    pub snapshot: &'a Snapshot,
    /// The pod that asks.
    pub client: &'a Workload,
    /// The cluster's domain, such as `cluster.local`: lower case, no dot at its end.
    pub cluster_domain: &'a str,
    /// The search list of the client's resolver: lower case, no dots at the ends. A resolver appends these to names
    /// that the mesh knows from elsewhere (`api.example.com.shop.svc.cluster.local`), before it asks for the name itself.
    pub search_domains: &'a [&'a str],
    /// Whether queries can be passed on.
    pub upstream: Upstream,
    /// How the query came.
    pub transport: Transport,
}

/// Whether there is a DNS server behind this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Upstream {
    /// There is: it knows the rest.
    Present,
    /// There is none: names under the cluster's domain that the mesh does not know do not exist, and for all others
    /// this server has no answer.
    Absent,
}

/// How a query came, which bounds its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// In one datagram.
    Udp,
    /// Over a connection ([`tcp`]).
    Tcp,
}

/// What to do with a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Send these bytes back.
    Answer(Vec<u8>),
    /// Pass the query on as it is, and its answer back. Only with [`Upstream::Present`].
    Forward,
    /// It is no query; to answer it could begin a ping-pong.
    Drop,
}

/// Judges one query.
///
/// Unknown names are always passed on if they can be: this server knows what is in the mesh, not what is not in the
/// cluster. A known name without an address of the asked family gets an empty answer (NODATA) instead, so that a
/// client does not find a way past the mesh in the other family.
pub fn answer(query: &[u8], context: &Context<'_>, chance: &mut impl Chance) -> Outcome {
    let message = match read(query) {
        Ok(message) => message,
        Err(Unreadable::NoQuery) => return Outcome::Drop,
        Err(Unreadable::Malformed) => {
            return reply::bare(query, ResponseCode::FormErr).map_or(Outcome::Drop, Outcome::Answer);
        }
    };
    let outcome = |answer: Option<Vec<u8>>| {
        // What cannot be written (a CNAME to what is no name) is a failure, and the client shall not wait for it.
        answer.or_else(|| server_failure(query)).map_or(Outcome::Drop, Outcome::Answer)
    };
    let reply = Reply::to(&message, context);
    let [question] = message.queries.as_slice() else {
        // More than one question has no meaning (RFC 9619), and none asks nothing.
        return outcome(reply.error(ResponseCode::FormErr));
    };
    if message.metadata.op_code != OpCode::Query {
        return outcome(reply.error(ResponseCode::NotImp));
    }
    if message.edns.as_ref().is_some_and(|edns| edns.version() > 0) {
        return outcome(reply.error(ResponseCode::BADVERS));
    }
    let name = HostName::of(question.name());
    let known = match (&name, question.query_class()) {
        (Some(name), DNSClass::IN) => find(name, context),
        _ => None,
    };
    let Some(found) = known else {
        return match context.upstream {
            Upstream::Present => Outcome::Forward,
            Upstream::Absent if name.is_some_and(|name| name.is_below(context.cluster_domain)) => {
                outcome(reply.no_such_name())
            }
            Upstream::Absent => outcome(reply.error(ResponseCode::Refused)),
        };
    };
    if passes_on(&found, question.query_type(), context) {
        return Outcome::Forward;
    }
    outcome(reply.records(question, found, chance))
}

/// The query's message, as far as it is one.
enum Unreadable {
    NoQuery,
    Malformed,
}

/// Bytes of a message's header (RFC 1035 §4.1.1).
const HEADER_BYTES: usize = 12;

fn read(query: &[u8]) -> Result<Message, Unreadable> {
    // The highest bit of the third byte says that it is an answer.
    if query.len() < HEADER_BYTES || query[2] & 0x80 != 0 {
        return Err(Unreadable::NoQuery);
    }
    match Message::from_vec(query) {
        Ok(message) if message.metadata.message_type == MessageType::Query => Ok(message),
        Ok(_) => Err(Unreadable::NoQuery),
        Err(_) => Err(Unreadable::Malformed),
    }
}

/// True if the server behind this one has the better answer.
fn passes_on(found: &Found<'_>, query_type: RecordType, context: &Context<'_>) -> bool {
    if context.upstream == Upstream::Absent {
        return false;
    }
    match query_type {
        // Only a server that resolves can follow a name out of the mesh, and a stub resolver does not do it itself.
        RecordType::A | RecordType::AAAA | RecordType::ANY => found.leads_outside(),
        RecordType::CNAME => false,
        // The names of ports are known to the cluster's server alone.
        RecordType::SRV => true,
        // The world's names keep their mail servers and texts; the cluster's have none.
        _ => !found.is_below(context.cluster_domain),
    }
}

#[cfg(test)]
mod tests;
