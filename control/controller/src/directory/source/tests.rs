//! The source on a real folder. Nothing sleeps: every step waits for the batch that it has to bring about.

use super::*;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::symlink;
use tempfile::TempDir;
use tokio::task::JoinHandle;

/// Longest wait for a batch. A change takes some 50 ms; a machine under load takes longer.
const PATIENCE: Duration = Duration::from_secs(20);

struct Followed {
    folder: TempDir,
    /// Where the last good versions are.
    kept: TempDir,
    batches: mpsc::Receiver<Batch>,
    task: JoinHandle<()>,
}

fn source(root: &Path, kept: &TempDir, timing: Timing) -> DirectorySource {
    let last_good = LastGood::open(root, kept.path().join("kept")).expect("a place for copies");
    DirectorySource::open(root.to_owned(), timing, last_good, IndexConfig::default()).expect("a folder")
}

fn pod(name: &str) -> String {
    format!("---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\n")
}

impl Followed {
    /// Follows a folder with pod `a` in `a.yaml`. Without events there are no looks at all.
    async fn start() -> Self {
        let folder = TempDir::new().expect("a folder");
        fs::write(folder.path().join("a.yaml"), pod("a")).expect("a file");
        let timing = Timing { rescan: PATIENCE * 10, ..Timing::default() };
        let mut followed = Self::follow(folder, timing);
        let first = followed.next().await;
        assert_eq!((&first.kind, told(&first)), (&BatchKind::Initial, vec!["+a".to_owned()]));
        followed
    }

    fn follow(folder: TempDir, timing: Timing) -> Self {
        Self::follow_with(folder, TempDir::new().expect("a folder"), timing)
    }

    fn follow_with(folder: TempDir, kept: TempDir, timing: Timing) -> Self {
        let source = source(folder.path(), &kept, timing);
        let (sender, batches) = mpsc::channel(1);
        Self { folder, kept, batches, task: tokio::spawn(source.run(sender)) }
    }

    /// Another process, on the same folder.
    async fn restart(self, change: impl FnOnce(&Path)) -> (Self, Batch) {
        let Self { folder, kept, batches, task } = self;
        drop(batches);
        task.await.expect("the source ends");
        change(folder.path());
        let mut followed =
            Self::follow_with(folder, kept, Timing { rescan: PATIENCE * 10, ..Timing::default() });
        let first = followed.next().await;
        (followed, first)
    }

    async fn next(&mut self) -> Batch {
        let batch = tokio::time::timeout(PATIENCE, self.batches.recv()).await;
        batch.expect("a batch in time").expect("the source goes on")
    }

    /// The names that the next batch tells of: `+` there, `-` gone.
    async fn told(&mut self) -> Vec<String> {
        told(&self.next().await)
    }

