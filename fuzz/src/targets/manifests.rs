//! Files of manifests, and the index that takes what they hold.

use std::collections::BTreeMap;
use weft_control::directory::manifest::{Manifests, parse_manifests};
use weft_control_api::kind::Kind;
use weft_control_api::problem::{Problem, Severity};
use weft_control_api::refusal::RefusedScope;
use weft_control_index::Index;
use weft_control_index::agent::AgentPodKey;
use weft_control_index::change::{AtWaypoint, Change, Changed, Diff};
use weft_control_index::config::IndexConfig;
use weft_core::names::{GatewayName, PolicyName, ServiceName};
use weft_core::policy::Ruleset;
use weft_l7::policy::Policy as RequestPolicy;
use weft_l7::service::ServiceTraffic;
use weft_l7::telemetry::Telemetry;
use weft_l7::traffic::Traffic;
use weft_proto::{
    Address, Read, decode_address, decode_agent_pod, decode_authorization, encode_address, encode_agent_pod,
    encode_authorization,
};

pub(super) const WORDS: &[&str] = &[
    "\n---\n",
    "kind: ",
    "Pod",
    "Service",
    "AuthorizationPolicy",
    "PeerAuthentication",
    "HTTPRoute",
    "VirtualService",
    "exact: /a",
    "prefix: /a",
    "regex: (a|b)*",
    "weight: 0",
    "1h30m",
    "250ms",
    "*.a.example",
    "spec:",
    "  - ",
    "{}",
    "[]",
    "null",
    "~",
    "&a ",
    "*a",
    "<<: *a",
    "!!str ",
    "!x ",
    "|\n ",
    ">-\n ",
    "\"",
    "'",
    "# ",
    ": ",
    "? ",
    "\t",
    "%YAML 1.2\n",
    "metadata: {name: a, namespace: b}\n",
    "labels:",
    "action: DENY",
    "mode: STRICT",
    ".inf",
    "0x10",
    "1e400",
    "\u{feff}",
    "10.0.0.0/8",
    "*",
    "a*b",
    "weft-system",
    "weft.dev/waypoint: wp",
    "istio.io/use-waypoint: none",
    "istio.io/waypoint-for: all",
    "targetRefs: [{kind: Service, name: web}]",
];

/// Routes with the Services that they are for.
pub(super) const TRAFFIC: &str =
    concat!(include_str!("../../seeds/traffic.yaml"), "---\n", include_str!("../../seeds/services.yaml"));

pub(super) fn seeds() -> Vec<Vec<u8>> {
    super::texts(&[
        include_str!("../../seeds/shop.yaml"),
        include_str!("../../seeds/policies.yaml"),
        include_str!("../../seeds/traffic.yaml"),
        include_str!("../../seeds/waypoint.yaml"),
        TRAFFIC,
        "a: &a [x, y]\nb: *a\nc: !!str 1\nd: |\n  text\ne: {<<: {f: 1}}\n",
        "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Pod, metadata: {name: a}}\n- 1\n",
        r#"{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a", "labels": {"weft.dev/mesh": "enabled"}}}"#,
    ])
}

/// A file is refused whole or read object by object. The index says the same in whatever order it hears of them,
/// tells of every change, forgets what is deleted, and holds nothing that discovery cannot carry.
pub(super) fn run(bytes: &[u8]) {
    let manifests = match parse_manifests(bytes, "a.yaml") {
        Ok(manifests) => manifests,
        Err(problem) => return check_problem(bytes, &problem),
    };
    let Manifests { objects, problems } = manifests;
    problems.iter().for_each(|problem| check_problem(bytes, problem));
    let mut index = Index::new(IndexConfig::default());
    let empty = picture(&index);
    let diff = index.apply_all(objects.clone());
    index.problems().for_each(|problem| check_problem(bytes, problem));
    check_refused(&index, &objects);
    check_wire(&index);
    let whole = picture(&index);
    assert_eq!(picture_of(&empty, [diff]), whole, "changes that were not told");
    for order in [objects.clone(), objects.iter().rev().cloned().collect()] {
        let mut other = Index::new(IndexConfig::default());
        let diffs: Vec<Diff> = order.into_iter().map(|change| other.apply(change)).collect();
        assert_eq!(picture(&other), whole, "one by one");
        assert_eq!(picture_of(&empty, diffs), whole, "changes that were not told, one by one");
    }
    let deleted = objects.iter().map(|change| Change::Delete(change.key()));
    let diff = index.apply_all(deleted);
    assert_eq!(picture(&index), empty, "what is deleted is gone");
    assert_eq!(picture_of(&whole, [diff]), empty, "deletions that were not told");
    assert_eq!(index.problems().count(), 0);
}

/// A problem names the file, a line of it, and a reason.
fn check_problem(bytes: &[u8], problem: &Problem) {
    let lines = bytes.iter().filter(|byte| matches!(byte, b'\n' | b'\r')).count() + 2;
    assert_eq!(&*problem.source, "a.yaml");
    assert!(!problem.reason.is_empty(), "{problem}");
    if let Some(line) = problem.line {
        assert!(line >= 1 && line as usize <= lines, "{problem}: the file has {lines} lines");
    }
}

