//! Connections that break, and agents that are lost.

use rustix::io::Errno;
use tempfile::TempDir;
use tokio::runtime::Handle;

use super::*;
use crate::passthrough::FileEntry;
use crate::sweep::{Content, IfThere, Planted};

const DESCRIPTORS: Descriptors = Descriptors { files: 1000, directories: 1000, most: 2000, all: 4000 };

struct Bed {
    dir: TempDir,
    mounts: Arc<RemoteMounts>,
    files: Arc<RemoteFiles>,
    host: Host,
    root: u64,
}

impl Bed {
    async fn new(timeout: Duration) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("f"), "content").unwrap();
        let mounts = Arc::new(RemoteMounts::default());
        let files = mounts.machine(timeout, Handle::current());
        let host = Host::new(dir.path(), DESCRIPTORS);
        files.connect(host.attach()).await.unwrap();
        let root = files.add_root(".").await.unwrap();
        Self { dir, mounts, files, host, root }
    }

    /// Asks; the answer comes later.
    fn ask(&self, ino: u64, request: Request<'_>) -> impl Future<Output = Result<Answer>> + use<> {
        let (answer, answered) = tokio::sync::oneshot::channel();
        self.mounts.send(elsewhere(ino).unwrap(), 0, request, move |done| answer.send(done).unwrap());
        async { answered.await.unwrap() }
    }

    fn lookup(&self) -> impl Future<Output = Result<Answer>> + use<> {
        self.ask(self.root, Request::Lookup { parent: self.root, name: b"f" })
    }

    async fn found(&self) -> FileEntry {
        let Ok(Answer::Entry(entry)) = self.lookup().await else { panic!("not found") };
        entry
    }

    async fn open(&self, ino: u64) -> Result<crate::passthrough::Fh> {
        match self.ask(ino, Request::Open { ino, flags: libc::O_RDONLY, executes: false }).await? {
            Answer::Opened(fh) => Ok(fh),
            other => panic!("{other:?}"),
        }
    }

    async fn connect_again(&self) {
        self.host.cut();
        self.files.disconnected().await;
        self.files.connect(self.host.attach()).await.unwrap();
    }

    /// How many files the agent knows, the root among them, once it has seen all that was sent.
    async fn known(&self) -> usize {
        self.files.ask(&Message::Beat).await.unwrap();
        self.host.session.files.get().unwrap().1.known()
    }
}

#[tokio::test]
async fn files_stay_open_when_the_connection_breaks() {
    let bed = Bed::new(LONG).await;
    let ino = bed.found().await.attr.ino;
    let fh = bed.open(ino).await.unwrap();
    bed.host.cut();
    bed.files.disconnected().await;
    let read = Request::Read { fh, offset: 0, size: 100 };
    assert_eq!(bed.ask(ino, read).await, Err(Errno::HOSTDOWN));
    bed.connect_again().await;
    assert_eq!(bed.ask(ino, read).await, Ok(Answer::Data(b"content".to_vec())));
    assert_eq!(bed.found().await.attr.ino, ino);
}

#[tokio::test]
async fn what_a_lost_answer_holds_is_given_back() {
    let bed = Bed::new(LONG).await;
    for _ in 0..3 {
        bed.host.lose_answers();
        let lost = bed.lookup();
        while bed.host.session.files.get().unwrap().1.known() < 2 {
            tokio::task::yield_now().await;
        }
        bed.host.cut();
        assert_eq!(lost.await, Err(Errno::HOSTDOWN));
        bed.connect_again().await;
        assert_eq!(bed.known().await, 1);
    }
}

