//! The loop that keeps a stream to the control plane open and takes in what comes.

use crate::asks::{Asks, Hold};
use crate::backoff;
use crate::chain::chain;
use crate::channel::{ConnectError, connect};
use crate::mesh::Subscribe;
use crate::model::{Model, Rejected};
use crate::saver::{Saver, load};
use crate::settings::{ControlSettings, Node};
use crate::store::Store;
use crate::view::{Ask, View};
use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::SystemTime;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;
use weft_proto::ADDRESS_TYPE;
use weft_proto::ads::{
    AggregatedDiscoveryServiceClient, DeltaDiscoveryRequest, DeltaDiscoveryResponse, Status,
};

/// The largest response that is taken: a hundred thousand workloads are some forty megabytes.
const RESPONSE_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Questions that wait for the loop; more wait at the caller.
const ASKS_QUEUE: usize = 256;
/// Requests that wait for the network: a server that takes none of so many does not read at all.
const OUTBOX_MAX: usize = 64;
/// Rejected resources that a NACK names.
const NACK_NAMED_MAX: usize = 8;

/// What a client needs.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// Where the control plane is.
    pub control: ControlSettings,
    /// How the client introduces itself.
    pub node: Node,
    /// Whether it asks for all addresses, or for each one when it is needed.
    pub subscribe: Subscribe,
    /// Where the last known configuration is kept; nowhere if `None`.
    pub state_file: Option<PathBuf>,
}

/// The one writer of what discovery tells. [`Client::run`] it, and read through its [`View`].
pub struct Client<M: Model> {
    config: ClientConfig,
    store: Store<M>,
    asks: Asks<M>,
    inbox: mpsc::Receiver<Ask<M>>,
    saver: Saver,
    /// Something is known that the saver has not heard of.
    unsaved: bool,
}

/// Why a stream is over.
#[derive(Debug, thiserror::Error)]
enum StreamError {
    #[error("no connection")]
    Connect(#[source] ConnectError),
    #[error("the control plane refused: {}: {message}", .code.description())]
    Refused { code: Code, message: String },
    #[error("the control plane ended the stream")]
    Ended,
    #[error("the control plane takes no requests")]
    Stuck,
}

/// What happens on a stream.
enum Event<M: Model> {
    Room,
    Response(Result<Option<DeltaDiscoveryResponse>, tonic::Status>),
    Ask(Option<Ask<M>>),
    SaveDue,
}

impl<M: Model> Client<M> {
    /// Makes a client and its view. The last known configuration, if there is one, is in the view at once.
    pub fn new(config: ClientConfig) -> (Self, View<M>) {
        let mut store = Store::new();
        if let Some(file) = &config.state_file {
            match load(file) {
                Ok(Some(state)) => store.restore(state),
                Ok(None) => {}
                Err(error) => {
                    tracing::error!(error = chain(&error), "the last known configuration is not used");
                }
            }
        }
        let (asks, inbox) = mpsc::channel(ASKS_QUEUE);
        let view = View { snapshots: store.snapshots(), sync: store.sync(), asks };
        let saver = Saver::new(config.state_file.clone());
        (Self { config, store, asks: Asks::new(), inbox, saver, unsaved: false }, view)
    }

    /// Keeps in touch with the control plane, until dropped.
    pub async fn run(mut self) {
        let mut failures = 0u32;
        loop {
            let error = self.stream(&mut failures).await;
            failures = failures.saturating_add(1);
            let wait = backoff::wait(failures, backoff::spread());
            let error = chain(&error);
            tracing::warn!(error, failures, ?wait, "discovery is away");
            self.store.tell(|sync| {
                sync.connected_since = None;
                sync.failures = failures;
                sync.last_error = Some(error.into());
            });
            self.rest(wait).await;
        }
    }

