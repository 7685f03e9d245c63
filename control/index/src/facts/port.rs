//! Ports and what is spoken on them, as Kubernetes and Istio name that.

use weft_control_api::problem::Note;
use weft_core::service::AppProtocol;

/// Reads a port number; a bad one is noted and becomes zero.
pub(crate) fn number(port: i32, field: impl FnOnce() -> String, notes: &mut Vec<Note>) -> u16 {
    match u16::try_from(port) {
        Ok(port) if port != 0 => port,
        _ => {
            notes.push(Note::error(field(), format!("{port} is no port")));
            0
        }
    }
}

/// True for TCP, which is also what is meant where nothing is said.
pub(crate) fn is_tcp(protocol: Option<&str>) -> bool {
    matches!(protocol, None | Some("" | "TCP"))
}

/// What is spoken on a port: `appProtocol` if it says so, else the port's name up to the first dash.
pub(crate) fn app_protocol(app_protocol: Option<&str>, name: Option<&str>) -> AppProtocol {
    if let Some(said) = app_protocol {
        return protocol(&said.to_ascii_lowercase());
    }
    let name = name.unwrap_or_default().to_ascii_lowercase();
    // `grpc-web` is the one name with a dash of its own.
    if name == "grpc-web" || name.starts_with("grpc-web-") {
        return AppProtocol::Http11;
    }
    protocol(name.split('-').next().unwrap_or_default())
}

fn protocol(text: &str) -> AppProtocol {
    match text {
        "http" | "kubernetes.io/ws" | "grpc-web" => AppProtocol::Http11,
        "http2" | "kubernetes.io/h2c" => AppProtocol::Http2,
        "grpc" => AppProtocol::Grpc,
        "tcp" | "mongo" | "mysql" | "redis" | "postgres" => AppProtocol::Tcp,
        "tls" | "https" | "kubernetes.io/wss" => AppProtocol::Tls,
        _ => AppProtocol::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn app_protocol_beats_the_name() {
        for (case, said, name, want) in [
            ("nothing", None, None, AppProtocol::Unknown),
            ("name", None, Some("http"), AppProtocol::Http11),
            ("name with a tail", None, Some("http-metrics"), AppProtocol::Http11),
            ("a name that only begins alike", None, Some("httpx"), AppProtocol::Unknown),
            ("http2", None, Some("http2-x"), AppProtocol::Http2),
            ("grpc", None, Some("grpc"), AppProtocol::Grpc),
            ("grpc-web", None, Some("grpc-web-x"), AppProtocol::Http11),
            ("said", Some("kubernetes.io/h2c"), Some("http"), AppProtocol::Http2),
            ("said in capitals", Some("HTTPS"), None, AppProtocol::Tls),
            ("said and unknown", Some("example.com/x"), Some("http"), AppProtocol::Unknown),
        ] {
            assert_eq!(app_protocol(said, name), want, "{case}");
        }
    }
}
