//! What is wrong in the folder of manifests is told and changes nothing else, and what is right is followed however it is
//! written.
#![forbid(unsafe_code)]

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::net::SocketAddr;
use std::time::Duration;
use weft_testkit::{App, Get, Mesh, Pod, World};
use weft_tests::asking::await_enrolled;
use weft_tests::stage::start_mesh;
use weft_tests::waiting::{eventually, settles, with_json_lines};

/// How long a change may take at most on a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);
/// Where the control plane tells how it is.
const STATUS_PORT: u16 = 15014;

/// A client, two web servers that differ in a label, and a Service `web` that leads to one of them.
struct Desk {
    client: Pod,
    web: SocketAddr,
    // Dropped in this order.
    mesh: Mesh,
    world: World,
}

impl Desk {
    fn set() -> Result<Self> {
        let world = World::builder().nodes(1).build()?;
        let server = |version: &str| {
            world.node(1).pod("shop", version).label("version", version).app(App::http(version)).start()
        };
        let pods = [world.node(1).pod("shop", "client").start()?, server("v1")?, server("v2")?];
        let web = world.service("shop", "web").select([("version", "v1")]).port("http", 80, 8080);
        let at = SocketAddr::new(web.ips()[0], 80);
        web.apply()?;
        let mesh = start_mesh(&world, with_json_lines())?;
        await_enrolled(&mesh, &pods, PATIENCE)?;
        let [client, ..] = pods;
        Ok(Self { client, web: at, mesh, world })
    }

    /// Who answers at the Service's address: a version, or what went wrong.
    fn answer(&self, at: SocketAddr) -> Result<String> {
        let answer = self.client.get(&format!("http://{at}/"))?;
        Ok(if answer.is_ok() { answer.version() } else { answer.error })
    }

    fn leads_to(&self, what: &str, wanted: &str) -> Result<()> {
        settles(what, PATIENCE, &wanted.to_owned(), || self.answer(self.web))
    }

    /// Writes another Service, with its endpoints, and waits until it works: whatever else is wrong, the rest goes on.
    fn others_go_on(&self, name: &str) -> Result<()> {
        let other = self.world.service("shop", name).select([("version", "v2")]).port("http", 80, 8080);
        let at = SocketAddr::new(other.ips()[0], 80);
        other.apply()?;
        settles(&format!("the new Service {name}"), PATIENCE, &"v2".to_owned(), || self.answer(at))
    }

    /// What the control plane's status says is wrong, errors alone.
    fn errors(&self) -> Result<Vec<Value>> {
        let (status, body) = self.world.control_http_get(STATUS_PORT, "/status")?;
        ensure!(status == 200, "status {status}: {body}");
        let whole: Value = serde_json::from_str(&body).context("the status is JSON")?;
        let problems = whole["problems"].as_array().context("a status without problems")?;
        Ok(problems.iter().filter(|problem| problem["severity"] == "error").cloned().collect())
    }

    /// The one problem in a file is told in status, metric and log.
    fn is_told(&self, file: &str, line: u32, object: Option<&str>, field: &str, reason: &str) -> Result<()> {
        eventually(&format!("{file} is complained of"), PATIENCE, || {
            let errors = self.errors()?;
            let [error] = &errors[..] else { anyhow::bail!("not one error: {errors:#?}") };
            ensure!(
                error["source"].as_str().is_some_and(|source| source.ends_with(&format!("/{file}"))),
                "{error}"
            );
            ensure!(error["line"] == line && error["field"] == field, "{error}");
            ensure!(error["object"].as_str() == object, "{error}");
            ensure!(error["reason"].as_str().is_some_and(|told| told.contains(reason)), "{error}");
            // One after the other: the status may be ahead.
            let metrics = self.metrics()?;
            ensure!(metrics.contains("weft_control_problems{severity=\"error\"} 1"), "{metrics}");
            let log = self.mesh.control().log();
            let wanted = [file, &format!("line={line}"), field, reason];
            let told = log
                .lines()
                .any(|line| line.contains("ERROR") && wanted.iter().all(|part| line.contains(part)));
            ensure!(told, "no line of the log has {wanted:?}:\n{log}");
            Ok(())
        })
    }

    fn is_mended(&self) -> Result<()> {
        settles("nothing is wrong any more", PATIENCE, &Vec::new(), || self.errors())?;
        eventually("the metric says so too", PATIENCE, || {
            let metrics = self.metrics()?;
            ensure!(metrics.contains("weft_control_problems{severity=\"error\"} 0"), "{metrics}");
            Ok(())
        })
    }

    fn metrics(&self) -> Result<String> {
        Ok(self.world.control_http_get(STATUS_PORT, "/metrics")?.1)
    }

    /// Does something under a steady stream of connections, none of which may notice.
    fn unnoticed(&self, work: impl FnOnce() -> Result<()>) -> Result<()> {
        let endless =
            Get::url(&format!("http://{}/", self.web)).times(1500).close().pause(Duration::from_millis(2));
        let load = self.client.start_tool(&endless)?;
        work()?;
        let report = load.finish()?;
        ensure!(report.failed == 0, "of {} connections some failed: {:?}", report.ok, report.failures);
        Ok(())
    }
}

