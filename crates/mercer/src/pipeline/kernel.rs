//! The whole job on a kernel: fit, and certify on fresh pairs, which a relation that can be asked gives for nothing.

use crate::certify::sup::{Budget, SupNorm, certify as certify_sup};
use crate::certify::{Certificate, Request, Values, certify_relation};
use crate::encoder::DualEncoder;
use crate::error::Result;
use crate::fit::{Dimension, Fit, Options, Progress, Target, spectral};
use crate::relation::{Domain, Kernel, Law};

/// A fitted kernel.
#[derive(Clone, Debug)]
pub struct KernelFit {
    /// The model and the choices.
    pub fit: Fit,
    /// What fresh pairs say.
    pub certificate: Certificate,
    /// The values of these fresh pairs with their predictions.
    pub residuals: Values,
    /// The largest error on the box; `None` on given points and in more than four dimensions together.
    pub sup: Option<SupNorm>,
    /// Why there is no sup-norm certificate, where one could be expected.
    pub sup_refused: Option<String>,
}

/// Fresh pairs that a certificate draws.
const FRESH: usize = 10_000;
/// Seconds of counted work of a sup-norm certificate that was asked for, and of one that was not.
const ASKED: f64 = 40.0;
const UNASKED: f64 = 2.0;
/// Dimensions that are tried beyond the one whose largest error on points meets the target but is not proven to.
const RETRIES: usize = 6;

/// Learns `kernel` on items from `law` by [`spectral`] and certifies the result.
///
/// With [`Target::Sup`] on a cube of one or two dimensions the dimension grows until the proven bound meets the target, not only
/// the largest error seen.
///
/// Cost: as [`spectral`]; ten thousand fresh pairs; for the sup norm a few seconds of one core, up to 40 where it is the target.
///
/// # Errors
/// As [`spectral`].
pub fn fit_kernel(kernel: &Kernel, law: Law<'_>, options: &Options, progress: &dyn Progress) -> Result<KernelFit> {
    let (mut fit, mut sup) = fit_proven(kernel, law, options, progress)?;
    if let (Dimension::Target(Target::Sup(_)), None, Law::Cube { .. }) = (options.dimension, options.units, law) {
        // Fewer units lose less to the rounding of f32; more reach smaller errors of rough kernels.
        let few = Options { units: Some(FEW_UNITS), ..options.clone() };
        let (narrow, proven) = fit_proven(kernel, law, &few, progress)?;
        if narrow.target_met == Some(true) && narrow.encoder.dim() <= fit.encoder.dim() {
            (fit, sup) = (narrow, proven);
            if let Some(choice) = fit.choices.iter_mut().find(|c| c.what == "hidden units") {
                choice.reason = "enough for the target error; fewer units round less".into();
            }
        }
    }
    progress.stage("certificate");
    let (sup, sup_refused) = match sup {
        Some(Ok(found)) => (Some(found), None),
        Some(Err(error)) => (None, Some(error.to_string())),
        None => (None, None),
    };
    let request = Request { seed: options.seed.0, ..Request::default() };
    let bound = sup.as_ref().map(SupNorm::with_rounding);
    let (certificate, residuals) = certify_relation(&fit.encoder, kernel, law, None, FRESH, bound, request)?;
    Ok(KernelFit { fit, certificate, residuals, sup, sup_refused })
}

/// Hidden units that are tried first for a largest error.
const FEW_UNITS: usize = 64;

/// A fit with the certificate of its largest error, `None` where there can be none; with [`Target::Sup`] of the smallest dimension
/// found for which the target is proven.
fn fit_proven(
    kernel: &Kernel,
    law: Law<'_>,
    options: &Options,
    progress: &dyn Progress,
) -> Result<(Fit, Option<Result<SupNorm>>)> {
    let mut fit = spectral(kernel, law, None, options, progress)?;
    let Law::Cube { dim: dim @ 1..=2 } = law else { return Ok((fit, None)) };
    let Dimension::Target(Target::Sup(error)) = options.dimension else {
        let found = largest_error(&fit.encoder, kernel, dim, None, UNASKED);
        return Ok((fit, Some(found)));
    };
    let mut found = match largest_error(&fit.encoder, kernel, dim, Some(error), ASKED) {
        Ok(found) => found,
        Err(refusal) => return Ok((fit, Some(Err(refusal)))),
    };
    let largest = fit.curve.len();
    for _ in 0..RETRIES {
        let next = fit.encoder.dim() + 1;
        // A budget that ended far from the target says nothing about the next dimension.
        if found.met == Some(true) || found.lower <= 0.9 * error || next > largest {
            break;
        }
        let options = Options { dimension: Dimension::Fixed(next), ..options.clone() };
        let wider = spectral(kernel, law, None, &options, progress)?;
        found = largest_error(&wider.encoder, kernel, dim, Some(error), ASKED)?;
        let curve = std::mem::take(&mut fit.curve);
        fit = Fit { curve, ..wider };
        if let Some(choice) = fit.choices.iter_mut().find(|c| c.what == "dimension") {
            choice.reason = format!("the smallest found whose proven largest error is at most {error:.3e}");
        }
    }
    fit.target_met = found.met;
    Ok((fit, Some(Ok(found))))
}

/// The bracket of the largest error of a model on `[-1, 1]^dim` a side; where it straddles the goal, a tighter one. `seconds` of one
/// core become counted work, each time.
///
/// # Errors
/// As [`certify`](crate::certify::sup::certify) for the sup norm.
pub fn largest_error(
    model: &DualEncoder,
    kernel: &Kernel,
    dim: usize,
    goal: Option<f64>,
    seconds: f64,
) -> Result<SupNorm> {
    let domain = Domain::cube(dim, -1.0, 1.0)?;
    let budget = Budget::seconds(seconds);
    let found = certify_sup(model, kernel, &domain, &budget)?;
    match goal {
        Some(error) if found.lower <= error => {
            let found = if found.with_rounding() <= error {
                found
            } else {
                certify_sup(model, kernel, &domain, &Budget { target: Some(error), gap: 1.001, ..budget })?
            };
            Ok(SupNorm { target: Some(error), met: Some(found.with_rounding() <= error), ..found })
        }
        Some(error) => Ok(SupNorm { target: Some(error), met: Some(false), ..found }),
        None => Ok(found),
    }
}
