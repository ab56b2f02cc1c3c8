//! Attributes: type, length, value, padded to four bytes; a value may be attributes again.

use std::collections::BTreeSet;

/// `NLA_F_NESTED | NLA_F_NET_BYTEORDER`: flags in an attribute's type.
const FLAGS: u16 = 0xc000;
const NESTED: u16 = 0x8000;
const HEADER: usize = 4;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Attr {
    /// Type and value.
    Bytes(u16, Vec<u8>),
    /// Type, and the attributes in it.
    Nest(u16, Vec<Attr>),
}

impl Attr {
    /// A text, with the NUL at its end that the kernel expects.
    pub(crate) fn text(kind: u16, text: &str) -> Self {
        let mut bytes = text.as_bytes().to_vec();
        bytes.push(0);
        Self::Bytes(kind, bytes)
    }

    /// A number as the network writes it: that is how netfilter takes them.
    pub(crate) fn be32(kind: u16, value: u32) -> Self {
        Self::Bytes(kind, value.to_be_bytes().to_vec())
    }

    fn kind(&self) -> u16 {
        let (Self::Bytes(kind, _) | Self::Nest(kind, _)) = self;
        *kind
    }

    /// Appends it as the kernel reads it.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend([0; HEADER]);
        let kind = match self {
            Self::Bytes(kind, value) => {
                out.extend(value);
                *kind
            }
            Self::Nest(kind, inner) => {
                inner.iter().for_each(|attr| attr.encode(out));
                kind | NESTED
            }
        };
        let length = (out.len() - start) as u16;
        out[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        out[start + 2..start + 4].copy_from_slice(&kind.to_ne_bytes());
        out.resize(start + padded(length as usize), 0);
    }
}

pub(super) fn padded(length: usize) -> usize {
    length.next_multiple_of(4)
}

/// The attributes in `bytes`: type without flags, and value. Ends at the first that is broken.
pub(crate) fn iter(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let length = u16::from_ne_bytes(rest.get(..2)?.try_into().ok()?) as usize;
        let kind = u16::from_ne_bytes(rest.get(2..4)?.try_into().ok()?);
        let value = rest.get(HEADER..length)?;
        rest = rest.get(padded(length)..).unwrap_or_default();
        Some((kind & !FLAGS, value))
    })
}

/// The value of the first attribute of that type.
pub(crate) fn find(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    iter(bytes).find(|(found, _)| *found == kind).map(|(_, value)| value)
}

/// Whether `bytes`, as the kernel reports them, have all of `wanted`. The kernel may report more, and types in another
/// order; those of one type are a list, whose order counts.
pub(crate) fn contains(bytes: &[u8], wanted: &[Attr]) -> bool {
    let kinds: BTreeSet<u16> = wanted.iter().map(Attr::kind).collect();
    kinds.into_iter().all(|kind| {
        let mut told = iter(bytes).filter(|(told, _)| *told == kind);
        wanted.iter().filter(|attr| attr.kind() == kind).all(|attr| {
            told.any(|(_, value)| match attr {
                Attr::Bytes(_, bytes) => bytes == value,
                Attr::Nest(_, inner) => contains(value, inner),
            })
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<Attr> {
        vec![
            Attr::text(1, "abc"),
            Attr::Nest(2, vec![Attr::be32(1, 7), Attr::Bytes(3, vec![1, 2, 3, 4, 5])]),
            Attr::Bytes(9, vec![]),
        ]
    }

    fn encoded(attrs: &[Attr]) -> Vec<u8> {
        let mut out = vec![];
        attrs.iter().for_each(|attr| attr.encode(&mut out));
        out
    }

    #[test]
    fn what_is_encoded_is_found() {
        let bytes = encoded(&sample());
        assert_eq!(bytes.len() % 4, 0);
        assert_eq!(iter(&bytes).map(|(kind, _)| kind).collect::<Vec<_>>(), [1, 2, 9]);
        assert_eq!(find(&bytes, 1), Some(&b"abc\0"[..]));
        assert_eq!(find(find(&bytes, 2).unwrap(), 3), Some(&[1, 2, 3, 4, 5][..]));
        assert!(contains(&bytes, &sample()));
    }

    #[test]
    fn less_or_other_is_not_the_same() {
        let bytes = encoded(&sample());
        assert!(contains(&bytes, &sample()[1..]), "the kernel may tell more");
        let other = [Attr::Nest(2, vec![Attr::be32(1, 8)])];
        assert!(!contains(&bytes, &other));
        let mut swapped = sample();
        swapped.swap(0, 1);
        assert!(contains(&bytes, &swapped), "types come in any order");
        let list = [Attr::be32(1, 1), Attr::be32(1, 2)];
        let listed = encoded(&list);
        assert!(contains(&listed, &list) && contains(&listed, &list[1..]));
        assert!(!contains(&listed, &[list[1].clone(), list[0].clone()]), "the order of a list counts");
        assert!(!contains(&listed, &[list[0].clone(), list[0].clone()]), "each is found once");
        assert!(!contains(&bytes[..bytes.len() - 4], &sample()));
    }

    #[test]
    fn broken_bytes_end_the_walk() {
        for bytes in [&[][..], &[1], &[3, 0, 1, 0], &[200, 0, 1, 0, 5]] {
            assert_eq!(iter(bytes).count(), 0, "{bytes:?}");
        }
    }
}
