//! A node, a pod and a remote machine as network namespaces, joined by veths:
//!
//! `pod` 10.99.0.2, fd99:0::2 — `node` (forwards) — `remote` 10.99.1.2, fd99:1::2
//!
//! The test's own thread enters `node`, because that is where the agent lives. Everything goes away on drop.
#![allow(dead_code, reason = "each test file uses its part")]

pub(crate) mod relay;
pub(crate) mod frames;
pub(crate) mod batches;

use std::fs::{self, File};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns};
use socket2::{Domain, Socket, Type};
use weft_ebpf_host::netns::{self, Entered};
use weft_ebpf_host::{
    Acceleration, Host, HostConfig, ListenerKind, OtherProtocols, PodAttachment, PodKey, TcMode,
};

pub(crate) const PATIENCE: Duration = Duration::from_secs(5);
pub(crate) const POD_V4: &str = "10.99.0.2";
pub(crate) const POD_V6: &str = "fd99:0::2";
pub(crate) const REMOTE_V4: &str = "10.99.1.2";
pub(crate) const REMOTE_V6: &str = "fd99:1::2";
pub(crate) const NODE_V4: &str = "10.99.0.1";

static NEXT: AtomicU32 = AtomicU32::new(0);

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(crate) fn at(address: &str, port: u16) -> SocketAddr {
    SocketAddr::new(ip(address), port)
}

/// A namespace with a name.
#[derive(Clone)]
pub(crate) struct Ns {
    pub(crate) name: String,
}