    /// Waits, and goes on taking questions and writing files.
    async fn rest(&mut self, wait: std::time::Duration) {
        let until = tokio::time::Instant::now() + wait;
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(until) => return,
                Some(ask) = self.inbox.recv() => self.asks.add(ask),
                () = self.saver.due() => self.saver.write(self.store.save()),
            }
        }
    }

    /// One stream, from connecting to its end.
    async fn stream(&mut self, failures: &mut u32) -> StreamError {
        let connection = match connect(&self.config.control).await {
            Ok(connection) => connection,
            Err(error) => return StreamError::Connect(error),
        };
        let (tx, rx) = mpsc::channel(1);
        let mut outbox = self.first_requests();
        let client = AggregatedDiscoveryServiceClient::new(connection);
        let mut client = client.max_decoding_message_size(RESPONSE_BYTES_MAX);
        // A server may wait for the first request before it answers at all.
        if let Some(first) = outbox.pop_front() {
            drop(tx.try_send(first));
        }
        let mut responses = match client.delta_aggregated_resources(ReceiverStream::new(rx)).await {
            Ok(responses) => responses.into_inner(),
            Err(status) => return refused(&status),
        };
        tracing::info!(control = %self.config.control.url, "discovery is connected");
        self.store.tell(|sync| sync.connected_since = Some(SystemTime::now()));
        loop {
            let event = tokio::select! {
                room = tx.reserve(), if !outbox.is_empty() => match (room, outbox.pop_front()) {
                    (Ok(room), Some(request)) => {
                        room.send(request);
                        Event::Room
                    }
                    _ => return StreamError::Ended,
                },
                response = responses.message() => Event::Response(response),
                ask = self.inbox.recv() => Event::Ask(ask),
                () = self.saver.due() => Event::SaveDue,
            };
            match event {
                Event::Room => {}
                Event::Response(Ok(Some(response))) => {
                    if std::mem::take(failures) > 0 {
                        self.store.tell(|sync| sync.failures = 0);
                    }
                    outbox.extend(self.on_response(response));
                }
                Event::Response(Ok(None)) => return StreamError::Ended,
                Event::Response(Err(status)) => return refused(&status),
                Event::Ask(Some(ask)) => self.asks.add(ask),
                // Every view is gone, so nobody reads: the owner is about to drop us too.
                Event::Ask(None) => std::future::pending().await,
                Event::SaveDue => self.saver.write(self.store.save()),
            }
            if outbox.is_empty() {
                outbox.extend(self.questions());
            } else if outbox.len() > OUTBOX_MAX {
                return StreamError::Stuck;
            }
        }
    }

    /// What a stream begins with: what we want, and what we have.
    fn first_requests(&mut self) -> VecDeque<DeltaDiscoveryRequest> {
        let node = self.config.node.message(&self.config.control.cluster);
        let asked = self.asks.begin_stream();
        self.store.begin_stream();
        let mut requests = VecDeque::new();
        for (index, type_url) in M::TYPES.iter().enumerate() {
            let all = self.hold() == Hold::No || *type_url != ADDRESS_TYPE;
            let wildcard = || vec!["*".to_owned()];
            let mut names = if *type_url == ADDRESS_TYPE { asked.clone() } else { Vec::new() };
            if all {
                names.extend(wildcard());
            }
            requests.push_back(DeltaDiscoveryRequest {
                // Only the first request of a stream needs it.
                node: (index == 0).then(|| node.clone()),
                type_url: (*type_url).to_owned(),
                resource_names_subscribe: names,
                // Without a name, a first request would ask for everything.
                resource_names_unsubscribe: if all { Vec::new() } else { wildcard() },
                initial_resource_versions: self.store.versions(type_url),
                ..DeltaDiscoveryRequest::default()
            });
        }
        requests
    }

    /// Takes a response in. Gives the answer, and what need not be subscribed any more.
    fn on_response(&mut self, response: DeltaDiscoveryResponse) -> Option<DeltaDiscoveryRequest> {
        let nonce = response.nonce.clone();
        let Some(type_url) = Store::<M>::type_url(&response.type_url) else {
            tracing::warn!(type_url = response.type_url, "discovery sent what nobody asked for");
            return None;
        };
        let removed = response.removed_resources.clone();
        let count = response.resources.len();
        let applied = self.store.apply(type_url, response, SystemTime::now());
        tracing::debug!(type_url, resources = count, removed = removed.len(), "discovery told");
        self.unsaved |= applied.changed;
        // Not half of it: a process that starts with the workloads and without the policies would let everyone in.
        if self.unsaved && self.store.is_complete() {
            self.unsaved = false;
            self.saver.changed();
        }
        for Rejected { name, effect, reason } in &applied.rejected {
            tracing::warn!(type_url, %name, ?effect, %reason, "a resource is not understood");
        }
        let done = match type_url {
            ADDRESS_TYPE => self.asks.answer(&removed, &self.store.now(), self.hold()),
            _ => Vec::new(),
        };
        Some(DeltaDiscoveryRequest {
            type_url: type_url.to_owned(),
            response_nonce: nonce,
            resource_names_unsubscribe: done,
            error_detail: nack(&applied.rejected),
            ..DeltaDiscoveryRequest::default()
        })
    }

    fn questions(&mut self) -> Option<DeltaDiscoveryRequest> {
        let names = self.asks.take_unasked();
        (!names.is_empty()).then(|| DeltaDiscoveryRequest {
            type_url: ADDRESS_TYPE.to_owned(),
            resource_names_subscribe: names,
            ..DeltaDiscoveryRequest::default()
        })
    }

    fn hold(&self) -> Hold {
        match self.config.subscribe {
            Subscribe::All => Hold::No,
            Subscribe::OnDemand => Hold::Yes,
        }
    }
}

fn refused(status: &tonic::Status) -> StreamError {
    StreamError::Refused { code: status.code(), message: status.message().to_owned() }
}

/// What the control plane is told of resources that were not understood; `None` if all were.
fn nack(rejected: &[Rejected]) -> Option<Status> {
    if rejected.is_empty() {
        return None;
    }
    let named = rejected.iter().take(NACK_NAMED_MAX);
    let mut words: Vec<String> = named.map(|one| format!("{}: {}", one.name, one.reason)).collect();
    if rejected.len() > NACK_NAMED_MAX {
        words.push(format!("and {} more", rejected.len() - NACK_NAMED_MAX));
    }
    let message = words.join("; ");
    Some(Status { code: Code::InvalidArgument as i32, message, ..Status::default() })
}
