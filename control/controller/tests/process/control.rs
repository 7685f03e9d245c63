//! A control plane as a process, and clients of it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tokio::task::JoinSet;
use weft_core::names::NodeName;
use weft_xds::{Client, ClientConfig, ControlSettings, ControlUrl, Model, Node, Role, Subscribe, View};

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_weft-control");
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

const CLUSTER: &str = r#"
apiVersion: v1
kind: Namespace
metadata: { name: default, labels: { weft.dev/mesh: enabled } }
---
apiVersion: v1
kind: Node
metadata: { name: n1 }
---
apiVersion: v1
kind: Pod
metadata:
  name: web-1
  namespace: default
  uid: 11111111-0000-4000-8000-000000000001
  labels: { app: web }
  annotations: { weft.dev/netns: /run/netns/web-1 }
spec:
  nodeName: n1
  serviceAccountName: web
  containers: [{ name: web, image: web }]
status:
  phase: Running
  podIP: 10.0.0.1
  podIPs: [{ ip: 10.0.0.1 }]
  conditions: [{ type: Ready, status: "True" }]
"#;

pub(crate) fn policy(namespace: &str) -> String {
    format!(
        r#"
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{ name: web, namespace: default }}
spec:
  action: DENY
  rules:
  - from: [{{ source: {{ namespaces: ["{namespace}"] }} }}]
"#
    )
}

pub(crate) struct Control {
    folder: tempfile::TempDir,
    pub(crate) process: Child,
    grpc: SocketAddr,
    metrics: SocketAddr,
}

impl Drop for Control {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Control {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir(at("manifests")).unwrap();
        std::fs::write(at("manifests/cluster.yaml"), CLUSTER).unwrap();
        std::fs::write(at("manifests/policy.yaml"), policy("other")).unwrap();
        let (process, grpc, metrics) = run(folder.path());
        Self { folder, process, grpc, metrics }
    }

    /// Ends it, changes something, and starts another on the same folders.
    pub(crate) fn restart(&mut self, change: impl FnOnce(&Self)) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        change(self);
        (self.process, self.grpc, self.metrics) = run(self.folder.path());
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, content: &str) {
        let fresh = self.at("fresh");
        std::fs::write(&fresh, content).unwrap();
        std::fs::rename(fresh, self.at("manifests").join(name)).unwrap();
    }

    /// The root that it has made for itself, and its key.
    pub(crate) fn own_root(&self) -> [String; 2] {
        let mut roots = std::fs::read_dir(self.at("ca/roots")).unwrap();
        let root = roots.next().unwrap().unwrap().path();
        ["root-cert.pem", "root-key.pem"].map(|name| std::fs::read_to_string(root.join(name)).unwrap())
    }

    /// Puts an authority into the folder of plugged-in ones.
    pub(crate) fn plug_in(&self, cert: &str, key: &str, roots: &str) {
        let folder = self.at("cacerts");
        std::fs::create_dir_all(&folder).unwrap();
        let files =
            [("ca-cert.pem", cert), ("ca-key.pem", key), ("cert-chain.pem", cert), ("root-cert.pem", roots)];
        for (name, text) in files {
            std::fs::write(folder.join(name), text).unwrap();
        }
    }

    /// Of a pod `<account>` of namespace `weft-system`.
    pub(crate) fn settings(&self, account: &str) -> ControlSettings {
        self.settings_of("weft-system", account, account, "1")
    }

    pub(crate) fn settings_of(
        &self,
        namespace: &str,
        account: &str,
        pod: &str,
        pod_uid: &str,
    ) -> ControlSettings {
        let token = self.at(account);
        let status = Command::new(BINARY)
            .args(["token", "--service-account", &format!("{namespace}/{account}"), "--pod", pod])
            .args(["--pod-uid", pod_uid, "--node", "n1", "--ttl", "600", "--ca-dir"])
            .arg(self.at("ca"))
            .arg("--out")
            .arg(&token)
            .status()
            .unwrap();
        assert!(status.success());
        ControlSettings {
            url: ControlUrl { host: self.grpc.ip().to_string(), port: self.grpc.port() },
            roots: self.at("roots.pem"),
            token,
            cluster: "Kubernetes".into(),
        }
    }

    pub(crate) fn client<M: Model>(&self, role: Role, account: &str) -> (View<M>, JoinSet<()>)
    where
        Client<M>: Send,
    {
        self.client_of(role, ("weft-system", account), self.settings(account))
    }

    /// A client that says it is this pod.
    pub(crate) fn client_of<M: Model>(
        &self,
        role: Role,
        (namespace, pod): (&str, &str),
        control: ControlSettings,
    ) -> (View<M>, JoinSet<()>)
    where
        Client<M>: Send,
    {
        let node = Node {
            role,
            ip: [127, 0, 0, 1].into(),
            pod: pod.into(),
            namespace: namespace.into(),
            node: NodeName::new("n1"),
        };
        let config = ClientConfig { control, node, subscribe: Subscribe::All, state_file: None };
        let (client, view) = Client::<M>::new(config);
        let mut tasks = JoinSet::new();
        tasks.spawn(client.run());
        (view, tasks)
    }

    pub(crate) fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(self.metrics).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        body(stream)
    }

    pub(crate) fn post(&self, path: &str) -> String {
        let mut stream = UnixStream::connect(self.at("admin.sock")).unwrap();
        write!(stream, "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            .unwrap();
        body(stream)
    }
}

/// Starts one, and says where it serves.
fn run(folder: &Path) -> (Child, SocketAddr, SocketAddr) {
    let at = |name: &str| folder.join(name);
    let mut process = Command::new(BINARY)
        .env("WEFT_DIRECTORY", at("manifests"))
        .env("WEFT_CA_DIR", at("ca"))
        .env("WEFT_ROOTS_FILE", at("roots.pem"))
        .env("WEFT_ADMIN_SOCKET", at("admin.sock"))
        .env("WEFT_LISTEN", "127.0.0.1:0")
        .env("WEFT_METRICS_ADDR", "127.0.0.1:0")
        .env("WEFT_LOG_FORMAT", "json")
        .envs(at("cacerts").exists().then(|| ("WEFT_CACERTS_DIR", at("cacerts"))))
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
    let serving = lines.by_ref().map(Result::unwrap).inspect(|line| eprintln!("{line}"));
    let serving = serving.into_iter().find(|line| line.contains("\"serving\"")).expect("it serves");
    let serving: serde_json::Value = serde_json::from_str(&serving).unwrap();
    let addr = |name: &str| serving[name].as_str().unwrap().parse().unwrap();
    let (grpc, metrics) = (addr("grpc"), addr("metrics"));
    // The rest of the log is for whoever reads a failure.
    std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| eprintln!("{line}")));
    (process, grpc, metrics)
}

fn body(mut stream: impl Read) -> String {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split_once("\r\n\r\n").unwrap().1.to_owned()
}

pub(crate) async fn until<M: Model>(view: &mut View<M>, wanted: impl Fn(&M::Snapshot) -> bool) {
    let wait = async {
        while !wanted(&view.now()) {
            view.changed().await.expect("the client lives");
        }
    };
    tokio::time::timeout(DEADLINE, wait).await.expect("it is told in time");
}
