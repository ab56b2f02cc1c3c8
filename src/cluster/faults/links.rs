//! The file `links`: one directed link a line, `i001>* delay 100ms`; later lines win.

use std::collections::HashMap;

use super::error::{FaultError, Result, invalid};
use super::impairments::Impairments;
use super::partition;
use crate::cluster::Names;
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

    /// As it is written.
    pub(crate) fn line(self, names: &Names) -> String {
        format!("{}>{} {}", self.from.word(names), self.to.word(names), self.impairments)
    }
}

impl LinkPattern {
    pub(crate) fn word(self, names: &Names) -> String {
        match self {
            Self::Node(node) => names.name(node).to_string(),
            Self::All => "*".into(),
            Self::Host => "host".into(),
        }
    }
}

/// A line as it was written.
struct Line {
    /// `FROM>TO`, each end as it is called.
    ends: String,
    impairments: Impairments,
    /// One for each pair of nodes, where an end is a service.
    links: Vec<Link>,
}

impl Line {
    fn parse(line: &str, names: &Names) -> Result<Self> {
        let how = "a line is FROM>TO and its effects, as in i001>i002 drop";
        let Some((from, rest)) = line.split_once('>') else {
            return invalid(format!("'{}' names no link: {how}", shown(line)));
        };
        let rest = rest.trim_start();
        let (to, impairments) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        let (from, to) = (End::parse(from.trim(), names)?, End::parse(to, names)?);
        let ends = format!("{}>{}", from.word, to.word);
        if from.patterns == [LinkPattern::Host] && to.patterns == [LinkPattern::Host] {
            return invalid("host>host is no link of the cluster's");
        }
        let mut pairs: Vec<_> =
            from.patterns.iter().flat_map(|from| to.patterns.iter().map(move |to| (*from, *to))).collect();
        pairs.retain(|(from, to)| from != to || *from == LinkPattern::All);
        if pairs.is_empty() {
            return invalid(format!("{ends}: what a node sends to itself never leaves it"));
        }
        let impairments = Impairments::parse(impairments).map_err(|error| match error {
            FaultError::Invalid(why) => FaultError::Invalid(format!("{ends}: {why}")),
            other @ FaultError::NoSuchNode(_) => other,
        })?;
        let link = |(from, to)| Link { from, to, impairments, healed: false };
        Ok(Self { links: pairs.into_iter().map(link).collect(), ends, impairments })
    }
}

/// One end of a line.
struct End {
    word: String,
    patterns: Vec<LinkPattern>,
}

impl End {
    fn parse(word: &str, names: &Names) -> Result<Self> {
        let patterns = match word {
            "*" => vec![LinkPattern::All],
            "host" => vec![LinkPattern::Host],
            "" => {
                return invalid(
                    "a link has two ends, as in i001>i002; * stands for all nodes, host for the machine outside",
                );
            }
            word => partition::nodes(word, names)?.into_iter().map(LinkPattern::Node).collect(),
        };
        let word = match patterns[..] {
            [only] => only.word(names),
            _ => word.to_owned(),
        };
        Ok(Self { word, patterns })
    }
}

/// Reads lines and skips blank ones. `None` for the single line `heal`.
///
/// # Errors
/// What is wrong with the first wrong one.
pub(crate) fn parse(text: &str, names: &Names) -> Result<Option<Vec<Link>>> {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    if lines == ["heal"] {
        return Ok(None);
    }
    let too_many = |lines: usize| {
        invalid(format!(
            "{lines} lines are too many: a table of links has at most {MOST_LINES}; * stands for all nodes"
        ))
    };
    if lines.len() > MOST_LINES {
        return too_many(lines.len());
    }
    let mut links: Vec<Link> = Vec::with_capacity(lines.len());
    let mut said: HashMap<String, Impairments> = HashMap::new();
    for line in lines {
        let Line { ends, impairments, links: more } = Line::parse(line, names)?;
        if said.insert(ends.clone(), impairments).is_some_and(|earlier| earlier != impairments) {
            return invalid(format!("{ends} is there twice, with different effects: which one is it to be?"));
        }
        links.extend(more);
        if links.len() > MOST_LINES {
            return too_many(links.len());
        }
    }
    // Of lines about the same link, the last one is enough.
    let last: HashMap<_, usize> = links.iter().enumerate().map(|(place, link)| ((link.from, link.to), place)).collect();
    let mut places = 0..;
    links.retain(|link| Some(last[&(link.from, link.to)]) == places.next());
    Ok(Some(links))
}
