//! `weft status`: each node in a few lines, and what is wrong there.

use crate::answers::Extent;
use crate::ask;
use crate::places::Place;
use crate::words::{cell, chain, count, duration};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::Path;

/// Asks the control plane, and the proxy and the agent of each node. One that does not answer is part of the answer.
pub async fn gather(places: &[Place], control: Option<&Path>) -> Value {
    let control = match control {
        Some(socket) => ask_one(socket).await,
        None => Value::Null,
    };
    let mut nodes = Vec::new();
    for place in places {
        let proxy = ask_one(&place.proxy).await;
        let agent = match &place.agent {
            Some(socket) => ask_one(socket).await,
            None => Value::Null,
        };
        let node = [&proxy["node"], &agent["node"]].into_iter().find(|name| name.is_string()).cloned();
        // Who does not answer is named by where it should.
        let node = node.unwrap_or_else(|| place.proxy.display().to_string().into());
        nodes.push(json!({ "node": node, "proxy": proxy, "agent": agent }));
    }
    // One that has ended in order leaves no socket behind; one on another machine has none here, and is connected to.
    let control =
        if control.is_null() && nodes.iter().any(|node| is_lost(&node["proxy"])) { lost() } else { control };
    json!({ "control": control, "nodes": nodes })
}

/// The control plane, of which only the nodes tell.
fn lost() -> Value {
    json!({
        "error": "it has no socket here, and not every node is connected to it",
        "advice": "see that weft-control runs, and that the nodes reach it",
    })
}

/// A proxy answers, and is not connected to the control plane.
fn is_lost(proxy: &Value) -> bool {
    proxy["discovery"].is_object() && !proxy["discovery"]["connected_for_seconds"].is_u64()
}

async fn ask_one(socket: &Path) -> Value {
    match ask::get(socket, "/status").await {
        Ok(status) => status,
        Err(error) => json!({ "error": chain(&error), "advice": error.advice() }),
    }
}

/// Whether everyone who was asked has answered, and knows what it has to: a node that has lost the control plane, or has
/// not been told everything, is a part of the mesh that is missing.
pub fn extent(status: &Value) -> Extent {
    let is_well = |node: &Value| {
        let (proxy, agent) = (&node["proxy"], &node["agent"]);
        let answers = proxy["error"].is_null() && agent["error"].is_null();
        let knows = proxy["discovery"]["in_sync"] != false && agent["in_sync"] != false;
        answers && knows && !is_lost(proxy) && agent["proxies"].as_array().is_none_or(|all| !all.is_empty())
    };
    let nodes = status["nodes"].as_array().into_iter().flatten();
    let all = nodes.map(is_well).chain([status["control"]["error"].is_null()]);
    if all.into_iter().all(|is_well| is_well) { Extent::Whole } else { Extent::Part }
}

/// Why one does not answer, and what to do.
fn silence(name: &'static str, one: &Value, error: &str) -> Vec<Line> {
    let advice = one["advice"].as_str().map(|advice| ("", advice.to_owned()));
    std::iter::once((name, format!("does not answer: {error}"))).chain(advice).collect()
}

/// The whole status for people.
pub fn render(status: &Value) -> String {
    let mut out = String::new();
    if !status["control"].is_null() {
        section(&mut out, "control", &control_lines(&status["control"]));
    }
    for node in status["nodes"].as_array().into_iter().flatten() {
        section(&mut out, &cell(&node["node"]), &lines(node));
    }
    out
}

