//! The waypoint's settings.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;
use weft_core::ports::TUNNEL;
use weft_runtime::Settings;
use weft_runtime::access::AccessFormat;
use weft_runtime::http::Listen;
use weft_runtime::log::LogConfig;
use weft_xds::ControlSettings;

/// Bytes of the head of a request, and of a response by HTTP/2. Cookies and tokens are a few thousand each.
pub(crate) const HEAD_BYTES_MAX: usize = 65_536;
/// Headers of a request or a response: what hyper and most servers allow, and a little more.
pub(crate) const HEADERS_MAX: usize = 128;

/// Everything that can be set.
#[derive(Debug)]
pub struct Config {
    /// The log.
    pub log: LogConfig,
    /// How a request's line is written.
    pub access: AccessFormat,
    /// Where spans go, and of which requests.
    pub tracing: Tracing,
    /// Where lines go that a Telemetry sends to a collector.
    pub logs: Export,
    /// Whom to ask for the addresses of endpoints that are known by name.
    pub dns: DnsServers,
    /// Whether each service's limit of requests at a time finds itself.
    pub adaptive: Adaptive,
    /// Who it is.
    pub own: Own,
    /// The control plane.
    pub control: ControlSettings,
    /// How long certificates are asked for.
    pub leaf_lifetime: Duration,
    /// Where the last known configuration is kept.
    pub state_dir: PathBuf,
    /// Threads that carry traffic.
    pub workers: usize,
    /// Where tunnels arrive.
    pub tunnel: SocketAddr,
    /// How long things may take.
    pub limits: Limits,
    /// Where metrics are served.
    pub metrics: Listen,
    /// How long series of metrics are kept that nothing is counted under; for ever if it is not there.
    pub series_unused: Option<Duration>,
    /// Where readiness is served.
    pub ready: Listen,
    /// The socket for `weft`, if there is to be one.
    pub admin: Option<PathBuf>,
}

/// Who the waypoint is: the pod that it runs in.
#[derive(Debug, Clone)]
pub struct Own {
    /// The trust domain.
    pub trust_domain: String,
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub pod: String,
    /// Its service account.
    pub service_account: String,
    /// The node it runs on.
    pub node: String,
    /// Its first address.
    pub ip: IpAddr,
}

/// Whether limits of requests at a time find themselves (load shedding).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Adaptive {
    /// Only what is written limits.
    Off,
    /// Requests beyond what a service takes without a queue are answered with 503 at once.
    On,
}

impl FromStr for Adaptive {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "off" => Ok(Self::Off),
            "on" => Ok(Self::On),
            _ => Err(()),
        }
    }
}

/// Where something is exported to.
#[derive(Debug, Clone)]
pub struct Export {
    /// The collector; without one nothing is exported.
    pub collector: Option<Collector>,
    /// What it takes.
    pub protocol: Protocol,
}

/// Whom to ask for the addresses of endpoints that are known by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DnsServers {
    /// Those that this machine asks, as its `resolv.conf` has them at the time.
    Machine,
    /// This one.
    One(SocketAddr),
}

impl FromStr for DnsServers {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        if text == "original" { Ok(Self::Machine) } else { text.parse().map(Self::One).map_err(|_| ()) }
    }
}

/// Where spans go, and of which requests.
#[derive(Debug, Clone)]
pub struct Tracing {
    /// Without a collector there are no spans, and what requests say of traces goes on as it is.
    pub export: Export,
    /// How many of the requests that come without a decision.
    pub sampling: Sampling,
}

/// What a collector takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// OpenTelemetry's protocol by gRPC.
    OtlpGrpc,
    /// The same by HTTP, in protobuf.
    OtlpHttp,
    /// Zipkin's JSON (API v2), which is for spans only.
    Zipkin,
}

