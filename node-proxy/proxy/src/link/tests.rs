//! Which answers of workers count when a pod leaves, and what is passed on while the proxy drains.

use super::*;
use weft_agent_link::{AgentEnd, TrustedUid};
use weft_core::names::NodeName;
use weft_runtime::drain;
use weft_runtime::fds::SeqPacket;
use weft_runtime::ready::Readiness;

fn link(workers: Vec<mpsc::Sender<Command>>, requests: mpsc::Receiver<Request>) -> Link {
    let parts = Readiness::new();
    Link::new(LinkParts {
        path: PathBuf::new(),
        workers,
        requests,
        inherited: mpsc::channel(1).0,
        keep: watch::channel(Vec::new()).1,
        enrolled: watch::channel(Vec::new()).0,
        condition: parts.condition("agent", "not linked yet"),
        stopper: Arc::new(drain::channel().0),
    })
}

#[test]
fn a_pod_is_released_by_answers_to_the_word_about_itself() {
    let workers = vec![mpsc::channel(1).0, mpsc::channel(1).0];
    let (mut link, pod) = (link(workers, mpsc::channel(1).1), WorkloadUid::new("Kubernetes//Pod/shop/db-0"));
    let leaving = Leaving { release: 2, left: link.workers.len() };
    let held = HeldPod { netns_cookie: 1, listeners: Vec::new(), leaving: Some(leaving) };
    link.pods.insert(pod.clone(), held);
    for (case, release, want) in [
        ("the first pod of that name, one worker", 1, false),
        ("the first pod of that name, the other worker", 1, false),
        ("the second one, one worker", 2, false),
        ("the second one, the other worker", 2, true),
        ("it is gone", 2, false),
    ] {
        assert_eq!(link.on_released(&pod, release), want, "{case}");
    }
}

#[tokio::test]
async fn what_a_draining_worker_asks_for_comes_to_it() {
    let (one, other) = SeqPacket::pair().expect("a pair");
    let me = TrustedUid(one.peer().expect("a peer").uid);
    let node = NodeName::new("node1");
    let (agent, proxy) = tokio::join!(
        AgentEnd::handshake(one, me, &node),
        ProxyEnd::handshake(other, me, Workers::clamped(1))
    );
    let ((agent, _), (proxy, _)) = (agent.expect("an agent"), proxy.expect("a proxy"));
    let (commands, mut worker) = mpsc::channel(4);
    let (ask, asked) = mpsc::channel(4);
    let mut link = link(vec![commands], asked);
    let (uid, kind) = (WorkloadUid::new("Kubernetes//Pod/shop/web"), SocketKind::TcpV4);
    let drained = async {
        assert!(matches!(worker.recv().await, Some(Command::Drain)));
        let sockets = Request::Sockets { worker: 0, pod: uid.clone(), kind, count: 1 };
        ask.send(sockets).await.expect("somebody listens");
        assert!(matches!(agent.recv().await, Ok(Some(FromProxy::Draining))));
        assert!(matches!(agent.recv().await, Ok(Some(FromProxy::NeedSockets { count: 1, .. }))));
        let sockets = vec![seal(b"any descriptor").expect("sealed")];
        agent.send(&FromAgent::Sockets { uid: uid.clone(), kind, sockets }).await.expect("it listens");
        let given = worker.recv().await;
        ask.send(Request::Drained { worker: 0 }).await.expect("somebody listens");
        given
    };
    let both = async { tokio::join!(link.drain(Some(&proxy)), drained).1 };
    let given = tokio::time::timeout(Duration::from_secs(20), both).await.expect("in time");
    assert!(matches!(given, Some(Command::Sockets { sockets, .. }) if sockets.len() == 1));
}
