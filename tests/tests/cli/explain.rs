//! `weft policy explain`, and what really happens.

use crate::weft::cells;
use crate::{CLOSED, OPEN, Stage, TRIAL};
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use weft_testkit::Pod;
use weft_tests::talk::Talk;

struct Row<'a> {
    from: &'a Pod,
    to: &'a Pod,
    port: u16,
    verdict: &'static str,
    /// A part of the reason.
    why: &'static str,
    dry_run: Option<&'static str>,
}

pub(crate) fn agrees_with_what_happens(stage: &Stage) -> Result<()> {
    let Stage { client, near, far, stranger, .. } = stage;
    let nobody = "no ALLOW policy applies, and no DENY policy matches";
    let (closed, trial) = ("denied by policy shop/closed", Some("denied by policy shop/trial"));
    let allowed = |from, to, port| Row { from, to, port, verdict: "allowed", why: nobody, dry_run: None };
    let denied = |from, to, port, why| Row { verdict: "denied", why, ..allowed(from, to, port) };
    for row in [
        allowed(client, near, OPEN),
        allowed(client, far, OPEN),
        allowed(stranger, far, OPEN),
        denied(client, near, CLOSED, closed),
        denied(client, far, CLOSED, closed),
        denied(stranger, far, CLOSED, closed),
        denied(stranger, near, OPEN, "istio_converted_static_strict"),
        Row { dry_run: trial, ..allowed(client, near, TRIAL) },
        Row { dry_run: trial, ..allowed(client, far, TRIAL) },
        Row { dry_run: trial, ..allowed(stranger, far, TRIAL) },
    ] {
        let case = format!("{} to {}:{}", row.from.name(), row.to.name(), row.port);
        row.is_so(stage).context(case)?;
    }
    what_cannot_be_explained(stage)
}

impl Row<'_> {
    fn is_so(&self, stage: &Stage) -> Result<()> {
        let name = |pod: &Pod| format!("{}/{}", pod.namespace(), pod.name());
        let (from, to) = (name(self.from), name(self.to));
        // By names, and by the addresses of either family: that is the same connection.
        for (src, dst) in [
            (from.clone(), format!("{to}:{}", self.port)),
            (self.from.ip().to_string(), self.to.addr(self.port).to_string()),
            (self.from.ip6().to_string(), self.to.addr6(self.port).to_string()),
        ] {
            let told = stage.weft.value(&["policy", "explain", &src, &dst])?;
            let text = |field: &str| told[field].as_str().unwrap_or_default();
            ensure!((text("source"), text("destination")) == (&*from, &*to), "{src} {dst}: {told:#}");
            ensure!(told["port"] == self.port && text("verdict") == self.verdict, "{src} {dst}: {told:#}");
            ensure!(text("why").contains(self.why), "{src} {dst}: {told:#}");
            ensure!(told["dry_run"].as_str() == self.dry_run, "{src} {dst}: {told:#}");
            let identity = format!("spiffe://cluster.local/ns/shop/sa/{}", self.from.name());
            let identity = (self.from.namespace() == "shop").then_some(&*identity);
            ensure!(told["source_identity"].as_str() == identity, "{src} {dst}: {told:#}");
            let policies = told["policies"].as_array().context("policies")?;
            let names: Vec<&str> = policies.iter().filter_map(Value::as_str).collect();
            ensure!(names.contains(&"shop/closed") && names.contains(&"shop/trial"), "{told:#}");
        }
        self.is_said(stage, &from, &format!("{to}:{}", self.port))?;
        for target in [self.to.addr(self.port), self.to.addr6(self.port)] {
            let carried = Talk::begin(self.from, target).and_then(Talk::finish);
            ensure!(carried.is_ok() == (self.verdict == "allowed"), "{target}: {carried:?}");
        }
        Ok(())
    }

    /// In words for people.
    fn is_said(&self, stage: &Stage, from: &str, to: &str) -> Result<()> {
        let lines = stage.weft.table(&["policy", "explain", from, to])?;
        let text = lines.join("\n");
        let verdict = lines.iter().find(|line| line.starts_with(&format!("{}: ", self.verdict)));
        ensure!(verdict.is_some_and(|line| line.contains(self.why)), "{text}");
        ensure!(text.contains("is PeerAuthentication") == self.why.contains("istio_converted"), "{text}");
        let outside = text.contains("no identity: it is outside the mesh");
        ensure!(outside == (self.from.namespace() != "shop"), "{text}");
        if let Some(dry_run) = self.dry_run {
            cells(&lines, &[&format!("with dry-run policies enforced: {dry_run}")])?;
        }
        Ok(())
    }
}

fn what_cannot_be_explained(stage: &Stage) -> Result<()> {
    let stranger = format!("{}/{}", stage.stranger.namespace(), stage.stranger.name());
    for (src, dst, why) in [
        ("shop/client", &*stranger, "is outside the mesh"),
        ("shop/client", "shop/reviews:80", "is a service; policy is asked about its pods: shop/"),
        ("shop/client", "shop/clerk:7000", "the proxy knows no workload shop/clerk"),
        ("shop/client", "203.0.113.7:80", "no workload of the mesh has the address 203.0.113.7"),
        ("a b", "shop/near:80", "is neither a pod's name nor an address"),
    ] {
        let said = stage.weft.say(&["policy", "explain", src, dst])?;
        ensure!(said.code == Some(1) && said.out.is_empty(), "{src} {dst}: {said:?}");
        ensure!(said.err.contains(why), "{src} {dst} does not say {why:?}: {said:?}");
    }
    Ok(())
}