/// A word for what a line is about, empty if it goes on about the same; and the line.
type Line = (&'static str, String);

fn section(out: &mut String, title: &str, lines: &[Line]) {
    let _never = writeln!(out, "{title}");
    for (name, text) in lines {
        let _never = writeln!(out, "  {name:<13} {text}");
    }
}

fn control_lines(control: &Value) -> Vec<Line> {
    if let Some(error) = control["error"].as_str() {
        return silence("control", control, error);
    }
    let clients = control["clients"].as_array().map(Vec::as_slice).unwrap_or_default();
    let pending = |client: &&Value| {
        client["types"].as_object().into_iter().flatten().any(|(_, one)| one["state"] == "pending")
    };
    let behind = clients.iter().filter(pending).count();
    let mut text = count(clients.len(), "client", "clients");
    if behind > 0 {
        text += &format!(", {behind} NOT in sync");
    }
    let mut lines = vec![("serves", text)];
    for client in clients {
        for rejection in client["rejections"].as_array().into_iter().flatten() {
            let who = format!("{} of {}", cell(&client["role"]), cell(&client["node"]));
            lines.push((
                "",
                format!("{who} refused {}: {}", cell(&rejection["type"]), cell(&rejection["message"])),
            ));
        }
    }
    let authority = &control["authority"];
    let phase = authority["rotation"]["phase"].as_str().unwrap_or("a plugged-in authority");
    lines.push(("signs for", format!("{}, {phase}", cell(&authority["trustDomain"]))));
    let trouble = authority["problem"].as_str();
    lines.extend(trouble.map(|trouble| ("", format!("its files are not in force: {trouble}"))));
    let problems = control["problems"].as_array().map(Vec::as_slice).unwrap_or_default();
    lines.push(("manifests", count(problems.len(), "problem", "problems")));
    lines.extend(problems.iter().map(|problem| ("", problem_text(problem))));
    lines
}

/// `error: shop.yaml:12: AuthorizationPolicy shop/p: spec.rules: no such field`.
fn problem_text(problem: &Value) -> String {
    let line = problem["line"].as_u64().map_or_else(String::new, |line| format!(":{line}"));
    let mut text = format!("{}: {}{line}", cell(&problem["severity"]), cell(&problem["source"]));
    for part in [&problem["object"], &problem["field"], &problem["reason"]] {
        if part.as_str().is_some_and(|part| !part.is_empty()) {
            text += &format!(": {}", cell(part));
        }
    }
    text
}

fn lines(node: &Value) -> Vec<Line> {
    let (proxy, agent) = (&node["proxy"], &node["agent"]);
    let mut lines = Vec::new();
    match proxy["error"].as_str() {
        Some(error) => lines.extend(silence("proxy", proxy, error)),
        None => {
            lines.push(("discovery", discovery(&proxy["discovery"])));
            lines.extend(trouble(&proxy["discovery"]).into_iter().map(|text| ("", text)));
            lines.push(("knows", known(proxy)));
            lines.push(("certificates", certificates(&proxy["certificates"])));
        }
    }
    match agent["error"].as_str() {
        Some(error) => lines.extend(silence("agent", agent, error)),
        None if agent.is_null() => {}
        None => {
            lines.push(("pods", pods(&agent["pods"])));
            lines.extend(unfinished(&agent["pods"]).into_iter().map(|text| ("", text)));
            lines.push(("agent", proxies(agent)));
            if let Some(why) = agent["cannot_end_connections"].as_str() {
                lines.push(("", format!("cannot end connections: {why}")));
                lines.push(("", NOT_TOLD.to_owned()));
            }
        }
    }
    lines
}

/// What follows where the kernel does not end connections.
const NOT_TOLD: &str =
    "what a pod had open when it joined and must not go on is cut off, and the other ends are not told";

fn discovery(discovery: &Value) -> String {
    let connected = discovery["connected_for_seconds"].as_u64().map(duration);
    match (discovery["in_sync"] == true, connected) {
        (true, Some(time)) => format!("in sync, connected for {time}"),
        (false, Some(time)) => format!("NOT in sync, connected for {time}: {}", untold(discovery)),
        (_, None) => {
            let failures = discovery["failures"].as_u64().unwrap_or(0);
            let why = cell(&discovery["last_error"]);
            format!("NOT connected, {failures} attempts failed, the last one: {why}")
        }
    }
}

/// Why a proxy that is connected is not in sync: the control plane is silent, as it is while it has not read all of its
/// manifests.
fn untold(discovery: &Value) -> String {
    let types = discovery["types"].as_array().map(Vec::as_slice).unwrap_or_default();
    let of_state =
        |state: &str| types.iter().filter(|one| one["state"] == state).map(type_name).collect::<Vec<_>>();
    let (waiting, saved) = (of_state("waiting"), of_state("saved"));
    let untold = [waiting, saved.clone()].concat();
    let what = if untold.is_empty() { "everything".to_owned() } else { untold.join(" and ") };
    let mut text = format!("the control plane has not told of {what} yet");
    if !saved.is_empty() {
        text += &format!("; what is kept on disk serves for {}", saved.join(" and "));
    }
    text + ". Its own status and readiness say why"
}

/// `Address` of `type.googleapis.com/istio.workload.Address`.
fn type_name(row: &Value) -> String {
    let name = cell(&row["type_url"]);
    name.rsplit(['/', '.']).next().unwrap_or_default().to_owned()
}

/// What of discovery is not as it should be, in a line each.
fn trouble(discovery: &Value) -> Vec<String> {
    let mut texts = Vec::new();
    for one in discovery["types"].as_array().into_iter().flatten() {
        let name = type_name(one);
        for rejected in one["rejected"].as_array().into_iter().flatten() {
            texts.push(format!("refused from {name}: {}", cell(rejected)));
        }
    }
    texts
}

fn known(proxy: &Value) -> String {
    let number = |name: &str| usize::try_from(proxy[name].as_u64().unwrap_or(0)).unwrap_or(usize::MAX);
    [
        count(number("workloads"), "workload", "workloads"),
        count(number("services"), "service", "services"),
        count(number("policies"), "policy", "policies"),
    ]
    .join(", ")
}

fn certificates(rows: &Value) -> String {
    let rows = rows.as_array().map(Vec::as_slice).unwrap_or_default();
    let oldest = rows.iter().filter_map(|row| row["age_seconds"].as_u64()).max();
    let next = rows.iter().filter_map(|row| row["expires_in_seconds"].as_u64()).min();
    let expired = rows.iter().filter(|row| row["valid"] == false).count();
    let mut text = rows.len().to_string();
    if let (Some(oldest), Some(next)) = (oldest, next) {
        text += &format!(", the oldest {} old, the next expires in {}", duration(oldest), duration(next));
    }
    if expired > 0 {
        text += &format!(", {expired} NOT valid");
    }
    text
}

fn pods(rows: &Value) -> String {
    let rows = rows.as_array().map(Vec::as_slice).unwrap_or_default();
    let enrolled = rows.iter().filter(|row| row["state"] == "enrolled").count();
    format!("{enrolled} of {} enrolled", rows.len())
}

/// Pods that are not where they should be, and those that could get around the mesh.
fn unfinished(rows: &Value) -> Vec<String> {
    let mut texts = Vec::new();
    for row in rows.as_array().into_iter().flatten() {
        let name = format!("{}/{}", cell(&row["namespace"]), cell(&row["name"]));
        if row["state"] != "enrolled" || !row["reason"].is_null() {
            texts.push(format!("{name} is {}: {}", cell(&row["state"]), cell(&row["reason"])));
        }
        if row["not_contained"].as_array().is_some_and(|devices| !devices.is_empty()) {
            texts.push(format!("{name} is not contained on {}", cell(&row["not_contained"])));
        }
        let older = row["existing"].as_array().map_or(0, Vec::len);
        if older > 0 {
            let older = count(older, "connection is", "connections are");
            texts.push(format!("{name}: {older} older than its enrolment and beside the mesh"));
        }
        let cut_off = row["cut_off"].as_u64().unwrap_or_default();
        if cut_off > 0 {
            texts.push(format!(
                "{name}: older connections broke when it was enrolled, for want of room to let them go on: {cut_off}"
            ));
        }
    }
    texts
}

fn proxies(agent: &Value) -> String {
    let proxies = agent["proxies"].as_array().map(Vec::as_slice).unwrap_or_default();
    let pids: Vec<String> = proxies.iter().map(|proxy| format!("pid {}", cell(&proxy["pid"]))).collect();
    let serves = if pids.is_empty() {
        "no proxy is linked".to_owned()
    } else {
        format!("linked to {}", pids.join(" and "))
    };
    let sync = if agent["in_sync"] == true {
        "in sync"
    } else {
        "NOT in sync (the control plane has not told of this node's pods yet)"
    };
    format!("{sync}, {serves}, {} sockets ready", cell(&agent["sockets_ahead"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_is_well() {
        let nodes = json!({"control": null, "nodes": [{
            "node": "node1",
            "proxy": {"node": "node1", "workloads": 12, "services": 1, "policies": 0,
                "certificates": [
                    {"identity": "a", "valid": true, "age_seconds": 300, "expires_in_seconds": 86_100},
                    {"identity": "b", "valid": true, "age_seconds": 10, "expires_in_seconds": 86_390},
                ],
                "discovery": {"in_sync": true, "connected_for_seconds": 300, "failures": 0, "last_error": null,
                    "types": [{"type_url": "type.googleapis.com/istio.workload.Address", "state": "insync",
                        "resources": 13, "rejected": []}]}},
            "agent": {"node": "node1", "in_sync": true, "pods": [{"namespace": "shop", "name": "a",
                "state": "enrolled", "reason": null, "not_contained": []}],
                "proxies": [{"pid": 71, "workers": 2, "version": 1}], "sockets_ahead": 64},
        }]});
        assert_eq!(extent(&nodes), Extent::Whole);
        for (case, path, value) in [
            ("a control plane that is silent", "/control", json!({"error": "connecting to /c"})),
            ("a proxy that has lost it", "/nodes/0/proxy/discovery/connected_for_seconds", Value::Null),
            ("a proxy that has not heard all", "/nodes/0/proxy/discovery/in_sync", json!(false)),
            ("an agent that has not heard all", "/nodes/0/agent/in_sync", json!(false)),
            ("an agent without a proxy", "/nodes/0/agent/proxies", json!([])),
            ("an agent that is silent", "/nodes/0/agent", json!({"error": "connecting to /a"})),
        ] {
            let mut other = nodes.clone();
            *other.pointer_mut(path).expect(case) = value;
            assert_eq!(extent(&other), Extent::Part, "{case}");
        }
        assert_eq!(
            render(&nodes),
            "node1\n  discovery     in sync, connected for 5m\n  knows         12 workloads, 1 service, 0 policies\n  \
             certificates  2, the oldest 5m old, the next expires in 23h55m\n  pods          1 of 1 enrolled\n  \
             agent         in sync, linked to pid 71, 64 sockets ready\n"
        );
    }

    #[test]
    fn what_is_wrong_is_said() {
        let control = json!({
            "clients": [{"role": "proxy", "node": "node2", "types": {"address": {"state": "pending"}},
                "rejections": [{"type": "policy", "message": "no rules"}]}],
            "authority": {"trustDomain": "cluster.local", "rotation": null, "problem": "reading /c/ca-key.pem"},
            "problems": [{"severity": "error", "source": "p.yaml", "line": 3, "object": "Policy shop/p",
                "field": "spec", "reason": "no such field"}],
        });
        let nodes = json!({"control": control, "nodes": [{
            "node": "node2",
            "proxy": {"node": "node2", "certificates": [{"valid": false, "age_seconds": 90_000,
                "expires_in_seconds": 0}],
                "discovery": {"in_sync": false, "connected_for_seconds": null, "failures": 3,
                    "last_error": "connection refused", "types": [{"type_url": "x/Address", "rejected": ["bad"]}]}},
            "agent": {"in_sync": false, "pods": [
                {"namespace": "shop", "name": "a", "state": "failed", "reason": "no such namespace",
                 "not_contained": []},
                {"namespace": "shop", "name": "b", "state": "enrolled", "reason": null, "not_contained": ["eth1"],
                 "existing": [{"local": "10.0.0.1:80", "remote": "10.0.0.2:4000", "opened_by": "peer"}],
                 "cut_off": 7},
            ], "proxies": [], "sockets_ahead": 0,
            "cannot_end_connections": "the kernel does not know SOCK_DESTROY"},
        }, {"node": "/x", "proxy": {"error": "connecting to /x", "advice": "run it as root"},
            "agent": {"error": "connecting to /y"}}]});
        assert_eq!(extent(&nodes), Extent::Part);
        let text = render(&nodes);
        for line in [
            "  serves        1 client, 1 NOT in sync",
            "                proxy of node2 refused policy: no rules",
            "  signs for     cluster.local, a plugged-in authority",
            "                its files are not in force: reading /c/ca-key.pem",
            "  manifests     1 problem",
            "                error: p.yaml:3: Policy shop/p: spec: no such field",
            "  discovery     NOT connected, 3 attempts failed, the last one: connection refused",
            "                refused from Address: bad",
            "  certificates  1, the oldest 1d1h old, the next expires in 0s, 1 NOT valid",
            "  pods          1 of 2 enrolled",
            "                shop/a is failed: no such namespace",
            "                shop/b is not contained on eth1",
            "                shop/b: 1 connection is older than its enrolment and beside the mesh",
            "                shop/b: older connections broke when it was enrolled, for want of room to let them go on: 7",
            "  agent         NOT in sync (the control plane has not told of this node's pods yet), no proxy is linked, \
             0 sockets ready",
            "                cannot end connections: the kernel does not know SOCK_DESTROY",
            "                what a pod had open when it joined and must not go on is cut off, and the other ends are not told",
            "/x",
            "  proxy         does not answer: connecting to /x",
            "                run it as root",
            "  agent         does not answer: connecting to /y",
        ] {
            assert!(text.lines().any(|one| one == line), "{line:?} is missing in\n{text}");
        }
    }

    #[test]
    fn what_is_not_in_sync_says_why() {
        let row = |state: &str, name: &str| json!({"type_url": format!("type.googleapis.com/istio.{name}"), "state": state, "rejected": []});
        let said = |types: Vec<Value>| {
            discovery(&json!({"in_sync": false, "connected_for_seconds": 90, "types": types}))
        };
        let silent = "NOT in sync, connected for 1m30s: the control plane has not told of ";
        let asks = ". Its own status and readiness say why";
        let (addresses, policies) = ("workload.Address", "security.Authorization");
        for (case, types, want) in [
            (
                "a first start",
                vec![row("waiting", policies), row("waiting", addresses)],
                "Authorization and Address yet",
            ),
            (
                "with what is on disk",
                vec![row("saved", policies), row("saved", addresses)],
                "Authorization and Address yet; what is kept on disk serves for Authorization and Address",
            ),
            ("in between", vec![row("insync", policies), row("waiting", addresses)], "Address yet"),
            ("an older proxy", Vec::new(), "everything yet"),
        ] {
            assert_eq!(said(types), format!("{silent}{want}{asks}"), "{case}");
        }
    }
}
