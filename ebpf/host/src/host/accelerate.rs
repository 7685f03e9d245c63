//! The part of the host that accelerates connections. Whatever is missing for it, a pod is captured all the same.

use aya::Ebpf;
use weft_ebpf_common::Acceleration;

use super::Host;
use crate::acceleration;
use crate::attach::Programs;
use crate::devices::Device;
use crate::error::EnrolError;
use crate::key::PodKey;
use crate::pod::{self, How};

impl Host {
    /// In the pod's namespace. A pod is captured all the same where this cannot be had.
    pub(super) fn accelerate(
        &self,
        programs: &mut Programs,
        (slot, wanted): (u32, Acceleration),
        inside: &[Device],
        how: How<'_>,
    ) -> Result<(), EnrolError> {
        let mut level = wanted.min(self.acceleration);
        if let Err(error) = pod::accelerate(programs, inside, level, how) {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "a pod's connections are not accelerated"
            );
            level = Acceleration::Off;
        }
        self.maps.lock().set_acceleration(slot, level).map_err(EnrolError::Maps)
    }

    /// How far an enrolled pod's connections are accelerated from now on. What waits past TCP is read before anything
    /// else.
    pub fn set_acceleration(&self, key: &PodKey, level: Acceleration) -> Result<(), EnrolError> {
        let entry = self.find(key).ok_or(EnrolError::NamespaceUnknown)?;
        let mut pod = entry.pod.lock();
        if pod.released {
            return Err(EnrolError::NamespaceUnknown);
        }
        pod.acceleration = level;
        self.attach(key, entry.slot, &mut pod)
    }

    /// How far connections can be accelerated on this node.
    #[must_use]
    pub fn acceleration(&self) -> Acceleration {
        self.acceleration
    }
}

/// What the operator allows, if the kernel can do it.
pub(super) fn possible(allowed: Acceleration) -> Acceleration {
    if allowed == Acceleration::Off {
        return allowed;
    }
    match acceleration::trial() {
        Ok(()) => allowed,
        Err(refused) => {
            tracing::info!(error = &refused as &dyn std::error::Error, "connections are not accelerated");
            Acceleration::Off
        }
    }
}

/// The same again for what runs once a node: a newer kernel may allow the trial and refuse this.
pub(super) fn load(node: &mut Ebpf, possible: Acceleration) -> Acceleration {
    if possible == Acceleration::Off {
        return possible;
    }
    match acceleration::load(node) {
        Ok(()) => possible,
        Err(refused) => {
            tracing::warn!(error = &refused as &dyn std::error::Error, "connections are not accelerated");
            Acceleration::Off
        }
    }
}
