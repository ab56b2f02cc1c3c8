//! The inode numbers that backing files go by.
//!
//! A number is computed from the backing inode, so a file keeps it however often it is forgotten. The two highest bits say
//! whose it is:
//!
//! | bits 63, 62 | bits below |
//! |---|---|
//! | 00 | a synthesized file |
//! | 01 | this machine: 14 bits device index, 48 bits backing inode number |
//! | 10 | this machine, allotted: a counter |
//! | 11 | another machine: 12 bits [`Life`], 2 bits device index (3: allotted), 48 bits backing inode number or counter |

use std::collections::HashMap;

use rustix::fs::Dev;

/// A backing file: its device and its inode number there. Unique as long as a descriptor holds the file.
pub(super) type BackingId = (Dev, u64);

/// Everything below belongs to the synthesized files.
const BASE: u64 = 1 << 62;
/// Local numbers from here on are allotted.
const ALLOTTED: u64 = 1 << 63;
/// Everything from here on belongs to other machines.
const REMOTE: u64 = 3 << 62;
/// So many bits of a computed number are the backing inode number; the device's index is in the bits above.
const INO_BITS: u32 = 48;
/// The life is above the remote device index.
const LIFE_SHIFT: u32 = INO_BITS + 2;

/// The life of one process that serves another machine's files: no two in a mount have the same, so none of its
/// numbers is ever used again for another file. 1 to [`MOST_LIVES`].
pub(crate) type Life = u16;

/// Lives that there are numbers for.
pub(crate) const MOST_LIVES: Life = (1 << (62 - LIFE_SHIFT)) - 1;

/// Whether `ino` is one of the passthrough's numbers rather than a synthesized file's.
#[must_use]
pub(crate) fn owns(ino: u64) -> bool {
    ino >= BASE
}

/// Whose a number of another machine's is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Elsewhere {
    /// The root with that index, whichever life serves it.
    Root(u64),
    /// A file that this life has found.
    Found(Life),
}

/// Where a number belongs that is not this machine's.
#[must_use]
pub(crate) fn elsewhere(ino: u64) -> Option<Elsewhere> {
    (ino >= REMOTE).then(|| match (ino - REMOTE) >> LIFE_SHIFT {
        0 => Elsewhere::Root(ino - REMOTE),
        life => Elsewhere::Found(life as Life),
    })
}

/// The number of a root on another machine; it stays the same when another process serves it.
#[must_use]
pub(crate) fn remote_root(index: u64) -> u64 {
    REMOTE | index
}

/// Which numbers are given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Numbering {
    /// Those of the daemon's own machine.
    Local,
    /// Those of one life on another machine.
    Remote(Life),
}

/// How backing files get their numbers; what was once given stays.
#[derive(Debug)]
pub(super) struct Numbers {
    /// What every computed number begins with.
    base: u64,
    /// Device indices that fit above the backing inode number.
    max_devices: usize,
    /// The first number that is allotted.
    first_allotted: u64,
    devices: HashMap<Dev, u64>,
    allotted: HashMap<BackingId, u64>,
    /// Roots whose number was given.
    fixed: HashMap<BackingId, u64>,
}

impl Numbers {
    pub(super) fn new(numbering: Numbering) -> Self {
        let (base, max_devices, first_allotted) = match numbering {
            Numbering::Local => (BASE, 1 << (62 - INO_BITS), ALLOTTED),
            Numbering::Remote(life) => {
                let base = REMOTE | u64::from(life) << LIFE_SHIFT;
                (base, 3, base | 3 << INO_BITS)
            }
        };
        let (devices, allotted, fixed) = Default::default();
        Self { base, max_devices, first_allotted, devices, allotted, fixed }
    }

    /// Gives a file this number, whatever it would get by itself.
    pub(super) fn fix(&mut self, backing: BackingId, number: u64) {
        self.fixed.insert(backing, number);
    }

    pub(super) fn of(&mut self, backing: BackingId) -> u64 {
        if let Some(number) = self.fixed.get(&backing) {
            return *number;
        }
        let (device, ino) = backing;
        if ino >> INO_BITS == 0
            && let Some(index) = self.device_index(device)
        {
            return self.base | index << INO_BITS | ino;
        }
        let next = self.first_allotted + self.allotted.len() as u64;
        *self.allotted.entry(backing).or_insert(next)
    }

    fn device_index(&mut self, device: Dev) -> Option<u64> {
        let next = self.devices.len();
        match self.devices.get(&device) {
            Some(&index) => Some(index),
            None if next < self.max_devices => Some(*self.devices.entry(device).or_insert(next as u64)),
            None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_stable_and_never_clash() {
        let big = 1 << INO_BITS;
        let files = [(1, 2), (1, 3), (2, 2), (1, big), (2, big), (1, u64::MAX), (1, big - 1), (3, 1), (4, 1), (5, 1)];
        let mut all = std::collections::HashSet::new();
        for numbering in [Numbering::Local, Numbering::Remote(1), Numbering::Remote(2), Numbering::Remote(MOST_LIVES)] {
            let mut numbers = Numbers::new(numbering);
            let first: Vec<_> = files.iter().map(|&file| numbers.of(file)).collect();
            let again: Vec<_> = files.iter().rev().map(|&file| numbers.of(file)).rev().collect();
            assert_eq!(first, again);
            for number in first {
                assert!(owns(number) && all.insert(number), "{number:x}");
                let found = match numbering {
                    Numbering::Local => None,
                    Numbering::Remote(life) => Some(Elsewhere::Found(life)),
                };
                assert_eq!(elsewhere(number), found);
            }
        }
        assert_eq!(Numbers::new(Numbering::Local).of((7, 2)), BASE | 2);
        assert!(!owns(1) && !owns(BASE - 1));
    }

    #[test]
    fn too_many_devices_are_allotted_numbers() {
        let mut numbers = Numbers::new(Numbering::Local);
        for device in 0..1 << 14 {
            assert!(numbers.of((device, 7)) < ALLOTTED);
        }
        assert_eq!(numbers.of((u64::MAX, 7)), ALLOTTED);
        assert_eq!(numbers.of((u64::MAX, 8)), ALLOTTED + 1);
    }

    #[test]
    fn a_remote_root_has_the_number_that_it_was_given() {
        let mut numbers = Numbers::new(Numbering::Remote(3));
        let root = remote_root(5);
        numbers.fix((1, 2), root);
        assert_eq!((numbers.of((1, 2)), elsewhere(root)), (root, Some(Elsewhere::Root(5))));
        assert_eq!(elsewhere(numbers.of((1, 3))), Some(Elsewhere::Found(3)));
    }
}
