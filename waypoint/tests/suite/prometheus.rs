//! Metrics as Prometheus itself reads them: a real server scrapes a waypoint, and is asked what it has understood.
//! The program is named by `WEFT_TEST_PROMETHEUS`, else it is `prometheus` of the path (Debian: `prometheus`).

use crate::backend::Backend;
use crate::client::get;
use crate::collector::Collector;
use crate::world::{OK, World, all_to, eventually, run};
use serde_json::Value;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

struct Prometheus {
    process: Child,
    at: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Prometheus {
    /// Scrapes this target every second.
    fn scraping(target: SocketAddr) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = format!(
            "global: {{scrape_interval: 1s}}\nscrape_configs:\n- job_name: waypoint\n  static_configs: [{{targets: ['{target}']}}]\n"
        );
        let file = folder.path().join("prometheus.yaml");
        std::fs::write(&file, config).unwrap();
        let at = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let program = std::env::var_os("WEFT_TEST_PROMETHEUS").unwrap_or_else(|| "prometheus".into());
        let process = Command::new(&program)
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address={at}"))
            .arg("--enable-feature=exemplar-storage")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}; cargo xtask test brings it", program.display()));
        Self { process, at, _folder: folder }
    }

    /// What it answers, once it does.
    fn ask(&self, path: &str) -> Option<Value> {
        let mut stream = TcpStream::connect(self.at).ok()?;
        // No chunks in HTTP/1.0.
        write!(stream, "GET /api/v1/{path} HTTP/1.0\r\nHost: x\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (_, body) = answer.split_once("\r\n\r\n")?;
        let said: Value = serde_json::from_str(body).ok()?;
        (said["status"] == "success").then(|| said["data"].clone())
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
#[ignore = "needs Prometheus, which cargo xtask test brings"]
fn prometheus_reads_metrics_and_exemplars() {
    run(async {
        let collector = Collector::start().await;
        let settings = [("WEFT_TRACING_ENDPOINT", &*collector.endpoint), ("WEFT_TRACING_SAMPLING", "0")];
        let world = World::start_with(&settings).await;
        let _web = world.backend("web", 10, Backend::named("web")).await;
        world.routes("web", &all_to("web")).await;
        let prometheus = Prometheus::scraping((world.ip(2), 15020).into());
        let traced = format!("00-{TRACE}-00f067aa0ba902b7-01");
        let client = world.client().await;
        let found = eventually(|| async {
            // It takes an exemplar only if it is younger than the last one.
            assert_eq!(client.ask("web", get("/", &[("traceparent", &traced)])).await.status, OK);
            let range = "start=2020-01-01T00:00:00Z&end=2100-01-01T00:00:00Z";
            let query = "query=istio_request_duration_milliseconds_bucket";
            let found = prometheus.ask(&format!("query_exemplars?{query}&{range}"))?;
            found.get(0).cloned()
        })
        .await;
        assert_eq!(found["exemplars"][0]["labels"]["trace_id"], TRACE, "{found}");
        assert_eq!(found["seriesLabels"]["source_workload"], "client", "{found}");
        let targets = prometheus.ask("targets").expect("it answers");
        let target = &targets["activeTargets"][0];
        assert_eq!((&target["health"], &target["lastError"]), (&"up".into(), &"".into()), "{target}");
        let requests = prometheus.ask("query?query=sum(istio_requests_total)").expect("it answers");
        let count = requests["result"][0]["value"][1].as_str().expect("a number");
        assert!(count.parse::<f64>().is_ok_and(|count| count >= 1.0), "{requests}");
    });
}
