//! Learn any pairwise relation `r(x, y)` as an inner product of two neural networks, `<phi(x), psi(y)>`.
//!
//! A tour, in the order in which a program meets the parts:
//!
//! - [`Features`] and [`Pairs`] hold checked data; [`ItemSource`] and [`PairSource`] are the forms in which fits ask for them.
//! - A [`Relation`] can be asked for a block of values: a [`Kernel`], or any closure in a [`PointRelation`].
//! - [`fit`] learns: [`fit::spectral`] a relation that can be asked, [`fit::observed`] listed pairs of items with features,
//!   [`fit::complete`] a table in which absent pairs have a known value, [`fit::factorise`] listed pairs of ids;
//!   [`pipeline::fit_table`] chooses among them, holds out, and reports errors on pairs never seen.
//! - A [`DualEncoder`] is the result: two [`Tower`]s (or one), a [`Form`] and a [`Link`]; [`Model`] is its file.
//! - [`Comparisons`] are preorders seen pair by pair: [`preorder`] checks their axioms and gives utilities, exact or of maximum
//!   likelihood; [`fit::antisymmetric`](fn@fit::antisymmetric) learns what no utility represents.
//! - [`evaluate`] measures, [`index`] searches.
//! - Before: [`spectrum`] bounds the error of every model from below, [`bounds`] counts neurons that suffice, [`plan`] puts
//!   both beside what training needs. After: [`certify`] says what is proven of pairs that nobody has seen, and
//!   [`certify::sup`] of the largest error on a box.
//! - [`construct`] writes down the networks of the existence proofs; [`verify`] runs every theorem.
//!
//! The same [`Seed`] gives the same bits for any number of threads ([`with_threads`]).
//!
//! ```
//! use mercer::fit::{Dimension, Law, Options, Silent, spectral};
//! use mercer::{Features, Kernel, index::Exact};
//!
//! let options = Options { dimension: Dimension::Fixed(12), units: Some(48), ..Options::default() };
//! let fit = spectral(&Kernel::matern52(1.0)?, Law::Cube { dim: 1 }, None, &options, &Silent)?;
//! let keys = Features::dense(vec![-0.9, 0.0, 0.8], 1)?;
//! let index = Exact::new(&fit.encoder.embed_keys(&keys.rows())?, 12)?;
//! let query = Features::dense(vec![0.7], 1)?;
//! let hits = index.search(&fit.encoder.embed_queries(&query.rows())?, 1, None)?;
//! assert_eq!(hits[0][0].key, 2);
//! # Ok::<(), mercer::Error>(())
//! ```

#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;

mod affine;
pub mod attention;
pub mod bounds;
pub mod certify;
pub mod construct;
mod encoder;
mod error;
pub mod evaluate;
pub mod fit;
mod gemm;
pub mod index;
mod linalg;
mod lines;
mod parallel;
pub mod pipeline;
pub mod plan;
pub mod preorder;
mod relation;
pub mod retrieval;
mod rows;
mod seed;
pub mod spectrum;
mod stats;
mod tower;
pub mod verify;
mod wide;

pub use encoder::{Class, DualEncoder, Form, Link, Model, Record};
pub use error::{Error, ErrorKind, Result};
pub use parallel::with_threads;
pub use relation::{
    BoundedFunction, Comparisons, Cuboid, Domain, Kernel, Law, Leakage, PairChunk, PairSource, Pairs, PointRelation,
    Relation, Smooth, SpectralMeasure, Split, SplitRule,
};
pub use rows::{Features, ItemSource, Rows};
pub use seed::{Seed, Stream};
pub use spectrum::Energy;
pub use tower::{Activation, Layer, RowScaling, Tower};
