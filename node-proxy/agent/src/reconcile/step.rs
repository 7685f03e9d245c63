//! The next step of one pod: what is wanted, compared with how far it is.

use super::entry::{Ask, Before, Desire, Entry, Key, Phase, Wanted};
use super::{ENROL_WAIT, Effect, LEAVE_WAIT, Proxies, ProxyId, Tell};
use std::time::Instant;
use weft_agent_link::cni::Answer;
use weft_core::names::WorkloadUid;

/// Why a pod without a network namespace waits.
const NO_NETNS: &str =
    "its network namespace is not known: no annotation weft.dev/netns, and the CNI plugin has not told";

impl Entry {
    /// Moves on as far as it can without another event.
    pub(super) fn step(
        &mut self,
        uid: &WorkloadUid,
        desire: &Desire,
        proxies: &Proxies,
        now: Instant,
        effects: &mut Vec<Effect>,
    ) {
        match (&mut self.phase, desire) {
            (Phase::Absent, Desire::Enrol(wanted)) => self.enrol(wanted, now, effects),
            (Phase::Adopted { wanted, until }, Desire::Enrol(desired)) if wanted.is_same_pod(desired) => {
                if *until <= now {
                    self.enrol(desired, now, effects);
                }
            }
            (Phase::Failed { tried, again }, Desire::Enrol(wanted)) if *again <= now || tried != wanted => {
                self.enrol(wanted, now, effects);
            }
            (Phase::Enrolled { wanted }, Desire::Enrol(desired)) if wanted.is_same_pod(desired) => {
                if wanted.addresses != desired.addresses {
                    let addresses = desired.addresses.clone();
                    effects.push(Effect::SetAddresses(uid.clone(), addresses.clone()));
                    let tell =
                        |id: &ProxyId| Effect::Tell(*id, Tell::Addresses(uid.clone(), addresses.clone()));
                    effects.extend(proxies.serving.iter().map(tell));
                    effects.push(Effect::Remember);
                }
                if wanted.existing != desired.existing {
                    effects.push(Effect::JudgeExisting(uid.clone(), desired.existing.clone()));
                }
                if wanted.acceleration != desired.acceleration {
                    effects.push(Effect::SetAcceleration(uid.clone(), desired.acceleration));
                    effects.push(Effect::Remember);
                }
                *wanted = desired.clone();
            }
            (Phase::Enrolled { .. } | Phase::Adopted { .. }, Desire::Enrol(_) | Desire::Release) => {
                self.leave(uid, proxies, now, effects);
            }
            (Phase::Failed { .. }, Desire::Release) => self.release(uid, effects),
            (Phase::Leaving { waiting, until }, _) if waiting.is_empty() || *until <= now => {
                self.release(uid, effects);
            }
            (Phase::Stuck { again }, _) if *again <= now => self.release(uid, effects),
            (Phase::Enrolling { until, .. }, _) if *until <= now => {
                self.reason = Some(format!("no answer within {ENROL_WAIT:?}; still trying"));
            }
            (
                Phase::Absent
                | Phase::Adopted { .. }
                | Phase::Enrolling { .. }
                | Phase::Enrolled { .. }
                | Phase::Failed { .. }
                | Phase::Leaving { .. }
                | Phase::Releasing
                | Phase::Stuck { .. },
                _,
            ) => {}
        }
    }

    fn enrol(&mut self, wanted: &Wanted, now: Instant, effects: &mut Vec<Effect>) {
        if wanted.netns.is_none() {
            self.reason = Some(NO_NETNS.to_owned());
            return;
        }
        self.phase = Phase::Enrolling { wanted: wanted.clone(), until: now + ENROL_WAIT };
        self.netns.clone_from(&wanted.netns);
        let key = self.key.get_or_insert_with(|| Key::of(wanted)).clone();
        effects.push(Effect::Enrol { wanted: wanted.clone(), key, before: self.before });
    }

