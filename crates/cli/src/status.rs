//! `weft status`: each node in a few lines, and what is wrong there.

use crate::ask;
use crate::places::Place;
use crate::words::{cell, count, duration};
use serde_json::{Value, json};
use std::error::Error;
use std::fmt::Write as _;

/// Asks the proxy and the agent of each node. One that does not answer is part of the answer.
pub async fn gather(places: &[Place]) -> Value {
    let mut nodes = Vec::new();
    for place in places {
        let proxy = match ask::get(&place.proxy, "/status").await {
            Ok(status) => status,
            Err(error) => json!({ "error": chain(&error) }),
        };
        let agent = match &place.agent {
            None => Value::Null,
            Some(socket) => match ask::get(socket, "/status").await {
                Ok(status) => status,
                Err(error) => json!({ "error": chain(&error) }),
            },
        };
        let node = [&proxy["node"], &agent["node"]].into_iter().find(|name| name.is_string()).cloned();
        nodes.push(json!({ "node": node, "proxy": proxy, "agent": agent }));
    }
    Value::Array(nodes)
}

fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(deeper) = cause {
        let _never = write!(text, ": {deeper}");
        cause = deeper.source();
    }
    text
}

/// The nodes for people.
pub fn render(nodes: &Value) -> String {
    let mut out = String::new();
    for node in nodes.as_array().into_iter().flatten() {
        let _never = writeln!(out, "{}", cell(&node["node"]));
        for (name, text) in lines(node) {
            let _never = writeln!(out, "  {name:<13} {text}");
        }
    }
    out
}

fn lines(node: &Value) -> Vec<(&'static str, String)> {
    let (proxy, agent) = (&node["proxy"], &node["agent"]);
    let mut lines = Vec::new();
    match proxy["error"].as_str() {
        Some(error) => lines.push(("proxy", format!("does not answer: {error}"))),
        None => {
            lines.push(("discovery", discovery(&proxy["discovery"])));
            lines.extend(trouble(&proxy["discovery"]).into_iter().map(|text| ("", text)));
            lines.push(("knows", known(proxy)));
            lines.push(("certificates", certificates(&proxy["certificates"])));
        }
    }
    match agent["error"].as_str() {
        Some(error) => lines.push(("agent", format!("does not answer: {error}"))),
        None if agent.is_null() => {}
        None => {
            lines.push(("pods", pods(&agent["pods"])));
            lines.extend(unfinished(&agent["pods"]).into_iter().map(|text| ("", text)));
            lines.push(("agent", proxies(agent)));
        }
    }
    lines
}

fn discovery(discovery: &Value) -> String {
    let connected = discovery["connected_for_seconds"].as_u64().map(duration);
    match (discovery["in_sync"] == true, connected) {
        (true, Some(time)) => format!("in sync, connected for {time}"),
        (false, Some(time)) => format!("NOT in sync, connected for {time}"),
        (_, None) => {
            let failures = discovery["failures"].as_u64().unwrap_or(0);
            let why = cell(&discovery["last_error"]);
            format!("NOT connected, {failures} attempts failed, the last one: {why}")
        }
    }
}

/// What of discovery is not as it should be, in a line each.
fn trouble(discovery: &Value) -> Vec<String> {
    let mut texts = Vec::new();
    for one in discovery["types"].as_array().into_iter().flatten() {
        let name = cell(&one["type_url"]);
        let name = name.rsplit('/').next().unwrap_or_default();
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
    let sync = if agent["in_sync"] == true { "in sync" } else { "NOT in sync" };
    format!("{sync}, {serves}, {} sockets ready", cell(&agent["sockets_ahead"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_is_well() {
        let nodes = json!([{
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
        }]);
        assert_eq!(
            render(&nodes),
            "node1\n  discovery     in sync, connected for 5m\n  knows         12 workloads, 1 service, 0 policies\n  \
             certificates  2, the oldest 5m old, the next expires in 23h55m\n  pods          1 of 1 enrolled\n  \
             agent         in sync, linked to pid 71, 64 sockets ready\n"
        );
    }

    #[test]
    fn what_is_wrong_is_said() {
        let nodes = json!([{
            "node": "node2",
            "proxy": {"node": "node2", "certificates": [{"valid": false, "age_seconds": 90_000,
                "expires_in_seconds": 0}],
                "discovery": {"in_sync": false, "connected_for_seconds": null, "failures": 3,
                    "last_error": "connection refused", "types": [{"type_url": "x/Address", "rejected": ["bad"]}]}},
            "agent": {"in_sync": false, "pods": [
                {"namespace": "shop", "name": "a", "state": "failed", "reason": "no such namespace",
                 "not_contained": []},
                {"namespace": "shop", "name": "b", "state": "enrolled", "reason": null, "not_contained": ["eth1"]},
            ], "proxies": [], "sockets_ahead": 0},
        }, {"node": null, "proxy": {"error": "connecting to /x"}, "agent": {"error": "connecting to /y"}}]);
        let text = render(&nodes);
        for line in [
            "  discovery     NOT connected, 3 attempts failed, the last one: connection refused",
            "                refused from Address: bad",
            "  certificates  1, the oldest 1d1h old, the next expires in 0s, 1 NOT valid",
            "  pods          1 of 2 enrolled",
            "                shop/a is failed: no such namespace",
            "                shop/b is not contained on eth1",
            "  agent         NOT in sync, no proxy is linked, 0 sockets ready",
            "-",
            "  proxy         does not answer: connecting to /x",
            "  agent         does not answer: connecting to /y",
        ] {
            assert!(text.lines().any(|one| one == line), "{line:?} is missing in\n{text}");
        }
    }
}
