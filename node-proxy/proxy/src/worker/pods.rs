//! The pods of this node, as one worker knows them.

use super::request::{NewPod, Requests};
use super::stock::Stock;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinHandle};
use weft_core::names::WorkloadUid;

/// An enrolled pod of this node.
pub(super) struct Pod {
    /// Its key in discovery.
    pub uid: WorkloadUid,
    /// The kernel's word for its namespace.
    pub netns_cookie: u64,
    /// Sockets in its namespace.
    pub stock: Stock,
    tasks: RefCell<Vec<AbortHandle>>,
    has_left: Cell<bool>,
    left: Notify,
}

/// The pod has left the mesh meanwhile.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the pod has left the mesh meanwhile")]
pub(super) struct HasLeft;

impl Pod {
    /// A pod without tasks.
    pub(super) fn new(worker: usize, new: &NewPod, requests: Requests) -> Rc<Self> {
        Rc::new(Self {
            uid: new.uid.clone(),
            netns_cookie: new.netns_cookie,
            stock: Stock::new(worker, new.uid.clone(), requests),
            tasks: RefCell::default(),
            has_left: Cell::new(false),
            left: Notify::new(),
        })
    }

    /// Ends a task together with the pod.
    pub(super) fn own(&self, task: &JoinHandle<()>) {
        self.tasks.borrow_mut().push(task.abort_handle());
    }

    /// Accepts nothing more. Open connections go on.
    pub(super) fn stop_listening(&self) {
        for task in self.tasks.borrow_mut().drain(..) {
            task.abort();
        }
    }

    /// It leaves the mesh: accepts nothing more, and gives up what is not carried yet.
    pub(super) fn leave(&self) {
        self.stop_listening();
        self.has_left.set(true);
        self.left.notify_waiters();
    }

    /// Does what comes before a connection is carried, unless the pod leaves: nobody would end that connection, and its
    /// sockets would keep the pod's namespace.
    ///
    /// # Errors
    /// [`HasLeft`], also if the work was done in the same moment.
    pub(super) async fn unless_left<F: Future>(
        &self,
        work: impl FnOnce() -> F,
    ) -> Result<F::Output, HasLeft> {
        tokio::select! {
            biased;
            () = self.left() => Err(HasLeft),
            // Begun here: a future that is passed in is kept twice, and this is in the task of each connection.
            done = work() => Ok(done),
        }
    }

    async fn left(&self) {
        // Before looking: a word in between counts.
        let left = self.left.notified();
        if !self.has_left.get() {
            left.await;
        }
    }
}

/// All pods of this node.
#[derive(Default)]
pub(super) struct Pods {
    by_uid: RefCell<HashMap<WorkloadUid, Rc<Pod>>>,
    arrived: Notify,
}

impl Pods {
    /// Adds a pod.
    pub(super) fn insert(&self, pod: Rc<Pod>) {
        self.by_uid.borrow_mut().insert(pod.uid.clone(), pod);
        self.arrived.notify_waiters();
    }

    /// Removes a pod.
    pub(super) fn remove(&self, uid: &WorkloadUid) -> Option<Rc<Pod>> {
        self.by_uid.borrow_mut().remove(uid)
    }

    /// The pod with this key.
    pub(super) fn get(&self, uid: &WorkloadUid) -> Option<Rc<Pod>> {
        self.by_uid.borrow().get(uid).cloned()
    }

    /// The pod with this key, once there is one.
    pub(super) async fn wait(&self, uid: &WorkloadUid) -> Rc<Pod> {
        loop {
            // Before looking: an arrival in between counts.
            let arrival = self.arrival();
            if let Some(pod) = self.get(uid) {
                return pod;
            }
            arrival.await;
        }
    }

    /// The next arrival after this call.
    pub(super) fn arrival(&self) -> impl Future<Output = ()> {
        self.arrived.notified()
    }

    /// The first of the pods for which something is found.
    pub(super) fn find<T>(&self, find: impl FnMut(&WorkloadUid) -> Option<T>) -> Option<T> {
        self.by_uid.borrow().keys().find_map(find)
    }

    /// Does something with every pod.
    pub(super) fn each(&self, mut act: impl FnMut(&Pod)) {
        for pod in self.by_uid.borrow().values() {
            act(pod);
        }
    }
}
