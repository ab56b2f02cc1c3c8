//! What is known of the nodes, and how news changes it.
//!
//! Holds [`ClusterSpec`], [`Node`] and [`Cluster::apply`]. No I/O, no clock, no lock held across an await:
//! the same news in any order ends in the same model, which is what its property tests check.

pub mod faults;
mod model;
mod name;
mod names;
mod roles;
mod spec;

pub(crate) use model::{Change, News, Node};
pub use model::{Cluster, State};
pub use name::NodeName;
pub use names::Names;
pub(crate) use names::NodeWords;
pub(crate) use roles::{NamedRoles, Role, can_stand_for_others, check_role_name, is_word_for_others};
pub(crate) use spec::label;
pub use spec::{ClusterId, ClusterSpec, Condition, Dependency, HostSpec, NodeSpec};