#[tokio::test]
async fn what_was_given_back_gets_there_whatever_breaks() {
    let bed = Bed::new(LONG).await;
    let ino = bed.found().await.attr.ino;
    let fh = bed.open(ino).await.unwrap();
    // Both are lost on the way, or cannot even be sent.
    bed.host.lose_requests_after(0);
    let released = bed.ask(ino, Request::Release { fh });
    bed.host.cut();
    bed.files.disconnected().await;
    assert_eq!(released.await, Err(Errno::HOSTDOWN));
    drop(bed.ask(ino, Request::Forget { ino, count: 1 }));
    bed.connect_again().await;
    assert_eq!(bed.known().await, 1);
    while bed.host.session.files.get().unwrap().1.file(fh).is_ok() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_request_cut_anywhere_is_done_or_not_and_leaves_nothing() {
    for cut in 0..40 {
        let bed = Bed::new(LONG).await;
        bed.host.lose_requests_after(cut);
        let lost = bed.lookup();
        // Time to get to the cut, or there would be less to see.
        tokio::time::sleep(Duration::from_millis(1)).await;
        bed.host.lose_answers();
        bed.host.cut();
        // Unless it was answered before it was cut.
        let answered = lost.await.is_ok();
        bed.connect_again().await;
        let mut left = 1000;
        while bed.known().await != 1 + usize::from(answered) {
            // It was still in work; then what it holds is given back when it is answered.
            tokio::time::sleep(Duration::from_millis(1)).await;
            left -= 1;
            assert!(left > 0, "cut at {cut}");
        }
    }
}

#[tokio::test]
async fn another_agent_knows_nothing_of_the_last_ones_files() {
    let mut bed = Bed::new(LONG).await;
    let ino = bed.found().await.attr.ino;
    let fh = bed.open(ino).await.unwrap();
    bed.host.cut();
    bed.files.disconnected().await;
    bed.host = Host::new(bed.dir.path(), DESCRIPTORS);
    bed.files.connect(bed.host.attach()).await.unwrap();
    assert_eq!(bed.ask(ino, Request::Getattr { ino, fh: None }).await, Err(Errno::STALE));
    assert_eq!(bed.ask(ino, Request::Read { fh, offset: 0, size: 9 }).await, Err(Errno::STALE));
    drop(bed.ask(ino, Request::Forget { ino, count: 1 }));
    let again = bed.found().await.attr.ino;
    assert_ne!(again, ino, "a number is never used again");
    assert!(bed.mounts.together(again, bed.root));
    assert_eq!(bed.known().await, 2);
}

#[tokio::test]
async fn a_silent_agent_is_lost() {
    let bed = Bed::new(Duration::from_millis(300)).await;
    bed.host.lose_answers();
    assert_eq!(bed.lookup().await, Err(Errno::HOSTDOWN));
    bed.files.disconnected().await;
    assert_eq!(bed.lookup().await, Err(Errno::HOSTDOWN));
    assert!(bed.files.connect(Host::new(bed.dir.path(), DESCRIPTORS).attach()).await.is_ok());
}

#[tokio::test]
async fn more_requests_than_may_be_on_the_way_are_all_answered() {
    let bed = Bed::new(LONG).await;
    let all: Vec<_> = (0..3000).map(|_| bed.lookup()).collect();
    for one in all {
        assert!(one.await.is_ok());
    }
}

#[tokio::test]
async fn a_directory_is_filled_and_emptied() {
    let bed = Bed::new(LONG).await;
    let file = |path: &str, size: usize| Planted {
        path: path.into(),
        content: Content::File { content: vec![0; size], mode: 0o640, owner: None },
        if_there: IfThere::Replace,
    };
    let etc = Planted { path: "etc".into(), content: Content::Directory { mode: 0o777 }, if_there: IfThere::Replace };
    // More than goes into one request.
    let planted = [vec![etc], (0..5).map(|nth| file(&format!("etc/f{nth}"), 600 << 10)).collect()].concat();
    bed.files.fill("i001", planted).await.unwrap();
    let etc = bed.dir.path().join("i001/etc");
    assert_eq!(std::fs::read_dir(&etc).unwrap().count(), 5);
    assert_eq!(std::fs::metadata(etc.join("f4")).unwrap().len(), 600 << 10);
    bed.files.empty("i001/etc").await.unwrap();
    assert_eq!(std::fs::read_dir(&etc).unwrap().count(), 0);
    assert!(bed.files.empty("f").await.is_err());
    for outside in ["..", "../x", "/tmp/x"] {
        assert!(bed.files.fill(outside, vec![]).await.is_err(), "{outside}");
        assert!(bed.files.empty(outside).await.is_err(), "{outside}");
    }
}

#[tokio::test]
async fn nothing_outside_is_served() {
    let bed = Bed::new(LONG).await;
    let outside = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(outside.path(), bed.dir.path().join("link")).unwrap();
    for path in ["..", "/", "link", "none", "f", "link/..", ""] {
        assert!(bed.files.add_root(path).await.is_err(), "{path}");
    }
    std::fs::create_dir(bed.dir.path().join("there")).unwrap();
    assert!(bed.files.add_root("there").await.is_ok());
}

#[tokio::test]
async fn it_may_do_what_the_daemons_user_may() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use crate::passthrough::Caller;

    if !crate::skip::is_root() {
        return;
    }
    let bed = Bed::new(LONG).await;
    let user = (12_345, 23_456);
    std::fs::set_permissions(bed.dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::set_permissions(bed.dir.path().join("f"), std::fs::Permissions::from_mode(0o600)).unwrap();
    bed.files.connect(Host::acting_as(user, bed.dir.path(), DESCRIPTORS).attach()).await.unwrap();
    let own = Planted { path: "var".into(), content: Content::Directory { mode: 0o777 }, if_there: IfThere::Replace };
    bed.files.fill("i001", vec![own]).await.unwrap();
    let var = bed.files.add_root("i001/var").await.unwrap();

    let file = bed.found().await.attr.ino;
    assert_eq!(bed.open(file).await, Err(Errno::ACCESS));
    let wanted = libc::R_OK.cast_unsigned();
    assert_eq!(bed.ask(file, Request::Access { ino: file, wanted }).await, Err(Errno::ACCESS));
    let caller = Caller { uid: user.0, gid: user.1, pid: 0 };
    let mkdir = |parent| Request::Mkdir { caller, parent, name: b"d", mode: 0o755, umask: 0 };
    assert_eq!(bed.ask(bed.root, mkdir(bed.root)).await, Err(Errno::ACCESS));
    assert!(bed.ask(var, mkdir(var)).await.is_ok());
    for path in ["i001", "i001/var", "i001/var/d"] {
        let meta = std::fs::metadata(bed.dir.path().join(path)).unwrap();
        assert_eq!((meta.uid(), meta.gid()), user, "{path}");
    }
    // As what a node's root has left is.
    std::fs::write(bed.dir.path().join("i001/var/d/root"), "").unwrap();
    bed.files.empty("i001/var").await.unwrap();
    assert_eq!(std::fs::read_dir(bed.dir.path().join("i001/var")).unwrap().count(), 0);
}
