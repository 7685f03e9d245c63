//! Who may talk to the agent: node proxies, the CNI plugin, and whoever asks how things are.

use crate::actor::{Input, Out};
use crate::enrol::chain;
use crate::reconcile::{ExistingRule, ProxyId, Wanted};
use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use weft_agent_link::cni::{Answer, Asked, CniPod, Request};
use weft_agent_link::{AgentEnd, TrustedUid};
use weft_core::enrolment::Acceleration;
use weft_core::names::{NodeName, WorkloadUid};
use weft_runtime::drain::Stop;
use weft_runtime::fds::{SeqListener, SeqPacket};
use weft_runtime::http::{self, Method, Routes, StatusCode};

/// Connections of one kind at once. There is one proxy, two while one follows the other, and a pod start
/// or two; more than this is somebody's loop.
const CONNECTIONS_MAX: usize = 64;
/// Messages that wait for a proxy: every pod of a full node, three times over.
const OUT_QUEUE: usize = 4096;
/// For a request of the plugin to arrive after it has connected.
const REQUEST_WAIT: Duration = Duration::from_secs(5);
/// For a proxy that does not listen any more to be heard to its end.
const LAST_WORDS_WAIT: Duration = Duration::from_secs(1);
/// Rest after a failed accept.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// Takes node proxies until told to stop.
pub async fn proxies(
    listener: SeqListener,
    proxy: TrustedUid,
    node: NodeName,
    inputs: mpsc::Sender<Input>,
    stop: Stop,
) {
    let mut last = 0;
    accept(listener, stop, |socket| {
        last += 1;
        one_proxy(socket, ProxyId(last), proxy, node.clone(), inputs.clone())
    })
    .await;
}

/// Takes requests of the CNI plugin until told to stop.
pub async fn cni(listener: SeqListener, cluster: String, inputs: mpsc::Sender<Input>, stop: Stop) {
    accept(listener, stop, |socket| one_request(socket, cluster.clone(), inputs.clone())).await;
}

/// `/status`: everything, as JSON.
pub fn routes(inputs: mpsc::Sender<Input>) -> Routes {
    Routes::new().route(Method::GET, "/status", move |_| {
        let inputs = inputs.clone();
        async move {
            let (reply, status) = oneshot::channel();
            let asked = inputs.send(Input::Status(reply)).await;
            let Some(status) = (if asked.is_ok() { status.await.ok() } else { None }) else {
                return http::Answer::text(StatusCode::SERVICE_UNAVAILABLE, "the agent is ending\n");
            };
            http::Answer::of(&status)
        }
    })
}

async fn accept<F>(listener: SeqListener, mut stop: Stop, mut serve: impl FnMut(SeqPacket) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => match accepted {
                Ok(socket) => drop(connections.spawn(serve(socket))),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_REST).await;
                }
            },
            Some(_) = connections.join_next() => {}
            () = stop.requested() => break,
        }
    }
}

async fn one_proxy(
    socket: SeqPacket,
    id: ProxyId,
    proxy: TrustedUid,
    node: NodeName,
    inputs: mpsc::Sender<Input>,
) {
    let (end, greeting) = match AgentEnd::handshake(socket, proxy, &node).await {
        Ok(joined) => joined,
        Err(error) => {
            tracing::warn!(error = chain(&error), "a connection that is no node proxy's");
            return;
        }
    };
    tracing::info!(proxy = id.0, pid = greeting.pid, version = greeting.version, "proxy connected");
    let (out, messages) = mpsc::channel(OUT_QUEUE);
    if inputs.send(Input::Joined { id, greeting, out }).await.is_ok() {
        let why = converse(&end, id, &inputs, messages).await;
        tracing::info!(proxy = id.0, why, "proxy disconnected");
        // An actor that is gone has nothing to forget.
        drop(inputs.send(Input::Gone(id)).await);
    }
}

/// Carries messages both ways, each way on its own so that a proxy that is slow to read is still heard.
async fn converse(
    end: &AgentEnd,
    id: ProxyId,
    inputs: &mpsc::Sender<Input>,
    mut messages: mpsc::Receiver<Out>,
) -> String {
    let listen = async {
        loop {
            match end.recv().await {
                Ok(Some(said)) => {
                    if inputs.send(Input::Said(id, said)).await.is_err() {
                        return "the agent is ending".to_owned();
                    }
                }
                Ok(None) => return "closed".to_owned(),
                Err(error) => return chain(&error),
            }
        }
    };
    let speak = async {
        while let Some(message) = messages.recv().await {
            if let Err(error) = end.send(&message).await {
                return chain(&error);
            }
        }
        "it did not listen, or the agent is ending".to_owned()
    };
    tokio::pin!(listen);
    let why = tokio::select! {
        why = &mut listen => return why,
        why = speak => why,
    };
    // It may have said something before it went, such as what the next proxy is to get.
    drop(tokio::time::timeout(LAST_WORDS_WAIT, listen).await);
    why
}

async fn one_request(socket: SeqPacket, cluster: String, inputs: mpsc::Sender<Input>) {
    let asked = match tokio::time::timeout(REQUEST_WAIT, Asked::read(socket)).await {
        Ok(Ok(asked)) => asked,
        Ok(Err(error)) => {
            tracing::warn!(error = chain(&error), "a request that is no CNI plugin's");
            return;
        }
        Err(_) => {
            tracing::warn!("a CNI plugin that asks for nothing");
            return;
        }
    };
    let (reply, answer) = oneshot::channel();
    let (asked, input) = take(asked, &cluster, reply);
    let answer = match inputs.send(input).await {
        Ok(()) => answer.await.ok(),
        Err(_) => None,
    };
    let answer = answer.unwrap_or_else(|| Answer::Failed { reason: "the agent is ending".to_owned() });
    tracing::info!(?answer, "CNI request answered");
    if let Err(error) = asked.answer(&answer).await {
        tracing::warn!(error = chain(&error), "the CNI plugin did not wait for its answer");
    }
}

/// The request in the actor's terms, and whom to answer.
fn take(
    asked: Asked,
    cluster: &str,
    reply: oneshot::Sender<Answer>,
) -> (weft_agent_link::cni::Pending, Input) {
    let (pending, request) = asked.split();
    let input = match request {
        Request::Add { pod, netns } => Input::CniAdd { wanted: wanted(pod, cluster), netns, reply },
        Request::Del { namespace, name, pod_uid } => Input::CniDel {
            uid: workload_uid(cluster, &namespace, &name),
            pod_uid: pod_uid.unwrap_or_default(),
            reply,
        },
    };
    (pending, input)
}

fn wanted(pod: CniPod, cluster: &str) -> Wanted {
    Wanted {
        uid: workload_uid(cluster, &pod.namespace, &pod.name),
        pod_uid: pod.pod_uid.into(),
        namespace: pod.namespace.into(),
        name: pod.name.into(),
        addresses: pod.addresses,
        netns: Some(PathBuf::from(pod.netns_path)),
        // One that is being made has none.
        existing: ExistingRule::default(),
        // Discovery will say, moments later.
        acceleration: Acceleration::Standard,
    }
}

/// A pod's key in discovery (wire facts §2).
fn workload_uid(cluster: &str, namespace: &str, name: &str) -> WorkloadUid {
    WorkloadUid::new(format!("{cluster}//Pod/{namespace}/{name}"))
}
