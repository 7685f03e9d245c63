//! A node in a box: real namespaces and sockets, the real loop and link, and a kernel side that only takes
//! notes of what it is asked to capture.

use std::collections::BTreeSet;
use std::fs::File;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use weft_agent::actor::{Actor, Input, Parts};
use weft_agent::capture::{Attachment, Capture, CaptureError, Chosen, Pair};
use weft_agent::enrol::Enroller;
use weft_agent::memory::Memory;
use weft_agent::metrics::AgentMetrics;
use weft_agent::reconcile::{ExistingRule, Key, Told, Wanted};
use weft_agent::serve;
use weft_agent_link::{FromAgent, FromProxy, ProxyEnd, TrustedUid, Workers};
use weft_core::enrolment::Acceleration;
use weft_core::names::{NodeName, WorkloadUid};
use weft_ebpf_host::netns;
use weft_runtime::drain::{self, Stopper};
use weft_runtime::fds::SeqListener;
use weft_runtime::metrics::Metrics;
use weft_runtime::ready::Readiness;

/// Enters namespaces for real, and notes the rest.
#[derive(Default)]
pub(crate) struct Notes {
    pub(crate) captured: Mutex<BTreeSet<String>>,
    /// Those of which nobody has said yet that their older connections are known.
    pub(crate) joining: Mutex<BTreeSet<String>>,
    pub(crate) registered: Mutex<Vec<(String, Chosen)>>,
    /// Why it does not end connections; empty if it does.
    pub(crate) cannot_destroy: &'static str,
}

impl Capture for Notes {
    fn netns_cookie(&self, netns: BorrowedFd<'_>) -> Result<u64, CaptureError> {
        netns::netns_cookie(netns).map_err(|error| CaptureError::new("cookie", error))
    }

    fn socket_cookie(&self, socket: BorrowedFd<'_>) -> Result<u64, CaptureError> {
        netns::socket_netns_cookie(socket).map_err(|error| CaptureError::new("cookie", error))
    }

    fn inside(&self, netns: BorrowedFd<'_>, work: &mut dyn FnMut()) -> Result<(), CaptureError> {
        let _entered = netns::enter(netns).map_err(|error| CaptureError::new("enter", error))?;
        work();
        Ok(())
    }

    fn enrol(&self, pod: Attachment<'_>) -> Result<(), CaptureError> {
        if self.captured.lock().expect("no panic").insert(pod.key.as_str().to_owned()) {
            self.joining.lock().expect("no panic").insert(pod.key.as_str().to_owned());
        }
        Ok(())
    }

    fn captured(&self, _: &Key) -> Option<u64> {
        None
    }

    fn is_joining(&self, key: &Key) -> Result<bool, CaptureError> {
        Ok(self.joining.lock().expect("no panic").contains(key.as_str()))
    }

    fn settle(&self, key: &Key) -> Result<(), CaptureError> {
        self.joining.lock().expect("no panic").remove(key.as_str());
        Ok(())
    }

    fn register(&self, key: &Key, chosen: Chosen, _: BorrowedFd<'_>) -> Result<(), CaptureError> {
        self.registered.lock().expect("no panic").push((key.as_str().to_owned(), chosen));
        Ok(())
    }

    fn own(&self, _: BorrowedFd<'_>) -> Result<(), CaptureError> {
        Ok(())
    }

    fn exempt(&self, _: &Key, _: &[Pair]) -> Result<usize, CaptureError> {
        Ok(0)
    }

    fn exempted(&self, _: &Key) -> Result<Vec<Pair>, CaptureError> {
        Ok(Vec::new())
    }

    fn end_exemptions(&self, _: &Key, _: &[Pair]) -> Result<(), CaptureError> {
        Ok(())
    }

    fn destroy(&self, _: &[Pair]) -> Result<usize, CaptureError> {
        Ok(0)
    }

    fn can_destroy(&self) -> Result<(), CaptureError> {
        match self.cannot_destroy {
            "" => Ok(()),
            why => Err(CaptureError::new("trying it", why)),
        }
    }

    fn set_acceleration(&self, _: &Key, _: Acceleration) -> Result<(), CaptureError> {
        Ok(())
    }

    fn set_addresses(&self, _: &Key, _: &[IpAddr]) -> Result<(), CaptureError> {
        Ok(())
    }

    fn release(&self, key: &Key) -> Result<(), CaptureError> {
        self.captured.lock().expect("no panic").remove(key.as_str());
        Ok(())
    }

    fn device_events(&self, _: &Key) -> Result<OwnedFd, CaptureError> {
        Err(CaptureError::new("listening", "no devices here"))
    }

