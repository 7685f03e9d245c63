//! The mesh's certificate authority: roots and their rotation, signing, who a caller is, and whose
//! certificate it may ask for.
//!
//! The gRPC service that speaks `CreateCertificate` is elsewhere (`weft-control-serve`), as is the view of
//! the cluster's pods. Time is an argument except in [`token::LocalTokens`]'s [`review::TokenReview`], which
//! stands in for a server with a clock. Modules stand from the top layer to the bottom; imports point down
//! the list.
#![forbid(unsafe_code)]

pub mod directory;
pub mod rotation;
pub mod plugged;
pub mod authority;
pub mod grant;
pub mod token;
pub mod review;
mod issuer;
mod jws;
mod files;

pub use authority::{Authority, AuthorityError, AuthoritySettings, ServingCertificate, SignError};
pub use directory::{CaDirectory, CaSettings, OpenError, RotateError};
pub use grant::{Granted, NodeProxyAccount, PodPlace, PodView, Refusal, may_impersonate};
pub use plugged::{Cacerts, PluggedError};
pub use review::{BoundPod, Caller, ReviewError, Reviewing, ServiceAccount, TokenReview};
pub use rotation::{DropRoot, Phase, Rotation};
pub use token::{LocalTokens, TokenKeyError, TokenSubject};
