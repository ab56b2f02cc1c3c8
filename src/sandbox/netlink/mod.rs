//! Messages to the kernel over netlink(7): attributes as trees, sockets that are kept open.
//!
//! Knows the framing and nothing of what the messages mean. Source of all numbers: `linux/netlink.h`.

mod attribute;
mod socket;

pub(crate) use attribute::{Attr, contains, find, iter};
pub(crate) use socket::{Message, Protocol, Socket};