    fn refresh_devices(&self, _: &Key) -> Result<(), CaptureError> {
        Ok(())
    }

    fn uncontained(&self, _: &Key) -> Vec<String> {
        Vec::new()
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        Vec::new()
    }
}

/// A network namespace that lives as long as this.
pub(crate) struct Netns(File, tempfile::TempDir);

impl Netns {
    pub(crate) fn new() -> Self {
        let file = std::thread::spawn(|| {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).expect("root may make a namespace");
            File::open("/proc/thread-self/ns/net").expect("the namespace")
        });
        Self(file.join().expect("a thread"), tempfile::tempdir().expect("folder"))
    }

    /// A path that leads to it.
    pub(crate) fn path(&self) -> PathBuf {
        let path = self.1.path().join("netns");
        let fd = std::os::fd::AsRawFd::as_raw_fd(&self.0);
        // Opened by this process, so its own descriptor is a path.
        let _ = std::os::unix::fs::symlink(format!("/proc/{}/fd/{fd}", std::process::id()), &path);
        path
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// One life of an agent.
pub(crate) struct Agent {
    pub(crate) inputs: mpsc::Sender<Input>,
    pub(crate) notes: Arc<Notes>,
    socket: PathBuf,
    stopper: Stopper,
    tasks: JoinSet<()>,
}

impl Agent {
    /// Begins, with what an earlier one left in `folder` and in `notes`.
    pub(crate) fn start(folder: &Path, notes: Arc<Notes>) -> Self {
        let (stopper, stop) = drain::channel();
        let (inputs, inbox) = mpsc::channel(64);
        let memory = Memory::new(folder);
        let adopted =
            notes.captured.lock().expect("no panic").iter().filter_map(|key| Key::parse(key)).collect();
        let parts = Parts {
            node: NodeName::new("node-a"),
            enroller: Arc::new(Enroller::new(notes.clone()).expect("an enroller")),
            memory: memory.clone(),
            node_addresses: vec!["127.0.0.1".parse().expect("an address")],
            metrics: AgentMetrics::new(&Metrics::new()).expect("metrics"),
            node_tunnel: Readiness::new().condition("node tunnel", "not yet"),
        };
        let actor = Actor::new(parts, adopted, memory.read().expect("the file"));
        let socket = folder.join("agent.sock");
        let listener = SeqListener::bind(&socket, 0o600).expect("listening");
        let mut tasks = JoinSet::new();
        let node = NodeName::new("node-a");
        tasks.spawn(serve::proxies(listener, TrustedUid::ROOT, node, inputs.clone(), stop.clone()));
        tasks.spawn(actor.run(inbox, stop));
        Self { inputs, notes, socket, stopper, tasks }
    }

    pub(crate) async fn tell(&self, pods: &[Wanted]) {
        let told = pods.iter().map(|pod| (pod.uid.clone(), Told::Enrolled(pod.clone()))).collect();
        self.inputs.send(Input::Told(told)).await.expect("the loop runs");
    }

    /// A proxy that holds nothing.
    pub(crate) async fn proxy(&self) -> ProxyEnd {
        let proxy = self.proxy_silent().await;
        proxy.send(&FromProxy::<OwnedFd>::HeldEnd).await.expect("said");
        proxy
    }

    /// A proxy that has not yet said what it holds.
    pub(crate) async fn proxy_silent(&self) -> ProxyEnd {
        let (proxy, welcome) = ProxyEnd::connect(&self.socket, Workers::clamped(2)).await.expect("an agent");
        assert_eq!(welcome.node.as_str(), "node-a");
        proxy
    }

    pub(crate) async fn stop(mut self) -> Arc<Notes> {
        self.stopper.stop();
        while self.tasks.join_next().await.is_some() {}
        self.notes
    }
}

/// The next message of one kind; others are passed over.
pub(crate) async fn next<T>(proxy: &ProxyEnd, mut pick: impl FnMut(FromAgent) -> Option<T>) -> T {
    let search = async {
        loop {
            let message = proxy.recv().await.expect("a message").expect("the agent is there");
            if let Some(found) = pick(message) {
                return found;
            }
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), search).await.expect("in time")
}

pub(crate) fn wanted(name: &str, netns: &Path) -> Wanted {
    Wanted {
        uid: WorkloadUid::new(format!("c//Pod/default/{name}")),
        pod_uid: format!("uid-{name}").into(),
        namespace: "default".into(),
        name: name.into(),
        addresses: vec!["10.0.0.1".parse().expect("an address")],
        netns: Some(netns.to_owned()),
        existing: ExistingRule::default(),
        acceleration: Acceleration::Standard,
    }
}
