//! The cluster room: what is known of the nodes, and how news changes it.
//!
//! Holds [`ClusterSpec`], [`Node`] and [`Cluster::apply`]. No I/O, no clock, no lock held across an await:
//! the same news in any order ends in the same model, which is what its property tests check.

pub mod faults;
mod model;
mod name;
mod shown;
mod spec;

pub use model::{Change, Cluster, News, Node, State};
pub use name::NodeName;
pub use shown::{first_lines, plain, shown};
pub use spec::{ClusterId, ClusterSpec, NodeSpec, label};
