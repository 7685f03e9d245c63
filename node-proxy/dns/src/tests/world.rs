//! A mesh with one of each kind of name, and questions to it.

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RData, RecordType};
use std::net::IpAddr;
use std::sync::Arc;
use weft_core::names::{Network, ServiceName};
use weft_core::service::{HealthPolicy, IpFamilies, LoadBalancing, Service, Vip, VipKind};
use weft_core::snapshot::Snapshot;
use weft_core::workload::{Health, Workload};

use crate::{Context, Outcome, Transport, Upstream, answer};

pub(super) fn workload(name: &str, addresses: &[&str], service: &str) -> Workload {
    let service = ServiceName::new("shop", service);
    Workload {
        addresses: addresses.iter().map(|ip| ip.parse().unwrap()).collect(),
        services: vec![(service, vec![])],
        ..weft_samples::workload("shop", name)
    }
}

pub(super) fn service(hostname: &str, vips: &[&str]) -> Service {
    let network = Network::default_network();
    let vip =
        |ip: &&str| Vip { network: network.clone(), range: ip.parse().unwrap(), kind: VipKind::Cluster };
    Service { vips: vips.iter().map(vip).collect(), ..weft_samples::service("shop", hostname) }
}

fn external(hostname: &str, target: &str) -> Service {
    Service { external_name: Some(target.into()), ..service(hostname, &[]) }
}

const DB: &str = "db.shop.svc.cluster.local";
const ALL: &str = "all.shop.svc.cluster.local";

pub(super) fn snapshot() -> Snapshot {
    let mut snapshot = Snapshot::default();
    let all = LoadBalancing { health: HealthPolicy::All, ..LoadBalancing::default() };
    for service in [
        service("web.shop.svc.cluster.local", &["10.96.0.1/32", "203.0.113.9/32"]),
        service("dual.shop.svc.cluster.local", &["10.96.0.2/32", "fd00:96::2/128"]),
        Service {
            ip_families: IpFamilies::V4,
            ..service("four.shop.svc.cluster.local", &["10.96.0.3/32", "2001:db8::3/128"])
        },
        service(DB, &[]),
        Service { load_balancing: all, ..service(ALL, &[]) },
        service("empty.shop.svc.cluster.local", &[]),
        external("alias.shop.svc.cluster.local", "Web.shop.svc.cluster.local."),
        external("out.shop.svc.cluster.local", "www.example.org"),
        external("circle.shop.svc.cluster.local", "round.shop.svc.cluster.local"),
        external("round.shop.svc.cluster.local", "circle.shop.svc.cluster.local"),
        external("broken.shop.svc.cluster.local", "a..b"),
        service("api.example.com", &["240.0.0.1/32", "240.0.0.2/32"]),
        service("nothing.example.com", &[]),
        service("range.example.com", &["198.51.100.0/24"]),
        service("*.wild.example.com", &["240.0.0.9/32"]),
    ] {
        snapshot.insert_service(Arc::new(service));
    }
    let mut outer = service("outer.shop.svc.cluster.local", &["10.96.0.4/32", "2001:db8::4/128"]);
    outer.vips[1].kind = VipKind::External;
    snapshot.insert_service(Arc::new(outer));
    let mut other = service("web.bank.svc.cluster.local", &["10.96.1.1/32"]);
    other.name.namespace = "bank".into();
    snapshot.insert_service(Arc::new(other));
    for workload in [
        Workload {
            hostname: "db-0.db.shop.svc.cluster.local".into(),
            ..workload("db-0", &["10.0.0.1", "fd00::1"], DB)
        },
        workload("db-1", &["10.0.0.2"], DB),
        Workload {
            hostname: "db-2.db.shop.svc.cluster.local".into(),
            health: Health::Unhealthy,
            ..workload("db-2", &["10.0.0.3"], DB)
        },
        Workload { terminating: true, ..workload("db-3", &["10.0.0.4"], DB) },
        Workload { network: Network::new("far"), ..workload("db-4", &["10.0.0.5"], DB) },
        Workload {
            hostname: "all-0.all.shop.svc.cluster.local".into(),
            health: Health::Unhealthy,
            ..workload("all-0", &["10.0.1.1"], ALL)
        },
    ] {
        snapshot.insert_workload(Arc::new(workload));
    }
    snapshot
}

/// A question as bytes.
pub(super) fn ask(name: &str, kind: RecordType) -> Vec<u8> {
    ask_message(name, kind).to_vec().unwrap()
}

pub(super) fn ask_message(name: &str, kind: RecordType) -> Message {
    let mut name = Name::from_ascii(name).unwrap();
    name.set_fqdn(true);
    let mut query = Query::query(name, kind);
    query.set_query_class(DNSClass::IN);
    let mut message = Message::new(7, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(query);
    message
}

pub(super) fn with_edns(mut message: Message, bytes: u16, version: u8) -> Vec<u8> {
    let mut edns = Edns::new();
    edns.set_max_payload(bytes).set_version(version);
    message.set_edns(edns);
    message.to_vec().unwrap()
}

pub(super) fn judge(query: &[u8], snapshot: &Snapshot, upstream: Upstream, transport: Transport) -> Outcome {
    let client = workload("client", &["10.0.9.9"], "none");
    let context = Context {
        snapshot,
        client: &client,
        cluster_domain: "cluster.local",
        search_domains: &["shop.svc.cluster.local", "svc.cluster.local", "cluster.local"],
        upstream,
        transport,
    };
    answer(query, &context, &mut |_: u64| 0)
}

pub(super) fn message(outcome: Outcome, case: &str) -> Message {
    match outcome {
        Outcome::Answer(bytes) => Message::from_vec(&bytes).unwrap(),
        other => panic!("{case}: {other:?}"),
    }
}

/// An outcome in one line: the code if it is none of success, then answers, then what stands in the authority section.
pub(super) fn line(outcome: Outcome) -> String {
    let bytes = match outcome {
        Outcome::Answer(bytes) => bytes,
        Outcome::Forward => return "forward".to_owned(),
        Outcome::Drop => return "drop".to_owned(),
    };
    let message = Message::from_vec(&bytes).unwrap();
    assert_eq!((message.metadata.id, message.metadata.message_type), (7, MessageType::Response));
    let mut words = Vec::new();
    match message.metadata.response_code {
        ResponseCode::NoError => {}
        // Both are number 16 (RFC 6895 §2.3); without a signature it can only be this one.
        ResponseCode::BADSIG => words.push("BADVERS".to_owned()),
        other => words.push(format!("{other:?}")),
    }
    let mut addresses: Vec<IpAddr> = Vec::new();
    for record in &message.answers {
        assert_eq!(record.ttl, crate::TTL_SECONDS);
        match &record.data {
            RData::A(ip) => addresses.push(ip.0.into()),
            RData::AAAA(ip) => addresses.push(ip.0.into()),
            RData::CNAME(name) => words.push(format!("-> {}", name.0)),
            other => words.push(format!("{other:?}")),
        }
    }
    addresses.sort_unstable();
    words.extend(addresses.iter().map(ToString::to_string));
    words.extend(message.authorities.iter().map(|record| format!("no more of {}", record.name)));
    words.join(" ")
}