    /// The names that the next batches tell of, until there are so many: on a slow machine steps that follow
    /// each other closely may come one by one.
    async fn told_in_all(&mut self, count: usize) -> Vec<String> {
        let mut names = Vec::new();
        while names.len() < count {
            names.extend(self.told().await);
        }
        names
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    fn write(&self, file: &str, text: &str) {
        fs::write(self.path(file), text).expect("a file");
    }
}

fn told(batch: &Batch) -> Vec<String> {
    let tell = |change: &Change| match change {
        Change::Upsert { .. } | Change::Refuse { .. } => format!("+{}", change.key().name),
        Change::Delete(key) => format!("-{}", key.name),
    };
    batch.changes.iter().map(tell).collect()
}

#[tokio::test]
async fn writes_renames_and_deletes_are_followed() {
    let mut followed = Followed::start().await;
    followed.write("b.yml", &pod("b"));
    assert_eq!(followed.told().await, ["+b"], "a new file");
    followed.write("a.yaml", &(pod("a") + &pod("a2")));
    assert_eq!(followed.told().await, ["+a2"], "written in place");
    followed.write("new.tmp", &pod("a3"));
    fs::rename(followed.path("new.tmp"), followed.path("a.yaml")).unwrap();
    assert_eq!(followed.told().await, ["-a", "-a2", "+a3"], "replaced by renaming");
    fs::remove_file(followed.path("b.yml")).unwrap();
    assert_eq!(followed.told().await, ["-b"], "deleted");
    fs::create_dir_all(followed.path("more/inside")).unwrap();
    followed.write("more/inside/c.json", r#"{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "c"}}"#);
    assert_eq!(followed.told().await, ["+c"], "in a new folder");
    fs::rename(followed.path("more"), followed.path("away")).unwrap();
    followed.write("d.yaml", &pod("d"));
    let changes = followed.told_in_all(2).await;
    assert_eq!(changes, ["+c", "+d"], "its source is another file now");
    fs::remove_dir_all(followed.path("away")).unwrap();
    assert_eq!(followed.told().await, ["-c"], "gone with its folder");
    drop(followed.batches);
    followed.task.await.expect("the source ends with its receiver");
}

#[tokio::test]
async fn a_file_that_is_being_written_is_not_read() {
    let mut followed = Followed::start().await;
    let mut file = OpenOptions::new().write(true).truncate(true).open(followed.path("a.yaml")).unwrap();
    file.write_all(b"---\napiVersion: v1\n").unwrap();
    file.flush().unwrap();
    followed.write("b.yaml", &pod("b"));
    file.write_all(b"kind: Pod\nmetadata: {name: a}\n").unwrap();
    file.write_all(pod("a2").as_bytes()).unwrap();
    drop(file);
    let mut changes = followed.told_in_all(2).await;
    changes.sort();
    assert_eq!(changes, ["+a2", "+b"], "pod a was never gone");
}

#[tokio::test]
async fn a_writer_that_begins_as_another_one_ends_is_waited_for_too() {
    let mut followed = Followed::start().await;
    // Longer in all than a burst may take, so that the source looks while some writer is at work.
    for _ in 0..4 {
        let mut file = fs::File::create(followed.path("a.yaml")).unwrap();
        file.write_all(pod("half").as_bytes()).unwrap();
        let unwanted = tokio::time::timeout(Duration::from_millis(150), followed.batches.recv()).await;
        assert!(unwanted.is_err(), "half a file was read: {unwanted:?}");
        file.write_all(pod("b").as_bytes()).unwrap();
    }
    assert_eq!(followed.told().await, ["-a", "+b", "+half"]);
}

#[tokio::test]
async fn a_file_that_is_replaced_without_end_is_read_all_the_while() {
    let mut followed = Followed::start().await;
    let (draft, path) = (followed.path("draft"), followed.path("b.yaml"));
    let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
    let writer = std::thread::spawn(move || {
        for number in 0.. {
            fs::write(&draft, pod(&format!("b{number}"))).unwrap();
            fs::rename(&draft, &path).unwrap();
            match stopped.try_recv() {
                Err(tokio::sync::oneshot::error::TryRecvError::Empty) => {}
                _ => return number,
            }
            // The pace of whoever writes: shorter than a file has to rest that is written in place.
            std::thread::sleep(Duration::from_millis(5));
        }
        0
    });
    // While there is no end of it yet.
    let mut names = vec![followed.told().await, followed.told().await];
    stop.send(()).expect("the writer goes on until it is told");
    let last = format!("+b{}", writer.join().expect("the writer ends"));
    while !names.iter().flatten().any(|name| *name == last) {
        names.push(followed.told().await);
    }
}

#[test]
fn without_events_a_file_that_moves_is_never_gone() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("a.yaml"), pod("a")).unwrap();
    // Nobody writes to it any more.
    let file = fs::File::open(folder.path().join("a.yaml")).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(1)).unwrap();
    let kept = TempDir::new().unwrap();
    let last_good = || LastGood::open(folder.path(), kept.path().to_owned()).unwrap();
    let mut work = Work::new(folder.path().to_owned(), last_good(), IndexConfig::default());
    let mut look = || {
        let (next, done) =
            std::mem::replace(&mut work, Work::new(PathBuf::new(), last_good(), IndexConfig::default()))
                .look(&Pending::default());
        work = next;
        let batch = Batch { changes: done.changes, problems: done.problems, kind: BatchKind::Change };
        (told(&batch), done.unsteady)
    };
    assert_eq!(look(), (vec!["+a".to_owned()], false));
    fs::rename(folder.path().join("a.yaml"), folder.path().join("b.yaml")).unwrap();
    assert_eq!(look(), (vec![], true), "the new file has to look the same twice");
    assert_eq!(look(), (vec!["+a".to_owned()], false), "it comes from another file now");
    fs::remove_file(folder.path().join("b.yaml")).unwrap();
    assert_eq!(look(), (vec!["-a".to_owned()], false));
}

