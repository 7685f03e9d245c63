//! Which answers of workers count when a pod leaves.

use super::*;
use weft_runtime::drain;
use weft_runtime::ready::Readiness;

fn link() -> Link {
    let (parts, workers) = (Readiness::new(), vec![mpsc::channel(1).0, mpsc::channel(1).0]);
    Link::new(LinkParts {
        path: PathBuf::new(),
        workers,
        requests: mpsc::channel(1).1,
        inherited: mpsc::channel(1).0,
        keep: watch::channel(Vec::new()).1,
        enrolled: watch::channel(Vec::new()).0,
        condition: parts.condition("agent", "not linked yet"),
        stopper: Arc::new(drain::channel().0),
    })
}

#[test]
fn a_pod_is_released_by_answers_to_the_word_about_itself() {
    let (mut link, pod) = (link(), WorkloadUid::new("Kubernetes//Pod/shop/db-0"));
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
