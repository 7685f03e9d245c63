//! A waypoint, and what stands around it.

use crate::backend::Backend;
use crate::client::Client;
use crate::control::Control;
use crate::words::{self, PORT, SERVICE_PORT, identity, service, service_name, workload};
use http::StatusCode;
use serde_json::{Value, json};
use std::future::Future;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, SystemTime};
use weft_control_ca::{CaDirectory, CaSettings};
use weft_core::names::ServiceName;
use weft_core::service::{AppProtocol, Service};
use weft_core::workload::TunnelProtocol;
use weft_l7::policy::Policy;
use weft_l7::telemetry::Telemetry;
use weft_l7::traffic::Traffic;
use weft_proto::{ADDRESS_TYPE, REQUEST_POLICY_TYPE, TELEMETRY_TYPE, TRAFFIC_TYPE};
use weft_tunnel::accept::Dialect;

/// Longer than anything that happens.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// What clients ask for in every world; nobody listens there.
pub(crate) fn vip(name: &str) -> SocketAddr {
    let number = name.bytes().fold(0_u8, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte));
    (Ipv4Addr::new(10, 96, 0, number), SERVICE_PORT).into()
}

/// Runs a test on one thread.
pub(crate) fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let local = tokio::task::LocalSet::new();
    let in_time = async { tokio::time::timeout(DEADLINE, test).await.expect("the test ends in time") };
    runtime.block_on(local.run_until(in_time));
}

/// Runs a test once for each dialect that clients may speak. The output of one that fails ends with the dialect that it
/// failed for.
pub(crate) fn in_both<F: Future<Output = ()>>(test: impl Fn(Dialect) -> F) {
    for dialect in [Dialect::Mux, Dialect::Hbone] {
        println!("clients speak {dialect:?}");
        run(test(dialect));
    }
}

