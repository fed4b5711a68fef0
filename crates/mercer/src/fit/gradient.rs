//! Training by gradients: for what has no closed form, and to go on from one.

pub use net::Precision;

#[allow(dead_code)] // the trainer's tools
pub(crate) mod adam;
#[allow(dead_code)]
pub(crate) mod net;
#[allow(dead_code)]
pub(crate) mod softmax;
#[doc(hidden)]
pub mod workload;