#[tokio::test]
async fn temporary_files_of_editors_are_no_manifests() {
    let mut followed = Followed::start().await;
    for file in [".a.yaml.swp", "a.yaml~", "#a.yaml#", "4913", ".b.yaml"] {
        followed.write(file, &pod("x"));
    }
    followed.write("b.yaml", &pod("b"));
    assert_eq!(followed.told().await, ["+b"]);
}

#[tokio::test]
async fn what_an_editor_has_open_beside_a_manifest_is_not_waited_for() {
    let folder = TempDir::new().expect("a folder");
    // Who waited for a writer would wait longer than this test does.
    let timing = Timing { rescan: PATIENCE * 10, writer_max: PATIENCE * 10, ..Timing::default() };
    let mut followed = Followed::follow(folder, timing);
    followed.next().await;
    let mut open = Vec::new();
    for (file, name) in [(".a.yaml.swp", "a"), ("build.log", "b"), (".hidden.yaml", "c")] {
        let mut beside = fs::File::create(followed.path(file)).unwrap();
        beside.write_all(b"still open").unwrap();
        open.push(beside);
        followed.write(&format!("{name}.yaml"), &pod(name));
        assert_eq!(followed.told().await, [format!("+{name}")], "beside {file}");
    }
}

#[tokio::test]
async fn a_file_that_is_no_yaml_keeps_its_last_version() {
    let mut followed = Followed::start().await;
    followed.write("a.yaml", "a: [\n");
    let batch = followed.next().await;
    assert_eq!((told(&batch), batch.problems.len()), (vec![], 1));
    assert_eq!(batch.problems[0].line, Some(2));
    followed.write("a.yaml", &pod("b"));
    let batch = followed.next().await;
    assert_eq!((told(&batch), batch.problems), (vec!["-a".to_owned(), "+b".to_owned()], vec![]));
}

#[tokio::test]
async fn links_are_followed_as_config_maps_use_them() {
    let folder = TempDir::new().unwrap();
    for (version, name) in [("..1", "a"), ("..2", "b")] {
        fs::create_dir(folder.path().join(version)).unwrap();
        fs::write(folder.path().join(version).join("x.yaml"), pod(name)).unwrap();
    }
    symlink("..1", folder.path().join("..data")).unwrap();
    symlink("..data/x.yaml", folder.path().join("x.yaml")).unwrap();
    let mut followed = Followed::follow(folder, Timing { rescan: PATIENCE * 10, ..Timing::default() });
    assert_eq!(followed.told().await, ["+a"]);
    symlink("..2", followed.path("..new")).unwrap();
    fs::rename(followed.path("..new"), followed.path("..data")).unwrap();
    assert_eq!(followed.told().await, ["-a", "+b"]);
}

#[tokio::test]
async fn a_folder_that_goes_away_keeps_what_it_held() {
    let folder = TempDir::new().unwrap();
    let root = folder.path().join("manifests");
    fs::create_dir(&root).unwrap();
    fs::write(root.join("a.yaml"), pod("a")).unwrap();
    let timing = Timing { rescan: Duration::from_millis(50), ..Timing::default() };
    let kept = TempDir::new().unwrap();
    let source = source(&root, &kept, timing);
    let (sender, batches) = mpsc::channel(1);
    let mut followed = Followed { folder, kept, batches, task: tokio::spawn(source.run(sender)) };
    assert_eq!(followed.told().await, ["+a"]);
    fs::rename(&root, followed.path("elsewhere")).unwrap();
    let batch = followed.next().await;
    assert_eq!((told(&batch), batch.problems.len()), (vec![], 1), "{:?}", batch.problems);
    fs::create_dir(&root).unwrap();
    fs::write(root.join("b.yaml"), pod("b")).unwrap();
    let changes = followed.told_in_all(2).await;
    assert_eq!(changes, ["-a", "+b"], "the new folder is another one, and is followed");
    fs::write(root.join("b.yaml"), pod("c")).unwrap();
    assert_eq!(followed.told().await, ["-b", "+c"]);
}

#[test]
fn only_a_folder_is_followed() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("a.yaml");
    fs::write(&file, "").unwrap();
    assert!(matches!(check_folder(&file), Err(OpenError::NotAFolder { .. })));
    let missing = folder.path().join("missing");
    assert!(matches!(check_folder(&missing), Err(OpenError::Look { .. })));
}

