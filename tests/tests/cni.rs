//! What the network plugin asks of the agent, over the socket that it will ask on: to enrol a pod whose namespace nobody
//! else knows, and to release it. The agent, the kernel, the proxy and the namespace are real.
#![forbid(unsafe_code)]

use anyhow::{Context as _, Result, ensure};
use aya::programs::{SchedClassifier, TcAttachType};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs::File;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use weft_agent_link::cni::{self, Answer, CniPod, Request};
use weft_testkit::{App, Capture, Mesh, MeshSettings, Pod, TapOptions, World};
use weft_tests::asking::{agent_socket, ask, await_enrolled, await_known};
use weft_tests::stage::start_mesh;
use weft_tests::talk::{Ending, Talk, is_refused};
use weft_tests::traces::{Traces, listening_sockets};
use weft_tests::waiting::eventually;

const WITHIN: Duration = Duration::from_secs(10);
/// Until everybody has found a control plane that was away: they ask less and less often.
const BACK_WITHIN: Duration = Duration::from_secs(40);

/// A pod on node 1 that will say nothing of its namespace, and others in the mesh.
struct Stage {
    web: Pod,
    /// On the same node.
    near: Pod,
    far: Pod,
    captures: Vec<Capture>,
    // Dropped in this order.
    mesh: Mesh,
    world: World,
}

/// Everything of a pod that enrolment changes: in its namespace, on its end of the wire on the node, and what is pinned.
#[derive(Debug, PartialEq)]
struct Look {
    traces: Traces,
    programs: BTreeSet<String>,
    pinned: BTreeSet<PathBuf>,
}

impl Stage {
    fn set() -> Result<Self> {
        let world = World::builder().nodes(2).build()?;
        let pod = |node: usize, name: &str| {
            world.node(node).pod("shop", name).service_account(name).app(App::echo())
        };
        let (near, far) = (pod(1, "near").start()?, pod(2, "far").start()?);
        let web = pod(1, "web").outside().start()?;
        let options = TapOptions { keep_bytes: 1 << 20, ..TapOptions::default() };
        let captures = world.capture_nodes(&options)?;
        let mesh = start_mesh(&world, MeshSettings::default())?;
        await_enrolled(&mesh, [&near, &far], WITHIN)?;
        Ok(Self { web, near, far, captures, mesh, world })
    }

    fn cni_socket(&self) -> PathBuf {
        self.mesh.agent(1).folder().join("cni.sock")
    }

    fn ask(&self, request: &Request<File>) -> Result<Answer> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let socket = self.cni_socket();
        let asked = async { tokio::time::timeout(WITHIN, cni::ask(&socket, request)).await };
        runtime.block_on(asked).context("the agent does not answer")?.context("asking the agent")
    }

    /// As a container runtime says it, with or without the pod's uid.
    fn add(&self, pod: &Pod, pod_uid: &str) -> Result<Answer> {
        let netns = File::open(pod.netns()).context("opening the pod's namespace")?;
        let pod = CniPod {
            namespace: pod.namespace().to_owned(),
            name: pod.name().to_owned(),
            pod_uid: pod_uid.to_owned(),
            netns_path: pod.netns().display().to_string(),
            addresses: pod.ips().to_vec(),
        };
        self.ask(&Request::Add { pod, netns })
    }

    fn del(&self, pod: &Pod, pod_uid: Option<&str>) -> Result<Answer> {
        self.ask(&Request::Del {
            namespace: pod.namespace().to_owned(),
            name: pod.name().to_owned(),
            pod_uid: pod_uid.map(str::to_owned),
        })
    }

    fn look(&self, pod: &Pod) -> Result<Look> {
        let mut programs = pod.enter(|| attached(None))??;
        let outside = pod.host_device();
        programs.extend(self.world.node(1).enter(|| attached(Some(&outside)))??);
        for direction in ["ingress", "egress"] {
            let shown = self.world.node(1).run(["tc", "filter", "show", "dev", &outside, direction])?;
            programs.extend(shown.stdout.lines().map(|line| format!("{outside} {direction} {line}")));
        }
        let pins = format!("/sys/fs/bpf/{}-node1/v1/pods", self.world.prefix());
        let pinned = std::fs::read_dir(&pins).with_context(|| format!("listing {pins}"))?;
        let pinned = pinned.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
        Ok(Look { traces: Traces::of(pod)?, programs, pinned })
    }

    /// What the agent says of a pod.
    fn status(&self, pod: &Pod) -> Result<Value> {
        let status = ask(&agent_socket(&self.mesh, 1), "/status")?;
        ensure!(status["in_sync"] == true, "control has not told yet");
        let mut pods = status["pods"].as_array().into_iter().flatten();
        let own = pods.find(|one| one["name"] == pod.name());
        own.cloned().context("the agent does not know it")
    }

    /// Its traffic is carried, both ways and in both families, and nobody can read it on the way.
    fn assert_carried(&self, pod: &Pod) -> Result<()> {
        for (from, to) in [(pod, &self.far), (&self.far, pod), (pod, &self.near), (&self.near, pod)] {
            for addr in [to.addr(7000), to.addr6(7000)] {
                Talk::begin(from, addr)
                    .and_then(Talk::finish)
                    .with_context(|| format!("{} to {addr}", from.name()))?;
            }
        }
        self.assert_nothing_plain(pod)
    }

    fn assert_nothing_plain(&self, pod: &Pod) -> Result<()> {
        for capture in &self.captures {
            capture.assert_complete()?;
            capture.non_tls_bytes(&pod.ips(), &self.far.ips()).assert_none()?;
        }
        Ok(())
    }
}

