//! Connections to the control plane: TLS by its own roots, a token on every call.

use crate::settings::ControlSettings;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Request, Status};

/// How long a connection may take to come about.
const CONNECT_WAIT: Duration = Duration::from_secs(5);
/// How often a silent connection is tried, and how long the answer may take: a control plane that vanished
/// without a word is noticed within half a minute.
const KEEP_ALIVE: Duration = Duration::from_secs(20);
const KEEP_ALIVE_WAIT: Duration = Duration::from_secs(10);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The roots could not be read.
    #[error("reading the control plane's roots, {}", .path.display())]
    Roots {
        /// Their file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The token could not be read.
    #[error("reading the token, {}", .path.display())]
    Token {
        /// Its file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The token, or the cluster's name, cannot stand in a header.
    #[error("the token or the cluster's name holds a character that no header can")]
    Header,
    /// The address or the roots make no endpoint.
    #[error("preparing the connection to {url}")]
    Prepare {
        /// Where to.
        url: String,
        /// Why.
        source: tonic::transport::Error,
    },
    /// Nobody answered, or somebody else did.
    #[error("connecting to {url}")]
    Connect {
        /// Where to.
        url: String,
        /// Why.
        source: tonic::transport::Error,
    },
    /// It took too long.
    #[error("connecting to {url}: no answer within {after:?}")]
    Timeout {
        /// Where to.
        url: String,
        /// How long was waited.
        after: Duration,
    },
}

/// A connection that says who we are.
pub(crate) type Connection = InterceptedService<Channel, Introduce>;

/// Puts token and cluster on each call.
#[derive(Clone)]
pub(crate) struct Introduce {
    bearer: MetadataValue<Ascii>,
    cluster: MetadataValue<Ascii>,
}

impl Interceptor for Introduce {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", self.bearer.clone());
        request.metadata_mut().insert("clusterid", self.cluster.clone());
        Ok(request)
    }
}

/// Opens a connection, with roots and token as they are now.
pub(crate) async fn connect(control: &ControlSettings) -> Result<Connection, ConnectError> {
    let roots = read(&control.roots).await.map_err(|(path, source)| ConnectError::Roots { path, source })?;
    let url = control.url.to_string();
    let prepare = |source| ConnectError::Prepare { url: url.clone(), source };
    let tls =
        ClientTlsConfig::new().ca_certificate(Certificate::from_pem(roots)).domain_name(&control.url.host);
    let endpoint = Endpoint::from_shared(url.clone())
        .and_then(|endpoint| endpoint.tls_config(tls))
        .map_err(prepare)?
        .connect_timeout(CONNECT_WAIT)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE_WAIT)
        .keep_alive_while_idle(true);
    let introduce = introduce(control).await?;
    let channel = tokio::time::timeout(2 * CONNECT_WAIT, endpoint.connect()).await;
    let channel = match channel {
        Ok(connected) => connected.map_err(|source| ConnectError::Connect { url, source })?,
        // TLS has no deadline of its own; a lazy channel would hide that nobody answers.
        Err(_) => return Err(ConnectError::Timeout { url, after: 2 * CONNECT_WAIT }),
    };
    Ok(InterceptedService::new(channel, introduce))
}

async fn introduce(control: &ControlSettings) -> Result<Introduce, ConnectError> {
    let token = read(&control.token).await.map_err(|(path, source)| ConnectError::Token { path, source })?;
    let bearer = format!("Bearer {}", token.trim());
    let header = |_| ConnectError::Header;
    let mut bearer: MetadataValue<Ascii> = bearer.parse().map_err(header)?;
    bearer.set_sensitive(true);
    Ok(Introduce { bearer, cluster: control.cluster.parse().map_err(header)? })
}

async fn read(path: &Path) -> Result<String, (PathBuf, io::Error)> {
    tokio::fs::read_to_string(path).await.map_err(|error| (path.to_owned(), error))
}
