//! Retrieval with guarantees.

mod certified;
mod codes;
mod fused;
mod partition;
mod search;
mod sketch;

pub use certified::{Certified, Effort, Outputs};
