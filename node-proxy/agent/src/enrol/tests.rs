//! Enrolments against a kernel side that only takes notes; namespaces are files.

use super::*;
use crate::capture::{CaptureError, Pair};
use std::collections::HashMap;
use std::fs::File;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;

/// Takes notes. A namespace's cookie is the number of its file.
#[derive(Default)]
struct Notes {
    log: Mutex<Vec<String>>,
    captured: Mutex<HashMap<Key, u64>>,
    refuse: Option<&'static str>,
    joining: bool,
    /// Older connections that there is no room for.
    no_room: usize,
}

impl Notes {
    fn note(&self, what: &'static str) -> Result<(), CaptureError> {
        self.log.lock().push(what.to_owned());
        if self.refuse == Some(what) { Err(CaptureError::new("refusing", what)) } else { Ok(()) }
    }
}

impl Capture for Notes {
    fn netns_cookie(&self, netns: BorrowedFd<'_>) -> Result<u64, CaptureError> {
        let file = File::from(netns.try_clone_to_owned().map_err(|e| CaptureError::new("cloning", e))?);
        file.metadata().map(|data| data.ino()).map_err(|e| CaptureError::new("asking", e))
    }

    fn inside(&self, _netns: BorrowedFd<'_>, work: &mut dyn FnMut()) -> Result<(), CaptureError> {
        self.note("enter")?;
        work();
        Ok(())
    }

    fn enrol(&self, pod: Attachment<'_>) -> Result<(), CaptureError> {
        self.note("enrol")?;
        self.captured.lock().insert(pod.key.clone(), self.netns_cookie(pod.netns)?);
        Ok(())
    }

    fn captured(&self, key: &Key) -> Option<u64> {
        self.captured.lock().get(key).copied()
    }

    fn is_joining(&self, _: &Key) -> Result<bool, CaptureError> {
        Ok(self.joining)
    }

    fn settle(&self, _: &Key) -> Result<(), CaptureError> {
        self.note("settle")
    }

    fn register(&self, _: &Key, _: Chosen, _: BorrowedFd<'_>) -> Result<(), CaptureError> {
        self.note("register")
    }

    fn own(&self, _: BorrowedFd<'_>) -> Result<(), CaptureError> {
        // Once for every socket: not noted, so that the log does not depend on their number.
        if self.refuse == Some("own") { Err(CaptureError::new("refusing", "own")) } else { Ok(()) }
    }

    fn set_acceleration(&self, _: &Key, _: Acceleration) -> Result<(), CaptureError> {
        Ok(())
    }

    fn set_addresses(&self, _: &Key, _: &[IpAddr]) -> Result<(), CaptureError> {
        self.note("addresses")
    }

    fn release(&self, key: &Key) -> Result<(), CaptureError> {
        self.note("release")?;
        self.captured.lock().remove(key);
        Ok(())
    }

    fn socket_cookie(&self, _: BorrowedFd<'_>) -> Result<u64, CaptureError> {
        Ok(1)
    }

    fn exempt(&self, _: &Key, _: &[Pair]) -> Result<usize, CaptureError> {
        self.note("exempt").map(|()| self.no_room)
    }

    fn exempted(&self, _: &Key) -> Result<Vec<Pair>, CaptureError> {
        Ok(Vec::new())
    }

    fn end_exemptions(&self, _: &Key, _: &[Pair]) -> Result<(), CaptureError> {
        Ok(())
    }

    fn destroy(&self, _: &[Pair]) -> Result<usize, CaptureError> {
        Ok(0)
    }

    fn can_destroy(&self) -> Result<(), CaptureError> {
        Ok(())
    }

    fn device_events(&self, _: &Key) -> Result<OwnedFd, CaptureError> {
        Err(CaptureError::new("listening", "no devices here"))
    }

    fn refresh_devices(&self, _: &Key) -> Result<(), CaptureError> {
        self.note("refresh")
    }

    fn uncontained(&self, _: &Key) -> Vec<String> {
        Vec::new()
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        Vec::new()
    }
}

fn task(name: &str, netns: &std::path::Path, before: Before) -> Task {
    let wanted = Wanted {
        uid: WorkloadUid::new(name),
        pod_uid: format!("uid-{name}").into(),
        namespace: "default".into(),
        name: name.into(),
        addresses: Vec::new(),
        netns: Some(netns.to_owned()),
        existing: ExistingRule::default(),
        acceleration: Acceleration::Standard,
    };
    Task { key: Key::of(&wanted), wanted, netns: None, held: None, workers: Workers::clamped(1), before }
}

fn failing(refuse: &'static str) -> (Arc<Notes>, Enroller) {
    let notes = Arc::new(Notes { refuse: Some(refuse), ..Notes::default() });
    (notes.clone(), Enroller::new(notes).expect("an enroller"))
}

