//! The results as JSON, with every round, for machines and for later.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::memory::{CONNECTIONS, Memory, PODS};
use crate::results::{Case, Results, Sample};
use crate::rival;

/// The whole file.
pub(crate) fn render(results: &Results) -> Result<String> {
    let value = json!({
        "machine": machine(),
        "rounds": results.rounds,
        "seconds": results.seconds,
        "cases": results.cases.iter().map(case).collect::<Vec<_>>(),
        "memory": results.memory.as_ref().map(memory),
    });
    serde_json::to_string_pretty(&value).context("writing JSON")
}

/// What it was measured on.
pub(crate) fn machine() -> Value {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    json!({
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
        "cpu": model.trim_start_matches([' ', '\t', ':']),
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "seconds_since_1970": std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs()),
    })
}

fn case(case: &Case) -> Value {
    let (direct, meshed) = case.rates();
    let (direct_errors, meshed_errors) = case.errors();
    json!({
        "cores": case.cores.words(),
        "path": case.path.words(),
        "load": case.load.words(),
        "case": case.words(),
        "unit": case.load.unit(),
        "direct": direct,
        "meshed": meshed,
        "ratio": case.ratio(),
        "rival_ratio": rival::ratio(case.load),
        "cpu_unit": case.load.cpu_unit(),
        "proxy_cpu": case.proxy_cpu(),
        "rival_proxy_cpu": rival::proxy_cpu(case.load),
        "agent_cpu": case.agent_cpu(),
        "cpu_multiple": case.cpu_multiple(),
        "rival_cpu_multiple": rival::cpu_multiple(case.load),
        "added_micros": case.added_micros(),
        "direct_errors": direct_errors,
        "meshed_errors": meshed_errors,
        "direct_rounds": case.direct.iter().map(sample).collect::<Vec<_>>(),
        "meshed_rounds": case.meshed.iter().map(sample).collect::<Vec<_>>(),
    })
}

fn sample(sample: &Sample) -> Value {
    json!({
        "rate": sample.measured.rate,
        "amount": sample.measured.amount,
        "median_micros": sample.measured.median_micros,
        "cpu": {
            "proxies": sample.cpu.proxies,
            "agents": sample.cpu.agents,
            "control": sample.cpu.control,
            "applications": sample.cpu.applications,
        },
    })
}

fn memory(memory: &Memory) -> Value {
    json!({
        "idle_bytes": memory.idle,
        "connections": CONNECTIONS,
        "connection_bytes_client": memory.per_connection_client,
        "connection_bytes_server": memory.per_connection_server,
        "node_bytes": memory.node,
        "pods": PODS,
        "node_bytes_with_pods": memory.node_with_pods,
    })
}
