//! Bounds from a spectrum: truncate at `D`, represent the features by sine units.
//!
//! With towers `phi = f + a`, `psi = g + b` for the features `f = (sqrt(sigma_i) u_i)`, `g = (sqrt(sigma_i) v_i)`,
//! `<phi, psi> - <f, g> = <a, g> + <f, b> + <a, b>`. In mean square `E <a, g>^2 = tr(E[a a^T] diag(sigma)) <= sigma_1 E
//! |a|^2`, and `E <a, b>^2 <= E |a|^2 E |b|^2`; everywhere `|f| <= kappa`. Hence, with a feature error of `delta` on
//! both sides,
//!
//! `error <= tail_D + 2 s delta + delta^2`, `s = sqrt(sigma_1)` in mean square, `s = kappa` in the sup norm,
//!
//! and `delta = sqrt(s^2 + eps - tail_D) - s` may be used up. `D` is the one that needs the fewest units.
//!
//! In mean square `m` draws reach `delta = V_D / sqrt(m)` (see [`FeatureNorms`]). In the sup norm: frequencies beyond
//! `W` are left out, which costs at most `sqrt(D P(|w| > W))` of the features (Cauchy and Schwarz); what is left has
//! Lipschitz constant at most `W V`, as has every draw of it; at one point the mean of `m` vectors of length at most
//! `V` errs by more than `V / sqrt(m) + s` with probability at most `exp(-m s^2 / (2 V^2))` (McDiarmid), so with a grid
//! of `N` balls of radius `r` some draw errs nowhere by more than `V (1 + sqrt(2 ln N)) / sqrt(m) + 2 W V r`.

use crate::bounds::{Bound, FeatureNorms, check_error, covering_ln};
use crate::error::{Error, Result};
use crate::relation::{Kernel, Law};
use crate::spectrum::{Evidence, Norm, Spectrum};

/// Neurons of one tower, and how they were found.
struct Tower {
    neurons: f64,
    /// Whether hidden units are shared by all features.
    shared: bool,
}

/// What a choice of `D` needs.
struct Choice {
    dim: usize,
    tail: f64,
    delta: f64,
    neurons: f64,
    shared: bool,
}

/// One-hidden-layer sine networks that suffice for a symmetric PSD relation as `<phi(x), phi(y)>`.
///
/// `kernel`: needed in the sup norm, for the tail of its spectral measure; `law`: the domain, in the sup norm the whole
/// cube or all given items. The error is `tail_D + 2 s delta + delta^2`, `s` the root of the largest eigenvalue (RMS)
/// or `kappa` (sup), at the best `D`; units in the RMS norm are the smaller of `sum_i ceil(c_i sum_j c_j / delta^2)` (a
/// network a feature) and `2 ceil(V_D^2 / delta^2)` (one shared hidden layer), in the sup norm `2 ceil((V_D (1 + sqrt(2
/// ln N)) / (delta - rest))^2)` with a grid of `N` points (derived in the source).
///
/// # Errors
/// [`crate::ErrorKind::Parameter`] for an error that is not positive or a spectrum that is not positive.
///
/// ```
/// use mercer::bounds::{FeatureNorms, Norm, symmetric};
/// use mercer::spectrum::{Anchors, sampled};
/// use mercer::{Kernel, Law, Seed};
/// let (kernel, line) = (Kernel::gaussian(1.0)?, Law::Cube { dim: 1 });
/// let spectrum = sampled(&kernel, 0, line, None, Anchors::Spread, 200, Seed(0))?;
/// let norms = FeatureNorms::of_kernel(&kernel, &spectrum, 500, Seed(0))?;
/// let bound = symmetric(&spectrum, &norms, Some(&kernel), &line, 0.1, Norm::Rms)?;
/// assert!(bound.valid && bound.neurons < 1e4 && bound.dimension <= Some(4.0));
/// # Ok::<(), mercer::Error>(())
/// ```
pub fn symmetric(
    spectrum: &Spectrum,
    norms: &FeatureNorms,
    kernel: Option<&Kernel>,
    law: &Law<'_>,
    eps: f64,
    norm: Norm,
) -> Result<Bound> {
    check_error(eps)?;
    let (Some(kappa_squared), true) = (spectrum.kappa_squared, spectrum.positive) else {
        return Err(Error::parameter(
            "spectrum",
            "that of a symmetric relation without negative eigenvalues",
            "another",
        ));
    };
    let name = "symmetric";
    let lead = match norm {
        Norm::Rms => spectrum.values[0].sqrt(),
        Norm::Sup => kappa_squared.sqrt(),
    };
    let tower = |dim: usize, delta: f64| match norm {
        Norm::Rms => Some(mean_square_tower(norms, dim, delta)),
        Norm::Sup => sup_tower(norms, kernel?, law, dim, delta),
    };
    let Some(choice) = best(spectrum, norms.single.len(), lead, eps, norm, tower) else {
        return Ok(Bound::invalid(name, eps, norm, &why_not(spectrum, eps, norm, kernel.is_none())));
    };
    let bound = Bound::new(name, eps, norm, choice.neurons, Some(choice.dim as f64));
    Ok(described(bound, &choice, norms, lead, norm, "one tower of sine units"))
}