impl FromStr for Protocol {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "otlp-grpc" => Ok(Self::OtlpGrpc),
            "otlp-http" => Ok(Self::OtlpHttp),
            "zipkin" => Ok(Self::Zipkin),
            _ => Err(()),
        }
    }
}

/// What a collector of lines takes.
struct OtlpProtocol(Protocol);

impl FromStr for OtlpProtocol {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        text.parse().ok().filter(|protocol| *protocol != Protocol::Zipkin).map(Self).ok_or(())
    }
}

/// Of a million so many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sampling(pub u32);

impl FromStr for Sampling {
    type Err = ();

    /// Reads a percentage.
    fn from_str(text: &str) -> Result<Self, ()> {
        let percent: f64 = text.parse().map_err(|_| ())?;
        (0.0..=100.0).contains(&percent).then(|| Self((percent * 10_000.0).round() as u32)).ok_or(())
    }
}

/// Where a collector is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collector {
    /// Its host and port as they were written.
    pub authority: String,
    /// Its name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Whether TLS is spoken, with the authorities of this machine (`https`).
    pub secured: bool,
    /// Another path than the usual one.
    pub path: Option<String>,
}

impl FromStr for Collector {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let uri: http::Uri = text.parse().map_err(|_| ())?;
        let (secured, usual) = match uri.scheme_str() {
            Some("http") => (false, 80),
            Some("https") => (true, 443),
            _ => return Err(()),
        };
        let authority = uri.authority().filter(|one| !one.as_str().contains('@')).ok_or(())?;
        let path = Some(uri.path()).filter(|path| *path != "/").map(str::to_owned);
        Ok(Self {
            authority: authority.to_string(),
            host: authority.host().to_owned(),
            port: authority.port_u16().unwrap_or(usual),
            secured,
            path,
        })
    }
}

/// How the address of a collector is written.
const ENDPOINT: &str = "http://host:port or https://host:port";

impl Export {
    /// Of lines of the access log.
    fn read_logs(settings: &mut Settings<'_>) -> Self {
        let usual = OtlpProtocol(Protocol::OtlpGrpc);
        Self {
            collector: settings.optional("WEFT_ACCESS_LOG_ENDPOINT", ENDPOINT),
            protocol: settings.get("WEFT_ACCESS_LOG_PROTOCOL", "otlp-grpc or otlp-http", usual).0,
        }
    }
}

impl Tracing {
    fn read(settings: &mut Settings<'_>) -> Self {
        let wants = "otlp-grpc, otlp-http or zipkin";
        Self {
            export: Export {
                collector: settings.optional("WEFT_TRACING_ENDPOINT", ENDPOINT),
                protocol: settings.get("WEFT_TRACING_PROTOCOL", wants, Protocol::OtlpGrpc),
            },
            // As Istio: one in a hundred.
            sampling: settings.get("WEFT_TRACING_SAMPLING", "a percentage", Sampling(10_000)),
        }
    }
}

/// How long things may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Until a connection stands.
    pub connect: Duration,
    /// Until a TLS handshake is done.
    pub handshake: Duration,
    /// Until a request that waits for others' connections has one: longer than most requests take, and not so long that its
    /// client has surely gone.
    pub pending: Duration,
    /// Until the first bytes of a connection tell its protocol; then it is taken for one in which the server speaks first.
    pub detection: Duration,
    /// Until a head that a client has begun is whole.
    pub head: Duration,
    /// Between two pieces of a body that a client sends; by HTTP/2, of one that is no gRPC's, and until its answer begins.
    pub body_idle: Duration,
    /// Until a client takes more of a response.
    pub taking: Duration,
    /// A client's connection without a request is closed after this.
    pub keep_alive: Duration,
    /// A connection of bytes that carries nothing for so long is ended; never if it is not there.
    pub idle: Option<Duration>,
    /// What is under way may take so long when the waypoint is told to end.
    pub drain: Duration,
}

