//! The spectral network: singular functions of a sample, fitted in closed form.

use crate::construct::{Construction, Evidence, Guarantee, Norm};
use crate::error::{Error, Result};
use crate::fit::{Dimension, Effort, Options, Silent, spectral};
use crate::linalg::svd;
use crate::relation::{Law, Relation, ask_block};
use crate::seed::Seed;

/// Fresh items a side.
const FRESH: usize = 500;

/// A network with one hidden layer of `units` units a tower whose outputs are the leading `dimension` singular
/// functions.
///
/// The singular functions are those of the relation on a sample, extended off it through the integral operator and
/// fitted in closed form by units that are drawn and never trained: [`spectral`](crate::fit::spectral) without a
/// polishing step. The error is the tail of the spectrum plus that of the fit. It is measured, as the root mean square
/// over 500 fresh queries times 500 fresh keys from the same laws; the share of the tail, which no pair of functions of
/// this dimension can avoid on those items, stands in the assumptions.
///
/// # Errors
/// As [`spectral`](crate::fit::spectral); [`crate::ErrorKind::Parameter`] for a relation with several components.
///
/// ```
/// use mercer::construct::spectral_network;
/// use mercer::{Kernel, Law, Seed};
/// let network = spectral_network(&Kernel::gaussian(1.0)?, Law::Cube { dim: 1 }, None, 8, 32, Seed(0))?;
/// assert!(network.guarantee < 1e-3 && network.neurons == 32);
/// # Ok::<(), mercer::Error>(())
/// ```
pub fn spectral_network(
    relation: &dyn Relation,
    queries: Law<'_>,
    keys: Option<Law<'_>>,
    dimension: usize,
    units: usize,
    seed: Seed,
) -> Result<Construction> {
    if relation.components() != 1 {
        return Err(Error::parameter("relation of a spectral network", "one component", relation.components()));
    }
    let options = Options {
        dimension: Dimension::Fixed(dimension),
        units: Some(units),
        effort: Effort::Steps(0),
        seed,
        ..Options::default()
    };
    let encoder = spectral(relation, queries, keys, &options, &Silent)?.encoder;
    let x = queries.draw(FRESH, &mut seed.stream("fresh queries"))?;
    let y = keys.unwrap_or(queries).draw(FRESH, &mut seed.stream("fresh keys"))?;
    let values = ask_block(relation, 0, &x, &y)?;
    let model = encoder.block(0, &x.rows(), &y.rows())?;
    let pairs = (FRESH * FRESH) as f64;
    let square: f64 = values.data().iter().zip(&model).map(|(value, own)| (value - own) * (value - own)).sum();
    let failed = || Error::data("the values on fresh items could not be decomposed", "check the relation");
    let (_, singular, _) = svd(&values).ok_or_else(failed)?;
    let tail = (singular.iter().skip(encoder.dim()).map(|s| s * s).sum::<f64>() / pairs).sqrt();
    let assumptions = format!(
        "measured on {FRESH} x {FRESH} fresh items drawn as the fitted ones were; {tail:.3e} of it is the spectrum's tail \
         beyond dimension {} on these items",
        encoder.dim()
    );
    let guarantee = Guarantee {
        norm: Norm::Rms,
        error: (square / pairs).sqrt(),
        confidence: 1.0,
        evidence: Evidence::Measured,
        assumptions,
    };
    Ok(Construction::new(encoder, format!("spectral network of {}", relation.name()), guarantee))
}
