//! cthulhu: a live cluster of containers as a directory.
pub mod cli;
pub mod cluster;
pub mod control;
pub mod daemon;
pub mod demo;
pub mod engine;
pub mod fuse;
pub mod passthrough;
pub mod provision;
pub mod sandbox;
pub mod selfimage;
pub mod sys;
pub mod tree;
pub mod watch;
