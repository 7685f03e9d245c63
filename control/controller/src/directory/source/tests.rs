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
    batches: mpsc::Receiver<Batch>,
    task: JoinHandle<()>,
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
        assert_eq!((first.kind, told(&first)), (BatchKind::Initial, vec!["+a".to_owned()]));
        followed
    }

    fn follow(folder: TempDir, timing: Timing) -> Self {
        let source = DirectorySource::open(folder.path(), timing).expect("a folder");
        let (sender, batches) = mpsc::channel(1);
        Self { folder, batches, task: tokio::spawn(source.run(sender)) }
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
    let mut work = Work { scanner: Scanner::new(folder.path().to_owned()), catalogue: Catalogue::default() };
    let mut look = || {
        let (next, done) = std::mem::replace(&mut work, nothing()).look(&Pending::default());
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

fn nothing() -> Work {
    Work { scanner: Scanner::new(PathBuf::new()), catalogue: Catalogue::default() }
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
    let source = DirectorySource::open(&root, timing).unwrap();
    let (sender, batches) = mpsc::channel(1);
    let mut followed = Followed { folder, batches, task: tokio::spawn(source.run(sender)) };
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
    assert!(matches!(DirectorySource::open(&file, Timing::default()), Err(OpenError::NotAFolder { .. })));
    let missing = folder.path().join("missing");
    assert!(matches!(DirectorySource::open(missing, Timing::default()), Err(OpenError::Look { .. })));
}