/// The programs on one device of the current namespace, or on all of them.
fn attached(device: Option<&str>) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    let all = nix::net::if_::if_nameindex().context("listing devices")?;
    for name in all.iter().map(|one| one.name().to_string_lossy().into_owned()) {
        if device.is_some_and(|device| device != name) {
            continue;
        }
        for direction in [TcAttachType::Ingress, TcAttachType::Egress] {
            // Older kernels have no tcx to ask for; what they have instead is seen by `tc`.
            let programs =
                SchedClassifier::query_tcx(&name, direction).map(|(_, all)| all).unwrap_or_default();
            let names = programs.iter().map(|program| program.name_as_str().unwrap_or_default().to_owned());
            found.extend(names.map(|program| format!("{name} {direction:?} {program}")));
        }
    }
    Ok(found)
}

/// Refused, all at once because each may wait for discovery.
fn all_refused(ways: &[(&Pod, SocketAddr)]) -> Result<()> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = ways.iter().map(|(from, to)| scope.spawn(|| is_refused(from, *to))).collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("it panics nowhere"))
    })
}

#[test]
#[ignore = "needs root and an eBPF-capable kernel; run by cargo xtask test"]
fn a_pod_is_enrolled_and_released_as_the_plugin_says() -> Result<()> {
    let stage = Stage::set()?;
    let mode = std::fs::metadata(stage.cni_socket())?.permissions().mode();
    assert_eq!(mode & 0o077, 0, "only root may ask");
    known_to_discovery_without_a_namespace(&stage)?;
    unknown_to_discovery(&stage)
}

/// On Kubernetes a pod's manifest says nothing of its namespace.
fn known_to_discovery_without_a_namespace(stage: &Stage) -> Result<()> {
    let web = &stage.web;
    let uid = web.uid()?;
    let before = stage.look(web)?;
    web.set_annotation("weft.dev/netns", None)?;
    web.set_label("weft.dev/mesh", None)?;
    eventually("it waits for the plugin", WITHIN, || {
        let status = stage.status(web)?;
        let reason = status["reason"].as_str().unwrap_or_default();
        ensure!(reason.contains("the CNI plugin has not told"), "{status}");
        Ok(())
    })?;
    assert_eq!(stage.look(web)?.programs, before.programs, "nothing is captured yet");

    assert_eq!(stage.add(web, &uid)?, Answer::Enrolled);
    assert_eq!(stage.status(web)?["state"], "enrolled", "when it is answered it is done");
    let enrolled = stage.look(web)?;
    assert!(enrolled.programs.len() > before.programs.len(), "{enrolled:?}");
    await_enrolled(&stage.mesh, [web], WITHIN)?;
    await_known(&stage.mesh, 2, web, WITHIN)?;
    stage.assert_carried(web)?;

    // Runtimes ask again when they are not sure.
    let mut open = Talk::begin(web, stage.far.addr(7000))?;
    let listeners = listening_sockets(web)?;
    for pod_uid in [uid.as_str(), ""] {
        assert_eq!(stage.add(web, pod_uid)?, Answer::Enrolled);
    }
    assert_eq!(stage.del(web, Some("of-an-older-pod"))?, Answer::Released, "of that one nothing is left");
    open.go_on()?;
    assert_eq!(listening_sockets(web)?, listeners, "nothing was done twice");
    assert_eq!(stage.look(web)?, enrolled);

    // The next agent was not told by the plugin, and discovery does not know the namespace.
    stage.mesh.agent(1).kill_and_restart()?;
    eventually("the next agent has it", WITHIN, || {
        let status = stage.status(web)?;
        ensure!(status["state"] == "enrolled" && status["reason"].is_null(), "{status}");
        Ok(())
    })?;
    open.go_on().context("with the next agent")?;
    assert_eq!(listening_sockets(web)?, listeners, "it never left the mesh");
    stage.assert_carried(web).context("with the next agent")?;

    assert_eq!(stage.del(web, Some(&uid))?, Answer::Released);
    assert_restored(stage, web, &before)?;
    assert_eq!(open.wait_for_end(WITHIN)?, Ending::Reset);
    // Outside the mesh now, and nobody is in its way.
    Talk::begin(web, stage.far.addr(7000))?.finish()?;
    let plain = stage.captures[0].non_tls_bytes(&web.ips(), &stage.far.ips());
    assert!(plain.bytes > 0, "this went around the mesh");
    assert_eq!(stage.del(web, Some(&uid))?, Answer::Released, "there is nothing more to do");
    assert_eq!(stage.add(web, &uid)?, Answer::Enrolled, "it may come back");
    Talk::begin(web, stage.far.addr(7000))?.finish()
}