#[test]
fn what_fails_leaves_nothing_and_what_was_captured_stays() {
    let folder = tempfile::tempdir().expect("folder");
    let netns = folder.path().join("netns");
    File::create(&netns).expect("a namespace");
    for (case, refuse, before, log) in [
        ("a namespace that cannot be entered", "enter", Before::Nothing, vec!["enter"]),
        ("a mark that is refused", "own", Before::Nothing, vec!["enter"]),
        ("the same, adopted", "enter", Before::Captured, vec!["enter"]),
    ] {
        let (notes, enroller) = failing(refuse);
        let failed = enroller.enrol(task("a", &netns, before)).expect_err(case);
        assert_eq!(*notes.log.lock(), log, "{case}: {}", chain(&failed));
        // Once it has failed, another may have the namespace, unless it is captured already.
        let other = enroller
            .claim(File::open(&netns).expect("open").metadata().expect("data").ino(), &WorkloadUid::new("b"));
        assert_eq!(other.is_ok(), before == Before::Nothing, "{case}");
    }
}

#[test]
fn namespaces_that_are_no_pods() {
    let folder = tempfile::tempdir().expect("folder");
    let netns = folder.path().join("netns");
    File::create(&netns).expect("a namespace");
    let notes = Arc::new(Notes::default());
    let enroller = Enroller::new(notes).expect("an enroller");
    let missing = enroller.enrol(task("a", &folder.path().join("nothing"), Before::Nothing));
    assert!(matches!(missing, Err(EnrolError::Open { .. })));
    let own = enroller.enrol(task("a", std::path::Path::new("/proc/self/ns/net"), Before::Nothing));
    assert!(matches!(own, Err(EnrolError::NodesOwn)));
    let nowhere = Task {
        wanted: Wanted { netns: None, ..task("a", &netns, Before::Nothing).wanted },
        ..task("a", &netns, Before::Nothing)
    };
    assert!(matches!(enroller.enrol(nowhere), Err(EnrolError::NoNetns)));

    let cookie = std::fs::metadata(&netns).expect("data").ino();
    enroller.claim(cookie, &WorkloadUid::new("first")).expect("free");
    let second = enroller.enrol(task("second", &netns, Before::Nothing));
    assert!(matches!(second, Err(EnrolError::Claimed { other }) if other.as_str() == "first"));
    enroller
        .release(&WorkloadUid::new("first"), &Key::parse("first").expect("a key"), None)
        .expect("released");
    enroller.claim(cookie, &WorkloadUid::new("second")).expect("free again");
}

#[test]
fn a_namespace_made_again_under_its_path_is_noticed() {
    let folder = tempfile::tempdir().expect("folder");
    let netns = folder.path().join("netns");
    File::create(&netns).expect("a namespace");
    let notes = Arc::new(Notes::default());
    let enroller = Enroller::new(notes.clone()).expect("an enroller");
    let opened = open(&netns).expect("open");
    let cookie = notes.netns_cookie(opened.as_fd()).expect("a cookie");
    let held = Netns { fd: Arc::new(opened), cookie };
    assert!(!leads_elsewhere(&netns, &held));
    std::fs::remove_file(&netns).expect("removed");
    assert!(!leads_elsewhere(&netns, &held), "gone is not another: it may come yet");
    File::create(&netns).expect("another namespace");
    assert!(leads_elsewhere(&netns, &held));
    assert!(
        !leads_elsewhere(Path::new("/proc/self/ns/net"), &held),
        "what is on another device is none of ours"
    );

    let task = task("a", &netns, Before::Captured);
    notes.captured.lock().insert(task.key.clone(), cookie);
    assert!(matches!(enroller.enrol(task), Err(EnrolError::Replaced)), "an earlier agent has captured it");
}

#[test]
fn older_connections_without_room_keep_no_pod_outside() {
    let folder = tempfile::tempdir().expect("folder");
    let netns = folder.path().join("netns");
    File::create(&netns).expect("a namespace");
    let notes = Arc::new(Notes { joining: true, no_room: 3, ..Notes::default() });
    let enroller = Enroller::new(notes.clone()).expect("an enroller");
    let key = Key::parse("a").expect("a key");
    let task = task("a", &netns, Before::Nothing);
    let fd = Arc::new(open(&netns).expect("open"));
    let cut_off = enroller.capture_with(&key, &task.wanted, &Netns { fd, cookie: 1 }, &[]);
    assert_eq!(cut_off.expect("enrolled"), 3);
    assert_eq!(notes.log.lock().last().map(String::as_str), Some("settle"));
}

#[test]
fn what_a_proxy_brings_is_checked() {
    let enroller = Enroller::new(Arc::new(Notes::default())).expect("an enroller");
    let plain = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("socket");
    plain
        .bind(&socket2::SockAddr::from("127.0.0.1:0".parse::<std::net::SocketAddr>().expect("address")))
        .expect("bound");
    plain.listen(1).expect("listening");
    let pipe = std::io::pipe().expect("pipe").0;
    for (case, socket) in [("another port", OwnedFd::from(plain)), ("no socket", pipe.into())] {
        let listener = Listener { kind: ListenerKind::Outbound, socket };
        assert!(sockets::check_held(&listener).is_err(), "{case}");
        let held = Held { uid: WorkloadUid::new("a"), netns_cookie: 1, listeners: vec![listener] };
        assert!(enroller.complete(held).is_none(), "{case}: and kinds are missing");
    }
}

#[test]
fn causes_are_told_once_each() {
    let error = EnrolError::Capture(CaptureError::new("attaching", "no such device"));
    assert_eq!(chain(&error), "capturing its traffic: attaching: no such device");
}