    /// A namespace made again under the same path is another pod (design §1: the cookie tells them apart), though
    /// nobody has said so. The old one is released; what is wanted then is enrolled anew.
    pub(super) fn netns_replaced(
        &mut self,
        uid: &WorkloadUid,
        proxies: &Proxies,
        now: Instant,
        effects: &mut Vec<Effect>,
    ) {
        match &self.phase {
            Phase::Adopted { .. } | Phase::Enrolled { .. } => self.leave(uid, proxies, now, effects),
            Phase::Failed { .. } if self.before == Before::Captured => self.leave(uid, proxies, now, effects),
            Phase::Absent
            | Phase::Enrolling { .. }
            | Phase::Failed { .. }
            | Phase::Leaving { .. }
            | Phase::Releasing
            | Phase::Stuck { .. } => {}
        }
    }

    fn leave(&mut self, uid: &WorkloadUid, proxies: &Proxies, now: Instant, effects: &mut Vec<Effect>) {
        effects.push(Effect::CloseSockets(uid.clone()));
        effects.extend(proxies.all.iter().map(|id| Effect::Tell(*id, Tell::PodGone(uid.clone()))));
        if proxies.all.is_empty() {
            self.release(uid, effects);
        } else {
            self.phase = Phase::Leaving { waiting: proxies.all.clone(), until: now + LEAVE_WAIT };
        }
    }

    fn release(&mut self, uid: &WorkloadUid, effects: &mut Vec<Effect>) {
        self.phase = Phase::Releasing;
        if let Some(key) = &self.key {
            effects.push(Effect::Release { uid: uid.clone(), key: key.clone(), netns: self.netns.clone() });
        }
    }

    /// Answers what the CNI plugin has asked, as far as it can be answered.
    pub(super) fn answer(
        &mut self,
        desire: &Desire,
        proxies: &Proxies,
        now: Instant,
        effects: &mut Vec<Effect>,
    ) {
        let done = |what: Ask| match (what, &self.phase, desire) {
            (Ask::Add, Phase::Enrolled { wanted }, Desire::Enrol(desired)) => {
                (!proxies.serving.is_empty() && wanted.is_same_pod(desired)).then_some(Answer::Enrolled)
            }
            (Ask::Del, _, Desire::Enrol(_)) | (_, Phase::Absent, Desire::Release | Desire::Unknown) => {
                Some(Answer::Released)
            }
            _ => None,
        };
        let late = || Answer::Failed {
            reason: self.reason.clone().unwrap_or_else(|| match self.phase {
                Phase::Enrolled { .. } => "no node proxy has taken its listeners".to_owned(),
                _ => format!("still {}", self.phase.as_str()),
            }),
        };
        self.pending.retain(|pending| {
            let answer = done(pending.what).or_else(|| (pending.until <= now).then(late));
            let waits = answer.is_none();
            effects.extend(answer.map(|answer| Effect::AnswerCni(pending.id, answer)));
            waits
        });
    }

    /// True while its first steps may still end in an enrolled pod within moments.
    pub(super) fn is_under_way(&self) -> bool {
        match &self.phase {
            Phase::Adopted { .. } => true,
            // One that is overdue is no longer waited for.
            Phase::Enrolling { .. } => self.reason.is_none(),
            Phase::Absent
            | Phase::Enrolled { .. }
            | Phase::Failed { .. }
            | Phase::Leaving { .. }
            | Phase::Releasing
            | Phase::Stuck { .. } => false,
        }
    }

    /// What is known of it, from whoever said it last.
    pub(super) fn known(&self) -> Option<&Wanted> {
        let told = || match &self.told {
            Some(super::Told::Enrolled(wanted)) => Some(wanted),
            Some(super::Told::Outside { .. }) | None => None,
        };
        match &self.phase {
            Phase::Adopted { wanted, .. } | Phase::Enrolling { wanted, .. } | Phase::Enrolled { wanted } => {
                Some(wanted)
            }
            Phase::Absent
            | Phase::Failed { .. }
            | Phase::Leaving { .. }
            | Phase::Releasing
            | Phase::Stuck { .. } => self.cni.as_ref().or_else(told),
        }
    }
}
