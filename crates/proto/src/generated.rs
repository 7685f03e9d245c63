//! What `cargo xtask codegen` makes of crates/proto/proto. Never edited by hand.

#![expect(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::allow_attributes_without_reason,
    reason = "generated"
)]

/// `istio.…`
pub(crate) mod istio {
    /// `istio.workload`
    pub(crate) mod workload {
        include!("generated/istio.workload.rs");
    }
    /// `istio.security`
    pub(crate) mod security {
        include!("generated/istio.security.rs");
    }
    /// `istio.v1.auth`
    pub(crate) mod auth {
        include!("generated/istio.v1.auth.rs");
    }
}

/// `weft.v1`
pub(crate) mod weft {
    include!("generated/weft.v1.rs");
}
