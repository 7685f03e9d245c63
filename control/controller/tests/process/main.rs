//! The control plane as a process, from manifests to what a client sees.
#![expect(clippy::unwrap_used, reason = "a test; helpers outside test functions count too")]

mod control;
mod waypoint;

use control::{BINARY, Control, DEADLINE, policy, until};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use weft_core::identity::Identity;
use weft_core::names::{PolicyName, WorkloadUid};
use weft_core::policy::{Action, Ruleset};
use weft_pki::{CertificateRequest, Leaf};
use weft_xds::{AgentPods, CaClient, Mesh, Role};

fn web_policy(now: &weft_core::snapshot::Snapshot) -> Option<weft_core::policy::Policy> {
    let name = PolicyName::new("default", "web");
    now.policies().find(|policy| policy.name == name).map(|policy| (**policy).clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn manifests_reach_clients_and_so_do_their_changes() {
    let control = Control::start();
    let uid = WorkloadUid::new("Kubernetes//Pod/default/web-1");
    let (mut view, _proxy) = control.client::<Mesh>(Role::NodeProxy, "weft-node-proxy");
    until(&mut view, |now| now.workload(&uid).is_some() && web_policy(now).is_some()).await;
    assert!(view.now().workload(&uid).unwrap().is_enrolled());
    let (mut pods, _agent) = control.client::<AgentPods>(Role::Agent, "weft-agent");
    until(&mut pods, |pods| pods.contains_key(&uid)).await;
    assert_eq!(pods.now()[&uid].netns.as_deref(), Some("/run/netns/web-1"));

    let started = Instant::now();
    control.write("policy.yaml", &policy("third"));
    let third = |now: &_| format!("{:?}", web_policy(now)).contains("third");
    until(&mut view, third).await;
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());

    // What is not understood denies, with the reason, and is told to people.
    control.write("policy.yaml", &policy("third").replace("namespaces", "nmespaces"));
    until(&mut view, |now| {
        web_policy(now).is_some_and(|policy| {
            policy.action == Action::Deny && matches!(policy.ruleset, Ruleset::Unusable(_))
        })
    })
    .await;
    let status: serde_json::Value = serde_json::from_str(&control.get("/status")).unwrap();
    let problems = status["problems"].as_array().unwrap();
    let told = problems.iter().find(|problem| problem["field"].as_str().unwrap().contains("nmespaces"));
    let told = told.unwrap_or_else(|| panic!("{status:#}"));
    assert_eq!((told["severity"].as_str(), told["line"].as_u64().is_some()), (Some("error"), true), "{told}");
    assert_eq!(status["clients"].as_array().unwrap().len(), 2, "{status:#}");
    assert!(view.sync().types.iter().all(|one| one.rejected.is_empty()), "the writer has said it itself");
    let metrics = control.get("/metrics");
    for line in [
        "weft_control_problems{severity=\"error\"} 1\n",
        "weft_control_problems_total{severity=\"error\"} 1\n",
        "weft_control_clients{role=\"node-proxy\"} 1\n",
        "weft_control_resources{type=\"agent-pod\"} 1\n",
        "weft_control_nacks 0\n",
    ] {
        assert!(metrics.contains(line), "{line}{metrics}");
    }
    assert!(control.get("/readyz").contains("manifests: ok"));

    control.write("policy.yaml", &policy("fourth"));
    until(&mut view, |now| format!("{:?}", web_policy(now)).contains("fourth")).await;
    let status: serde_json::Value = serde_json::from_str(&control.get("/status")).unwrap();
    assert_eq!(status["problems"].as_array().unwrap().len(), 0, "{status:#}");
    assert_eq!(status["statuses"], serde_json::json!([]), "nothing here has one");

    control.write("route.yaml", ROUTE);
    let deadline = Instant::now() + DEADLINE;
    let found = loop {
        let status: serde_json::Value = serde_json::from_str(&control.get("/status")).unwrap();
        if let Some(found) = status["statuses"].get(0) {
            break found.clone();
        }
        assert!(Instant::now() < deadline, "{status:#}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!((&found["kind"], &found["name"]), (&"HTTPRoute".into(), &"web".into()), "{found:#}");
    let conditions = &found["status"]["parents"][0]["conditions"];
    assert_eq!(conditions[0]["reason"], "NoMatchingParent", "{found:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_in_a_broken_file_outlives_a_restart() {
    let mut control = Control::start();
    let (mut view, proxy) = control.client::<Mesh>(Role::NodeProxy, "weft-node-proxy");
    until(&mut view, |now| web_policy(now).is_some()).await;
    drop((view, proxy));
    control.restart(|control| control.write("policy.yaml", "a: ["));
    let (mut view, proxy) = control.client::<Mesh>(Role::NodeProxy, "weft-node-proxy");
    until(&mut view, |now| now.workload(&WorkloadUid::new("Kubernetes//Pod/default/web-1")).is_some()).await;
    assert!(web_policy(&view.now()).is_some_and(|policy| policy.action == Action::Deny), "it still denies");
    assert!(control.get("/status").contains("is not YAML"));
    drop((view, proxy));

    // Nobody knows what it held: nothing is told, and whoever goes on from before keeps what he has.
    control.restart(|control| std::fs::remove_dir_all(control.at("ca/manifests")).unwrap());
    let deadline = Instant::now() + DEADLINE;
    while !control.get("/readyz").contains("manifests: not ready: nothing of it is in force yet") {
        assert!(Instant::now() < deadline, "{}", control.get("/readyz"));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(control.get("/status").contains("policy.yaml cannot be read"), "{}", control.get("/status"));
    assert_eq!(serde_json::from_str::<serde_json::Value>(&control.get("/status")).unwrap()["generation"], 0);
    control.write("policy.yaml", &policy("mended"));
    let (mut view, _proxy) = control.client::<Mesh>(Role::NodeProxy, "weft-node-proxy");
    until(&mut view, |now| format!("{:?}", web_policy(now)).contains("mended")).await;
    assert!(control.get("/readyz").contains("manifests: ok"));
}

const ROUTE: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: web, namespace: default }
spec: { parentRefs: [{ group: '', kind: Service, name: nobody }], rules: [{}] }
";

#[tokio::test(flavor = "multi_thread")]
async fn certificates_outlive_a_rotation_of_roots() {
    let control = Control::start();
    let settings = control.settings("weft-node-proxy");
    let client = CaClient::new(settings.clone());
    let (_view, _tasks) = control.client::<Mesh>(Role::NodeProxy, "weft-node-proxy");
    let (leaf, roots) = signed(&client).await;
    assert_eq!((leaf.identity(), roots), (&web(), 1));
    assert_eq!(roots_in(&settings.roots), 1);

    assert_eq!(control.post("/ca/announce-root"), "done\n");
    assert_eq!(roots_in(&settings.roots), 2);
    assert_eq!(signed(&client).await.1, 2);
    assert!(control.post("/ca/announce-root").contains("phase Announced"));
    assert_eq!(control.post("/ca/switch-root"), "done\n");
    assert!(control.post("/ca/drop-root").contains("not expired"));
    assert_eq!(control.post("/ca/drop-root?now=true"), "done\n");
    assert_eq!(roots_in(&settings.roots), 1);
    // A client that comes now believes the new root alone, and the port shows a certificate of it.
    assert_eq!(signed(&CaClient::new(settings)).await.1, 1);
    let status: serde_json::Value = serde_json::from_str(&control.get("/status")).unwrap();
    assert_eq!(status["authority"]["rotation"]["phase"], "steady", "{status:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugged_in_authority_that_changes_is_taken_up() {
    let [cert, key] = Control::start().own_root();
    let mut control = Control::start();
    let [old_cert, old_key] = control.own_root();
    control.restart(|control| control.plug_in(&old_cert, &old_key, &old_cert));
    let settings = control.settings("weft-node-proxy");
    let (mut view, _tasks) = control.client::<Mesh>(Role::NodeProxy, "weft-node-proxy");
    until(&mut view, |now| now.workload(&WorkloadUid::new("Kubernetes//Pod/default/web-1")).is_some()).await;
    assert_eq!(signed(&CaClient::new(settings.clone())).await.1, 1);
    let problem = || {
        let status: serde_json::Value = serde_json::from_str(&control.get("/status")).unwrap();
        status["authority"]["problem"].clone()
    };
    assert!(problem().is_null(), "{}", problem());

    control.plug_in(&cert, &old_key, &cert);
    eventually("it is told", || problem().as_str().is_some_and(|text| text.contains("private key"))).await;
    assert_eq!(std::fs::read_to_string(&settings.roots).unwrap(), old_cert, "the old one stays");
    assert_eq!(signed(&CaClient::new(settings.clone())).await.1, 1);

    control.plug_in(&cert, &key, &format!("{cert}{old_cert}"));
    eventually("it is taken up", || problem().is_null() && roots_in(&settings.roots) == 2).await;
    control.plug_in(&cert, &key, &cert);
    eventually("the old root is gone", || roots_in(&settings.roots) == 1).await;
    // A client that comes now believes the new root alone: so the port shows a certificate of it.
    assert_eq!(signed(&CaClient::new(settings)).await.1, 1);
}

/// A certificate, and how many roots came with it. Tried again: the port has its new certificate a moment after the roots.
async fn signed(client: &CaClient) -> (Leaf, usize) {
    let deadline = Instant::now() + DEADLINE;
    let request = CertificateRequest::generate(&web()).unwrap();
    loop {
        match client.sign(request.csr_pem(), &web(), Duration::from_secs(600)).await {
            Ok(chain) => {
                return (request.complete(&chain).unwrap(), chain.last().unwrap().matches("BEGIN").count());
            }
            Err(error) => assert!(Instant::now() < deadline, "{error:?}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn web() -> Identity {
    Identity::new("cluster.local", "default", "web").unwrap()
}

async fn eventually(what: &str, done: impl Fn() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !done() {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn roots_in(path: &Path) -> usize {
    std::fs::read_to_string(path).unwrap().matches("BEGIN CERTIFICATE").count()
}

#[test]
fn a_signal_ends_it_in_order() {
    let mut control = Control::start();
    let pid = nix::unistd::Pid::from_raw(i32::try_from(control.process.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    let started = Instant::now();
    let status = loop {
        if let Some(status) = control.process.try_wait().unwrap() {
            break status;
        }
        assert!(started.elapsed() < DEADLINE, "it does not end");
        std::thread::sleep(Duration::from_millis(20));
    };
    assert!(status.success(), "{status}");
}

#[test]
fn settings_that_cannot_be_used_are_all_told() {
    let output = Command::new(BINARY).env("WEFT_LISTEN", "nowhere").output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert!(told.contains("WEFT_LISTEN") && told.contains("WEFT_DIRECTORY"), "{told}");
}

#[test]
fn what_cannot_be_looked_at_is_told_in_a_line() {
    let check = Command::new(BINARY).args(["check", "/nowhere"]).env("RUST_BACKTRACE", "1").output().unwrap();
    assert!(!check.status.success());
    let said = String::from_utf8(check.stderr).unwrap();
    assert_eq!(
        said,
        "weft-control: looking at the folder of manifests /nowhere: No such file or directory (os error 2)\n"
    );
}
