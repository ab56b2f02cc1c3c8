//! Which machine each node runs on.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::cluster::{Names, NodeName};
use crate::engine::BRIDGE_PORTS;

/// A way to distribute nodes over machines.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Placement {
    /// In turn.
    #[default]
    Spread,
    /// As many on a machine as it takes, then on the next one.
    Pack,
    /// In turn over the values of this label, and in turn over the machines that have the same one.
    ByLabel(String),
    /// These words for nodes on these machines, each; other nodes in turn.
    Chosen(Vec<(String, String)>),
}

/// A machine that nodes can be put on.
#[derive(Clone, Debug)]
pub(crate) struct Room {
    /// What it is called.
    pub(crate) name: String,
    /// Its engine's labels.
    pub(crate) labels: Vec<(String, String)>,
    /// How many nodes it takes; as many as a bridge has ports if that is not said.
    pub(crate) capacity: Option<usize>,
}

impl Placement {
    /// Reads `--place`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        match text {
            "spread" => return Ok(Self::Spread),
            "pack" => return Ok(Self::Pack),
            _ => {}
        }
        if let Some(label) = text.strip_prefix("label:").filter(|label| !label.is_empty()) {
            return Ok(Self::ByLabel(label.into()));
        }
        let chosen = text.split(',').map(|part| match part.split_once('@') {
            Some((node, host)) if !node.is_empty() && !host.is_empty() => Ok((node.to_owned(), host.to_owned())),
            _ => {
                Err("it is spread, pack, label:NAME, or nodes and their machines, as in i001-i003@a,i004@b".to_owned())
            }
        });
        chosen.collect::<Result<_, _>>().map(Self::Chosen)
    }

    /// The machine of each node, by index.
    ///
    /// # Errors
    /// A sentence: they do not fit, or there is no such node, machine or label.
    pub(crate) fn place(&self, names: &Names, rooms: &[Room]) -> Result<Vec<usize>, String> {
        let mut places = Places::of(names.len(), rooms);
        match self {
            Self::Spread => places.in_turn(&order(rooms.len())),
            Self::Pack => places.one_after_the_other(),
            Self::ByLabel(label) => places.in_turn(&by_label(label, rooms)?),
            Self::Chosen(chosen) => {
                for (word, host) in chosen {
                    let named = rooms.iter().position(|room| room.name == *host);
                    let host = named
                        .ok_or_else(|| format!("--place {word}@{host}: no machine has that name; {}", all(rooms)))?;
                    let nodes = nodes(word, names);
                    let nodes = nodes.ok_or_else(|| format!("--place {word}@{}: no such node", rooms[host].name))?;
                    nodes.into_iter().try_for_each(|node| places.put(node, host))?;
                }
                places.in_turn(&order(rooms.len()))
            }
        }?;
        Ok(places.hosts.into_iter().flatten().collect())
    }
}

fn all(rooms: &[Room]) -> String {
    let names: Vec<_> = rooms.iter().map(|room| room.name.as_str()).collect();
    format!("there are {}", names.join(", "))
}

fn order(rooms: usize) -> Vec<Vec<usize>> {
    (0..rooms).map(|room| vec![room]).collect()
}

/// The machines that share a value of a label, each value once.
fn by_label(label: &str, rooms: &[Room]) -> Result<Vec<Vec<usize>>, String> {
    let mut groups: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, room) in rooms.iter().enumerate() {
        let value = room.labels.iter().find(|(key, _)| key == label).map(|(_, value)| value.as_str());
        let value = value.ok_or_else(|| {
            format!("--place label:{label}: the engine of {} has no such label (dockerd --label {label}=…)", room.name)
        })?;
        groups.entry(value).or_default().push(index);
    }
    Ok(groups.into_values().collect())
}

/// The nodes of a word: a number, a name, a service, or a range such as `i001-i003`.
fn nodes(word: &str, names: &Names) -> Option<Vec<usize>> {
    let named = names.find(word);
    if !named.is_empty() {
        return Some(named);
    }
    let (first, last) = word.split_once('-')?;
    let range = NodeName::parse_index(first)?..=NodeName::parse_index(last)?;
    (!range.is_empty() && *range.end() < names.len()).then(|| range.collect())
}

/// Nodes that have been put on machines.
struct Places<'a> {
    hosts: Vec<Option<usize>>,
    rooms: &'a [Room],
    /// How many nodes each machine still takes.
    left: Vec<usize>,
}

