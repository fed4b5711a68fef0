//! Spectra and floors that are known in closed form.

use std::f64::consts::PI;

use crate::encoder::Class;
use crate::error::Result;
use crate::fit::Progress;
use crate::relation::{Law, PointRelation, Relation};
use crate::seed::Seed;
use crate::spectrum::{Anchors, FloorOptions, floors, sampled};
use crate::stats::rate_upper;
use crate::verify::{SpectrumFigure, Verification};

const LINE: Law<'_> = Law::Cube { dim: 1 };

/// `min(x, y)` on `[0, 1]`, to which the line is mapped.
fn brownian() -> impl Relation {
    PointRelation(|x: &[f32], y: &[f32]| 0.5 * (1.0 + f64::from(x[0].min(y[0]))))
}

/// Eigenvalue `k`, from 1, of the Brownian kernel.
fn eigenvalue(k: usize) -> f64 {
    4.0 / ((2 * k - 1) as f64 * PI).powi(2)
}

pub(crate) fn verify(found: &mut Verification, seed: Seed, progress: &dyn Progress) -> Result<()> {
    progress.stage("spectra and floors");
    spectrum(found, seed)?;
    ranks(found, seed)?;
    coverage(found, seed)
}

fn spectrum(found: &mut Verification, seed: Seed) -> Result<()> {
    const SHOWN: usize = 24;
    let spread = sampled(&brownian(), 0, LINE, None, Anchors::Spread, 800, seed)?;
    let worst = (1..=8).map(|k| (spread.values[k - 1] / eigenvalue(k) - 1.0).abs()).fold(0.0, f64::max);
    found.claim(
        "Mercer",
        "the Brownian kernel min(x, y) on [0, 1] has eigenvalues 4 / ((2k - 1)^2 pi^2)".into(),
        "sampled values agree for k = 1..8".into(),
        format!("to a share of {worst:.1e}"),
        worst < 1e-2,
    );
    let independent = sampled(&brownian(), 0, LINE, None, Anchors::Independent, 600, seed)?;
    let values = |f: &dyn Fn(usize) -> f64| (1..=SHOWN).map(|k| (k, f(k))).collect::<Vec<_>>();
    if let Some(radius) = &independent.radius {
        let largest = (1..=SHOWN).map(|k| (independent.values[k - 1] - eigenvalue(k)).abs()).fold(0.0, f64::max);
        found.claim(
            "Mercer",
            "eigenvalues lie within the confidence radius of the sampled ones (independent items)".into(),
            format!("within {:.3}, confidence {}", radius.together, radius.confidence),
            format!("within {largest:.4}"),
            largest <= radius.together,
        );
        found.spectra.push(SpectrumFigure {
            relation: "min(x, y) on [0, 1]".into(),
            sampled: values(&|k| independent.values[k - 1]),
            radius: radius.together,
            confidence: radius.confidence,
            exact: values(&eigenvalue),
        });
    }
    Ok(())
}

fn ranks(found: &mut Verification, seed: Seed) -> Result<()> {
    let circle = PointRelation(|x: &[f32], y: &[f32]| (PI * (f64::from(x[0]) - f64::from(y[0]))).cos());
    let bound = floors(&circle, LINE, None, &[1, 2, 3], &FloorOptions { seed, ..FloorOptions::default() })?;
    let at = |dim: usize| bound.get(Class::Symmetric, dim).map_or(f64::NAN, |f| f.rms);
    // Eigenvalues 1/2 and 1/2: one coordinate misses half.
    found.claim(
        "floors",
        "cos(x - y) on the circle has rank 2".into(),
        "floor near .5 at dimension 1, exactly 0 from dimension 2 on".into(),
        format!("{:.3}, {}, {}", at(1), at(2), at(3)),
        at(1) > 0.4 && at(1) <= 0.5 && at(2) == 0.0 && at(3) == 0.0,
    );
    Ok(())
}

/// Runs of the floor bound that look for one above the true floor.
const RUNS: u64 = 100;

fn coverage(found: &mut Verification, seed: Seed) -> Result<()> {
    let dims = [1, 4];
    let truth = |dim: usize| {
        // The tail of the series beyond 20000 terms is below 1e-14 of it.
        (dim + 1..20_000).rev().map(|k| eigenvalue(k).powi(2)).sum::<f64>().sqrt()
    };
    let (mut above, mut sharpness) = (0, f64::INFINITY);
    for run in 0..RUNS {
        let options = FloorOptions {
            size: Some(64),
            blocks: Some(32),
            self_pairs: true,
            confidence: 0.95,
            seed: Seed(seed.0 + run),
        };
        let bound = floors(&brownian(), LINE, None, &dims, &options)?;
        let ratio = |&dim: &usize| bound.get(Class::Asymmetric, dim).map_or(0.0, |f| f.rms / truth(dim));
        above += u64::from(dims.iter().any(|d| ratio(d) > 1.0));
        sharpness = dims.iter().map(ratio).fold(sharpness, f64::min);
    }
    found.claim(
        "floors",
        format!("certified floors of the Brownian kernel lie below the truth ({RUNS} seeds, confidence .95)"),
        "above it in no more runs than 5 % allow (one-sided binomial test at 1e-3)".into(),
        format!("above it in {above}; at least {:.2} of it", sharpness),
        rate_upper((RUNS - above) as f64, RUNS as f64, 1e-3) >= 0.95,
    );
    Ok(())
}
