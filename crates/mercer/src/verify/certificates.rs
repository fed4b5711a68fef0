//! Certificates: coverage on simulated errors, and proven largest errors beside a dense grid.

use crate::certify::sup::{Budget, certify as certify_sup};
use crate::certify::{Certificate, HeldOut, Quantity, Request, certify};
use crate::encoder::DualEncoder;
use crate::error::Result;
use crate::evaluate::Population;
use crate::fit::{Dimension, Options, Progress, Silent, Target};
use crate::pipeline::fit_kernel;
use crate::relation::{Domain, Kernel, Law, ask_block};
use crate::rows::Features;
use crate::seed::Seed;
use crate::stats::rate_upper;
use crate::verify::{Verification, WorstFigure};

pub(crate) fn verify(found: &mut Verification, seed: Seed, progress: &dyn Progress) -> Result<()> {
    progress.stage("certificates");
    coverage(found, seed)?;
    largest_errors(found, seed)
}

/// Simulated certificates.
const RUNS: u64 = 200;
/// New items of a simulated certificate; all their pairs are held out.
const ITEMS: u32 = 60;
const SHARE: f64 = 0.9;

/// Errors `(a_x + a_y) z / sqrt 2` with `a` uniform on `[0, 1]` an item and `z` normal a pair: pairs that share an item err
/// together.
fn simulated(seed: u64, request: Request) -> Result<Certificate> {
    let mut stream = Seed(seed).stream("simulated errors");
    let effect: Vec<f64> = (0..ITEMS).map(|_| stream.uniform()).collect();
    let (mut x, mut y, mut predicted) = (Vec::new(), Vec::new(), Vec::new());
    for i in 0..ITEMS {
        for j in 0..i {
            x.push(i);
            y.push(j);
            predicted.push((effect[i as usize] + effect[j as usize]) * stream.normal() * 0.5f64.sqrt());
        }
    }
    let value = vec![0.0; x.len()];
    certify(
        HeldOut { x: &x, y: &y, predicted: &predicted, value: &value, shared: true },
        Population::TwoNewItems,
        request,
    )
}

/// The true share of pairs with an error of at most `t`, from a million simulated ones.
fn truth(errors: &[f64], t: f64) -> f64 {
    errors.partition_point(|e| *e <= t) as f64 / errors.len() as f64
}

fn coverage(found: &mut Verification, seed: Seed) -> Result<()> {
    let mut stream = seed.stream("true errors");
    let mut errors: Vec<f64> = (0..1_000_000)
        .map(|_| ((stream.uniform() + stream.uniform()) * stream.normal() * 0.5f64.sqrt()).abs())
        .collect();
    errors.sort_unstable_by(f64::total_cmp);
    let (mut exact, mut asymptotic) = (0, 0);
    for run in 0..RUNS {
        let request = Request { share: SHARE, seed: run, ..Request::default() };
        let certificate = simulated(seed.0 + run, request)?;
        for s in certificate.statements.iter().filter(|s| matches!(s.quantity, Quantity::Tolerance { .. })) {
            let holds = s.upper.is_none_or(|upper| truth(&errors, upper) >= SHARE);
            *(if s.exact { &mut exact } else { &mut asymptotic }) += usize::from(holds);
        }
    }
    let share = |count: usize| count as f64 / RUNS as f64;
    found.claim(
        "certificates",
        format!(
            "tolerances for new items hold as often as they say ({RUNS} simulated models, all pairs of {ITEMS} items)"
        ),
        "exact: 95 % of the time (one-sided binomial test at 1e-3); asymptotic: at least .88".into(),
        format!("exact {:.3}, asymptotic {:.3}", share(exact), share(asymptotic)),
        rate_upper(exact as f64, RUNS as f64, 1e-3) >= 0.95 && share(asymptotic) >= 0.88,
    );
    Ok(())
}

/// Nodes a side of the grid that stands beside a proven largest error.
const NODES: usize = 2000;
/// Nodes a side of the picture.
const SHOWN: usize = 81;

fn largest_errors(found: &mut Verification, seed: Seed) -> Result<()> {
    let (kernel, domain) = (Kernel::gaussian(0.5)?, Domain::cube(1, -1.0, 1.0)?);
    for error in [1e-2, 1e-3, 1e-5] {
        let options = Options { dimension: Dimension::Target(Target::Sup(error)), seed, ..Options::default() };
        let model = fit_kernel(&kernel, Law::Cube { dim: 1 }, &options, &Silent)?.fit.encoder;
        let proven = certify_sup(&model, &kernel, &domain, &Budget::default())?;
        let dense = grid_errors(&model, &kernel, &domain.x.grid(NODES)?)?.into_iter().fold(0.0, f64::max);
        let bound = proven.with_rounding();
        found.claim(
            "certificates",
            format!(
                "the proven largest error of a Gaussian fit for sup {error:.0e} is sharp (dimension {})",
                model.dim()
            ),
            format!("between the largest on a {NODES} x {NODES} grid and twice that"),
            format!("{bound:.3e}, {:.2} times {dense:.3e}", bound / dense),
            bound >= dense && bound <= 2.0 * dense,
        );
        let shown = domain.x.grid(SHOWN)?;
        found.worst.push(WorstFigure {
            relation: format!("{kernel} on [-1, 1], dimension {}", model.dim()),
            nodes: (0..SHOWN).map(|i| -1.0 + 2.0 * i as f64 / (SHOWN - 1) as f64).collect(),
            errors: grid_errors(&model, &kernel, &shown)?,
            certificate: proven,
        });
    }
    Ok(())
}

/// Absolute errors on all pairs of the nodes, row-major, a row a query.
fn grid_errors(model: &DualEncoder, kernel: &Kernel, nodes: &Features) -> Result<Vec<f64>> {
    let own = model.block(0, &nodes.rows(), &nodes.rows())?;
    let exact = ask_block(kernel, 0, nodes, nodes)?;
    Ok(own.iter().zip(exact.data()).map(|(a, b)| (a - b).abs()).collect())
}
