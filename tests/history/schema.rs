//! docs/history.schema.json, as a reader of the history would use it.

use std::sync::LazyLock;

use jsonschema::Validator;
use serde_json::Value;

static SCHEMA: LazyLock<Validator> = LazyLock::new(|| {
    let schema: Value = serde_json::from_str(include_str!("../../docs/history.schema.json")).unwrap();
    jsonschema::meta::validate(&schema).unwrap();
    jsonschema::validator_for(&schema).unwrap()
});

/// Every line must be one that the schema allows.
pub fn assert_valid(line: &str) {
    let value: Value = serde_json::from_str(line).unwrap();
    if let Err(error) = SCHEMA.validate(&value) {
        panic!("{line}: {error}");
    }
}

fn is_valid(kind: &str) -> bool {
    let line = format!(r#"{{"seq":1,"time":"2026-11-25T07:00:31.123456789Z","mono_ns":5,{kind}}}"#);
    SCHEMA.is_valid(&serde_json::from_str(&line).unwrap())
}

#[test]
fn wrong_lines_are_refused() {
    for good in [
        r#""test":{}"#,
        r#""cluster":{"phase":"engine lost"}"#,
        r#""fault":{"links":["i001>i002 drop"]}"#,
        r#""state":{"node":"i001","from":"running","to":"exited","cause":"exit"}"#,
        r#""command":{"id":1,"phase":"invoke","line":"x","nodes":[]}"#,
    ] {
        assert!(is_valid(good), "{good}");
    }
    for bad in [
        r#""test":[]"#,
        r#""test":{},"ready":{"node":"i001","ready":true}"#,
        r#""testt":{}"#,
        r#""cluster":{"phase":"gone"}"#,
        r#""cluster":{"phase":"mounted"}"#,
        r#""cluster":{"phase":"unmounting","lost":1}"#,
        r#""state":{"node":"i001","from":"running","to":"dead","cause":"exit"}"#,
        r#""state":{"node":"i001","from":"running","to":"exited","cause":"command"}"#,
        r#""state":{"node":"i001","from":"running","to":"exited","cause":"exit","command":1}"#,
        r#""state":{"node":"i001","from":"running","to":"exited","cause":"exit","signal":"SIGKILL"}"#,
        r#""state":{"node":"x","from":"running","to":"exited","cause":"exit"}"#,
        r#""command":{"id":1,"phase":"invoke","nodes":[]}"#,
        r#""command":{"id":1,"phase":"fail","nodes":[]}"#,
        r#""command":{"id":1,"phase":"ok","verb":"stop","nodes":[],"errno":"EIO"}"#,
        r#""command":{"id":0,"phase":"ok","verb":"stop","nodes":[]}"#,
        r#""health":{"node":"i001","health":"ill"}"#,
    ] {
        assert!(!is_valid(bad), "{bad}");
    }
    for bad in [
        r#"{"seq":0,"time":"2026-11-25T07:00:31.123456789Z","mono_ns":5,"test":{}}"#,
        r#"{"seq":1,"time":"2026-11-25T07:00:31Z","mono_ns":5,"test":{}}"#,
        r#"{"seq":1,"time":"2026-11-25T07:00:31.123456789Z","test":{}}"#,
        r#"{"seq":1,"time":"2026-11-25T07:00:31.123456789Z","mono_ns":5}"#,
    ] {
        assert!(!SCHEMA.is_valid(&serde_json::from_str(bad).unwrap()), "{bad}");
    }
}
