//! How much may wait for a rate, in the kernel's queues and in ours.

use crate::cluster::faults::Rate;

/// What is not limited, in bytes a second: 100 Gbit/s.
const UNLIMITED: u64 = 12_500_000_000;
/// The largest packet, a segment that is not split on this path, in bytes.
pub(crate) const LARGEST: u64 = 64 << 10;
/// How long packets may queue for a rate, in ms: as long as routers at home let them.
pub(crate) const QUEUE_MS: u64 = 400;

/// Bytes a second of a rate, or of what is not limited.
pub(crate) fn bytes_a_second(rate: Option<Rate>) -> u64 {
    rate.map_or(UNLIMITED, |Rate(bits)| bits.get() / 8)
}

/// How many bytes may wait for a rate.
pub(crate) fn waiting_room(rate: Option<Rate>) -> u64 {
    (bytes_a_second(rate) * QUEUE_MS / 1000).clamp(4 * LARGEST, 64 << 20)
}
