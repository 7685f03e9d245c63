//! A connection's line in the access log.

use super::Parties;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};
use weft_core::workload::Workload;
use weft_runtime::access::{self, Pairs as _, Value};

/// A finished connection.
#[derive(Debug)]
pub struct Line<'a> {
    /// `outbound`, `inbound` or `same_node`.
    pub direction: &'static str,
    /// The client application's address.
    pub client: SocketAddr,
    /// What was asked for.
    pub target: SocketAddr,
    /// Where the tunnel went, if one was used.
    pub tunnel: Option<SocketAddr>,
    /// Who was at its ends.
    pub parties: &'a Parties,
    /// Bytes from the client to the server.
    pub bytes_sent: u64,
    /// Bytes from the server to the client.
    pub bytes_received: u64,
    /// How long it was open.
    pub duration: Duration,
    /// Why it ended.
    pub end: &'a str,
    /// What went wrong, in words; empty for nothing.
    pub error: &'a str,
    /// What dry-run policies would have done, in words; empty for nothing else than was done.
    pub dry_run: &'a str,
}

impl Line<'_> {
    /// Writes all that is known of it.
    pub fn write(&self, out: &mut access::Line<'_>) {
        let mut add = |key: &'static str, value: Value<'_>| out.pair(key, value);
        add("time", Value::Time(SystemTime::now()));
        add("log", Value::Text("access"));
        add("direction", Value::Text(self.direction));
        add("src.addr", Value::Addr(self.client));
        workload(&mut add, ["src.workload", "src.namespace"], self.parties.source.as_deref());
        if let Some(identity) = &self.parties.source_identity {
            add("src.identity", Value::Text(&identity.to_string()));
        }
        add("dst.addr", Value::Addr(self.target));
        if let Some(tunnel) = self.tunnel {
            add("dst.tunnel_addr", Value::Addr(tunnel));
        }
        if let Some(service) = self.parties.service_at_server() {
            add("dst.service", Value::Text(&service.name.hostname));
        }
        workload(&mut add, ["dst.workload", "dst.namespace"], self.parties.destination.as_deref());
        if let (Some(destination), super::Security::MutualTls) =
            (&self.parties.destination, self.parties.security)
        {
            add("dst.identity", Value::Text(&destination.identity.to_string()));
        }
        add("security", Value::Text(self.parties.security.as_str()));
        add("bytes_sent", Value::Number(self.bytes_sent));
        add("bytes_received", Value::Number(self.bytes_received));
        add("duration_ms", Value::Millis(self.duration.as_secs_f64() * 1e3));
        add("end", Value::Text(self.end));
        for (key, text) in [("error", self.error), ("dry_run", self.dry_run)] {
            if !text.is_empty() {
                add(key, Value::Text(text));
            }
        }
    }
}

fn workload(
    add: &mut impl FnMut(&'static str, Value<'_>),
    keys: [&'static str; 2],
    workload: Option<&Workload>,
) {
    if let Some(workload) = workload {
        add(keys[0], Value::Text(&workload.name));
        add(keys[1], Value::Text(&workload.namespace));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weft_runtime::access::AccessFormat;

    fn line(error: &'static str) -> Line<'static> {
        static NOBODY: Parties = Parties {
            source: None,
            source_identity: None,
            destination: None,
            service: None,
            served: None,
            security: super::super::Security::None,
        };
        Line {
            direction: "outbound",
            client: "10.0.0.1:4000".parse().unwrap(),
            target: "[fd00::2]:80".parse().unwrap(),
            tunnel: None,
            parties: &NOBODY,
            bytes_sent: 1,
            bytes_received: 2,
            duration: Duration::from_micros(1_500),
            end: "closed",
            error,
            dry_run: "",
        }
    }

    fn written(line: &Line<'_>, format: AccessFormat) -> String {
        let mut text = String::new();
        line.write(&mut access::Line::new(&mut text, format));
        text
    }

    #[test]
    fn a_line_reads_as_text_and_as_json() {
        let text = written(&line("no \"such\" thing"), AccessFormat::Text);
        assert!(text.contains(" src.addr=10.0.0.1:4000 dst.addr=[fd00::2]:80 "), "{text}");
        assert!(text.ends_with(r#"duration_ms=1.500 end=closed error="no \"such\" thing""#), "{text}");
        let json = format!("{{{}}}", written(&line("no \"such\" thing"), AccessFormat::Json));
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(value["error"], "no \"such\" thing");
        assert_eq!(value["bytes_received"], 2);
    }
}
