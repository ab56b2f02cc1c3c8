//! The node's config file.

use std::net::Ipv4Addr;
use std::path::Path;

use serde::Deserialize;

/// Who a node is and who its peers are. Fields it doesn't know are ignored.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Config {
    /// The node's own address.
    #[serde(rename = "self")]
    pub(crate) own: Ipv4Addr,
    /// TCP port of the view, and UDP port of the heartbeats.
    pub(crate) port: u16,
    /// Whether it is the first node. Only shown.
    #[serde(default)]
    pub(crate) master: bool,
    /// The other nodes. All nodes use the same port.
    #[serde(default)]
    pub(crate) peers: Vec<Ipv4Addr>,
}

impl Config {
    /// Reads it; the error is a sentence.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
        Self::parse(&text).map_err(|e| format!("{} is no config: {e}", path.display()))
    }

    fn parse(text: &str) -> Result<Self, String> {
        let mut config: Self = serde_json::from_str(text).map_err(|e| e.to_string())?;
        if config.port == 0 {
            return Err("port must not be 0".to_owned());
        }
        // A list of all nodes is an easy mistake, and what is meant is clear.
        config.peers.retain(|&peer| peer != config.own);
        config.peers.sort_unstable();
        config.peers.dedup();
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_config_as_the_mount_writes_it() {
        let text = r#"{"self":"172.30.0.2","port":8080,"master":true,"peers":["172.30.0.4","172.30.0.3"]}"#;
        let expected = Config {
            own: Ipv4Addr::new(172, 30, 0, 2),
            port: 8080,
            master: true,
            peers: vec![Ipv4Addr::new(172, 30, 0, 3), Ipv4Addr::new(172, 30, 0, 4)],
        };
        assert_eq!(Config::parse(text).unwrap(), expected);
    }

    #[test]
    fn oneself_and_doubles_are_no_peers() {
        let text = r#"{"self":"10.0.0.1","port":1,"more":[],
                       "peers":["10.0.0.2","10.0.0.1","10.0.0.2"]}"#;
        let config = Config::parse(text).unwrap();
        assert_eq!(config.peers, [Ipv4Addr::new(10, 0, 0, 2)]);
        assert!(!config.master);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, word) in [
            ("", "EOF"),
            (r#"{"port":1}"#, "self"),
            (r#"{"self":"10.0.0.1"}"#, "port"),
            (r#"{"self":"10.0.0.1","port":0}"#, "port"),
            (r#"{"self":"i001","port":1}"#, "IPv4"),
        ] {
            let error = Config::parse(text).unwrap_err();
            assert!(error.contains(word), "{error}");
        }
        let error = Config::read(Path::new("/nowhere/config.json")).unwrap_err();
        assert!(error.starts_with("cannot read /nowhere/config.json: "));
    }
}