/// What it takes before it is so.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(mut what: impl FnMut() -> F) -> T {
    loop {
        if let Some(is) = what().await {
            return is;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub(crate) struct World {
    pub(crate) control: Control,
    pub(crate) process: Child,
    /// What clients speak.
    pub(crate) dialect: Dialect,
    folder: tempfile::TempDir,
    subnet: [u8; 2],
    generation: std::cell::Cell<u64>,
}

/// Tests of one process run side by side.
static NEXT: AtomicU8 = AtomicU8::new(1);

impl World {
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// With settings of its own.
    pub(crate) async fn start_with(settings: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Other processes on this machine may test too.
        let subnet = [16 + (std::process::id() % 200) as u8, NEXT.fetch_add(1, Ordering::Relaxed)];
        let control = Control::start(folder.path(), identity("waypoint")).await;
        let at = |host: u8, port: u16| SocketAddr::from(([127, subnet[0], subnet[1], host], port));
        std::fs::write(folder.path().join("token"), "any").unwrap();
        let file = |name: &str| std::fs::File::create(folder.path().join(name)).unwrap();
        let process = Command::new(env!("CARGO_BIN_EXE_weft-waypoint"))
            .env("WEFT_CONTROL_ADDRESS", format!("https://{}", control.addr))
            .env("WEFT_CONTROL_ROOTS", folder.path().join("roots.pem"))
            .env("WEFT_TOKEN_FILE", folder.path().join("token"))
            .env("WEFT_STATE_DIR", folder.path().join("state"))
            .env("WEFT_POD_NAMESPACE", "shop")
            .env("WEFT_POD_NAME", "waypoint")
            .env("WEFT_SERVICE_ACCOUNT", "waypoint")
            .env("WEFT_POD_IPS", at(2, 0).ip().to_string())
            .env("WEFT_TUNNEL_ADDR", at(2, 15008).to_string())
            .env("WEFT_METRICS_ADDR", at(2, 15020).to_string())
            .env("WEFT_READY_ADDR", at(2, 15021).to_string())
            .env("WEFT_ADMIN_SOCKET", folder.path().join("admin.sock"))
            .env("WEFT_WORKERS", "1")
            .env("WEFT_LOG", "debug,h2=info,hyper=info,tower=info")
            .env("WEFT_ACCESS_LOG", "json")
            .envs(settings.iter().copied())
            .stdout(Stdio::from(file("access")))
            .stderr(Stdio::from(file("log")))
            .spawn()
            .unwrap();
        let dialect = Dialect::Hbone;
        let world = Self { control, process, dialect, folder, subnet, generation: 0.into() };
        world.put_workload(&workload("waypoint", world.ip(2), "", TunnelProtocol::Hbone));
        world.put_workload(&workload("client", world.ip(1), "", TunnelProtocol::Hbone));
        world.put_service("web", AppProtocol::Http11);
        eventually(|| async { world.is_ready().then_some(()) }).await;
        world
    }

    /// Its clients speak this from now on.
    pub(crate) fn spoken_to_in(mut self, dialect: Dialect) -> Self {
        self.dialect = dialect;
        self
    }

    /// Gives the waypoint another root to trust, and only that.
    pub(crate) fn distrust_everybody(&self) {
        let (folder, now) = (self.folder.path(), SystemTime::now());
        let another =
            CaDirectory::open_or_create(&folder.join("another"), CaSettings::new("cluster.local"), now);
        std::fs::write(folder.join("roots.pem"), another.unwrap().authority().roots_pem()).unwrap();
    }

    pub(crate) fn ip(&self, host: u8) -> IpAddr {
        let [second, third] = self.subnet;
        Ipv4Addr::new(127, second, third, host).into()
    }

    /// What clients ask for; nobody listens there.
    pub(crate) fn vip(&self, name: &str) -> SocketAddr {
        vip(name)
    }

    pub(crate) fn put_workload(&self, workload: &weft_core::workload::Workload) {
        self.put(ADDRESS_TYPE, workload.uid.to_string(), weft_proto::encode_workload(workload));
    }

    /// Nobody is told of it any more.
    pub(crate) fn take_workload(&self, workload: &weft_core::workload::Workload) {
        let key = (ADDRESS_TYPE.to_owned(), workload.uid.to_string());
        self.control.change(|all| drop(all.remove(&key)));
    }

    pub(crate) fn put_service(&self, name: &str, protocol: AppProtocol) {
        self.put_this(&service(name, self.vip(name), self.ip(2), protocol));
    }

    pub(crate) fn put_this(&self, service: &Service) {
        self.put(ADDRESS_TYPE, service.name.to_string(), weft_proto::encode_service(service));
    }

    fn put(&self, type_url: &str, name: String, body: Vec<u8>) {
        self.control.change(|all| drop(all.insert((type_url.to_owned(), name), body)));
    }

    /// A backend outside the mesh, as an endpoint of a service.
    pub(crate) async fn backend(&self, service: &str, host: u8, backend: Backend) -> Backend {
        let name = format!("{service}-{host}");
        self.put_workload(&workload(&name, self.ip(host), service, TunnelProtocol::Plain));
        backend.listen((self.ip(host), PORT).into()).await;
        backend
    }

    /// Says it, and waits until the waypoint goes by it.
    pub(crate) async fn routes(&self, service: &str, rules: &[(Value, Value)]) {
        self.traffic(service, rules, &json!({"settings": {}})).await;
    }

    /// The same with how endpoints are used.
    pub(crate) async fn traffic(&self, service: &str, rules: &[(Value, Value)], destination: &Value) {
        let marker = self.say(service, rules, destination);
        let client = self.client().await;
        eventually(|| async {
            let response = client.get(service, "/the-tests-own-generation").await;
            (response.text() == marker).then_some(())
        })
        .await;
    }

    /// Only says it. Gives what the waypoint answers at the tests' own path once it goes by it.
    pub(crate) fn say(&self, service: &str, rules: &[(Value, Value)], destination: &Value) -> String {
        self.generation.set(self.generation.get() + 1);
        let marker = self.generation.get().to_string();
        let own = json!({"path": {"text": {"exact": "/the-tests-own-generation"}}});
        let body = marker.as_bytes();
        let answer = json!({"action": {"respond": {"status": 200, "body": body}}});
        let rules: Vec<_> = std::iter::once((own, answer)).chain(rules.iter().cloned()).collect();
        let said = words::traffic(service, &rules, destination);
        let traffic: Traffic =
            serde_json::from_value(said.clone()).unwrap_or_else(|error| panic!("{error}: {said}"));
        let body = weft_proto::encode_traffic(serde_json::to_vec(&traffic).unwrap());
        self.put(TRAFFIC_TYPE, service_name(service).to_string(), body);
        marker
    }

    /// Says routes of any kind, and does not wait.
    pub(crate) fn say_routes(&self, service: &str, routes: &Value) {
        self.say_of(&service_name(service), routes, &json!({"settings": {}}));
    }

    /// The same of a service by its whole name, with how its endpoints are used.
    pub(crate) fn say_of(&self, service: &ServiceName, routes: &Value, destination: &Value) {
        let name = service.to_string();
        let said = json!({"service": name, "routes": routes, "destination": destination});
        let traffic: Traffic = serde_json::from_value(said).unwrap();
        let body = weft_proto::encode_traffic(serde_json::to_vec(&traffic).unwrap());
        self.put(TRAFFIC_TYPE, name, body);
    }

    /// Says a policy for all requests at the waypoint. What follows on the same stream is not before it.
    pub(crate) fn policy(&self, name: &str, action: &str, enforcement: &str, rules: &Value) {
        let name = format!("shop/{name}");
        let said = json!({"name": name, "scope": "waypoint", "action": action, "enforcement": enforcement, "ruleset": {"rules": rules}});
        let policy: Policy = serde_json::from_value(said).unwrap();
        let body = weft_proto::encode_request_policy(serde_json::to_vec(&policy).unwrap());
        self.put(REQUEST_POLICY_TYPE, name, body);
    }

    /// Says a Telemetry.
    pub(crate) fn telemetry(&self, name: &str, said: Value) {
        let name = format!("shop/{name}");
        let mut said = said;
        for (key, value) in [("name", json!(name)), ("created", json!(0)), ("reach", json!("namespace"))] {
            said[key] = value;
        }
        said["scope"] = json!("waypoint");
        let telemetry: Telemetry =
            serde_json::from_value(said.clone()).unwrap_or_else(|error| panic!("{error}: {said}"));
        let body = weft_proto::encode_telemetry(serde_json::to_vec(&telemetry).unwrap());
        self.put(TELEMETRY_TYPE, name, body);
    }

    pub(crate) async fn client(&self) -> Client {
        Client::connect(self, "client", self.ip(1)).await
    }

    fn is_ready(&self) -> bool {
        self.http(15021, "/readyz").is_some_and(|answer| answer.starts_with("HTTP/1.1 200"))
    }

    /// What the waypoint's own ports say.
    pub(crate) fn http(&self, port: u16, path: &str) -> Option<String> {
        self.http_as(port, path, "*/*")
    }

    /// The same to whoever would rather have this media type.
    pub(crate) fn http_as(&self, port: u16, path: &str, accept: &str) -> Option<String> {
        let mut stream = TcpStream::connect((self.ip(2), port)).ok()?;
        let head = format!("GET {path} HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\n");
        write!(stream, "{head}Connection: close\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    }

    /// What its administrative socket says: the status, and the body.
    pub(crate) fn admin(&self, path: &str) -> (u16, String) {
        let mut stream = UnixStream::connect(self.folder.path().join("admin.sock")).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head[9..12].parse().unwrap(), body.to_owned())
    }

    /// The same as JSON.
    pub(crate) fn told(&self, path: &str) -> Value {
        let (status, body) = self.admin(path);
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("{path}: {error}: {body}"))
    }

    /// The line of the access log whose path is this, once it is there.
    pub(crate) async fn line(&self, path: &str) -> Value {
        self.line_where(|line| line["path"] == path).await
    }

    /// The first line of the access log of this kind, once it is there.
    pub(crate) async fn line_where(&self, is: impl Fn(&Value) -> bool) -> Value {
        eventually(|| async { self.find_line(&is) }).await
    }

    /// The first line of the access log of this kind, if it is there by now.
    pub(crate) fn find_line(&self, is: impl Fn(&Value) -> bool) -> Option<Value> {
        let text = std::fs::read_to_string(self.folder.path().join("access")).unwrap();
        // The last line may be written by half.
        let mut lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.find(is)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            for name in ["log", "access"] {
                let text = std::fs::read_to_string(self.folder.path().join(name)).unwrap_or_default();
                let lines: Vec<&str> = text.lines().collect();
                eprintln!("--- {name}\n{}", lines[lines.len().saturating_sub(40)..].join("\n"));
            }
        }
    }
}

/// Everything goes to a service.
pub(crate) fn all_to(service: &str) -> Vec<(Value, Value)> {
    vec![(json!({}), words::forward(&[words::to(service, 1)], json!({})))]
}

pub(crate) const OK: StatusCode = StatusCode::OK;
