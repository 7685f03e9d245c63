//! Session persistence (GEP-1619): requests of one session go to one backend.

use crate::check::{Check, Findings};
use crate::duration::GatewayDuration;
use serde::{Deserialize, Serialize};

/// How requests of one session are kept together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SessionPersistence {
    /// The name of the cookie or header; of our choice if there is none.
    pub session_name: Option<String>,
    /// How long a session lasts at most; until it ends otherwise if there is none.
    pub absolute_timeout: Option<GatewayDuration>,
    /// How long a session lasts without a request; for ever if there is none.
    pub idle_timeout: Option<GatewayDuration>,
    /// What carries the session; a cookie if it was not written.
    #[serde(rename = "type", default)]
    pub session_type: SessionType,
    /// More about the cookie.
    pub cookie_config: Option<CookieConfig>,
}

/// What carries the session.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SessionType {
    /// A cookie.
    #[default]
    Cookie,
    /// A header.
    Header,
}

/// More about the cookie of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CookieConfig {
    /// How long the client keeps it; until it closes if it was not written.
    #[serde(default)]
    pub lifetime_type: CookieLifetime,
}

/// How long a client keeps a cookie.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum CookieLifetime {
    /// Until it closes.
    #[default]
    Session,
    /// For the absolute timeout.
    Permanent,
}

/// Longest name of a session.
const SESSION_NAME_BYTES_MAX: usize = 128;

impl Check for SessionPersistence {
    fn check(&self, found: &mut Findings) {
        let name = self.session_name.as_deref().is_none_or(|name| name.len() <= SESSION_NAME_BYTES_MAX);
        found.require("sessionName", name, "is longer than 128 bytes");
        let permanent =
            self.cookie_config.is_some_and(|cookie| cookie.lifetime_type == CookieLifetime::Permanent);
        let reason = "is missing, and a Permanent cookie needs it";
        found.require("absoluteTimeout", !permanent || self.absolute_timeout.is_some(), reason);
        let cookie = self.session_type == SessionType::Cookie || self.cookie_config.is_none();
        found.require("cookieConfig", cookie, "is not for sessions of type Header");
    }
}
