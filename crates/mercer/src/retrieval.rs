//! Retrieval by attention, with a certificate.
//!
//! A query selects the key of the largest inner product. Attention gives that key a weight near 1 if it is sharp enough: with `n`
//! keys and a gap `g` between the best score and all others softmax needs the inverse temperature `ln((n - 1) (1 - eps) / eps) / g`
//! for the weight `1 - eps`, alpha-entmax `1 / ((alpha - 1) g)` for the weight 1. Where the scores are a model's, within `eta` of the
//! relation that is meant, a margin `gamma` leaves the gap `gamma - 2 eta`. [`inverse_temperature`], [`guaranteed_weight`] and
//! [`keys_held`] are these formulas, [`MarginLaw`] says how many new queries have the margin, and [`attend`] puts all of it beside
//! the weights and outputs of given queries.
//!
//! [`Certified`] does so over many keys: `partition` puts close keys into tiles, `sketch` keeps a few bytes a key with bounds for
//! every score, `codes` multiplies these bytes, `search` passes over tiles that cannot matter, and only the keys that are left are
//! scored, in `f64`. `fused` is attention over all keys, for where pruning does not pay and to measure it against.

mod attend;
mod certificate;
mod certified;
mod codes;
mod fused;
mod partition;
mod search;
mod sketch;

pub use attend::{Attended, Attention, Certificate, Request, Temperature, Weight, attend};
pub use certificate::{KeysHeld, MarginLaw, guaranteed_weight, inverse_temperature, keys_held};
pub use certified::{BestTwo, Certified, Effort, Outputs};