impl Ns {
    fn new(role: &str) -> Self {
        let name = format!("weft-{role}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        run("ip", &["netns", "add", &name]);
        let ns = Self { name };
        // Duplicate addresses are not to be found here, and looking for them takes seconds.
        ns.sysctl("ipv6/conf/default/accept_dad", "0");
        ns.ip(&["link", "set", "lo", "up"]);
        ns
    }

    pub(crate) fn path(&self) -> PathBuf {
        PathBuf::from("/run/netns").join(&self.name)
    }

    pub(crate) fn file(&self) -> File {
        File::open(self.path()).unwrap()
    }

    /// Waits until IPv6 has done what it does by itself when a device comes up, so that tests may compare.
    fn settle(&self) {
        let deadline = Instant::now() + PATIENCE;
        let pending = |addresses: &str| addresses.contains("tentative") || !addresses.contains("scope link");
        while pending(&self.ip(&["-6", "addr"]))
            || !self.ip(&["-6", "route", "show", "table", "all"]).contains("multicast")
        {
            assert!(Instant::now() < deadline, "IPv6 does not settle");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn ip(&self, args: &[&str]) -> String {
        let mut all = vec!["-n", &self.name];
        all.extend_from_slice(args);
        run("ip", &all)
    }

    pub(crate) fn sysctl(&self, name: &str, value: &str) {
        let path = format!("/proc/sys/net/{name}");
        self.within(|| fs::write(path, value).unwrap());
    }

    /// Runs on a thread inside, and waits.
    pub(crate) fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let file = self.file();
        std::thread::scope(|scope| {
            let thread = scope.spawn(move || {
                setns(&file, CloneFlags::CLONE_NEWNET).unwrap();
                work()
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Runs on a thread inside.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<T> {
        let file = self.file();
        std::thread::spawn(move || {
            setns(&file, CloneFlags::CLONE_NEWNET).unwrap();
            work()
        })
    }
}

pub(crate) fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().unwrap();
    assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The three namespaces and an open host.
pub(crate) struct World {
    pub(crate) host: Option<Host>,
    pub(crate) node: Ns,
    pub(crate) pod: Ns,
    pub(crate) remote: Ns,
    pub(crate) key: PodKey,
    pub(crate) bpffs: PathBuf,
    pub(crate) mode: Option<TcMode>,
    pub(crate) cgroup: Option<PathBuf>,
    pub(crate) acceleration: Acceleration,
    entered: Option<Entered>,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(None, false)
    }

    pub(crate) fn accelerated(acceleration: Acceleration) -> Self {
        Self::accelerated_with(None, acceleration)
    }

    pub(crate) fn accelerated_with(mode: Option<TcMode>, acceleration: Acceleration) -> Self {
        let mut world = Self::with(mode, false);
        world.host = None;
        world.acceleration = acceleration;
        world.open();
        world
    }

    pub(crate) fn with(mode: Option<TcMode>, probes: bool) -> Self {
        assert!(nix::unistd::geteuid().is_root(), "these tests need root: run them by `cargo xtask test`");
        let (node, pod, remote) = (Ns::new("node"), Ns::new("pod"), Ns::new("remote"));
        for (peer, net) in [(&pod, 0), (&remote, 1)] {
            let outer = format!("v{net}");
            node.ip(&["link", "add", &outer, "type", "veth", "peer", "name", "eth0", "netns", &peer.name]);
            let gateway_v4 = format!("10.99.{net}.1");
            let gateway_v6 = format!("fd99:{net}::1");
            for (ns, device, last) in [(&node, outer.as_str(), 1), (peer, "eth0", 2)] {
                ns.ip(&["addr", "add", &format!("10.99.{net}.{last}/24"), "dev", device]);
                ns.ip(&["-6", "addr", "add", &format!("fd99:{net}::{last}/64"), "dev", device, "nodad"]);
                ns.ip(&["link", "set", device, "up"]);
            }
            peer.ip(&["route", "add", "default", "via", &gateway_v4]);
            peer.ip(&["-6", "route", "add", "default", "via", &gateway_v6]);
        }
        for ns in [&node, &pod, &remote] {
            ns.settle();
        }
        node.sysctl("ipv4/ip_forward", "1");
        node.sysctl("ipv6/conf/all/forwarding", "1");
        let tag = format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let bpffs = PathBuf::from(format!("/run/weft-ebpf-test-{tag}"));
        let cgroup = probes.then(|| {
            let path = PathBuf::from(format!("{}/weft-test-{tag}", cgroup2()));
            fs::create_dir(&path).unwrap();
            path
        });
        let entered = Some(netns::enter(node.file().as_fd()).unwrap());
        let key = "pod-1".parse().unwrap();
        let mut world = Self {
            host: None,
            node,
            pod,
            remote,
            key,
            bpffs,
            mode,
            cgroup,
            acceleration: Acceleration::Off,
            entered,
        };
        world.open();
        world
    }

    pub(crate) fn open(&mut self) {
        self.open_for(8);
    }

    /// For so many pods.
    pub(crate) fn open_for(&mut self, max_pods: u32) {
        let config = HostConfig {
            bpffs_dir: self.bpffs.clone(),
            probe_cgroup: self.cgroup.clone(),
            max_pods,
            other_protocols: OtherProtocols::Pass,
            acceleration: self.acceleration,
        };
        self.host =
            Some(Host::open_as(config, self.mode).unwrap_or_else(|error| panic!("{}", chain(&error))));
    }

    pub(crate) fn host(&mut self) -> &mut Host {
        self.host.as_mut().unwrap()
    }

    /// Captures the pod, and does not look for what was open before.
    pub(crate) fn enrol(&mut self) {
        self.begin_enrol();
        let key = self.key.clone();
        self.host().settle(&key).unwrap();
    }

    /// Leaves it joining.
    pub(crate) fn begin_enrol(&mut self) {
        let (key, netns) = (self.key.clone(), self.pod.file());
        let addresses = vec![ip(POD_V4), ip(POD_V6)];
        let pod = PodAttachment { key, netns: netns.as_fd(), addresses, acceleration: self.acceleration };
        self.host().enrol(&pod).unwrap_or_else(|error| panic!("{}", chain(&error)));
    }

    /// A transparent listener of the mesh in the pod, registered.
    pub(crate) fn listener(&mut self, kind: ListenerKind, port: u16) -> Socket {
        let socket = self.mesh_socket(Type::STREAM);
        socket.bind(&at("::", port).into()).unwrap();
        socket.listen(4096).unwrap();
        self.register(kind, socket.as_fd());
        socket
    }

    pub(crate) fn register(&mut self, kind: ListenerKind, socket: BorrowedFd<'_>) {
        let key = self.key.clone();
        self.host().register_listener(&key, kind, socket).unwrap_or_else(|error| panic!("{}", chain(&error)));
    }

    /// A socket of the mesh in the pod: dual-stack, transparent, marked.
    pub(crate) fn mesh_socket(&mut self, kind: Type) -> Socket {
        let socket = self.pod.within(|| mesh_socket(Domain::IPV6, kind));
        self.host().own(socket.as_fd()).unwrap();
        socket
    }
}

pub(crate) fn mesh_socket(domain: Domain, kind: Type) -> Socket {
    let socket = Socket::new(domain, kind, None).unwrap();
    if domain == Domain::IPV6 {
        socket.set_only_v6(false).unwrap();
    }
    // One flag for both IP versions.
    nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::IpTransparent, &true).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket
}

fn cgroup2() -> String {
    let mounts = fs::read_to_string("/proc/mounts").unwrap();
    let line =
        mounts.lines().find(|line| line.split(' ').nth(2) == Some("cgroup2")).expect("cgroup2 is mounted");
    line.split(' ').nth(1).unwrap().to_owned()
}

pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(host) = &mut self.host {
            eprintln!(
                "counters: {:?}",
                host.counters().iter().filter(|(_, value)| *value > 0).collect::<Vec<_>>()
            );
            host.close_all();
        }
        self.host = None;
        self.entered = None;
        if nix::mount::umount(&self.bpffs).is_ok() {
            let _ = fs::remove_dir(&self.bpffs);
        }
        if let Some(cgroup) = &self.cgroup {
            let _ = fs::remove_dir(cgroup);
        }
        for ns in [&self.node, &self.pod, &self.remote] {
            let _ = Command::new("ip").args(["netns", "del", &ns.name]).status();
        }
    }
}