impl Config {
    /// Reads the settings; [`Settings::finish`] tells whether they may be used.
    pub fn read(settings: &mut Settings<'_>) -> Self {
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        let any = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
        let mut address =
            |name, port| settings.get(name, "an address and a port", SocketAddr::new(any, port));
        let tunnel = address("WEFT_TUNNEL_ADDR", TUNNEL);
        let metrics = Listen::Tcp(address("WEFT_METRICS_ADDR", 15020));
        let ready = Listen::Tcp(address("WEFT_READY_ADDR", 15021));
        Self {
            tunnel,
            metrics,
            ready,
            admin: settings.optional("WEFT_ADMIN_SOCKET", "the path of a socket"),
            log: LogConfig::read(settings),
            access: settings.get("WEFT_ACCESS_LOG", "text, json or off", AccessFormat::default()),
            tracing: Tracing::read(settings),
            logs: Export::read_logs(settings),
            dns: settings.get("WEFT_DNS_UPSTREAM", "original or ADDRESS:PORT", DnsServers::Machine),
            adaptive: settings.get("WEFT_ADAPTIVE_CONCURRENCY", "on or off", Adaptive::Off),
            own: Own::read(settings),
            control: ControlSettings::read(settings),
            leaf_lifetime: settings.seconds("WEFT_LEAF_SECONDS", Duration::from_secs(86_400)),
            state_dir: settings.get("WEFT_STATE_DIR", "a path", PathBuf::from("/var/lib/weft/waypoint")),
            workers: settings.get("WEFT_WORKERS", "a number of threads", cpus).max(1),
            limits: Limits::read(settings),
            series_unused: weft_runtime::metrics::read_unused(settings),
        }
    }
}

impl Own {
    fn read(settings: &mut Settings<'_>) -> Self {
        let ip = IpAddr::V4(Ipv4Addr::LOCALHOST);
        Self {
            trust_domain: settings.get("WEFT_TRUST_DOMAIN", "a domain", "cluster.local".to_owned()),
            namespace: settings.required("WEFT_POD_NAMESPACE", "this pod's namespace", String::new()),
            pod: settings.required("WEFT_POD_NAME", "this pod's name", String::new()),
            service_account: settings.get(
                "WEFT_SERVICE_ACCOUNT",
                "this pod's service account",
                "default".to_owned(),
            ),
            node: settings.get("WEFT_NODE_NAME", "the node's name", String::new()),
            ip: settings.list("WEFT_POD_IPS", "addresses").first().copied().unwrap_or(ip),
        }
    }
}

impl Limits {
    fn read(settings: &mut Settings<'_>) -> Self {
        Self {
            connect: settings.seconds("WEFT_CONNECT_TIMEOUT_SECONDS", Duration::from_secs(10)),
            handshake: settings.seconds("WEFT_HANDSHAKE_TIMEOUT_SECONDS", Duration::from_secs(10)),
            pending: settings.seconds("WEFT_PENDING_TIMEOUT_SECONDS", Duration::from_secs(30)),
            detection: Duration::from_millis(settings.get(
                "WEFT_DETECTION_MILLISECONDS",
                "milliseconds",
                300,
            )),
            head: settings.seconds("WEFT_REQUEST_HEAD_SECONDS", Duration::from_secs(30)),
            body_idle: settings.seconds("WEFT_REQUEST_BODY_IDLE_SECONDS", Duration::from_secs(300)),
            taking: settings.seconds("WEFT_RESPONSE_BODY_IDLE_SECONDS", Duration::from_secs(300)),
            keep_alive: settings.seconds("WEFT_KEEP_ALIVE_SECONDS", Duration::from_secs(3600)),
            idle: Some(settings.seconds("WEFT_IDLE_TIMEOUT_SECONDS", Duration::ZERO))
                .filter(|idle| !idle.is_zero()),
            drain: settings.seconds("WEFT_DRAIN_SECONDS", Duration::from_secs(10)),
        }
    }
}