/// A pod that starts while control is away is captured, and waits.
fn unknown_to_discovery(stage: &Stage) -> Result<()> {
    stage.mesh.control().kill()?;
    let new = stage.world.node(1).pod("shop", "new").service_account("new").app(App::echo()).start()?;
    let stranger = stage.world.node(2).outside("stranger").start()?;
    let before = stage.look(&new)?;
    assert_eq!(stage.add(&new, "")?, Answer::Enrolled);
    let listeners = listening_sockets(&new)?;
    assert!(!listeners.is_empty());
    // Nobody knows who it is, so nobody talks to it, and nothing of it gets out.
    all_refused(&[
        (&new, stage.far.addr(7000)),
        (&new, stage.far.addr6(7000)),
        (&new, stage.near.addr(7000)),
        (&stage.near, new.addr(7000)),
        (&stage.far, new.addr6(7000)),
        (&stranger, new.addr(7000)),
    ])?;
    for capture in &stage.captures {
        let flows = capture.flows();
        let own = flows.iter().find(|(key, _)| new.ips().contains(&key.src.ip()) && key.dst.port() == 7000);
        ensure!(own.is_none(), "it sent something itself: {own:?}");
    }

    stage.mesh.control().start()?;
    stage.mesh.control().wait_ready()?;
    await_enrolled(&stage.mesh, [&new], BACK_WITHIN)?;
    await_known(&stage.mesh, 2, &new, BACK_WITHIN)?;
    stage.assert_carried(&new).context("once control is back")?;
    assert_eq!(listening_sockets(&new)?, listeners, "it was captured all the time");
    // What the plugin says counts until discovery has something new to say of the pod, which is to be over.
    let uid = new.uid()?;
    eventually("the agent is told of it", BACK_WITHIN, || {
        let status = stage.status(&new)?;
        ensure!(status["pod_uid"] == uid, "{status}");
        Ok(())
    })?;
    assert_eq!(stage.del(&new, None)?, Answer::Released);
    assert_restored(stage, &new, &before)
}

/// As before, to the last setting and program.
fn assert_restored(stage: &Stage, pod: &Pod, before: &Look) -> Result<()> {
    let after = stage.look(pod)?;
    let differences = after.traces.beyond(&before.traces);
    ensure!(differences.is_empty(), "{}: {differences:#?}", pod.name());
    assert_eq!(after.programs, before.programs);
    assert_eq!(after.pinned, before.pinned);
    // Links live by pins and descriptors alone: what chooses listeners (sk_lookup) is in neither.
    let agent = stage.mesh.agent(1).process()?.pid();
    for entry in std::fs::read_dir(Path::new("/proc").join(agent.to_string()).join("fdinfo"))? {
        // One may be closed while they are listed.
        let text = std::fs::read_to_string(entry?.path()).unwrap_or_default();
        ensure!(!text.contains("link_type"), "the agent holds a link: {text}");
    }
    Ok(())
}
