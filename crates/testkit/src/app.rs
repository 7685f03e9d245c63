//! The applications that pods run: mostly `weft-testapp`, but any program will do.

use std::ffi::OsString;
use std::time::Duration;

/// An application for a pod: what to run, and the port that shows it is up.
#[derive(Clone, Debug)]
pub struct App {
    pub(crate) command: Command,
    pub(crate) args: Vec<OsString>,
    /// Name and number; the pod's manifest lists it and starting waits for it.
    pub(crate) port: Option<(String, u16)>,
}

/// Which program an [`App`] is.
#[derive(Clone, Debug)]
pub(crate) enum Command {
    TestApp,
    Other(OsString),
}

impl App {
    /// An HTTP server on port 8080 that says who it is and whom it sees (see [`crate::report::Hello`]).
    pub fn http(version: &str) -> Self {
        Self::test_app("http", "http", 8080).arg("--version").arg(version)
    }

    /// A TCP server on port 7000 that sends back what it gets and closes its side when the client has closed its own.
    pub fn echo() -> Self {
        Self::test_app("echo", "echo", 7000)
    }

    /// A TCP server on port 7001 that speaks first: it sends a banner, and then echoes.
    pub fn first(banner: &str) -> Self {
        Self::test_app("first", "first", 7001).arg("--banner").arg(banner)
    }

    /// The other end of [`crate::Probe`], on port 7002.
    pub fn probe() -> Self {
        Self::test_app("probe-server", "probe", 7002)
    }

    /// A UDP server on port 7003 that sends back what it gets.
    pub fn udp_echo() -> Self {
        Self::test_app("udp-echo", "udp", 7003)
    }

    /// A DNS server on port 53, UDP and TCP, that knows these names and no others, and logs what it is asked.
    pub fn dns(records: &[(&str, std::net::IpAddr)]) -> Self {
        let records = records.iter().map(|(name, ip)| format!("--record={name}={ip}"));
        Self::test_app("dns", "dns", 53).args(records)
    }

    /// Any program. It is taken to be up at once unless [`App::port`] says what to wait for.
    pub fn program(program: impl Into<OsString>) -> Self {
        Self { command: Command::Other(program.into()), args: Vec::new(), port: None }
    }

    /// Adds an argument.
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Adds arguments.
    pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Listens on another port (for a program of one's own: where it will be found listening).
    pub fn port(mut self, port: u16) -> Self {
        let name = self.port.take().map_or_else(|| "app".to_owned(), |(name, _)| name);
        self.port = Some((name, port));
        self
    }

    /// Calls the port something else in the pod's manifest, for Services with a named target port.
    pub fn port_name(mut self, name: &str) -> Self {
        if let Some((known, _)) = &mut self.port {
            name.clone_into(known);
        }
        self
    }

    /// Lets an HTTP server wait before each answer.
    pub fn delay(self, delay: Duration) -> Self {
        self.arg("--delay-ms").arg(delay.as_millis().to_string())
    }

    /// Lets an HTTP server answer every Nth request with 503 for as long as this file is there; it holds the N.
    pub fn fails_while(self, file: &std::path::Path) -> Self {
        self.arg("--fail-file").arg(file)
    }

    /// Lets an HTTP server write each request to its pod's log, as `asked: GET / of host`.
    pub fn logs_requests(self) -> Self {
        self.arg("--log-requests")
    }

    /// Lets an HTTP server ask another one before each answer, and hand on what the request says of its trace.
    pub fn asks(self, url: &str) -> Self {
        self.arg("--next").arg(url)
    }

    fn test_app(subcommand: &str, port_name: &str, port: u16) -> Self {
        Self {
            command: Command::TestApp,
            args: vec![subcommand.into()],
            port: Some((port_name.to_owned(), port)),
        }
    }

    /// The whole command line, once it is known where `weft-testapp` is and what the pod is called.
    pub(crate) fn command_line(
        &self,
        test_app: impl FnOnce() -> anyhow::Result<OsString>,
        name: &str,
    ) -> anyhow::Result<Vec<OsString>> {
        let mut words = Vec::new();
        match &self.command {
            Command::Other(program) => {
                words.push(program.clone());
                words.extend(self.args.iter().cloned());
            }
            Command::TestApp => {
                words.push(test_app()?);
                words.extend(self.args.iter().cloned());
                words.extend(["--name".into(), name.into()]);
                if let Some((_, port)) = &self.port {
                    words.extend(["--port".into(), port.to_string().into()]);
                }
            }
        }
        Ok(words)
    }
}