#[tokio::test]
async fn a_file_that_is_broken_at_the_start_holds_what_it_held_before() {
    let mut followed = Followed::start().await;
    followed.write("deny.yaml", &pod("deny"));
    assert_eq!(followed.told().await, ["+deny"]);
    let kept = fs::metadata(followed.kept.path().join("kept/deny.yaml")).unwrap();
    assert_eq!(kept.mode() & 0o777, 0o600, "manifests may hold secrets");
    let (mut followed, first) = followed
        .restart(|folder| {
            fs::write(folder.join("deny.yaml"), "a: [").unwrap();
            fs::write(folder.join("never.yaml"), "a: [").unwrap();
        })
        .await;
    assert_eq!((&first.kind, told(&first)), (&BatchKind::Initial, vec!["+a".to_owned(), "+deny".to_owned()]));
    assert_eq!(first.problems.len(), 2, "{:?}", first.problems);
    followed.write("deny.yaml", &pod("mended"));
    assert_eq!(followed.told().await, ["-deny", "+mended"]);
    fs::remove_file(followed.path("deny.yaml")).unwrap();
    assert_eq!(followed.told().await, ["-mended"]);
    let (_, first) = followed.restart(|folder| fs::write(folder.join("deny.yaml"), "a: [").unwrap()).await;
    assert_eq!(told(&first), ["+a"], "what was removed is not recalled");
}

#[tokio::test]
async fn without_kept_versions_a_broken_file_is_waited_for() {
    let followed = Followed::start().await;
    let kept = followed.kept.path().join("kept");
    let (mut followed, first) = followed
        .restart(|folder| {
            fs::remove_dir_all(kept).unwrap();
            fs::write(folder.join("deny.yaml"), "a: [").unwrap();
        })
        .await;
    let BatchKind::Waiting(reason) = &first.kind else { panic!("{first:?}") };
    assert!(reason.contains("deny.yaml") && first.changes.is_empty(), "{first:?}");
    assert!(first.problems.iter().any(|problem| problem.reason == *reason), "it is told: {first:?}");
    followed.write("deny.yaml", &pod("deny"));
    let batch = followed.next().await;
    assert_eq!((&batch.kind, told(&batch)), (&BatchKind::Initial, vec!["+a".to_owned(), "+deny".to_owned()]));
}

#[test]
fn an_empty_folder_at_the_start_holds_what_it_held_before() {
    let (folder, kept) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let file = |name: &str| folder.path().join(name);
    let begin = || {
        let last_good = LastGood::open(folder.path(), kept.path().to_owned()).unwrap();
        Work::new(folder.path().to_owned(), last_good, IndexConfig::default())
    };
    fs::write(file("a.yaml"), pod("a")).unwrap();
    let (_, done) = begin().look(&Pending::default());
    assert_eq!((done.kind, done.changes.len()), (BatchKind::Initial, 1));
    fs::remove_file(file("a.yaml")).unwrap();
    let (work, done) = begin().look(&Pending::default());
    assert_eq!((done.kind, done.changes.len(), done.problems.len()), (BatchKind::Initial, 1, 1));
    assert!(done.problems[0].reason.contains("volume"), "{:?}", done.problems);
    let (mut work, done) = work.look(&Pending::default());
    assert_eq!((done.changes, done.problems.len()), (vec![], 1), "it stays so");
    fs::write(file("none.yaml"), "").unwrap();
    // New, and without word of it: it has to look the same twice.
    let mut gone = Vec::new();
    while gone.is_empty() {
        let (next, done) = work.look(&Pending::default());
        (work, gone) = (next, done.changes);
    }
    assert!(
        matches!(&gone[..], [Change::Delete(key)] if &*key.name == "a"),
        "it is meant to be empty: {gone:?}"
    );
}

#[tokio::test]
async fn a_volume_that_is_not_mounted_empties_nothing() {
    let folder = TempDir::new().unwrap();
    for (root, file) in [("volume", Some("a")), ("mount point", None), ("other", Some("b"))] {
        fs::create_dir(folder.path().join(root)).unwrap();
        if let Some(name) = file {
            fs::write(folder.path().join(root).join("x.yaml"), pod(name)).unwrap();
        }
    }
    let turn = |to: &str| {
        symlink(to, folder.path().join("new")).unwrap();
        fs::rename(folder.path().join("new"), folder.path().join("manifests")).unwrap();
    };
    turn("volume");
    let timing = Timing { rescan: Duration::from_millis(50), ..Timing::default() };
    let kept = TempDir::new().unwrap();
    let source = source(&folder.path().join("manifests"), &kept, timing);
    let (sender, mut batches) = mpsc::channel(1);
    let running = tokio::spawn(source.run(sender));
    let mut next =
        async || tokio::time::timeout(PATIENCE, batches.recv()).await.expect("in time").expect("it runs");
    assert_eq!(told(&next().await), ["+a"]);
    turn("mount point");
    let batch = next().await;
    assert_eq!((told(&batch), batch.problems.len()), (vec![], 1), "{:?}", batch.problems);
    assert!(batch.problems[0].reason.contains("volume"), "{:?}", batch.problems);
    turn("volume");
    let batch = next().await;
    assert_eq!((told(&batch), batch.problems), (vec![], vec![]), "it is mounted again");
    turn("other");
    let mut changes = Vec::new();
    while changes.len() < 2 {
        changes.extend(told(&next().await));
    }
    assert_eq!(changes, ["-a", "+b"]);
    fs::remove_file(folder.path().join("other/x.yaml")).unwrap();
    assert_eq!(told(&next().await), ["-b"], "the same folder is emptied on purpose");
    drop(running);
}

