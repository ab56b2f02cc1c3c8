//! The file `links`: one directed link a line, `i001>* delay 100ms`; later lines win.

use std::fmt;

use super::error::{FaultError, Result, invalid};
use super::impairments::Impairments;
use super::partition::node;
use crate::cluster::NodeName;
use crate::text::shown;

/// The most lines that are written at once, and that a table has.
pub(crate) const MOST_LINES: usize = 4_096;

/// What one end of a line in `links` stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum LinkPattern {
    Node(usize),
    All,
    Host,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) from: LinkPattern,
    pub(crate) to: LinkPattern,
    /// What applies to it; nothing if the line cancels earlier ones.
    pub(crate) impairments: Impairments,
    /// Added by healing: it exempts a healed node from earlier lines, and is dropped when there are none.
    pub(crate) healed: bool,
}

impl Link {
    /// The pairs `(from, to)` that it is about; the host has the number `nodes`.
    pub(crate) fn pairs(self, nodes: usize) -> impl Iterator<Item = (usize, usize)> {
        let ends = move |end| match end {
            LinkPattern::Node(node) => node..node + 1,
            LinkPattern::All => 0..nodes,
            LinkPattern::Host => nodes..nodes + 1,
        };
        ends(self.from).flat_map(move |from| ends(self.to).map(move |to| (from, to))).filter(|(from, to)| from != to)
    }

    fn parse(line: &str, nodes: usize) -> Result<Self> {
        let how = "a line is FROM>TO and its effects, as in i001>i002 drop";
        let Some((from, rest)) = line.split_once('>') else {
            return invalid(format!("'{}' names no link: {how}", shown(line)));
        };
        let rest = rest.trim_start();
        let (to, impairments) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        let (from, to) = (end(from.trim(), nodes)?, end(to, nodes)?);
        match (from, to) {
            (LinkPattern::Host, LinkPattern::Host) => return invalid("host>host is no link of the cluster's"),
            (LinkPattern::Node(one), LinkPattern::Node(other)) if one == other => {
                let name = NodeName::nth(one);
                return invalid(format!("{name}>{name}: what a node sends to itself never leaves it"));
            }
            _ => {}
        }
        let impairments = Impairments::parse(impairments).map_err(|error| match error {
            FaultError::Invalid(why) => FaultError::Invalid(format!("{}: {why}", Ends(from, to))),
            other @ FaultError::NoSuchNode(_) => other,
        })?;
        Ok(Self { from, to, impairments, healed: false })
    }
}

fn end(word: &str, nodes: usize) -> Result<LinkPattern> {
    match word {
        "*" => Ok(LinkPattern::All),
        "host" => Ok(LinkPattern::Host),
        "" => invalid("a link has two ends, as in i001>i002; * stands for all nodes, host for the machine outside"),
        word => node(word, nodes).map(LinkPattern::Node),
    }
}

impl fmt::Display for LinkPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(node) => NodeName::nth(*node).fmt(f),
            Self::All => f.write_str("*"),
            Self::Host => f.write_str("host"),
        }
    }
}

/// `FROM>TO`.
pub(crate) struct Ends(pub(crate) LinkPattern, pub(crate) LinkPattern);

impl fmt::Display for Ends {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}>{}", self.0, self.1)
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", Ends(self.from, self.to), self.impairments)
    }
}

/// Reads lines and skips blank ones. `None` for the single line `heal`.
///
/// # Errors
/// What is wrong with the first wrong one.
pub(crate) fn parse(text: &str, nodes: usize) -> Result<Option<Vec<Link>>> {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    if lines == ["heal"] {
        return Ok(None);
    }
    if lines.len() > MOST_LINES {
        return invalid(format!(
            "{} lines are too many: a table of links has at most {MOST_LINES}; * stands for all nodes",
            lines.len()
        ));
    }
    let mut links: Vec<Link> = Vec::with_capacity(lines.len());
    let mut last = std::collections::HashMap::new();
    for (place, line) in lines.into_iter().enumerate() {
        let link = Link::parse(line, nodes)?;
        let ends = Ends(link.from, link.to).to_string();
        if let Some(earlier) = last.insert(ends.clone(), place)
            && links[earlier].impairments != link.impairments
        {
            return invalid(format!("{ends} is there twice, with different effects: which one is it to be?"));
        }
        links.push(link);
    }
    // Of lines that say the same, the last one is enough.
    let is_last = |(place, link): (usize, Link)| (last[&Ends(link.from, link.to).to_string()] == place).then_some(link);
    Ok(Some(links.into_iter().enumerate().filter_map(is_last).collect()))
}
