//! Learn any pairwise relation `r(x, y)` as an inner product of two neural networks.

mod affine;
mod encoder;
mod error;
pub mod evaluate;
pub mod fit;
pub mod index;
mod linalg;
mod parallel;
pub mod pipeline;
mod relation;
mod rows;
mod seed;
mod spectrum;
mod tower;
mod wide;

pub use encoder::{Class, DualEncoder, Form, Link, Model, Record};
pub use error::{Error, ErrorKind, Result};
pub use parallel::with_threads;
pub use relation::{Kernel, PairChunk, PairSource, Pairs, PointRelation, Relation, Split};
pub use rows::{Features, ItemSource, Rows};
pub use seed::{Seed, Stream};
pub use spectrum::Energy;
pub use tower::{Activation, Layer, RowScaling, Tower};
