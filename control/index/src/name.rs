//! The name of a namespaced object.

use std::fmt;
use std::sync::Arc;

/// A namespace and a name. Ordered by namespace first, so that a namespace is a range.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Name {
    pub(crate) namespace: Arc<str>,
    pub(crate) name: Arc<str>,
}

impl Name {
    pub(crate) fn new(namespace: impl Into<Arc<str>>, name: impl Into<Arc<str>>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    /// The smallest name that a namespace can hold.
    pub(crate) fn first_of(namespace: &Arc<str>) -> Self {
        Self { namespace: namespace.clone(), name: Arc::default() }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}
