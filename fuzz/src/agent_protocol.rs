//! Both ends of the wire to an agent. What an agent is asked cannot make it panic, nor touch what lies outside of its
//! directory, and each answer is a frame that can be told from the next. What the daemon is answered cannot make it panic
//! or wait for more than has come.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cthulhu::agent::{RemoteMounts, serve};
use cthulhu::engine::Attachment;

#[derive(Clone, Default)]
struct Collected(Arc<Mutex<Vec<u8>>>);

impl Write for Collected {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

pub fn takes(data: &[u8]) -> bool {
    let dir = tempfile::tempdir().unwrap();
    let (base, outside) = (dir.path().join("base"), dir.path().join("outside"));
    std::fs::create_dir(&base).unwrap();
    std::fs::write(&outside, "outside").unwrap();
    std::os::unix::fs::symlink("..", base.join("up")).unwrap();
    let answers = Collected::default();
    serve(&base, data, Box::new(answers.clone())).unwrap();
    assert_eq!(std::fs::read(&outside).unwrap(), b"outside");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
    let answers = answers.0.lock().unwrap();
    assert!(answers.is_empty() || answers.ends_with(&[0]));

    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let is_answer = runtime.block_on(async {
        let files = RemoteMounts::default().machine(Duration::from_secs(60), runtime.handle().clone());
        let stdout = Box::pin(std::io::Cursor::new(data.to_vec()));
        let connected = files.connect(Attachment { stdin: Box::pin(tokio::io::sink()), stdout }).await;
        for path in ["a", "b"] {
            let _ = files.add_root(path).await;
        }
        connected.is_ok()
    });
    is_answer || !answers.is_empty()
}
