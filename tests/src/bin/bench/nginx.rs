//! The HTTP server of all measurements: one worker of nginx, which keeps no log and never ends a connection by itself.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use weft_testkit::App;

use crate::load::HTTP_PORT;

/// What it answers with.
const BODY_BYTES: usize = 1024;

/// What it serves besides a small answer from memory at every path.
#[derive(Default)]
pub(crate) struct Further {
    /// Locations of the server.
    pub(crate) locations: String,
    /// Other servers.
    pub(crate) servers: String,
}

/// The application of a pod, on these cores.
pub(crate) fn app(cores: &str, config: &Path) -> App {
    let args = ["-c", cores, "nginx", "-e", "stderr", "-c"];
    App::program("taskset").args(args).arg(config).port(HTTP_PORT).port_name("http")
}

/// Writes its configuration into a world's folder.
pub(crate) fn write_config(folder: &Path, further: &Further) -> Result<PathBuf> {
    let body = "x".repeat(BODY_BYTES - 1) + "\\n";
    // Nginx gives these paths to its worker's user and removes the file of its pid: they have to be the world's own.
    let temp = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("  {kind}_temp_path {}/nginx-{kind};\n", folder.display()))
        .concat();
    let pid = folder.join("nginx.pid");
    let Further { locations, servers } = further;
    let config = format!(
        "daemon off;\nuser root;\nworker_processes 1;\npid {};\nworker_rlimit_nofile 65536;\n\
         events {{ worker_connections 16384; }}\n\
         http {{\n  access_log off;\n  default_type text/plain;\n  keepalive_requests 1000000000;\n  \
         keepalive_timeout 1h;\n  client_header_timeout 1h;\n{temp}  \
         server {{\n    listen [::]:{HTTP_PORT} ipv6only=off backlog=4096;\n    \
         location / {{ return 200 \"{body}\"; }}\n{locations}  }}\n{servers}}}\n",
        pid.display()
    );
    let path = folder.join("nginx.conf");
    std::fs::write(&path, config).with_context(|| format!("writing {}", path.display()))?;
    Ok(path)
}
