//! Every theorem as a claim with a prediction and a measurement, on relations whose truth is known.
//!
//! [`verify`] runs them all: universality and neuron bounds of symmetric and of asymmetric relations, the spaces that learned
//! relations reproduce, spectra and floors known in closed form, and the coverage of certificates.

mod asymmetric;
mod attention;
mod certificates;
mod floors;
mod preorder;
mod spaces;
mod symmetric;

use serde::Serialize;

use crate::certify::sup::SupNorm;
use crate::encoder::Class;
use crate::error::Result;
use crate::fit::{Options, Progress, Target};
use crate::plan::{Need, Plan, Wish};
use crate::seed::Seed;
use crate::spectrum::{Floor, Norm};

/// One claim of the theory, what it predicts and what was seen.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Claim {
    /// The theorem that the claim belongs to, such as `symmetric universality`.
    pub theorem: String,
    /// The claim, for named relations.
    pub claim: String,
    /// What the theory predicts.
    pub predicted: String,
    /// What was measured.
    pub measured: String,
    /// Whether the measurement agrees.
    pub holds: bool,
}

/// A sampled spectrum beside the one that is known in closed form.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SpectrumFigure {
    /// The relation.
    pub relation: String,
    /// Sampled eigenvalues, `(index from 1, value)`.
    pub sampled: Vec<(usize, f64)>,
    /// Half the width of the confidence band around each sampled value.
    pub radius: f64,
    /// Confidence of the band.
    pub confidence: f64,
    /// Eigenvalues by the formula, at the same indices.
    pub exact: Vec<(usize, f64)>,
}

/// Error against dimension.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ErrorFigure {
    /// The relation.
    pub relation: String,
    /// Root mean square error of fitted models on held-out pairs, `(dimension, error)`.
    pub attained: Vec<(usize, f64)>,
    /// Certified floors, `(dimension, error)`; zeros are left out.
    pub floors: Vec<(usize, f64)>,
    /// Tail of the sampled spectrum, `(dimension, error)`.
    pub tails: Vec<(usize, f64)>,
}

/// Neurons against error: everything that [`Need`] counts, for one relation over several errors.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NeuronFigure {
    /// The relation with its domain.
    pub relation: String,
    /// One entry an error and norm.
    pub needs: Vec<Need>,
}

/// Where a model errs most.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WorstFigure {
    /// The relation and the model.
    pub relation: String,
    /// Coordinates of the grid's nodes, the same on both sides.
    pub nodes: Vec<f64>,
    /// Absolute errors, row-major, a row a query.
    pub errors: Vec<f64>,
    /// The certificate with the worst point.
    pub certificate: SupNorm,
}

/// The weight of the best key beside what is guaranteed, against the number of keys or the inverse temperature.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WeightFigure {
    /// The relation, with what is held fixed.
    pub relation: String,
    /// What the weights are plotted against.
    pub over: WeightsOver,
    /// One for each map.
    pub curves: Vec<WeightCurve>,
}

/// Weights of the best key under one map, each `(number of keys or inverse temperature, weight)`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WeightCurve {
    /// The map.
    pub map: String,
    /// What was seen.
    pub measured: Vec<(f64, f64)>,
    /// What is guaranteed.
    pub guaranteed: Vec<(f64, f64)>,
}

/// What the weights of a [`WeightFigure`] are plotted against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WeightsOver {
    /// The number of keys, each query at the temperature that its own gap needs.
    Keys,
    /// The inverse temperature.
    InverseTemperature,
}

/// What [`verify`] found.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Verification {
    /// The claims, in the order of the theory.
    pub claims: Vec<Claim>,
    /// Sampled spectra beside exact ones.
    pub spectra: Vec<SpectrumFigure>,
    /// Error against dimension.
    pub errors: Vec<ErrorFigure>,
    /// Neurons against error.
    pub neurons: Vec<NeuronFigure>,
    /// Where the worst point lies.
    pub worst: Vec<WorstFigure>,
    /// The weight that attention gives the best key.
    pub weights: Vec<WeightFigure>,
}

