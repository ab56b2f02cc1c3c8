//! Groups of nodes that differ, as `--group` and the options `--group-…` give them.

use std::collections::HashSet;

use anyhow::{Context, Result, anyhow, bail};

use super::args::MountArgs;
use super::group_args::GroupArgs;
use crate::daemon::PlannedNode;
use crate::engine::BRIDGE_PORTS;
use crate::runner::words;

/// The longest host name in bytes (RFC 1035, a label).
const LONGEST_NAME: usize = 63;

/// An option about one group.
struct GroupOption {
    name: &'static str,
    /// What was given.
    values: fn(&GroupArgs) -> &[String],
    /// Says it in the arguments of the group's nodes.
    apply: fn(&mut MountArgs, &str) -> Result<()>,
}

static OPTIONS: [GroupOption; 9] = [
    GroupOption {
        name: "--group-command",
        values: |args| &args.group_command,
        apply: |args, line| {
            args.command = words(line).map_err(|why| anyhow!("{why}"))?;
            Ok(())
        },
    },
    GroupOption {
        name: "--group-env",
        values: |args| &args.group_env,
        apply: |args, variable| {
            args.env.push(variable.into());
            Ok(())
        },
    },
    GroupOption {
        name: "--group-config",
        values: |args| &args.group_config,
        apply: |args, dir| {
            args.config = Some(dir.into());
            Ok(())
        },
    },
    GroupOption {
        name: "--group-initial",
        values: |args| &args.group_initial,
        apply: |args, dir| {
            args.initial = Some(dir.into());
            Ok(())
        },
    },
    GroupOption {
        name: "--group-memory",
        values: |args| &args.group_memory,
        apply: |args, bytes| {
            args.container.memory = Some(bytes.into());
            Ok(())
        },
    },
    GroupOption {
        name: "--group-user",
        values: |args| &args.group_user,
        apply: |args, user| {
            args.container.user = Some(user.into());
            Ok(())
        },
    },
    GroupOption {
        name: "--group-ready-port",
        values: |args| &args.group_ready_port,
        apply: |args, port| {
            let port = port.parse().map_err(|_| anyhow!("'{port}' is no port: a number from 1 to 65535"))?;
            ready(args).ready_port = Some(port);
            Ok(())
        },
    },
    GroupOption {
        name: "--group-ready-log",
        values: |args| &args.group_ready_log,
        apply: |args, pattern| {
            ready(args).ready_log = Some(pattern.into());
            Ok(())
        },
    },
    GroupOption {
        name: "--group-ready-cmd",
        values: |args| &args.group_ready_cmd,
        apply: |args, command| {
            ready(args).ready_cmd = Some(command.into());
            Ok(())
        },
    },
];

/// Arguments without what makes all nodes ready: the group has a way of its own.
fn ready(args: &mut MountArgs) -> &mut MountArgs {
    (args.ready_port, args.ready_log, args.ready_cmd) = (None, None, None);
    args
}

/// A group, with the arguments of its nodes.
pub(super) struct Group {
    pub(super) name: String,
    count: usize,
    pub(super) args: MountArgs,
}

impl Group {
    /// So many nodes of a service, with the arguments of all.
    pub(super) fn new(name: &str, count: usize, args: &MountArgs) -> Self {
        Self { name: name.into(), count, args: args.clone() }
    }

    /// Its nodes.
    pub(super) fn nodes(&self) -> impl Iterator<Item = PlannedNode> {
        (1..=self.count).map(|nth| PlannedNode {
            name: Some(if self.count == 1 { self.name.clone() } else { format!("{}-{nth}", self.name) }),
            service: Some(self.name.clone()),
            replica: nth,
            ..PlannedNode::default()
        })
    }
}

/// The groups, in the order in which they are given; none without `--group`.
///
/// # Errors
/// A sentence that names the option.
pub(super) fn groups(args: &MountArgs) -> Result<Vec<Group>> {
    let mut groups: Vec<Group> = vec![];
    for text in &args.groups.group {
        let group = group(text, args)?;
        if groups.iter().any(|other| other.name == group.name) {
            bail!("--group {text}: there is a group {} already", group.name);
        }
        groups.push(group);
    }
    let names = groups.iter().flat_map(Group::nodes).filter_map(|node| node.name);
    check_names(&names.collect::<Vec<_>>()).context("--group")?;
    with_options(groups, args)
}

/// Applies the options about one group each.
///
/// # Errors
/// A sentence that names the option.
pub(super) fn with_options(mut groups: Vec<Group>, args: &MountArgs) -> Result<Vec<Group>> {
    for GroupOption { name: option, values, apply } in &OPTIONS {
        let mut ways: Vec<&str> = vec![];
        for text in values(&args.groups) {
            let wrong = || anyhow!("{option} {text}: the form is NAME=…, with the name of a group or service");
            let (name, value) = text.split_once('=').ok_or_else(wrong)?;
            let group = groups.iter_mut().find(|group| group.name == name);
            let group = group.ok_or_else(|| anyhow!("{option} {text}: there is no group or service {name}"))?;
            if *option != "--group-env" && ways.contains(&name) {
                bail!("{option}: it is there twice for the group {name}: choose one");
            }
            ways.push(name);
            apply(&mut group.args, value).with_context(|| format!("{option} {text}"))?;
        }
    }
    check_ready(&args.groups)?;
    Ok(groups)
}