#[tokio::test]
async fn links_that_lead_back_are_followed_once() {
    let folder = TempDir::new().unwrap();
    fs::create_dir(folder.path().join("team")).unwrap();
    fs::write(folder.path().join("team/a.yaml"), pod("a")).unwrap();
    symlink("..", folder.path().join("team/up")).unwrap();
    symlink(".", folder.path().join("here")).unwrap();
    let mut followed = Followed::follow(folder, Timing { rescan: PATIENCE * 10, ..Timing::default() });
    let batch = followed.next().await;
    assert_eq!((told(&batch), batch.problems), (vec!["+a".to_owned()], vec![]));
}

/// A Service at this port, by a field of this name.
fn service(port: u16, field: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{name: web}}\nspec: {{{field}: [{{name: http, port: {port}}}]}}\n"
    )
}

/// The ports of Service `web` in an index that takes these batches, each of another process.
fn ports(first: &Batch) -> Vec<u16> {
    let mut index = weft_control_index::Index::new(IndexConfig::default());
    drop(index.apply_all(first.changes.iter().cloned()));
    let found = index.services().flat_map(|one| one.ports.iter().map(|port| port.service_port));
    found.collect()
}

#[tokio::test]
async fn what_a_refused_object_was_outlives_a_restart() {
    let mut followed = Followed::start().await;
    followed.write("web.yaml", &(service(80, "ports") + &pod("b")));
    assert_eq!(followed.told_in_all(2).await.len(), 2);
    followed.write("web.yaml", &service(81, "prots"));
    assert_eq!(followed.told_in_all(2).await.len(), 2, "the pod is gone, the Service refused");
    let (followed, first) = followed.restart(|_| {}).await;
    assert_eq!(ports(&first), [80], "refused while the process ran");
    assert!(!told(&first).contains(&"+b".to_owned()), "what was taken away does not come back");
    let again = |root: &Path| fs::write(root.join("web.yaml"), service(82, "prots")).expect("a file");
    let (followed, first) = followed.restart(again).await;
    assert_eq!(ports(&first), [80], "refused once more while nobody looked");
    let broken = |root: &Path| fs::write(root.join("web.yaml"), "a: [").expect("a file");
    let (followed, first) = followed.restart(broken).await;
    assert_eq!(ports(&first), [80], "and broken after that");
    let whole = |root: &Path| fs::write(root.join("web.yaml"), service(83, "ports")).expect("a file");
    let (followed, first) = followed.restart(whole).await;
    assert_eq!(ports(&first), [83], "mended");
    let refused = |root: &Path| fs::write(root.join("web.yaml"), service(84, "prots")).expect("a file");
    let (followed, first) = followed.restart(refused).await;
    assert_eq!(ports(&first), [83], "the last good one is the later one now");
    let beside = |root: &Path| {
        let other = "---\napiVersion: v1\nkind: Pod\nmetadata: {name: b, nmae: c}\n";
        fs::write(root.join("web.yaml"), service(85, "ports") + other).expect("a file");
    };
    let (followed, first) = followed.restart(beside).await;
    assert_eq!(ports(&first), [85], "mended beside what was never good");
    let (followed, first) = followed.restart(refused).await;
    assert_eq!(ports(&first), [85], "that keeps nothing old in force");
    let gone = |root: &Path| fs::remove_file(root.join("web.yaml")).expect("it is there");
    let (_followed, first) = followed.restart(gone).await;
    assert_eq!(ports(&first), Vec::<u16>::new(), "gone on purpose");
}