impl Verification {
    /// Whether every claim holds.
    pub fn holds(&self) -> bool {
        self.claims.iter().all(|c| c.holds)
    }
}

/// The errors over which neurons are counted, in each norm.
const ERRORS: [f64; 4] = [0.3, 0.1, 0.03, 0.01];

/// Runs every claim.
///
/// Cost: about two minutes on two cores.
///
/// # Errors
/// What a fit, a floor or a certificate reports; a claim that fails is no error.
pub fn verify(seed: Seed, progress: &dyn Progress) -> Result<Verification> {
    let mut found = Verification::default();
    symmetric::verify(&mut found, seed, progress)?;
    asymmetric::verify(&mut found, seed, progress)?;
    spaces::verify(&mut found, seed, progress)?;
    floors::verify(&mut found, seed, progress)?;
    certificates::verify(&mut found, seed, progress)?;
    preorder::verify(&mut found, seed, progress)?;
    attention::verify(&mut found, seed, progress)?;
    // Claims of one theorem stand together, theorems in the order in which they were met.
    let order: Vec<String> = found.claims.iter().map(|c| c.theorem.clone()).collect();
    found.claims.sort_by_key(|c| order.iter().position(|t| *t == c.theorem));
    Ok(found)
}

impl Verification {
    fn claim(&mut self, theorem: &str, claim: String, predicted: String, measured: String, holds: bool) {
        self.claims.push(Claim { theorem: theorem.into(), claim, predicted, measured, holds });
    }

    /// Takes a plan's figures.
    fn take(&mut self, plan: &Plan, relation: &str) {
        // The widest class: below its floors no model can go.
        let of = |f: &Floor| (f.class == Class::Asymmetric && f.rms > 0.0).then_some((f.dim, f.rms));
        let floors = plan.floors.iter().flat_map(|all| all.floors.iter().filter_map(of)).collect();
        let tail = |s: &crate::spectrum::Spectrum| (1..=64).map(|dim| (dim, s.rms_tail(dim))).collect();
        self.errors.push(ErrorFigure {
            relation: relation.into(),
            attained: plan.curve.iter().copied().filter(|p| p.0 <= 64).collect(),
            floors,
            tails: plan.spectrum.as_ref().map_or_else(Vec::new, tail),
        });
        self.neurons.push(NeuronFigure { relation: relation.into(), needs: plan.needs.clone() });
    }

    /// That no fitted model goes below a certified floor.
    fn check_floors(&mut self, theorem: &str, plan: &Plan, relation: &str) {
        let ratios: Vec<f64> =
            plan.rows.iter().filter_map(|r| Some(r.attainable / r.floor.filter(|f| *f > 0.0)?)).collect();
        let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
        self.claim(
            theorem,
            format!("no model of {relation} errs less than the certified floor of its dimension"),
            "fitted error / floor at least 1 at every dimension".into(),
            format!("at least {least:.3} over {} dimensions", ratios.len()),
            least >= 1.0 && !ratios.is_empty(),
        );
    }