fn group(text: &str, args: &MountArgs) -> Result<Group> {
    let wrong = || anyhow!("--group {text}: the form is NAME:COUNT:IMAGE, as in etcd:3:my-etcd");
    let mut parts = text.splitn(3, ':');
    let (Some(name), Some(count), Some(image)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(wrong());
    };
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) || !name.chars().all(good) {
        bail!("--group {text}: a name has letters, digits, '_', '.' and '-', and begins with a letter or digit");
    }
    let count = count.parse().ok().filter(|count| (1..=BRIDGE_PORTS).contains(count)).ok_or_else(wrong)?;
    if image.is_empty() {
        return Err(wrong());
    }
    let args = MountArgs { image: vec![image.into()], ..args.clone() };
    Ok(Group { name: name.into(), count, args })
}

/// A group can get ready in one way only.
fn check_ready(args: &GroupArgs) -> Result<()> {
    let ways = [&args.group_ready_port, &args.group_ready_log, &args.group_ready_cmd];
    let names = ways.iter().flat_map(|texts| texts.iter().filter_map(|text| Some(text.split_once('=')?.0)));
    let mut names: Vec<_> = names.collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => {
            bail!("--group-ready-port, --group-ready-log and --group-ready-cmd: choose one of them for {}", pair[0])
        }
        None => Ok(()),
    }
}

/// Refuses names that nodes cannot have side by side.
///
/// # Errors
/// A sentence.
pub(super) fn check_names(names: &[String]) -> Result<()> {
    if names.len() > BRIDGE_PORTS {
        bail!("{} nodes are too many: a cluster has at most {BRIDGE_PORTS}", names.len());
    }
    let mut seen = HashSet::new();
    for name in names {
        if name.len() > LONGEST_NAME {
            bail!("{name} is too long for a host name, which has at most {LONGEST_NAME} bytes");
        }
        if !seen.insert(name.as_str()) {
            bail!("two nodes would be called {name}");
        }
    }
    let is_sandbox = |name: &&String| name.strip_suffix("-sandbox").is_some_and(|own| seen.contains(own));
    match names.iter().find(is_sandbox) {
        Some(name) => bail!("{name} is the name of another node's sandbox container; choose another"),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(groups: &[&str], more: impl Fn(&mut GroupArgs)) -> Result<Vec<Group>> {
        let mut args = MountArgs::default();
        args.groups.group = groups.iter().map(|text| (*text).into()).collect();
        args.env = vec!["A=1".into()];
        args.ready_port = Some(1);
        more(&mut args.groups);
        super::groups(&args)
    }

    #[test]
    fn groups_have_names_and_arguments_of_their_own() {
        let groups = read(&["etcd:3:host:5000/etcd:3.5", "pg:1:pg"], |args| {
            args.group_env = vec!["pg=B=2=3".into()];
            args.group_command = vec!["pg=run --name '{{ name }}'".into()];
            args.group_ready_log = vec!["pg=ready".into()];
        });
        let groups = groups.unwrap();
        let names: Vec<_> = groups.iter().flat_map(Group::nodes).filter_map(|node| node.name).collect();
        assert_eq!(names, ["etcd-1", "etcd-2", "etcd-3", "pg"]);
        let [etcd, pg] = [&groups[0].args, &groups[1].args];
        assert_eq!(etcd.image, ["host:5000/etcd:3.5"]);
        assert_eq!((etcd.env.len(), etcd.ready_port), (1, Some(1)));
        assert_eq!(pg.env, ["A=1", "B=2=3"]);
        assert_eq!(pg.command, ["run", "--name", "{{ name }}"]);
        assert_eq!((pg.ready_port, pg.ready_log.as_deref()), (None, Some("ready")));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let none = |_: &mut GroupArgs| {};
        let long = format!("{}:1:x", "a".repeat(64));
        for (groups, part) in [
            (vec!["a"], "the form is NAME:COUNT:IMAGE"),
            (vec!["a:0:x"], "the form is"),
            (vec!["a:1:"], "the form is"),
            (vec!["a:2000:x"], "the form is"),
            (vec!["-a:1:x"], "begins with a letter"),
            (vec!["a b:1:x"], "a name has letters"),
            (vec!["a:1:x", "a:1:y"], "there is a group a already"),
            (vec!["a:2:x", "a-1:1:x"], "two nodes would be called a-1"),
            (vec!["a:1:x", "a-sandbox:1:x"], "sandbox container"),
            (vec!["a:600:x", "b:600:x"], "1200 nodes are too many"),
            (vec![&long], "too long"),
        ] {
            let error = format!("{:#}", read(&groups, none).err().unwrap());
            assert!(error.starts_with("--group") && error.contains(part), "{groups:?}: {error}");
        }
        let option = |set: fn(&mut GroupArgs)| format!("{:#}", read(&["a:1:x"], set).err().unwrap());
        assert!(option(|args| args.group_user = vec!["b=x".into()]).contains("there is no group or service b"));
        assert!(option(|args| args.group_user = vec!["x".into()]).contains("the form is NAME="));
        assert!(option(|args| args.group_user = vec!["a=x".into(), "a=y".into()]).contains("twice"));
        assert!(option(|args| args.group_ready_port = vec!["a=x".into()]).contains("'x' is no port"));
        assert!(option(|args| args.group_command = vec!["a='".into()]).contains("--group-command"));
        let both = option(|args| {
            args.group_ready_port = vec!["a=1".into()];
            args.group_ready_log = vec!["a=1".into()];
        });
        assert!(both.contains("choose one of them for a"), "{both}");
    }
}
