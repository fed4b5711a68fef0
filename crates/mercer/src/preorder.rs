//! Preorders: relations on keys that comparisons show, the axioms that they satisfy, and their utilities.
//!
//! For each query a preorder on keys is reflexive, transitive and complete; a utility orders keys as it does.
//! [`axioms`](fn@axioms) reports what holds of observed comparisons and lists offending cycles; [`utilities`] gives the exact
//! utility of a consistent relation (Debreu); [`bradley_terry`](fn@bradley_terry) and [`plackett_luce`](fn@plackett_luce)
//! estimate one from noisy comparisons and [`Rankings`], with standard errors. A relation with cycles has no utility:
//! [`crate::fit::antisymmetric`](fn@crate::fit::antisymmetric) represents it.

mod axioms;
mod bradley_terry;
mod cycle;
mod debreu;
mod existence;
mod graph;
mod maximum;
mod observed;
mod plackett_luce;
mod rankings;
mod triples;

pub use axioms::{AxiomCounts, AxiomOptions, Axioms, QueryAxioms, axioms};
pub(crate) use bradley_terry::Answers;
pub use bradley_terry::{QueryEstimate, bradley_terry, bradley_terry_by_query};
pub use cycle::Cycle;
pub use debreu::{Utility, utilities};
pub use existence::{NoMaximum, no_maximum, no_maximum_of_rankings};
pub use maximum::{Estimated, LikelihoodOptions};
pub use observed::Reading;
pub(crate) use observed::{ComparedPair, pooled};
pub use plackett_luce::plackett_luce;
pub use rankings::Rankings;
pub use triples::Triples;
