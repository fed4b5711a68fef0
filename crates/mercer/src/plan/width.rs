//! The width that training needs: found by a search, so that bounds and constructions have something to stand beside.

use serde::Serialize;

use crate::encoder::{Class, DualEncoder};
use crate::error::Result;
use crate::fit::{Dimension, Effort, Options, Silent, spectral_on};
use crate::linalg::Matrix;
use crate::relation::{Law, Relation, ask_block};
use crate::rows::Features;
use crate::seed::Seed;
use crate::spectrum::Norm;

/// The narrowest towers that a search found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Trained {
    /// Embedding dimension.
    pub dim: usize,
    /// Hidden units of each tower.
    pub units: usize,
    /// Hidden units of both towers, of a shared one once.
    pub neurons: usize,
    /// The error that was measured, in the target's norm.
    pub error: f64,
    /// The root mean square error that was measured.
    pub rmse: f64,
    /// Number of fits that the search made.
    pub fits: usize,
}

/// How the hidden units of the searched towers are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Training {
    /// Drawn at random, scale and kind by a contest; only the outputs are solved for.
    ClosedForm,
    /// The same, then polished.
    Polished,
}

/// Widths tried before the search narrows down.
const LADDER: [usize; 18] = [1, 2, 3, 4, 6, 8, 11, 16, 22, 32, 45, 64, 90, 128, 181, 256, 362, 512];
/// Anchors a side of the search's fits, fitted and held out; wide towers take twice as many fitted ones as units.
const ANCHORS: [usize; 2] = [700, 300];
/// Points a side on which errors are measured.
pub(crate) const PROBES: usize = 700;

/// A relation with the points on which fitted towers are measured.
pub(crate) struct Search<'a> {
    relation: &'a dyn Relation,
    laws: [Law<'a>; 2],
    two_sets: bool,
    class: Class,
    seed: Seed,
    fresh: Probe,
    cover: Probe,
}

/// Points of both sides and the relation's values there.
struct Probe {
    x: Features,
    y: Features,
    values: Vec<Matrix>,
}

impl Probe {
    fn new(relation: &dyn Relation, x: Features, y: Features) -> Result<Probe> {
        let values = (0..relation.components()).map(|l| ask_block(relation, l, &x, &y)).collect::<Result<_>>()?;
        Ok(Probe { x, y, values })
    }

    /// Calls `visit` with every error.
    fn errors(&self, model: &DualEncoder, mut visit: impl FnMut(f64)) -> Result<()> {
        for (l, values) in self.values.iter().enumerate() {
            let own = model.block(l, &self.x.rows(), &self.y.rows())?;
            own.iter().zip(values.data()).for_each(|(a, b)| visit(a - b));
        }
        Ok(())
    }
}

impl<'a> Search<'a> {
    pub(crate) fn new(
        relation: &'a dyn Relation,
        queries: Law<'a>,
        keys: Option<Law<'a>>,
        class: Class,
        seed: Seed,
    ) -> Result<Self> {
        let laws = [queries, keys.unwrap_or(queries)];
        let draw = |side: usize, name: &str| laws[side].draw(PROBES, &mut seed.stream(name));
        let cover = |side: usize, name: &str| laws[side].cover(PROBES, &mut seed.stream(name));
        let fresh = Probe::new(relation, draw(0, "query probes")?, draw(1, "key probes")?)?;
        let cover = Probe::new(relation, cover(0, "query cover")?, cover(1, "key cover")?)?;
        Ok(Search { relation, laws, two_sets: keys.is_some(), class, seed, fresh, cover })
    }

    /// The error of `model` in `norm`: on fresh independent points, or the largest on points that hold faces and corners.
    pub(crate) fn error(&self, model: &DualEncoder, norm: Norm) -> Result<f64> {
        let (mut sum, mut count, mut most) = (0.0, 0usize, 0f64);
        let probe = if norm == Norm::Sup { &self.cover } else { &self.fresh };
        probe.errors(model, |e| {
            (sum, count, most) = (sum + e * e, count + 1, most.max(e.abs()));
        })?;
        Ok(if norm == Norm::Sup { most } else { (sum / count.max(1) as f64).sqrt() })
    }

    /// Trains towers of `units` hidden units and dimension `dim`.
    fn fit(&self, units: usize, dim: usize, training: Training) -> Result<DualEncoder> {
        let options = Options {
            class: Some(self.class),
            dimension: Dimension::Fixed(dim),
            units: Some(units),
            effort: if training == Training::Polished { Effort::Converge } else { Effort::Steps(0) },
            seed: self.seed,
            ..Options::default()
        };
        let sizes = [ANCHORS[0].max(2 * units), ANCHORS[1]];
        Ok(spectral_on(self.relation, self.laws, self.two_sets, sizes, &options, &Silent)?.encoder)
    }

    /// The narrowest towers found with error at most `target`: widths climb a ladder, then the gap is halved; at each width the
    /// dimension `least` is tried, then the largest that the units can hold. `None` if the widest towers do not do it.
    pub(crate) fn narrowest(
        &self,
        target: f64,
        norm: Norm,
        least: usize,
        training: Training,
    ) -> Result<Option<Trained>> {
        let mut fits = 0;
        let mut attempt = |units: usize| -> Result<Option<Trained>> {
            // A constant joins the units: more dimensions than that have nothing to hold.
            let most = units + 1;
            for dim in if least < most { vec![least, most] } else { vec![most] } {
                fits += 1;
                let model = self.fit(units, dim, training)?;
                if self.error(&model, norm)? <= target {
                    return self.cut(&model, units, target, norm).map(Some);
                }
            }
            Ok(None)
        };
        let (mut below, mut best) = (0, None);
        for units in LADDER.into_iter().filter(|&units| units + 1 >= least) {
            best = attempt(units)?;
            if best.is_some() {
                break;
            }
            below = units;
        }
        let Some(mut best) = best else { return Ok(None) };
        while best.units - below > 1 + best.units / 16 {
            let middle = usize::midpoint(below, best.units);
            match attempt(middle)? {
                Some(better) => best = better,
                None => below = middle,
            }
        }
        Ok(Some(Trained { fits, ..best }))
    }

    /// The smallest truncation of `model` that still meets the target, by bisection.
    fn cut(&self, model: &DualEncoder, units: usize, target: f64, norm: Norm) -> Result<Trained> {
        let (mut missed, mut met) = (0, (model.dim(), self.error(model, norm)?));
        while met.0 - missed > 1 {
            let dim = usize::midpoint(missed, met.0);
            let error = self.error(&model.truncate(dim)?, norm)?;
            if error <= target {
                met = (dim, error);
            } else {
                missed = dim;
            }
        }
        let towers = if model.is_shared() { 1 } else { 2 };
        let rmse = self.error(&model.truncate(met.0)?, Norm::Rms)?;
        Ok(Trained { dim: met.0, units, neurons: towers * units, error: met.1, rmse, fits: 0 })
    }
}