    /// That towers are found for every error, and that they need fewer neurons than the bounds say.
    fn check_needs(&mut self, names: [&str; 2], plan: &Plan, relation: &str) {
        let measured = |need: &Need| match &need.trained {
            Some(t) => format!("{:.1e} with {} neurons", t.error, t.neurons),
            None => "none found".into(),
        };
        for norm in [Norm::Rms, Norm::Sup] {
            let own: Vec<&Need> = plan.needs.iter().filter(|n| n.norm == norm).collect();
            if own.is_empty() {
                continue;
            }
            let asked: Vec<String> = own.iter().map(|n| n.error.to_string()).collect();
            let met = |n: &&Need| n.trained.as_ref().is_some_and(|t| t.error <= n.error);
            self.claim(
                names[0],
                format!("towers reach every {norm} error asked for on {relation}"),
                format!("at most {}", asked.join(", ")),
                own.iter().copied().map(measured).collect::<Vec<_>>().join(", "),
                own.iter().all(met),
            );
            let bounds: Vec<(f64, f64, &str)> = own
                .iter()
                .flat_map(|n| n.counts.iter().map(move |c| (n, c)))
                .filter(|(_, c)| c.name.ends_with("bound"))
                .filter_map(|(n, c)| Some((n.trained.as_ref()?.neurons as f64, c.neurons?, c.name.as_str())))
                .collect();
            let share = bounds.iter().map(|(trained, bound, _)| trained / bound).fold(0.0, f64::max);
            let mut kinds: Vec<&str> = bounds.iter().map(|b| b.2).collect();
            kinds.sort_unstable();
            kinds.dedup();
            self.claim(
                names[1],
                format!(
                    "trained towers for {relation} need fewer neurons than the bounds in {norm} ({})",
                    kinds.join(", ")
                ),
                "trained / bound at most 1 at every error".into(),
                format!("at most {share:.1e} over {} bounds", bounds.len()),
                share <= 1.0 && !bounds.is_empty(),
            );
        }
    }
}

/// Targets in both norms over [`ERRORS`].
fn wish(seed: Seed, norms: &[Norm]) -> Wish {
    let target = |norm: &Norm, error: f64| match norm {
        Norm::Rms => Target::Absolute(error),
        Norm::Sup => Target::Sup(error),
    };
    let targets = norms.iter().flat_map(|norm| ERRORS.map(|error| target(norm, error))).collect();
    Wish { targets, options: Options { seed, ..Options::default() }, ..Wish::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fit::{Effort, Silent};
    use crate::plan::plan_relation;
    use crate::relation::{Kernel, Law};

    #[test]
    fn claims_hold_on_another_seed() {
        let mut found = Verification::default();
        for part in [spaces::verify, floors::verify, certificates::verify, preorder::verify, attention::verify] {
            part(&mut found, Seed(11), &Silent).unwrap();
        }
        let failed: Vec<_> = found.claims.iter().filter(|c| !c.holds).collect();
        assert!(failed.is_empty() && found.claims.len() >= 12, "{failed:#?}");
        assert_eq!((found.spectra.len(), found.worst.len()), (1, 3));
    }

    #[test]
    fn false_claims_fail() {
        let kernel = Kernel::gaussian(0.7).unwrap();
        let options = Options { units: Some(24), effort: Effort::Steps(0), ..Options::default() };
        let wish = Wish { targets: vec![Target::Absolute(0.05)], options, ..Wish::default() };
        let plan = plan_relation(&kernel, Some(&kernel), Law::Cube { dim: 1 }, None, &wish, &Silent).unwrap();
        let verdicts = |plan: &Plan| {
            let mut found = Verification::default();
            found.check_floors("floors", plan, "a kernel");
            found.check_needs(["universality", "neurons"], plan, "a kernel");
            found.claims.iter().map(|c| c.holds).collect::<Vec<bool>>()
        };
        assert_eq!(verdicts(&plan), [true, true, true]);
        // Floors above what was attained, an error that was missed, and more neurons than a bound allows.
        let mut wrong = plan.clone();
        wrong.rows.iter_mut().for_each(|row| row.floor = row.floor.map(|f| 2.0 * f));
        assert_eq!(verdicts(&wrong), [false, true, true]);
        let mut wrong = plan.clone();
        wrong.needs[0].trained.as_mut().unwrap().error = 0.06;
        assert_eq!(verdicts(&wrong), [true, false, true]);
        let mut wrong = plan.clone();
        wrong.needs[0].trained.as_mut().unwrap().neurons = 1_000_000;
        assert_eq!(verdicts(&wrong), [true, true, false]);
        let mut wrong = plan;
        wrong.needs[0].trained = None;
        assert_eq!(verdicts(&wrong), [true, false, false]);
    }
}