/// A policy that was refused denies wherever it could have applied.
fn check_refused(index: &Index, objects: &[Change]) {
    for change in objects {
        let Change::Refuse { refusal, .. } = change else {
            continue;
        };
        assert!(refusal.notes.iter().any(|note| note.severity == Severity::Error), "refused for nothing");
        // One that is for waypoints denies there.
        let at_pods = !matches!(refusal.scope, RefusedScope::Targets(_));
        if refusal.key.kind == Kind::AuthorizationPolicy && at_pods {
            let name = PolicyName::new(refusal.key.namespace.clone(), refusal.key.name.clone());
            let policy = index.policy(&name).expect("a refused policy is there");
            assert!(matches!(policy.ruleset, Ruleset::Unusable(_)), "{policy:?}");
            assert!(!policy.name.namespace.is_empty(), "denies in no namespace: {policy:?}");
        }
    }
}

/// What the index holds reaches a node as it is.
fn check_wire(index: &Index) {
    for workload in index.workloads() {
        let address = Address::Workload((**workload).clone());
        assert_eq!(decode_address(&encode_address(&address)), Ok(address));
    }
    for service in index.services() {
        let address = Address::Service((**service).clone());
        assert_eq!(decode_address(&encode_address(&address)), Ok(address));
    }
    for policy in index.policies() {
        let read = decode_authorization(&policy.name.to_string(), &encode_authorization(policy));
        assert_eq!(read, Read { policy: (**policy).clone(), complaint: None });
    }
    for pod in index.agent_pods() {
        assert_eq!(decode_agent_pod(&encode_agent_pod(pod)).as_ref(), Ok(&**pod));
    }
    for traffic in index.traffic() {
        let json = serde_json::to_vec(&traffic.said).expect("what is said can be written");
        let read: Traffic = serde_json::from_slice(&json).expect("what was written can be read");
        assert_eq!(read, *traffic.said);
        ServiceTraffic::new(read).expect("each entry has its rule");
    }
    for policy in index.requests() {
        let json = serde_json::to_vec(&policy.said).expect("what is said can be written");
        let read: RequestPolicy = serde_json::from_slice(&json).expect("what was written can be read");
        assert_eq!(read, policy.said);
    }
    for telemetry in index.telemetries() {
        let json = serde_json::to_vec(&telemetry.said).expect("what is said can be written");
        let read: Telemetry = serde_json::from_slice(&json).expect("what was written can be read");
        assert_eq!(read, telemetry.said);
    }
}

/// All that an index holds, by kind and key, in a form that can be compared.
type Picture = BTreeMap<(&'static str, String), String>;

fn picture(index: &Index) -> Picture {
    let workloads = index.workloads().map(|one| (("workload", one.uid.to_string()), format!("{one:?}")));
    let services = index.services().map(|one| (("service", one.name.to_string()), format!("{one:?}")));
    let policies = index.policies().map(|one| (("policy", one.name.to_string()), format!("{one:?}")));
    let pods = index.agent_pods().map(|one| (("pod", pod_name(&AgentPodKey::of(one))), format!("{one:?}")));
    let traffic = index.traffic();
    let traffic = traffic.map(|one| (("traffic", at(&one.gateway, &one.said.service)), format!("{one:?}")));
    let requests = index.requests();
    let requests = requests.map(|one| (("request", at(&one.gateway, &one.said.name)), format!("{one:?}")));
    let telemetries = index.telemetries();
    let telemetries =
        telemetries.map(|one| (("telemetry", at(&one.gateway, &one.said.name)), format!("{one:?}")));
    let of_waypoints = traffic.chain(requests).chain(telemetries);
    workloads.chain(services).chain(policies).chain(pods).chain(of_waypoints).collect()
}

/// What a reader holds who held `before` and then heard of these changes.
fn picture_of(before: &Picture, diffs: impl IntoIterator<Item = Diff>) -> Picture {
    let mut held = before.clone();
    for diff in diffs {
        let Diff {
            workloads,
            services,
            policies,
            traffic,
            requests,
            telemetries,
            agent_pods,
            problems: _,
            statuses: _,
        } = diff;
        let of_key = |key: AtWaypoint<ServiceName>| at(&key.gateway, &key.said);
        take(&mut held, "traffic", traffic, |one| at(&one.gateway, &one.said.service), of_key);
        let of_key = |key: AtWaypoint<PolicyName>| at(&key.gateway, &key.said);
        take(&mut held, "request", requests, |one| at(&one.gateway, &one.said.name), of_key);
        take(&mut held, "telemetry", telemetries, |one| at(&one.gateway, &one.said.name), of_key);
        take(&mut held, "workload", workloads, |one| one.uid.to_string(), |key| key.to_string());
        take(&mut held, "service", services, |one| one.name.to_string(), |key| key.to_string());
        take(&mut held, "policy", policies, |one| one.name.to_string(), |key| key.to_string());
        take(&mut held, "pod", agent_pods, |one| pod_name(&AgentPodKey::of(one)), |key| pod_name(&key));
    }
    held
}

fn at(gateway: &GatewayName, name: &impl std::fmt::Display) -> String {
    format!("{gateway} {name}")
}

fn pod_name(key: &AgentPodKey) -> String {
    format!("{} {}", key.node, key.workload_uid)
}

fn take<K, V: std::fmt::Debug>(
    held: &mut Picture,
    kind: &'static str,
    changed: Changed<K, V>,
    name: impl Fn(&V) -> String,
    key: impl Fn(K) -> String,
) {
    for gone in changed.removed {
        held.remove(&(kind, key(gone)));
    }
    for one in changed.upserted {
        held.insert((kind, name(&one)), format!("{one:?}"));
    }
}
