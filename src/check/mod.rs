//! What must be true of a test's operations.

mod model;

pub(crate) use model::Model;
