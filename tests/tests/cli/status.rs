//! `weft status`: of a mesh that is well, with something wrong in the folder, and with somebody away.

use crate::weft::row;
use crate::{BACK_WITHIN, Stage, WITHIN};
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use weft_tests::waiting::eventually;

/// The part of a table below a title, up to the next one.
fn section<'a>(table: &'a [String], title: &str) -> Result<Vec<&'a str>> {
    let from = table.iter().position(|line| line == title);
    let from = from.with_context(|| format!("no section {title} in {table:#?}"))?;
    let lines = table[from + 1..].iter().map(String::as_str);
    Ok(lines.take_while(|line| line.starts_with(' ')).collect())
}

/// One line of the section begins with this word and holds these.
fn ensure_line(section: &[&str], word: &str, parts: &[&str]) -> Result<()> {
    let is_it =
        |line: &&&str| line.trim_start().starts_with(word) && parts.iter().all(|part| line.contains(part));
    ensure!(section.iter().find(is_it).is_some(), "no line {word:?} with {parts:?} in {section:#?}");
    Ok(())
}

pub(crate) fn of_a_mesh_that_is_well(stage: &Stage) -> Result<()> {
    let status = stage.weft.value(&["status"])?;
    let clients = status["control"]["clients"].as_array().context("clients")?;
    ensure!(clients.len() == 4, "two agents and two proxies: {clients:#?}");
    ensure!(status["control"]["problems"] == Value::Array(Vec::new()), "{status:#}");
    for (node, pods) in [("node1", 2), ("node2", 2)] {
        let node = row(&status["nodes"], &[("node", node)])?;
        let (proxy, agent) = (&node["proxy"], &node["agent"]);
        ensure!(proxy["discovery"]["in_sync"] == true && agent["in_sync"] == true, "{node:#}");
        ensure!(proxy["discovery"]["connected_for_seconds"].is_u64(), "{node:#}");
        ensure!(proxy["certificates"].as_array().is_some_and(|all| all.len() == pods), "{node:#}");
        let enrolled = agent["pods"].as_array().into_iter().flatten();
        let enrolled = enrolled.filter(|pod| pod["state"] == "enrolled" && pod["reason"].is_null());
        ensure!(enrolled.count() == pods, "{node:#}");
        ensure!(agent["proxies"].as_array().is_some_and(|all| all.len() == 1), "{node:#}");
    }
    let table = stage.weft.table(&["status"])?;
    let control = section(&table, "control")?;
    ensure_line(&control, "serves", &["4 clients"])?;
    ensure_line(&control, "signs for", &["cluster.local, steady"])?;
    ensure_line(&control, "manifests", &["0 problems"])?;
    for (node, number) in [("node1", 1), ("node2", 2)] {
        let lines = section(&table, node)?;
        let pid = stage.mesh.proxy(number).process()?.pid();
        ensure_line(&lines, "discovery", &["in sync, connected for "])?;
        ensure_line(&lines, "knows", &[" workloads, 1 service, "])?;
        ensure_line(&lines, "certificates", &["2, the oldest ", "the next expires in "])?;
        ensure_line(&lines, "pods", &["2 of 2 enrolled"])?;
        ensure_line(&lines, "agent", &["in sync, ", &format!("linked to pid {pid}, ")])?;
    }
    ensure!(!table.iter().any(|line| line.contains("NOT")), "{table:#?}");
    Ok(())
}

/// File, line, object, field and reason; and that a policy which cannot be understood denies.
pub(crate) fn names_what_is_wrong_in_the_folder(stage: &Stage) -> Result<()> {
    let text = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata:\n  name: broken\n  \
                namespace: attic\nspec:\n  rulez: []\n";
    stage.world.apply_yaml("broken.yaml", text)?;
    eventually("it is told", WITHIN, || {
        let status = stage.weft.value(&["status"])?;
        let problem = row(&status["control"]["problems"], &[("severity", "error"), ("field", "spec.rulez")])?;
        ensure!(problem["source"].as_str().is_some_and(|file| file.ends_with("/broken.yaml")), "{problem}");
        ensure!(problem["line"] == 7 && problem["object"] == "AuthorizationPolicy attic/broken", "{problem}");
        ensure!(problem["reason"].as_str().is_some_and(|reason| reason.contains("unknown")), "{problem}");
        let table = stage.weft.table(&["status"])?;
        let control = section(&table, "control")?;
        ensure_line(&control, "manifests", &["1 problem"])?;
        let place = "/broken.yaml:7: AuthorizationPolicy attic/broken: spec.rulez: ";
        ensure_line(&control, "error: ", &[place, "unknown"])?;
        let policies = stage.weft.value(&["policies"])?;
        let policy = row(&policies, &[("name", "broken")])?;
        ensure!(policy["unusable"].as_str().is_some_and(|why| why.contains("spec.rulez")), "{policy}");
        let table = stage.weft.table(&["policies"])?;
        let line = table.iter().find(|line| line.contains("broken")).context("no such line")?;
        ensure!(line.contains("denies all: "), "{line}");
        Ok(())
    })?;
    stage.world.manifests().remove_file("broken.yaml")?;
    eventually("it is mended", WITHIN, || of_a_mesh_that_is_well(stage))
}