impl<'a> Places<'a> {
    fn of(nodes: usize, rooms: &'a [Room]) -> Self {
        let left = rooms.iter().map(|room| room.capacity.unwrap_or(BRIDGE_PORTS).min(BRIDGE_PORTS)).collect();
        Self { hosts: vec![None; nodes], rooms, left }
    }

    fn put(&mut self, node: usize, host: usize) -> Result<(), String> {
        let name = &self.rooms[host].name;
        if let Some(other) = self.hosts[node] {
            let (node, other) = (NodeName::nth(node), &self.rooms[other].name);
            return Err(match name == other {
                true => format!("--place puts {node} on {name} twice"),
                false => format!("--place puts {node} on {other} and on {name}: choose one"),
            });
        }
        self.left[host] = self.left[host].checked_sub(1).ok_or_else(|| format!("--place: {name} is full"))?;
        self.hosts[node] = Some(host);
        Ok(())
    }

    fn unplaced(&self) -> Vec<usize> {
        (0..self.hosts.len()).filter(|node| self.hosts[*node].is_none()).collect()
    }

    /// The nodes that have no place yet, in turn over groups of machines that have room, and in turn within a group.
    fn in_turn(&mut self, groups: &[Vec<usize>]) -> Result<(), String> {
        let (mut next_group, mut next_in) = (0, vec![0; groups.len()]);
        for node in self.unplaced() {
            let group = (0..groups.len())
                .map(|step| (next_group + step) % groups.len())
                .find(|group| groups[*group].iter().any(|host| self.left[*host] > 0))
                .ok_or_else(|| self.too_few())?;
            let members = &groups[group];
            let host = (0..members.len()).map(|step| (next_in[group] + step) % members.len());
            let at = host.into_iter().find(|at| self.left[members[*at]] > 0).unwrap_or_default();
            self.put(node, members[at])?;
            next_in[group] = at + 1;
            next_group = group + 1;
        }
        Ok(())
    }

    fn one_after_the_other(&mut self) -> Result<(), String> {
        for node in self.unplaced() {
            let host = self.left.iter().position(|left| *left > 0).ok_or_else(|| self.too_few())?;
            self.put(node, host)?;
        }
        Ok(())
    }

    fn too_few(&self) -> String {
        let room: usize = self.rooms.iter().map(|room| room.capacity.unwrap_or(BRIDGE_PORTS).min(BRIDGE_PORTS)).sum();
        format!("{} nodes do not fit on the machines, which take {room} (--capacity)", self.hosts.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rooms(capacities: &[Option<usize>]) -> Vec<Room> {
        let room = |(index, capacity): (usize, &Option<usize>)| Room {
            name: ["a", "b", "c"][index].into(),
            labels: vec![("rack".into(), if index == 0 { "r1" } else { "r2" }.into())],
            capacity: *capacity,
        };
        capacities.iter().enumerate().map(room).collect()
    }

    fn placed(place: &str, nodes: usize, capacities: &[Option<usize>]) -> Result<String, String> {
        let hosts = Placement::parse(place)?.place(&Names::numbered(nodes), &rooms(capacities))?;
        Ok(hosts.into_iter().map(|host| ["a", "b", "c"][host]).collect())
    }

    #[test]
    fn nodes_go_where_they_are_put() {
        let free = [None; 3];
        for (place, capacities, hosts) in [
            ("spread", free, "abcabc"),
            ("spread", [Some(1), None, None], "abcbcb"),
            ("pack", [Some(2), Some(3), None], "aabbbc"),
            ("pack", free, "aaaaaa"),
            ("label:rack", free, "abacab"),
            ("i001-i003@c,i004@b", free, "cccbab"),
            ("i002@c", [Some(5), Some(0), Some(1)], "acaaaa"),
        ] {
            assert_eq!(placed(place, 6, &capacities).unwrap(), hosts, "{place}");
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let free = [None; 3];
        for (place, capacities, why) in [
            ("spread", [Some(1), Some(2), Some(2)], "6 nodes do not fit on the machines, which take 5"),
            ("label:zone", free, "has no such label"),
            ("i001@d", free, "there are a, b, c"),
            ("i007@a", free, "no such node"),
            ("i002-i001@a", free, "no such node"),
            ("i001@a,i001-i002@b", free, "i001 on a and on b"),
            ("i001-i002@a", [Some(1), None, None], "a is full"),
            ("everywhere", free, "it is spread, pack"),
            ("@a", free, "it is spread, pack"),
        ] {
            let told = placed(place, 6, &capacities).unwrap_err();
            assert!(told.contains(why), "{place}: {told}");
        }
    }
}
