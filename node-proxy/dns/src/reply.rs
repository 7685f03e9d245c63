//! Answers as bytes.

use crate::find::{End, Found};
use crate::name::wire_name;
use crate::{Context, TTL_SECONDS, Transport, Upstream};
use hickory_proto::op::{Edns, Message, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, SOA};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use std::net::IpAddr;
use weft_core::balance::Chance;

/// Bytes of a datagram's answer if the client does not say more (RFC 1035 §4.2.1).
const UDP_BYTES_MIN: usize = 512;
/// Most bytes of a datagram's answer, whatever the client says: what fits one packet everywhere, so that no answer is
/// lost for a lost fragment (RFC 9715).
const UDP_BYTES_MAX: usize = 1_232;
/// Most bytes over a connection: the length in front has two (RFC 1035 §4.2.2).
const TCP_BYTES_MAX: usize = 65_535;
/// Addresses that an answer is begun with: no message holds more, at 16 bytes each.
const ADDRESSES_MAX: usize = 4_096;

/// An answer in the making.
pub(crate) struct Reply<'a> {
    message: Message,
    bytes_max: usize,
    cluster_domain: &'a str,
}

impl<'a> Reply<'a> {
    /// Begins the answer to a query.
    pub(crate) fn to(query: &Message, context: &Context<'a>) -> Self {
        let mut message = Message::response(query.metadata.id, query.metadata.op_code);
        message.metadata.recursion_desired = query.metadata.recursion_desired;
        message.metadata.checking_disabled = query.metadata.checking_disabled;
        message.metadata.recursion_available = context.upstream == Upstream::Present;
        if let [question] = query.queries.as_slice() {
            message.add_query(question.clone());
        }
        let mut bytes_max = UDP_BYTES_MIN;
        if let Some(asked) = &query.edns {
            bytes_max = usize::from(asked.max_payload()).clamp(UDP_BYTES_MIN, UDP_BYTES_MAX);
            let mut edns = Edns::new();
            edns.set_max_payload(UDP_BYTES_MAX as u16).set_version(0);
            message.set_edns(edns);
        }
        if context.transport == Transport::Tcp {
            bytes_max = TCP_BYTES_MAX;
        }
        Self { message, bytes_max, cluster_domain: context.cluster_domain }
    }

    /// An answer that holds nothing but a code.
    pub(crate) fn error(mut self, code: ResponseCode) -> Option<Vec<u8>> {
        self.message.metadata.response_code = code;
        self.message.to_vec().ok()
    }

    /// The name is none under the cluster's domain.
    pub(crate) fn no_such_name(mut self) -> Option<Vec<u8>> {
        self.message.metadata.authoritative = true;
        self.message.metadata.response_code = ResponseCode::NXDomain;
        let zone = wire_name(self.cluster_domain)?;
        self.message.add_authority(authority(zone)?);
        self.message.to_vec().ok()
    }

    /// The records of what was found: names on the way, then addresses in an order of chance; else an empty answer
    /// (NODATA, RFC 2308 §2.2).
    pub(crate) fn records(
        mut self,
        question: &Query,
        found: Found<'_>,
        chance: &mut impl Chance,
    ) -> Option<Vec<u8>> {
        self.message.metadata.authoritative = true;
        let wanted = question.query_type();
        // The first owner is the name as it was asked for, in the letters' case that the client checks.
        let mut owner = question.name().clone();
        let in_cluster = found.is_below(self.cluster_domain);
        for next in found.chain.iter().skip(1) {
            let target = next.to_wire()?;
            self.message.add_answer(record(owner, RData::CNAME(CNAME(target.clone()))));
            owner = target;
        }
        match found.end {
            End::Outside(target) => {
                let target = wire_name(target)?;
                self.message.add_answer(record(owner.clone(), RData::CNAME(CNAME(target))));
            }
            End::Addresses(mut addresses) if wanted != RecordType::CNAME => {
                addresses.retain(|ip| is_wanted(*ip, wanted));
                shuffle(&mut addresses, chance);
                addresses.truncate(ADDRESSES_MAX);
                for ip in addresses {
                    self.message.add_answer(record(owner.clone(), data(ip)));
                }
            }
            End::Addresses(_) => {}
        }
        if wanted == RecordType::CNAME {
            self.message.answers.truncate(1);
        }
        let complete = self.message.answers.iter().any(|record| {
            let kind = record.record_type();
            kind == wanted || (wanted == RecordType::ANY && kind != RecordType::CNAME)
        });
        if !complete {
            let zone = if in_cluster { wire_name(self.cluster_domain)? } else { owner };
            self.message.add_authority(authority(zone)?);
        }
        self.bytes()
    }

