//! Why a response is what it is, in the letters that Envoy's dashboards know.

use crate::endpoints::NoEndpoint;

/// Why a response is what it is. Its words are few, so they may be a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) enum Flag {
    /// A backend said so, or the rule.
    #[default]
    None,
    /// No route takes it, or its route leads nowhere.
    NoRoute,
    /// No endpoint takes it.
    NoHealthyUpstream,
    /// Nobody knows what the name stands for that it asks for.
    NameUnresolved,
    /// There was no connection to the endpoint.
    UpstreamFailure,
    /// The endpoint broke off.
    UpstreamReset,
    /// It took too long.
    UpstreamTimeout,
    /// There was no room.
    Overflow,
    /// It was tried as often as it may be.
    RetryLimit,
    /// The client broke off.
    ClientReset,
    /// It waited on purpose.
    DelayInjected,
    /// It was aborted on purpose.
    FaultInjected,
    /// It is no request.
    BadRequest,
    /// A policy denies it.
    Denied,
}

impl Flag {
    /// Envoy's letters.
    pub(crate) fn letters(self) -> &'static str {
        match self {
            // Envoy has no letters for a denial of its own (UAEX is an external authorizer's): the status and `why` say it.
            Self::None | Self::Denied => "-",
            Self::NoRoute => "NR",
            Self::NoHealthyUpstream => "UH",
            Self::NameUnresolved => "DF",
            Self::UpstreamFailure => "UF",
            Self::UpstreamReset => "UC",
            Self::UpstreamTimeout => "UT",
            Self::Overflow => "UO",
            Self::RetryLimit => "URX",
            Self::ClientReset => "DC",
            Self::DelayInjected => "DI",
            Self::FaultInjected => "FI",
            Self::BadRequest => "DPE",
        }
    }
}

impl From<&NoEndpoint> for Flag {
    fn from(error: &NoEndpoint) -> Self {
        match error {
            NoEndpoint::NoName { .. } | NoEndpoint::ForeignName { .. } => Self::NoRoute,
            NoEndpoint::Unresolved { .. } => Self::NameUnresolved,
            NoEndpoint::NoService(_)
            | NoEndpoint::NoPort(_)
            | NoEndpoint::NoSubset(_)
            | NoEndpoint::Tls(_)
            | NoEndpoint::LeftOut(_)
            | NoEndpoint::Nobody
            | NoEndpoint::Unreachable => Self::NoHealthyUpstream,
        }
    }
}