/// A Service as its author wrote it, one field a line, with this port and further lines in its spec.
fn service(name: &str, at: SocketAddr, port: &str, further: &str) -> String {
    let version = if name == "web" { "v1" } else { "v2" };
    format!(
        "apiVersion: v1\nkind: Service\nmetadata:\n  name: {name}\n  namespace: shop\nspec:\n  clusterIP: {ip}\n  \
         clusterIPs: [{ip}]\n  selector:\n    version: {version}\n  ports:\n  - name: http\n    port: {port}\n    \
         targetPort: 8080\n{further}",
        ip = at.ip()
    )
}

const FILE: &str = "service.shop.web.yaml";

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn what_is_wrong_is_told_and_changes_nothing_else() -> Result<()> {
    let desk = Desk::set()?;
    desk.leads_to("all is well", "v1")?;
    desk.is_mended()?;
    let object = Some("Service shop/web");
    for (case, text, line, object, field, reason) in [
        ("no YAML at all", "spec: [1, {\n\u{0}".to_owned(), 2, None, "", "is not YAML"),
        (
            "YAML that breaks off",
            service("web", desk.web, "80", "  externalName: \"broken\n"),
            15,
            None,
            "",
            "is not YAML",
        ),
        (
            "an unknown field",
            service("web", desk.web, "80", "  sessionAfinity: ClientIP\n"),
            15,
            object,
            "spec.sessionAfinity",
            "unknown",
        ),
        ("a wrong type", service("web", desk.web, "eighty", ""), 13, object, "spec.ports[0].port", "eighty"),
        (
            "a number beyond its range",
            service("web", desk.web, "80000", ""),
            13,
            object,
            "spec.ports[0].port",
            "80000",
        ),
        (
            "a word that is none of those",
            service("web", desk.web, "80", "  sessionAffinity: Sometimes\n"),
            15,
            object,
            "spec.sessionAffinity",
            "Sometimes",
        ),
    ] {
        let told = || {
            desk.world.apply_yaml(FILE, &text)?;
            desk.is_told(FILE, line, object, field, reason)?;
            desk.others_go_on(&case.replace(' ', "-").to_lowercase())?;
            desk.leads_to("the last good version holds", "v1")?;
            desk.world.apply_yaml(FILE, &service("web", desk.web, "80", ""))?;
            desk.is_mended()
        };
        told().with_context(|| case.to_owned())?;
    }
    // In a file of several objects each is judged by itself.
    let second = SocketAddr::new(desk.world.service("shop", "second").ips()[0], 80);
    let broken = service("web", desk.web, "80", "  sessionAfinity: ClientIP\n");
    let several = [broken, service("second", second, "80", "")].join("---\n");
    desk.world.apply_yaml(FILE, &several)?;
    desk.is_told(FILE, 15, object, "spec.sessionAfinity", "unknown")?;
    settles("what follows in the file", PATIENCE, &"v2".to_owned(), || desk.answer(second))?;
    desk.leads_to("the last good version holds", "v1")?;
    // The same object in two files: the first file counts, and the second is complained of.
    desk.world.apply_yaml(FILE, &service("web", desk.web, "80", ""))?;
    desk.leads_to("all is well again", "v1")?;
    desk.world.apply_yaml("zz-late.yaml", &service("web", desk.web, "81", ""))?;
    desk.is_told("zz-late.yaml", 1, object, "", "that one counts")?;
    desk.leads_to("the first one counts", "v1")?;
    desk.world.manifests().remove_file("zz-late.yaml")?;
    desk.is_mended()
}

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn files_are_followed_however_they_are_written() -> Result<()> {
    let desk = Desk::set()?;
    desk.leads_to("all is well", "v1")?;
    let manifests = desk.world.manifests();
    let head = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata:\n  name: gate\n  namespace: shop\n";
    // Half of this file is a policy that allows nobody; the whole allows everybody.
    let (first, second) = (format!("{head}spec:\n  action: ALLOW\n"), "  rules: [{}]\n");
    desk.unnoticed(|| {
        let pause = Duration::from_millis(400);
        for _ in 0..3 {
            manifests.write_in_place("gate.yaml", &[first.as_bytes(), second.as_bytes()], pause)?;
        }
        // Renamed, it is the same object all the time.
        let folder = manifests.folder();
        for (from, to) in [("gate.yaml", "moved.yaml"), ("moved.yaml", "gate.yaml")] {
            std::fs::rename(folder.join(from), folder.join(to))
                .with_context(|| format!("renaming {from}"))?;
        }
        // Replaced by a version that says the same otherwise.
        manifests.write("gate.yaml", format!("{first}  rules:\n  - {{}}\n").as_bytes()).map(drop)
    })?;
    manifests.write("gate.yaml", first.as_bytes())?;
    desk.leads_to("allowed to nobody", "reset")?;
    manifests.remove_file("gate.yaml")?;
    desk.leads_to("with the file the policy goes", "v1")?;
    // A Service that is overwritten, in place, and deleted.
    let moved = service("web", desk.web, "81", "");
    manifests.write_in_place(FILE, &[moved.as_bytes()], Duration::ZERO)?;
    let at_81 = SocketAddr::new(desk.web.ip(), 81);
    settles("written in place", PATIENCE, &"v1".to_owned(), || desk.answer(at_81))?;
    desk.leads_to("the old port is closed", "reset")?;
    manifests.remove_file(FILE)?;
    settles("with the file the Service goes", PATIENCE, &"reset".to_owned(), || desk.answer(at_81))
}