    /// Writes the message. What does not fit is left out and marked (RFC 2181 §9): the client asks again over TCP,
    /// and one that cannot has some addresses at least.
    fn bytes(mut self) -> Option<Vec<u8>> {
        let bytes = self.message.to_vec().ok()?;
        if bytes.len() <= self.bytes_max {
            return Some(bytes);
        }
        self.message.metadata.truncation = true;
        let answers = std::mem::take(&mut self.message.answers);
        // Records are not of one size: only the first hundred names or so are compressed. So halve the doubt.
        let (mut fits, mut too_many) = (0, answers.len());
        let mut best = None;
        while fits < too_many {
            let count = fits.midpoint(too_many);
            self.message.answers = answers.get(..count)?.to_vec();
            let bytes = self.message.to_vec().ok()?;
            if bytes.len() <= self.bytes_max {
                fits = count + 1;
                best = Some(bytes);
            } else {
                too_many = count;
            }
        }
        best
    }
}

fn is_wanted(ip: IpAddr, wanted: RecordType) -> bool {
    match wanted {
        RecordType::A => ip.is_ipv4(),
        RecordType::AAAA => ip.is_ipv6(),
        RecordType::ANY => true,
        _ => false,
    }
}

fn data(ip: IpAddr) -> RData {
    match ip {
        IpAddr::V4(ip) => RData::A(A(ip)),
        IpAddr::V6(ip) => RData::AAAA(AAAA(ip)),
    }
}

fn record(owner: Name, data: RData) -> Record {
    Record::from_rdata(owner, TTL_SECONDS, data)
}

/// The record that says how long "there is nothing" may be kept (RFC 2308 §3). Zones of the mesh are not
/// transferred, so its other numbers mean nothing.
fn authority(zone: Name) -> Option<Record> {
    let server = Name::from_ascii("ns.dns.").ok()?.append_domain(&zone).ok()?;
    let mailbox = Name::from_ascii("hostmaster.").ok()?.append_domain(&zone).ok()?;
    let soa = SOA::new(server, mailbox, 1, 7_200, 1_800, 86_400, TTL_SECONDS);
    Some(record(zone, RData::SOA(soa)))
}

/// Every order is as likely as any other (Fisher and Yates), so that clients that take the first address spread.
fn shuffle(addresses: &mut [IpAddr], chance: &mut impl Chance) {
    for last in (1..addresses.len()).rev() {
        let other = chance.below(last as u64 + 1) as usize;
        addresses.swap(last, other.min(last));
    }
}

/// An answer to bytes that do not read as a message: their id, and a code. `None` if they are too short for one, or
/// an answer themselves.
pub(crate) fn bare(query: &[u8], code: ResponseCode) -> Option<Vec<u8>> {
    let [high, low, flags, ..] = query else {
        return None;
    };
    if flags & 0x80 != 0 {
        return None;
    }
    let op_code = OpCode::from_u8((flags >> 3) & 0x0F);
    let mut message = Message::response(u16::from_be_bytes([*high, *low]), op_code);
    message.metadata.recursion_desired = flags & 1 != 0;
    message.metadata.response_code = code;
    message.to_vec().ok()
}

/// The answer for a query that was passed on in vain (SERVFAIL). `None` if it was none.
pub fn server_failure(query: &[u8]) -> Option<Vec<u8>> {
    let Ok(message) = Message::from_vec(query) else {
        return bare(query, ResponseCode::ServFail);
    };
    let [question] = message.queries.as_slice() else {
        return bare(query, ResponseCode::ServFail);
    };
    if query[2] & 0x80 != 0 {
        return None;
    }
    let mut reply = Message::response(message.metadata.id, message.metadata.op_code);
    reply.metadata.recursion_desired = message.metadata.recursion_desired;
    reply.metadata.recursion_available = true;
    reply.metadata.response_code = ResponseCode::ServFail;
    reply.add_query(question.clone());
    reply.to_vec().ok()
}
