//! DNS queries. The input's first byte chooses how the query came and whether it can be passed on.

use super::samples;
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query};
use hickory_proto::rr::{Name, RecordType};
use std::sync::{Arc, OnceLock};
use weft_core::service::Service;
use weft_core::snapshot::Snapshot;
use weft_dns::{Context, Outcome, Transport, Upstream, answer, server_failure};

pub(super) const WORDS: &[&str] = &[
    "\x03web",
    "\x04shop",
    "\x03svc",
    "\x07cluster",
    "\x05local\0",
    "\x01*",
    "\0\x01\0\x01",
    "\0\x1c",
    "\0\x29",
    "\u{c}\0",
    "\0",
];

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let long = format!("{}wild.example.com.", "label.".repeat(38));
    let mut seeds = Vec::new();
    for (how, name, kind) in [
        (0, "web.shop.svc.cluster.local.", RecordType::A),
        (1, "wEb.", RecordType::AAAA),
        (2, "db.shop.svc.cluster.local.", RecordType::ANY),
        (3, "alias.shop.svc.cluster.local.", RecordType::A),
        (2, "out.shop.svc.cluster.local.", RecordType::CNAME),
        (0, "a.wild.example.com.shop.svc.cluster.local.", RecordType::A),
        (1, long.as_str(), RecordType::AAAA),
        (2, "nobody.shop.svc.cluster.local.", RecordType::SRV),
    ] {
        let plain = query(name, kind);
        let mut edns = Edns::new();
        edns.set_max_payload(1_232).set_version(0);
        let mut more = plain.clone();
        more.set_edns(edns);
        for message in [plain, more] {
            seeds.push([vec![how], message.to_vec().expect("a query is written")].concat());
        }
    }
    seeds
}

fn query(name: &str, kind: RecordType) -> Message {
    let mut name = Name::from_ascii(name).expect("a name");
    name.set_fqdn(true);
    let mut message = Message::new(7, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(name, kind));
    message
}

fn snapshot() -> &'static Snapshot {
    static SNAPSHOT: OnceLock<Snapshot> = OnceLock::new();
    SNAPSHOT.get_or_init(|| {
        let mut snapshot = Snapshot::default();
        let external = |hostname: &str, target: &str| Service {
            external_name: Some(target.into()),
            ..samples::service(hostname, &[])
        };
        let db = "db.shop.svc.cluster.local";
        for service in [
            samples::service("web.shop.svc.cluster.local", &["10.96.0.1/32", "fd00:96::1/128"]),
            samples::service(db, &[]),
            samples::service("*.wild.example.com", &["240.0.0.9/32"]),
            external("alias.shop.svc.cluster.local", "Web.shop.svc.cluster.local."),
            external("out.shop.svc.cluster.local", "www.example.org"),
            external("circle.shop.svc.cluster.local", "circle.shop.svc.cluster.local"),
            external("broken.shop.svc.cluster.local", "a..b"),
        ] {
            snapshot.insert_service(Arc::new(service));
        }
        for number in 0..60 {
            let pod = samples::workload(&format!("db-{number}"), &[&format!("10.0.1.{number}")], db);
            snapshot.insert_workload(Arc::new(pod));
        }
        snapshot
    })
}

/// Whatever comes, the answer is one: to this query, within its bounds, and readable; queries alone are answered.
pub(super) fn run(bytes: &[u8]) {
    let [how, query @ ..] = bytes else {
        return;
    };
    let client = samples::workload("client", &["10.0.9.9"], "none");
    let context = Context {
        snapshot: snapshot(),
        client: &client,
        cluster_domain: "cluster.local",
        search_domains: &["shop.svc.cluster.local", "svc.cluster.local", "cluster.local"],
        upstream: if how & 1 == 0 { Upstream::Present } else { Upstream::Absent },
        transport: if how & 2 == 0 { Transport::Udp } else { Transport::Tcp },
    };
    match answer(query, &context, &mut |below: u64| below - 1) {
        Outcome::Answer(reply) => check(query, &reply, context.transport),
        Outcome::Forward => {
            assert_eq!(context.upstream, Upstream::Present);
            let failed = server_failure(query).expect("what is passed on can fail");
            check(query, &failed, context.transport);
        }
        Outcome::Drop => assert!(query.len() < 12 || query[2] & 0x80 != 0, "a query without an answer"),
    }
}

fn check(query: &[u8], reply: &[u8], transport: Transport) {
    let read = Message::from_vec(reply).expect("an answer is a message");
    assert_eq!(read.metadata.message_type, MessageType::Response);
    assert_eq!(reply[..2], query[..2], "the id");
    assert_eq!(reply[2] & 0x78, query[2] & 0x78, "the operation");
    assert_eq!(query[2] & 0x80, 0, "an answer was answered");
    let asked = Message::from_vec(query).ok();
    let bytes_max = match (transport, asked.as_ref().and_then(|asked| asked.edns.as_ref())) {
        (Transport::Tcp, _) => 65_535,
        (Transport::Udp, None) => 512,
        (Transport::Udp, Some(edns)) => usize::from(edns.max_payload()).clamp(512, 1_232),
    };
    assert!(reply.len() <= bytes_max, "{} bytes, {bytes_max} fit", reply.len());
    let Some([question]) = asked.as_ref().map(|asked| asked.queries.as_slice()) else {
        return assert_eq!(read.answers.len(), 0);
    };
    assert_eq!(read.queries.as_slice(), std::slice::from_ref(question), "the question");
    for record in &read.answers {
        let kind = record.record_type();
        let fits = kind == question.query_type() || kind == RecordType::CNAME;
        assert!(fits || question.query_type() == RecordType::ANY, "{kind} for {question}");
    }
}
