//! Messages: sizes, order, what is no query, and rubbish.

use super::world::{ask, ask_message, judge, line, message, service, snapshot, with_edns, workload};
use crate::{Outcome, Transport, Upstream, server_failure};
use hickory_proto::op::{Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::RecordType::A;
use hickory_proto::rr::{DNSClass, RData};
use std::collections::HashSet;
use std::sync::Arc;
use weft_core::names::ServiceName;
use weft_core::snapshot::Snapshot;
use weft_core::workload::Workload;

const WEB: &str = "web.shop.svc.cluster.local.";
const BIG: &str = "big.shop.svc.cluster.local";

fn crowd(size: u16) -> Snapshot {
    let mut snapshot = Snapshot::default();
    snapshot.insert_service(Arc::new(service(BIG, &[])));
    for number in 0..size {
        let [high, low] = number.to_be_bytes();
        let pod = Workload {
            services: vec![(ServiceName::new("shop", BIG), vec![])],
            ..workload(&format!("big-{number}"), &[&format!("10.1.{high}.{low}")], BIG)
        };
        snapshot.insert_workload(Arc::new(pod));
    }
    snapshot
}

#[test]
fn answers_fit_what_carries_them() {
    let big = format!("{BIG}.");
    for (case, size, edns, transport, bytes_max, want) in [
        ("a few", 20, None, Transport::Udp, 512, (20, false)),
        ("many", 100, None, Transport::Udp, 512, (29, true)),
        ("many, and the client takes more", 100, Some(4_096), Transport::Udp, 1_232, (73, true)),
        ("the client says less than the least", 100, Some(10), Transport::Udp, 512, (28, true)),
        ("over a connection", 100, None, Transport::Tcp, 65_535, (100, false)),
        ("more than a connection carries", 5_000, Some(512), Transport::Tcp, 65_535, (1_632, true)),
    ] {
        let query = ask_message(&big, A);
        let query = edns.map_or_else(|| query.to_vec().unwrap(), |bytes| with_edns(query.clone(), bytes, 0));
        let outcome = judge(&query, &crowd(size), Upstream::Present, transport);
        let Outcome::Answer(bytes) = &outcome else { panic!("{case}") };
        assert!(bytes.len() <= bytes_max, "{case}: {} bytes", bytes.len());
        let got = message(outcome, case);
        assert_eq!(got.edns.is_some(), edns.is_some(), "{case}");
        let distinct: HashSet<_> = got.answers.iter().map(|record| record.data.to_string()).collect();
        assert_eq!((distinct.len(), got.metadata.truncation), want, "{case}");
    }
}

#[test]
fn chance_decides_the_order() {
    let snapshot = crowd(50);
    let client = workload("client", &["10.0.9.9"], "none");
    let context = crate::Context {
        snapshot: &snapshot,
        client: &client,
        cluster_domain: "cluster.local",
        search_domains: &[],
        upstream: Upstream::Absent,
        transport: Transport::Tcp,
    };
    let mut seed = 1_u64;
    let mut chance = |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    let mut firsts = HashSet::new();
    for _ in 0..200 {
        let got = message(crate::answer(&ask(BIG, A), &context, &mut chance), "big");
        assert_eq!(got.answers.len(), 50);
        if let RData::A(ip) = &got.answers[0].data {
            firsts.insert(ip.0);
        }
    }
    assert!(firsts.len() > 40, "{} of 50 came first at least once", firsts.len());
}

#[test]
fn an_answer_repeats_the_question_letter_by_letter() {
    let asked = "wEb.ShOp.svc.cluster.local.";
    let got = message(judge(&ask(asked, A), &snapshot(), Upstream::Present, Transport::Udp), asked);
    assert_eq!(got.queries[0].name().to_ascii(), asked);
    assert_eq!(got.answers[0].name.to_ascii(), asked);
    let metadata = got.metadata;
    assert!(metadata.authoritative && metadata.recursion_desired && metadata.recursion_available);
}

#[test]
fn what_is_no_plain_query_is_told_so() {
    let snapshot = snapshot();
    let mut twice = ask_message(WEB, A);
    twice.add_query(ask_message("db.shop.", A).queries[0].clone());
    let mut chaos = ask_message(WEB, A);
    chaos.queries[0].set_query_class(DNSClass::CH);
    let mut update = ask_message(WEB, A);
    update.metadata.op_code = OpCode::Notify;
    let mut response = ask_message(WEB, A);
    response.metadata.message_type = MessageType::Response;
    let none = Message::new(7, MessageType::Query, OpCode::Query);
    let bytes = |message: Message| message.to_vec().unwrap();
    let cut = ask(WEB, A)[..20].to_vec();
    let circular = [&ask(WEB, A)[..12], &[0xC0, 12, 0, 1, 0, 1]].concat();
    for (case, query, present, absent) in [
        ("two questions", bytes(twice), "FormErr", "FormErr"),
        ("no question", bytes(none), "FormErr", "FormErr"),
        ("another class", bytes(chaos), "forward", "NXDomain no more of cluster.local."),
        ("another operation", bytes(update), "NotImp", "NotImp"),
        ("a later EDNS", with_edns(ask_message(WEB, A), 512, 1), "BADVERS", "BADVERS"),
        ("an answer", bytes(response), "drop", "drop"),
        ("a question cut short", cut, "FormErr", "FormErr"),
        ("a name that points at itself", circular, "FormErr", "FormErr"),
        ("nothing", vec![], "drop", "drop"),
        ("half a header", vec![0; 11], "drop", "drop"),
    ] {
        for (upstream, want) in [(Upstream::Present, present), (Upstream::Absent, absent)] {
            assert_eq!(line(judge(&query, &snapshot, upstream, Transport::Udp)), want, "{case}");
        }
    }
}

#[test]
fn a_query_passed_on_in_vain_fails() {
    let failed = Message::from_vec(&server_failure(&ask(WEB, A)).unwrap()).unwrap();
    assert_eq!((failed.metadata.id, failed.metadata.response_code), (7, ResponseCode::ServFail));
    assert_eq!(failed.queries[0].name().to_ascii(), WEB);
    assert_eq!(server_failure(&[0; 2]), None);
    let short = Message::from_vec(&server_failure(&ask(WEB, A)[..20]).unwrap()).unwrap();
    assert_eq!(short.metadata.response_code, ResponseCode::ServFail);
    assert_eq!(server_failure(&failed.to_vec().unwrap()), None, "an answer is not answered");
}

#[test]
fn rubbish_panics_nobody() {
    let snapshot = snapshot();
    let whole = with_edns(ask_message(WEB, A), 1_232, 0);
    let mut seed = 7_u64;
    let mut next = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize
    };
    for _ in 0..20_000 {
        let mut bytes = whole[..next() % (whole.len() + 1)].to_vec();
        for _ in 0..next() % 4 {
            if !bytes.is_empty() {
                let at = next() % bytes.len();
                bytes[at] = next() as u8;
            }
        }
        for upstream in [Upstream::Present, Upstream::Absent] {
            if let Outcome::Answer(answer) = judge(&bytes, &snapshot, upstream, Transport::Udp) {
                assert!(answer.len() <= 1_232 && Message::from_vec(&answer).is_ok(), "{bytes:?}");
            }
        }
        server_failure(&bytes);
    }
}
