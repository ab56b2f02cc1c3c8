//! Node names.

use std::fmt;
use std::sync::Arc;

/// What a node is called: `i` and its number, three digits or more (`i001`, `i1000`), or the name of its service, with a
/// number if that has several nodes (`web-2`).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeName(Arc<str>);

impl NodeName {
    /// The name of the node with this index, which counts from 0 (`i001` is 0).
    pub fn nth(index: usize) -> Self {
        Self(format!("i{:03}", index + 1).into())
    }

    /// A name as it is written.
    pub(crate) fn of(name: &str) -> Self {
        Self(name.into())
    }

    /// The index, counted from 0, that a text such as `i001` names; `None` if it is of another form.
    pub fn parse_index(text: &str) -> Option<usize> {
        let digits = text.strip_prefix('i')?;
        let number: usize = digits.parse().ok()?;
        let index = number.checked_sub(1)?;
        // Only the one spelling: not i1, not i0001, not i+01.
        (Self::nth(index).as_str() == text).then_some(index)
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_indices_match_both_ways() {
        for index in [0, 8, 98, 998, 999, 1021] {
            assert_eq!(NodeName::parse_index(NodeName::nth(index).as_str()), Some(index));
        }
        assert_eq!(NodeName::nth(999).as_str(), "i1000");
        for wrong in ["", "i", "i0", "i000", "i1", "i0001", "i+01", "I001", "i001/..", "..", "i-01", "1"] {
            assert_eq!(NodeName::parse_index(wrong), None, "{wrong}");
        }
    }
}