/// One-hidden-layer sine networks that suffice for any relation as `<phi(x), psi(y)>`, in the RMS norm.
///
/// `left`, `right`: norms of `sqrt(sigma_i) u_i` and of `sqrt(sigma_i) v_i`. In the sup norm the result is not valid:
/// sampling gives no uniform tail for a relation that is not positive (use [`crate::bounds::partition`]).
///
/// # Errors
/// [`crate::ErrorKind::Parameter`] for an error that is not positive.
pub fn asymmetric(
    spectrum: &Spectrum,
    left: &FeatureNorms,
    right: &FeatureNorms,
    eps: f64,
    norm: Norm,
) -> Result<Bound> {
    check_error(eps)?;
    let name = "asymmetric";
    if norm == Norm::Sup {
        let why = "sampling gives no uniform tail for a relation that is not positive; see the partition bound";
        return Ok(Bound::invalid(name, eps, norm, why));
    }
    let lead = spectrum.values[0].abs().sqrt();
    let tower = |dim: usize, delta: f64| {
        let (a, b) = (mean_square_tower(left, dim, delta), mean_square_tower(right, dim, delta));
        Some(Tower { neurons: a.neurons + b.neurons, shared: a.shared && b.shared })
    };
    let most = left.single.len().min(right.single.len());
    let Some(choice) = best(spectrum, most, lead, eps, norm, tower) else {
        return Ok(Bound::invalid(name, eps, norm, &why_not(spectrum, eps, norm, false)));
    };
    let bound = Bound::new(name, eps, norm, choice.neurons, Some(choice.dim as f64));
    Ok(described(bound, &choice, left, lead, norm, "two towers of sine units, counted together"))
}

/// The dimension that needs the fewest neurons.
fn best(
    spectrum: &Spectrum,
    most: usize,
    lead: f64,
    eps: f64,
    norm: Norm,
    tower: impl Fn(usize, f64) -> Option<Tower>,
) -> Option<Choice> {
    let candidate = |dim: usize| {
        let tail = spectrum.tail(dim, norm)?;
        let rest = eps - tail;
        if rest <= 0.0 {
            return None;
        }
        // sqrt(lead^2 + rest) - lead without cancellation.
        let delta = rest / ((lead * lead + rest).sqrt() + lead);
        let Tower { neurons, shared } = tower(dim, delta)?;
        Some(Choice { dim, tail, delta, neurons, shared })
    };
    let choices = (1..=spectrum.values.len().min(most)).filter_map(candidate);
    choices.min_by(|a, b| a.neurons.total_cmp(&b.neurons)).filter(|c| c.neurons.is_finite())
}

fn mean_square_tower(norms: &FeatureNorms, dim: usize, delta: f64) -> Tower {
    let square = delta * delta;
    let total: f64 = norms.single[..dim].iter().sum();
    let separate: f64 = norms.single[..dim].iter().map(|c| (c * total / square).ceil()).sum();
    let shared = 2.0 * (norms.joint[dim - 1].powi(2) / square).ceil();
    Tower { neurons: separate.min(shared), shared: shared < separate }
}

/// Shares of `delta` that the grid may cost.
const GRID_SHARES: [f64; 6] = [0.01, 0.02, 0.05, 0.1, 0.2, 0.3];
/// Share of `delta` that left-out frequencies may cost.
const LEFT_OUT: f64 = 0.05;

fn sup_tower(norms: &FeatureNorms, kernel: &Kernel, law: &Law<'_>, dim: usize, delta: f64) -> Option<Tower> {
    let measure = kernel.spectral_measure(law.dim())?;
    let v = norms.joint[dim - 1];
    let radius = measure.radius((LEFT_OUT * delta).powi(2) / dim as f64);
    let units = |share: f64| {
        let balls_ln = match law {
            Law::Cube { dim } => covering_ln(vec![2.0; *dim].into_iter(), share * delta / (2.0 * radius * v)),
            Law::Items(items) => (items.len() as f64).ln(),
        };
        let left = (1.0 - LEFT_OUT - share) * delta;
        2.0 * (v * (1.0 + (2.0 * balls_ln).sqrt()) / left).powi(2).ceil()
    };
    Some(Tower { neurons: GRID_SHARES.map(units).into_iter().fold(f64::INFINITY, f64::min), shared: true })
}

fn why_not(spectrum: &Spectrum, eps: f64, norm: Norm, no_kernel: bool) -> String {
    if norm == Norm::Sup && no_kernel {
        return "the sup norm needs a shift-invariant kernel, whose frequencies have a known tail".into();
    }
    let (dim, n) = (spectrum.values.len(), spectrum.items.0);
    format!("no dimension up to {dim} brings the {norm} tail below {eps} with {n} sampled items: sample more")
}

fn described(bound: Bound, choice: &Choice, norms: &FeatureNorms, lead: f64, norm: Norm, what: &str) -> Bound {
    let units = if choice.shared { "shared by all features" } else { "a network for each feature" };
    let mut bound = bound
        .with("tail beyond the dimension", choice.tail, Evidence::Estimated)
        .with("error of the features, delta", choice.delta, Evidence::Estimated)
        .with(if norm == Norm::Rms { "root of the largest value" } else { "kappa" }, lead, Evidence::Estimated)
        .with("sum of the Barron norms, sum c_i", norms.single[..choice.dim].iter().sum(), norms.evidence)
        .with("joint Barron norm, V", norms.joint[choice.dim - 1], norms.evidence);
    bound.assumptions = format!(
        "{what}, {units}; the network exists (it is found by drawing, with positive probability); proven given the tail \
         and the Barron norms, which are known as their parts say"
    );
    bound
}
