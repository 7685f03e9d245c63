//! The gRPC service of the certificate authority.

use crate::auth::{Auth, Token};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};
use tokio::sync::watch;
use tonic::{Request, Response, Status};
use weft_control_ca::{Authority, Caller, Granted, NodeProxyAccount, Refusal, SignError, may_impersonate};
use weft_core::identity::Identity;
use weft_proto::ca::{
    IstioCertificateRequest, IstioCertificateResponse, IstioCertificateService, impersonated,
};

/// How many certificates were signed and refused since the start. Clones count together.
#[derive(Debug, Clone, Default)]
pub struct CertificateCounts(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    signed: AtomicU64,
    refused: AtomicU64,
}

impl CertificateCounts {
    /// Signed.
    pub fn signed(&self) -> u64 {
        self.0.signed.load(Ordering::Relaxed)
    }

    /// Refused, or not signed for another reason.
    pub fn refused(&self) -> u64 {
        self.0.refused.load(Ordering::Relaxed)
    }
}

/// `istio.v1.auth.IstioCertificateService`.
pub struct CertificateService {
    auth: Auth,
    /// The authority as of now; rotation replaces it.
    authority: watch::Receiver<Authority>,
    node_proxy: NodeProxyAccount,
    counts: CertificateCounts,
}

impl CertificateService {
    /// Signs with `authority`, for callers that `auth` knows and what the grant rule gives them.
    pub fn new(auth: Auth, authority: watch::Receiver<Authority>, node_proxy: NodeProxyAccount) -> Self {
        Self { auth, authority, node_proxy, counts: CertificateCounts::default() }
    }

    /// What it has done.
    pub fn counts(&self) -> CertificateCounts {
        self.counts.clone()
    }

    async fn signed(&self, request: Request<IstioCertificateRequest>) -> Result<Vec<String>, Status> {
        let caller = self.auth.caller(&Token::of(request.metadata())?).await?;
        let request = request.into_inner();
        let granted = self.grant(&caller, &request)?;
        let lifetime = u64::try_from(request.validity_duration).ok().map(Duration::from_secs);
        let authority = self.authority.borrow().clone();
        let signed = authority.sign(&request.csr, &granted, lifetime, SystemTime::now());
        let chain = signed.map_err(|error| status_of_sign_error(&error))?;
        tracing::info!(account = %caller.service_account, identity = %granted.identity(), "a certificate is signed");
        Ok(chain)
    }

    fn grant(&self, caller: &Caller, request: &IstioCertificateRequest) -> Result<Granted, Status> {
        let wanted = match impersonated(request) {
            Some(text) => text.parse::<Identity>().map_err(|error| {
                Status::invalid_argument(format!("ImpersonatedIdentity is no identity: {error}"))
            })?,
            None => {
                let account = &caller.service_account;
                let domain = self.node_proxy.trust_domain.clone();
                Identity::new(domain, account.namespace.clone(), account.name.clone())
                    .map_err(|error| Status::invalid_argument(error.to_string()))?
            }
        };
        may_impersonate(&self.node_proxy, caller, &wanted, self.auth.pods()).map_err(|refusal| {
            tracing::warn!(account = %caller.service_account, %wanted, %refusal, "a certificate is refused");
            status_of_refusal(&refusal)
        })
    }
}

#[tonic::async_trait]
impl IstioCertificateService for CertificateService {
    async fn create_certificate(
        &self,
        request: Request<IstioCertificateRequest>,
    ) -> Result<Response<IstioCertificateResponse>, Status> {
        let signed = self.signed(request).await;
        let count = if signed.is_ok() { &self.counts.0.signed } else { &self.counts.0.refused };
        count.fetch_add(1, Ordering::Relaxed);
        Ok(Response::new(IstioCertificateResponse { cert_chain: signed? }))
    }
}

/// The only place where a refusal becomes a status.
fn status_of_refusal(refusal: &Refusal) -> Status {
    if refusal.may_pass_later() {
        Status::failed_precondition(refusal.to_string())
    } else {
        Status::permission_denied(refusal.to_string())
    }
}

/// The only place where a failure to sign becomes a status.
fn status_of_sign_error(error: &SignError) -> Status {
    match error {
        SignError::ForeignTrustDomain { .. }
        | SignError::Request
        | SignError::RequestSignature
        | SignError::RequestKey(_) => Status::invalid_argument(error.to_string()),
        SignError::IssuerNotValid => Status::unavailable(error.to_string()),
        SignError::Sign(source) => {
            tracing::error!(%source, "cannot sign a certificate");
            Status::internal("the certificate cannot be signed")
        }
    }
}
