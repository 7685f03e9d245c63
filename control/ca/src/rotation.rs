//! Replacing a root without a refused connection: the state of it, and which step may follow which. Pure.

use std::fmt;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

/// Names one root within an authority's folder: eight hexadecimal digits.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RootId(String);

impl RootId {
    pub(crate) fn from_random(random: [u8; 4]) -> Self {
        Self(format!("{:08x}", u32::from_be_bytes(random)))
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for RootId {
    type Error = String;

    // The text becomes part of a path, so nothing but digits may be in it.
    fn try_from(text: String) -> Result<Self, String> {
        let digits = text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if digits { Ok(Self(text)) } else { Err(format!("{text:?} names no root")) }
    }
}

impl From<RootId> for String {
    fn from(id: RootId) -> Self {
        id.0
    }
}

impl fmt::Debug for RootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a rotation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// One root, which signs.
    Steady,
    /// A second root is in the bundle and does not sign yet: until every peer knows it.
    Announced,
    /// The second root signs, the first is still in the bundle: until nothing that it signed is in use.
    Switched,
}

/// The state of an authority's roots, as it stands on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rotation {
    /// The format of the file; 1.
    version: u32,
    phase: Phase,
    /// The root that signs.
    signing: RootId,
    /// The other one, while there are two.
    other: Option<RootId>,
    /// When the phase began, in seconds since 1970.
    since_unix_seconds: u64,
}

const VERSION: u32 = 1;

/// Lifetime of a root unless configured otherwise: ten years.
pub const ROOT_LIFETIME: Duration = Duration::from_secs(3650 * 24 * 60 * 60);

/// What to do with the root that leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DropRoot {
    /// Drop it once every leaf that it signed has expired.
    WhenUnused,
    /// Drop it now: its key is not to be trusted any more. Connections of leaves that it signed end.
    AtOnce,
}

/// Why a step of a rotation does not follow. The fault is whoever asked for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StepError {
    /// The step belongs to another phase.
    #[error("the rotation is in the phase {phase:?}")]
    WrongPhase {
        /// The phase.
        phase: Phase,
    },
    /// Leaves that the old root signed may still be in use.
    #[error("the old root has signed leaves that have not expired")]
    StillInUse {
        /// When they will have.
        until: SystemTime,
    },
}

impl Rotation {
    pub(crate) fn begin_with(signing: RootId, now: SystemTime) -> Self {
        Self {
            version: VERSION,
            phase: Phase::Steady,
            signing,
            other: None,
            since_unix_seconds: seconds(now),
        }
    }

    /// Where the rotation stands.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// The root that signs.
    pub fn signing(&self) -> &RootId {
        &self.signing
    }

    /// Every root of the bundle, the signing one first.
    pub fn trusted(&self) -> impl Iterator<Item = &RootId> {
        std::iter::once(&self.signing).chain(&self.other)
    }

    /// When the phase began, to the second.
    pub fn since(&self) -> SystemTime {
        let since = Duration::from_secs(self.since_unix_seconds);
        SystemTime::UNIX_EPOCH.checked_add(since).unwrap_or(SystemTime::UNIX_EPOCH)
    }

    /// Whether the fields fit together; a file edited by hand may say anything.
    pub(crate) fn is_consistent(&self) -> bool {
        let others_fit = match self.phase {
            Phase::Steady => self.other.is_none(),
            Phase::Announced | Phase::Switched => {
                self.other.as_ref().is_some_and(|other| *other != self.signing)
            }
        };
        self.version == VERSION && others_fit
    }

    /// Steady → announced: `fresh` joins the bundle.
    pub(crate) fn announce(&self, fresh: RootId, now: SystemTime) -> Result<Self, StepError> {
        self.expect(Phase::Steady)?;
        Ok(self.next(Phase::Announced, self.signing.clone(), Some(fresh), now))
    }

    /// Announced → switched: the two change roles.
    pub(crate) fn switch(&self, now: SystemTime) -> Result<Self, StepError> {
        self.expect(Phase::Announced)?;
        match &self.other {
            Some(other) => Ok(self.next(Phase::Switched, other.clone(), Some(self.signing.clone()), now)),
            None => Err(StepError::WrongPhase { phase: self.phase }),
        }
    }

    /// Switched → steady: the old root leaves.
    pub(crate) fn finish(
        &self,
        drop: DropRoot,
        leaf_lifetime_max: Duration,
        now: SystemTime,
    ) -> Result<Self, StepError> {
        self.expect(Phase::Switched)?;
        // A second more: the phase's beginning is written without its fraction.
        let wait = leaf_lifetime_max.saturating_add(Duration::from_secs(1));
        // A lifetime beyond all time ends with the roots themselves.
        let until = self.since().checked_add(wait).unwrap_or(self.since() + ROOT_LIFETIME);
        match drop {
            DropRoot::WhenUnused if now < until => Err(StepError::StillInUse { until }),
            DropRoot::WhenUnused | DropRoot::AtOnce => {
                Ok(self.next(Phase::Steady, self.signing.clone(), None, now))
            }
        }
    }

    fn expect(&self, phase: Phase) -> Result<(), StepError> {
        if self.phase == phase { Ok(()) } else { Err(StepError::WrongPhase { phase: self.phase }) }
    }

    fn next(&self, phase: Phase, signing: RootId, other: Option<RootId>, now: SystemTime) -> Self {
        Self { version: self.version, phase, signing, other, since_unix_seconds: seconds(now) }
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}
