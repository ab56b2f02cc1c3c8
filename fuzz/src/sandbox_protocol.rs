//! Both ends of the wire to a sandbox. What a sandbox is asked it answers, a line a line. What the daemon is answered
//! cannot make it panic, wait for more than has come, or take another's answer for its own.

use cthulhu::engine::Attachment;
use cthulhu::sandbox::{Client, FakeNamespace, serve};

pub fn takes(data: &[u8]) -> bool {
    let mut taken = false;
    let mut answers = Vec::new();
    serve(data, &mut answers, &mut FakeNamespace::default()).unwrap();
    let lines = data.split(|byte| *byte == b'\n').count() - usize::from(data.is_empty() || data.ends_with(b"\n"));
    let text = String::from_utf8(answers).unwrap();
    assert_eq!(text.lines().count(), lines);
    for line in text.lines() {
        let answer: serde_json::Value = serde_json::from_str(line).unwrap();
        taken |= answer["ok"] == true;
        assert!(answer["ok"] == true || !answer["error"].as_str().unwrap().is_empty());
    }

    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let stdout = Box::pin(std::io::Cursor::new(data.to_vec()));
        let mut client = Client::new(Attachment { stdin: Box::pin(tokio::io::sink()), stdout });
        for id in 1..=3 {
            // An answer is for the request with its number.
            if client.hello().await.is_ok() {
                taken = true;
                let number = |line: &[u8]| serde_json::from_slice::<serde_json::Value>(line).ok()?["id"].as_u64();
                assert!(data.split(|byte| *byte == b'\n').any(|line| number(line) == Some(id)));
            }
        }
    });
    taken
}
