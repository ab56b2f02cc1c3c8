//! What a cluster takes, it gives back. Alone in its process, so that descriptors and threads can be counted.

mod common;

use std::time::Duration;

use common::Fixture;

fn count(dir: &str) -> usize {
    std::fs::read_dir(dir).unwrap().count()
}

#[test]
fn a_hundred_clusters_leave_no_task_thread_or_descriptor() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let life = async || {
        let f = Fixture::new(3, Duration::from_secs(30)).await;
        f.write("control", &[b"start\nkill i002\nrestart -t 0\n"]).await.unwrap();
        assert_eq!(f.read("i002/state").unwrap(), "running\n");
    };
    runtime.block_on(life());
    let settled = || {
        for _ in 0..12_000 {
            if runtime.metrics().num_alive_tasks() == 0 {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("{} tasks are left", runtime.metrics().num_alive_tasks());
    };
    settled();
    let before = (count("/proc/self/fd"), count("/proc/self/task"));
    for _ in 0..100 {
        runtime.block_on(life());
    }
    settled();
    assert_eq!((count("/proc/self/fd"), count("/proc/self/task")), before);
}
