//! Asymmetric relations: universality, neuron bound, and what no symmetric model can do.

use crate::construct::{Modulus, PartitionOptions, measure, partition};
use crate::encoder::Class;
use crate::error::Result;
use crate::fit::{Dimension, Options, Progress, Silent, spectral};
use crate::plan::plan_relation;
use crate::relation::{Cuboid, Law, PointRelation, Relation};
use crate::seed::Seed;
use crate::spectrum::{FloorOptions, Norm, floors};
use crate::verify::{Verification, wish};

/// A bump that wanders with half the speed of `y`: `exp(-2 (x - y / 2 - 1 / 4)^2)`.
fn wandering() -> impl Relation {
    PointRelation(|x: &[f32], y: &[f32]| (-2.0 * (f64::from(x[0]) - 0.5 * f64::from(y[0]) - 0.25).powi(2)).exp())
}

/// Its slopes: the steepest of `exp(-2 u^2)` is `2 exp(-1 / 2)`, at `u = 1 / 2`.
const SLOPES: (f64, f64) = (1.213_061_4, 0.606_530_7);

pub(crate) fn verify(found: &mut Verification, seed: Seed, progress: &dyn Progress) -> Result<()> {
    let (relation, law, name) = (wandering(), Law::Cube { dim: 1 }, "exp(-2 (x - y/2 - 1/4)^2) on [-1, 1]");
    let names = ["asymmetric universality", "asymmetric neuron bound"];
    let plan = plan_relation(&relation, None, law, None, &wish(seed, &[Norm::Rms]), progress)?;
    found.check_needs(names, &plan, name);
    found.check_floors("floors", &plan, name);
    found.take(&plan, name);
    progress.stage("partition networks");
    let line = Cuboid::new(vec![-1.0], vec![1.0])?;
    let grid = line.grid(801)?;
    let mut tightness = Vec::new();
    for error in [0.2, 0.1, 0.05] {
        let options = PartitionOptions { error, ..PartitionOptions::default() };
        let modulus = Modulus::Lipschitz { query: SLOPES.0, key: SLOPES.1 };
        let network = partition(&relation, &line, &line, modulus, &options)?;
        tightness.push(measure(&network, &relation, &grid, &grid)?);
    }
    let seen: Vec<String> = tightness.iter().map(|m| format!("{:.1e} of {:.1e}", m.error, m.guarantee)).collect();
    found.claim(
        names[0],
        format!("the partition network of {name} errs less than it guarantees"),
        "largest error on an 801 x 801 grid at most the guarantee, for .2, .1, .05".into(),
        seen.join(", "),
        tightness.iter().all(|m| m.error <= m.guarantee),
    );
    turn(found, seed)
}

/// `x1 y2 - x2 y1` is antisymmetric: two coordinates of two towers hold it, no symmetric model does.
fn turn(found: &mut Verification, seed: Seed) -> Result<()> {
    let turn =
        PointRelation(|x: &[f32], y: &[f32]| f64::from(x[0]) * f64::from(y[1]) - f64::from(x[1]) * f64::from(y[0]));
    let law = Law::Cube { dim: 2 };
    let bound = floors(&turn, law, None, &[2, 64], &FloorOptions { seed, ..FloorOptions::default() })?;
    let options = Options { dimension: Dimension::Fixed(2), seed, ..Options::default() };
    let fit = spectral(&turn, law, None, &options, &Silent)?;
    let least =
        bound.floors.iter().filter(|f| f.class != Class::Asymmetric).map(|f| f.relative).fold(f64::INFINITY, f64::min);
    found.claim(
        "asymmetric universality",
        "x1 y2 - x2 y1 needs two towers: two coordinates suffice, and one tower misses nearly everything".into(),
        "diagnosed asymmetric; symmetric and signed floors near 100 % up to dimension 64, two towers exact at dimension 2".into(),
        format!(
            "diagnosed {}; floors at least {:.0} %; two towers err {:.1e} relative",
            fit.encoder.class(),
            100.0 * least,
            fit.held_out_relative
        ),
        fit.encoder.class() == Class::Asymmetric && least > 0.85 && fit.held_out_relative < 1e-4,
    );
    Ok(())
}
