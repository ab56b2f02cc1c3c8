//! Any template is rendered, the same each time and for each node, or refused with a sentence; the engine never panics.
//!
//! Left out is what is known to take memory until the deadline, and is the user's own to write: a list times a number,
//! and lists in lists made into one string.

use std::net::Ipv4Addr;

use cthulhu::template::{Nodes, check, render};

const HUNGRY: [&str; 3] = ["*", "tojson", "pprint"];

pub fn takes(data: &[u8]) -> bool {
    let source = super::utf8(data);
    if source.len() > 1024 || HUNGRY.iter().any(|word| source.contains(word)) {
        return false;
    }
    let nodes = Nodes::new(8080, (1..=3).map(|nth| (format!("i{nth:03}"), Ipv4Addr::new(172, 30, 0, nth + 1))));
    let rendered = render(source, "etc/some.conf", &nodes.variables(0));
    match &rendered {
        Ok(text) if !source.contains(['{']) => assert_eq!(text, source),
        Ok(_) => {}
        Err(error) => {
            let sentence = error.to_string();
            assert!(sentence.contains("etc/some.conf") && !sentence.contains('\n'), "{sentence:?}");
            assert!(!sentence.contains("the template engine failed"), "{sentence}");
            assert!(check(source, "etc/some.conf", &nodes).is_err(), "the first node's error is one of all");
        }
    }
    rendered.is_ok()
}
