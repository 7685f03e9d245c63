//! A trust bundle that changes while connections are accepted: one writer, many readers, whole snapshots.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::trust::TrustBundle;

/// Makes the two ends of a bundle that can change.
pub fn live_trust(bundle: TrustBundle) -> (TrustWriter, TrustView) {
    let shared = Arc::new(ArcSwap::from_pointee(bundle));
    (TrustWriter(shared.clone()), TrustView(shared))
}

/// Replaces the bundle. There is one, and it cannot be cloned.
pub struct TrustWriter(Arc<ArcSwap<TrustBundle>>);

impl TrustWriter {
    /// Puts another bundle in force for every handshake that has not checked its peer yet. Connections that
    /// are open already are the caller's to check again, with [`TrustBundle::verify_peer`].
    pub fn replace(&mut self, bundle: TrustBundle) {
        self.0.store(Arc::new(bundle));
    }

    /// Another reader.
    pub fn view(&self) -> TrustView {
        TrustView(self.0.clone())
    }
}

/// Reads the bundle in force.
#[derive(Clone)]
pub struct TrustView(Arc<ArcSwap<TrustBundle>>);

impl TrustView {
    /// The bundle in force now. It does not change under the caller's hands.
    pub fn now(&self) -> Arc<TrustBundle> {
        self.0.load_full()
    }
}

impl fmt::Debug for TrustWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TrustWriter").field(&*self.0.load()).finish()
    }
}

impl fmt::Debug for TrustView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TrustView").field(&*self.0.load()).finish()
    }
}
