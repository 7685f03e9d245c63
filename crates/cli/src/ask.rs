//! One question and one answer: HTTP/1 over a unix socket, JSON.

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::handshake;
use hyper::header::HOST;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::io;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::UnixStream;

/// For the whole exchange. A list of a hundred thousand workloads takes a second or two.
const PATIENCE: Duration = Duration::from_secs(20);
/// Bytes of an answer: the same list, many times over.
const ANSWER_BYTES_MAX: usize = 512 << 20;

/// Whoever was asked did not answer, or said no.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nobody takes the question.
    #[error("connecting to {}", .socket.display())]
    Connect {
        /// The socket.
        socket: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is something else.
    #[error("{} is no socket", .socket.display())]
    NoSocket {
        /// What was said to be one.
        socket: PathBuf,
    },
    /// The connection broke.
    #[error("asking {} for {path}", .socket.display())]
    Exchange {
        /// The socket.
        socket: PathBuf,
        /// What was asked for.
        path: String,
        /// What broke.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No answer in time.
    #[error("{} has not answered {path} within {PATIENCE:?}", .socket.display())]
    Late {
        /// The socket.
        socket: PathBuf,
        /// What was asked for.
        path: String,
    },
    /// The answer is a refusal.
    #[error("{} answers {path} with {status}: {text}", .socket.display())]
    Refused {
        /// The socket.
        socket: PathBuf,
        /// What was asked for.
        path: String,
        /// The status.
        status: StatusCode,
        /// What was said.
        text: String,
    },
    /// The answer is not JSON.
    #[error("reading the answer of {} to {path}", .socket.display())]
    Answer {
        /// The socket.
        socket: PathBuf,
        /// What was asked for.
        path: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

impl AskError {
    /// What the user can do about it.
    pub fn advice(&self) -> &'static str {
        match self {
            Self::Connect { source, .. } => match source.kind() {
                io::ErrorKind::PermissionDenied => {
                    "only root and the proxy's own user may ask: run it as root"
                }
                io::ErrorKind::ConnectionRefused => {
                    "the process that made this socket has ended: look at its log"
                }
                _ => {
                    "is weft-node-proxy running on this machine? Say where its socket is with --socket PATH \
                     (or WEFT_ADMIN_SOCKET), or with --world DIR"
                }
            },
            Self::NoSocket { .. } => {
                "say where the node proxy's administrative socket is: --socket PATH (or WEFT_ADMIN_SOCKET), or \
                 --world DIR"
            }
            Self::Late { .. } => "the process is stopped or too busy: look at its log and its CPU time",
            Self::Exchange { .. } => {
                "the process has ended meanwhile, or is ending: ask again, and look at its log"
            }
            Self::Refused { .. } | Self::Answer { .. } => {
                "see that this command and that process are of the same version, and look at its log"
            }
        }
    }
}

/// `GET path`.
///
/// # Errors
/// Without an answer, or with another one than JSON.
pub async fn get(socket: &Path, path: &str) -> Result<Value, AskError> {
    let late = |_elapsed| AskError::Late { socket: socket.to_owned(), path: path.to_owned() };
    tokio::time::timeout(PATIENCE, exchange(socket, path)).await.map_err(late)?
}

async fn exchange(socket: &Path, path: &str) -> Result<Value, AskError> {
    let refused = |source| {
        let other = std::fs::metadata(socket).is_ok_and(|found| !found.file_type().is_socket());
        let socket = socket.to_owned();
        if other { AskError::NoSocket { socket } } else { AskError::Connect { socket, source } }
    };
    let stream = UnixStream::connect(socket).await.map_err(refused)?;
    let (status, body) = over(stream, path).await.map_err(|source| AskError::Exchange {
        socket: socket.to_owned(),
        path: path.to_owned(),
        source,
    })?;
    if status != StatusCode::OK {
        let text = String::from_utf8_lossy(&body).trim().to_owned();
        return Err(AskError::Refused { socket: socket.to_owned(), path: path.to_owned(), status, text });
    }
    serde_json::from_slice(&body).map_err(|source| AskError::Answer {
        socket: socket.to_owned(),
        path: path.to_owned(),
        source,
    })
}

async fn over(
    stream: UnixStream,
    path: &str,
) -> Result<(StatusCode, Bytes), Box<dyn std::error::Error + Send + Sync>> {
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await?;
    let request = Request::get(path).header(HOST, "weft").body(Empty::<Bytes>::new())?;
    let answer = async move {
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await?.to_bytes();
        Ok((status, body))
    };
    tokio::pin!(connection, answer);
    tokio::select! {
        answer = &mut answer => answer,
        // A connection that has ended has handed over all that it got.
        ended = &mut connection => match ended {
            Ok(()) => answer.await,
            Err(error) => Err(error.into()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::UnixListener;

    async fn answered(answer: &'static str) -> Result<Value, AskError> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("admin.sock");
        let listener = UnixListener::bind(&path).expect("a socket");
        let serve = async {
            let (mut stream, _) = listener.accept().await.expect("a question");
            let mut question = [0; 1024];
            let length = stream.read(&mut question).await.expect("a question");
            assert!(question[..length].starts_with(b"GET /status HTTP/1.1\r\n"));
            stream.write_all(answer.as_bytes()).await.expect("room for an answer");
        };
        tokio::join!(get(&path, "/status"), serve).0
    }

    #[tokio::test]
    async fn answers_are_read_and_refusals_told() {
        let answer = answered("HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\n{\"node\": \"n1\"}").await;
        assert_eq!(answer.expect("an answer")["node"], "n1");
        let refusal = answered("HTTP/1.1 400 Bad Request\r\nContent-Length: 7\r\n\r\nno dst\n").await;
        assert!(matches!(refusal, Err(AskError::Refused { text, .. }) if text == "no dst"));
        let garbage = answered("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nyes").await;
        assert!(matches!(garbage, Err(AskError::Answer { .. })));
        let broken = answered("").await;
        assert!(matches!(broken, Err(AskError::Exchange { .. })));
    }

    #[tokio::test]
    async fn a_file_is_no_socket() {
        let error = get(Path::new("/etc/passwd"), "/status").await.expect_err("it is a file");
        assert_eq!(error.to_string(), "/etc/passwd is no socket");
    }

    #[tokio::test]
    async fn an_absent_socket_is_told_with_advice() {
        let error = get(Path::new("/nowhere/admin.sock"), "/status").await.expect_err("nobody is there");
        assert_eq!(error.to_string(), "connecting to /nowhere/admin.sock");
        assert!(error.advice().contains("--socket"));
    }
}
