//! What a user reads first: what the relation is made of, and the class that follows.

use serde::Serialize;

use crate::encoder::Class;
use crate::error::{Error, Result};
use crate::linalg::Matrix;
use crate::relation::{Law, Relation, ask_block};
use crate::seed::Seed;
use crate::spectrum::{Energy, Evidence};

/// Energy shares and the class to take.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Diagnosis {
    /// Shares of the component that needs the widest class; `None` for two sets of items or where every value is zero.
    pub energy: Option<Energy>,
    /// The narrowest class that loses nothing against what the dimension loses anyway.
    pub class: Class,
    /// Why `class`, with the share that decided.
    pub reason: String,
    /// Items the shares were computed on.
    pub items: usize,
    /// How the shares are known: estimated, and measured where all items were used.
    pub evidence: Evidence,
}

/// Energy shares of a relation on `n` evenly spread items, and the class recommended for embeddings of `dim`
/// coordinates.
///
/// `keys`: the law of the keys, if queries and keys are different sets; nothing is asked then, since only
/// [`Class::Asymmetric`] fits. Cost: one `n x n` decomposition (values only) a component.
///
/// # Errors
/// [`crate::ErrorKind::Parameter`] if `n` is below 2 or beyond 8192 or `dim` is 0; what the relation or the items
/// report.
///
/// ```
/// use mercer::spectrum::diagnose;
/// use mercer::{Class, Kernel, Law, Seed};
/// let found = diagnose(&Kernel::negative_distance(), Law::Cube { dim: 2 }, None, 8, 200, Seed(0))?;
/// assert_eq!(found.class, Class::Signed);
/// # Ok::<(), mercer::Error>(())
/// ```
pub fn diagnose(
    relation: &dyn Relation,
    queries: Law<'_>,
    keys: Option<Law<'_>>,
    dim: usize,
    n: usize,
    seed: Seed,
) -> Result<Diagnosis> {
    if !(2..=8192).contains(&n) {
        return Err(Error::parameter("items of a diagnosis", "from 2 to 8192", n));
    }
    if dim == 0 {
        return Err(Error::parameter("dimension", "at least 1", dim));
    }
    if keys.is_some() {
        let (class, reason) = two_sets();
        return Ok(Diagnosis { energy: None, class, reason, items: 0, evidence: Evidence::Proven });
    }
    let items = queries.spread(n, &mut seed.stream("diagnosis"))?;
    let ask = |l| ask_block(relation, l, &items, &items);
    let blocks = (0..relation.components()).map(ask).collect::<Result<Vec<_>>>()?;
    let (energy, (class, reason)) = shares(&blocks, dim);
    let all = matches!(queries, Law::Items(source) if source.len() <= n);
    let evidence = if all { Evidence::Measured } else { Evidence::Estimated };
    Ok(Diagnosis { energy, class, reason, items: items.len(), evidence })
}

/// Class and reason where queries and keys are different sets.
pub(crate) fn two_sets() -> (Class, String) {
    (Class::Asymmetric, "queries and keys are different sets".into())
}

/// Energy of the component that needs the widest class, and that class, from square blocks over one set of items.
pub(crate) fn shares(blocks: &[Matrix], dim: usize) -> (Option<Energy>, (Class, String)) {
    let widest = blocks.iter().filter_map(|b| Energy::of_block(b, dim)).max_by_key(|e| e.class().0);
    let class = widest.map_or((Class::Symmetric, "every value is zero".into()), |e| e.class());
    (widest, class)
}
