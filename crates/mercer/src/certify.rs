//! Certificates: what is known about a model's error on pairs that nobody has seen yet.

pub mod sup;
