//! `weft check`, on this machine and on one that lacks something.

use crate::weft::{Said, row, run};
use crate::yaml;
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::path::Path;
use weft_testkit::find_binary;

/// Every requirement, in its order.
const NAMES: [&str; 15] = [
    "eBPF programs",
    "BTF",
    "sk_lookup",
    "socket storage",
    "sockmap",
    "sock_ops",
    "acceleration",
    "tcx",
    "cgroup v2",
    "bpffs",
    "transparent sockets",
    "policy routing",
    "veths without XDP",
    "veths without GRO",
    "ending connections",
];

fn rows(said: &Said) -> Result<Vec<Value>> {
    let rows: Vec<Value> = serde_json::from_str(&said.out).with_context(|| format!("{said:?}"))?;
    for row in &rows {
        let is_text = |name: &str| row[name].is_string();
        ensure!(["name", "found", "detail", "advice"].into_iter().all(is_text), "{row}");
    }
    ensure!(rows.iter().map(|row| &row["name"]).eq(NAMES), "{rows:#?}");
    Ok(rows)
}

/// Runs it in a shell that first takes something away from it.
fn without(prepare: &str, shell: &[&str]) -> Result<Said> {
    let weft = find_binary("weft")?.display().to_string();
    let script = format!("{prepare} exec \"$0\" check -o json");
    run(Path::new("/usr/bin/env"), shell.iter().copied().chain(["sh", "-ec", &script, &weft]))
}

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn this_machine_has_what_is_needed() -> Result<()> {
    let weft = find_binary("weft")?;
    let check = |format| run(&weft, ["check", "-o", format]);
    let [table, json, yaml] = [check("table")?, check("json")?, check("yaml")?];
    for said in [&table, &json, &yaml] {
        ensure!(said.code == Some(0), "{said:?}");
    }
    let rows = rows(&json)?;
    ensure!(yaml::read(&yaml.out)? == Value::Array(rows.clone()), "{yaml:?}");
    let lines: Vec<&str> = table.out.lines().collect();
    ensure!(lines.len() == rows.len(), "{table:?}");
    for (line, row) in lines.iter().zip(&rows) {
        let (name, found) = (row["name"].as_str(), row["found"].as_str());
        let (name, found) = name.zip(found).context("two texts")?;
        ensure!(["yes", "instead"].contains(&found), "{row}");
        let words = line.strip_prefix(name).map(str::trim_start);
        ensure!(words.is_some_and(|words| words.starts_with(found)), "{line:?} is not of {row}");
    }
    Ok(())
}

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn what_is_missing_is_named_with_what_to_do() -> Result<()> {
    let hidden = "umount --lazy --all --types cgroup2; mount -t tmpfs none /sys/fs/bpf;";
    let said = without(hidden, &["unshare", "--mount", "--propagation", "private"])?;
    let found = Value::Array(rows(&said)?);
    ensure!(said.code == Some(1), "{said:?}");
    let of = |name: &str| row(&found, &[("name", name)]);
    ensure!(of("cgroup v2")?["found"] == "no", "{found:#}");
    ensure!(of("cgroup v2")?["advice"].as_str().is_some_and(|advice| advice.contains("mount cgroup2")));
    // The agent would mount that itself.
    ensure!(of("bpffs")?["found"] == "instead", "{found:#}");
    ensure!(of("sk_lookup")?["found"] == "yes", "nothing else is missing: {found:#}");

    // Still mounted, and out of reach.
    let covered = "findmnt -nrt cgroup2 -o TARGET | while read -r at; do mount -t tmpfs none \"$at\"; done;";
    let said = without(covered, &["unshare", "--mount", "--propagation", "private"])?;
    let found = Value::Array(rows(&said)?);
    let one = row(&found, &[("name", "cgroup v2")])?;
    let detail = one["detail"].as_str().unwrap_or_default();
    ensure!(said.code == Some(1) && one["found"] == "no" && detail.starts_with("a mount over /"), "{one}");

    let dropped = "-net_admin,-net_raw";
    let said = without("", &["setpriv", "--bounding-set", dropped, "--inh-caps", dropped])?;
    let found = Value::Array(rows(&said)?);
    ensure!(said.code == Some(1), "{said:?}");
    for name in ["transparent sockets", "policy routing"] {
        let row = row(&found, &[("name", name)])?;
        let advice = row["advice"].as_str().unwrap_or_default();
        ensure!(row["found"] == "no" && advice.contains("give the agent CAP_NET_ADMIN"), "{row}");
    }
    ensure!(row(&found, &[("name", "cgroup v2")])?["found"] == "yes", "{found:#}");
    Ok(())
}
