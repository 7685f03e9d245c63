//! The client of the certificate service.

use crate::channel::{ConnectError, Connection, connect};
use crate::settings::ControlSettings;
use std::time::Duration;
use tokio::sync::Mutex;
use tonic::Code;
use weft_core::identity::Identity;
use weft_proto::ca::{IstioCertificateRequest, IstioCertificateServiceClient, impersonate};

/// How long an answer may take.
const ANSWER_WAIT: Duration = Duration::from_secs(10);

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// There is no connection.
    #[error("reaching the certificate service")]
    Connect(#[source] ConnectError),
    /// The authority refused, or could not answer.
    #[error("the certificate service answered {}: {message}", .code.description())]
    Refused {
        /// The status.
        code: Code,
        /// Its words.
        message: String,
    },
    /// The answer holds no certificate.
    #[error("the certificate service answered without a certificate")]
    Empty,
}

impl SignError {
    /// Whether asking again may help without anybody doing something about it.
    pub fn may_pass_later(&self) -> bool {
        match self {
            Self::Connect(_) | Self::Empty => true,
            Self::Refused { code, .. } => {
                !matches!(code, Code::InvalidArgument | Code::PermissionDenied | Code::Unimplemented)
            }
        }
    }
}

/// Asks the control plane for certificates.
pub struct CaClient {
    control: ControlSettings,
    /// Kept between calls: a node that starts asks for two hundred certificates at once.
    connection: Mutex<Option<Connection>>,
}

impl CaClient {
    /// A client that connects when it is first used.
    pub fn new(control: ControlSettings) -> Self {
        Self { control, connection: Mutex::new(None) }
    }

    /// Asks for a certificate for `identity`. Gives PEM texts: the leaf first, the roots last. Cancel-safe.
    ///
    /// # Errors
    /// As [`SignError`] says.
    pub async fn sign(
        &self,
        csr_pem: &str,
        identity: &Identity,
        validity: Duration,
    ) -> Result<Vec<String>, SignError> {
        let request = IstioCertificateRequest {
            csr: csr_pem.to_owned(),
            validity_duration: i64::try_from(validity.as_secs()).unwrap_or(i64::MAX),
            metadata: Some(impersonate(identity.to_string())),
        };
        let connection = self.connection().await?;
        let mut request = tonic::Request::new(request);
        request.set_timeout(ANSWER_WAIT);
        let answer = IstioCertificateServiceClient::new(connection).create_certificate(request).await;
        match answer {
            Ok(answer) => {
                let chain = answer.into_inner().cert_chain;
                if chain.is_empty() { Err(SignError::Empty) } else { Ok(chain) }
            }
            Err(status) => {
                // The next call reads token and roots anew; they may be why.
                *self.connection.lock().await = None;
                Err(SignError::Refused { code: status.code(), message: status.message().to_owned() })
            }
        }
    }

    async fn connection(&self) -> Result<Connection, SignError> {
        let mut kept = self.connection.lock().await;
        if let Some(connection) = &*kept {
            return Ok(connection.clone());
        }
        let connection = connect(&self.control).await.map_err(SignError::Connect)?;
        *kept = Some(connection.clone());
        Ok(connection)
    }
}