/// Who does not answer is named, and the others are not silent about themselves.
pub(crate) fn says_who_is_away(stage: &Stage) -> Result<()> {
    stage.mesh.control().kill()?;
    eventually("control is missed", WITHIN, || {
        let said = stage.weft.say(&["status"])?;
        let table: Vec<String> = said.out.lines().map(str::to_owned).collect();
        ensure!(said.code == Some(1), "{said:?}");
        ensure_line(&section(&table, "control")?, "control", &["does not answer: connecting to "])?;
        ensure_line(&section(&table, "control")?, "", &["the process that made this socket has ended"])?;
        for node in ["node1", "node2"] {
            let lines = section(&table, node)?;
            ensure_line(&lines, "discovery", &["NOT connected, ", "attempt"])?;
            ensure_line(&lines, "pods", &["2 of 2 enrolled"])?;
        }
        let json = stage.weft.say(&["status", "-o", "json"])?;
        let status: Value = serde_json::from_str(&json.out)?;
        ensure!(json.code == Some(1) && status["control"]["error"].is_string(), "{json:?}");
        ensure!(status["nodes"][0]["proxy"]["discovery"]["last_error"].is_string(), "{status:#}");
        Ok(())
    })?;
    stage.mesh.control().start()?;
    stage.mesh.control().wait_ready()?;
    eventually("it is back", BACK_WITHIN, || of_a_mesh_that_is_well(stage))?;
    misses_who_has_ended_in_order(stage)?;
    stage.mesh.proxy(2).kill()?;
    let said = stage.weft.say(&["status"])?;
    let table: Vec<String> = said.out.lines().map(str::to_owned).collect();
    ensure!(said.code == Some(1), "{said:?}");
    // It cannot say which node it is, but its agent does.
    let second = section(&table, "node2")?;
    ensure_line(&second, "proxy", &["does not answer: connecting to ", "node2/proxy/admin.sock"])?;
    eventually("its agent misses it", WITHIN, || {
        let said = stage.weft.say(&["status"])?;
        ensure!(said.out.contains("no proxy is linked"), "{said:?}");
        Ok(())
    })?;
    let said = stage.weft.say(&["connections"])?;
    ensure!(said.code == Some(1) && said.err.contains("node2/proxy/admin.sock"), "{said:?}");
    // About the mesh all say the same, and one is enough.
    stage.weft.value(&["workloads"]).map(drop)
}

/// Who ends in order takes its socket away: nobody is left who could refuse the question.
fn misses_who_has_ended_in_order(stage: &Stage) -> Result<()> {
    for (who, title, word, parts) in [
        (
            stage.mesh.control(),
            "control",
            "control",
            ["it has no socket here", "not every node is connected"],
        ),
        (
            stage.mesh.proxy(2),
            "node2",
            "proxy",
            ["does not answer: connecting to ", "node2/proxy/admin.sock"],
        ),
    ] {
        who.terminate(WITHIN)?;
        eventually(&format!("{title} is missed"), WITHIN, || {
            let said = stage.weft.say(&["status"])?;
            let table: Vec<String> = said.out.lines().map(str::to_owned).collect();
            ensure!(said.code == Some(1), "{said:?}");
            ensure_line(&section(&table, title)?, word, &parts)
        })?;
        who.start()?;
        who.wait_ready()?;
        eventually(&format!("{title} is back"), BACK_WITHIN, || of_a_mesh_that_is_well(stage))?;
    }
    Ok(())
}
