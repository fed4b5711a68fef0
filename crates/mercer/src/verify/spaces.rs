//! The spaces that learned relations reproduce: RKHS of symmetric, RKBS of asymmetric models.

use crate::encoder::DualEncoder;
use crate::error::{Error, Result};
use crate::fit::{Dimension, Options, Progress, Silent, spectral};
use crate::linalg::{Matrix, cholesky, eigenvalues};
use crate::relation::{Kernel, Law, PointRelation, ask_block};
use crate::rows::Features;
use crate::seed::Seed;
use crate::verify::Verification;

/// Points on which spaces are looked at.
const POINTS: usize = 200;
/// Ridge of the kernel regressions, as a share of the number of points.
const RIDGE: f64 = 1e-6;

pub(crate) fn verify(found: &mut Verification, seed: Seed, progress: &dyn Progress) -> Result<()> {
    progress.stage("reproducing spaces");
    hilbert(found, seed)?;
    banach(found, seed)
}

fn embeddings(data: Vec<f32>, dim: usize) -> Matrix {
    let n = data.len() / dim;
    Matrix::from_columns(data.into_iter().map(f64::from).collect(), dim, n)
}

fn hilbert(found: &mut Verification, seed: Seed) -> Result<()> {
    let (kernel, law) = (Kernel::gaussian(0.5)?, Law::Cube { dim: 1 });
    let options = Options { dimension: Dimension::Fixed(16), seed, ..Options::default() };
    let model = spectral(&kernel, law, None, &options, &Silent)?.encoder;
    let mut stream = seed.stream("spaces");
    let (x, fresh) = (law.draw(POINTS, &mut stream)?, law.draw(POINTS, &mut stream)?);
    let gram = Matrix::from_columns(model.block(0, &x.rows(), &x.rows())?, POINTS, POINTS);
    let values = eigenvalues(&gram).ok_or_else(|| Error::data("the Gram matrix is not finite", "check the model"))?;
    let (largest, least) = (values[0], values[values.len() - 1]);
    found.claim(
        "RKHS identification",
        "the learned <phi(x), phi(y)> is a positive semi-definite kernel".into(),
        "no eigenvalue of a Gram matrix below rounding".into(),
        format!("smallest {:.1e} of largest, on {POINTS} fresh points", least / largest),
        least >= -1e-12 * largest * POINTS as f64,
    );
    // f = sum_i a_i k(x_i, .) is <w, phi(.)> with w = sum_i a_i phi(x_i), and |f|^2 = a^T K a = |w|^2.
    let a: Vec<f64> = (0..POINTS).map(|_| stream.normal()).collect();
    let phi = embeddings(model.embed_keys(&x.rows())?, model.dim());
    let w = phi.times(&Matrix::from_columns(a.clone(), POINTS, 1));
    let square: f64 = w.data().iter().map(|v| v * v).sum();
    let form: f64 = (0..POINTS).map(|j| a[j] * gram.column(j).iter().zip(&a).map(|(k, b)| k * b).sum::<f64>()).sum();
    found.claim(
        "RKHS identification",
        "its space is {<w, phi(.)>}, with |f|^2 = a^T K a = |w|^2 for f = sum a_i k(x_i, .)".into(),
        "equal up to rounding".into(),
        format!("relative difference {:.1e}", (square - form).abs() / form),
        (square - form).abs() <= 1e-10 * form,
    );
    let (exact, learned) = (regression(&kernel, None, &x, &fresh)?, regression(&kernel, Some(&model), &x, &fresh)?);
    found.claim(
        "RKHS identification",
        "the learned kernel does the kernel's work in a kernel method (ridge regression of sin 5x)".into(),
        "test error within a tenth of that of the kernel itself".into(),
        format!("{learned:.2e} with the learned kernel, {exact:.2e} with the kernel"),
        learned <= 1.1 * exact.max(1e-6),
    );
    Ok(())
}

/// Test error of kernel ridge regression of `sin 5x` with the kernel, or with a model in its place.
fn regression(kernel: &Kernel, model: Option<&DualEncoder>, x: &Features, fresh: &Features) -> Result<f64> {
    let block = |rows: &Features| match model {
        Some(model) => Ok(Matrix::from_columns(model.block(0, &rows.rows(), &x.rows())?, x.len(), rows.len())),
        None => ask_block(kernel, 0, rows, x),
    };
    let target = |rows: &Features| {
        let mut values = vec![0.0; rows.len()];
        values
            .iter_mut()
            .enumerate()
            .for_each(|(i, v)| rows.rows().for_each(i, |_, x| *v = (5.0 * f64::from(x)).sin()));
        values
    };
    let mut gram = block(x)?;
    gram.add_to_diagonal(RIDGE * x.len() as f64);
    let factor = cholesky(&gram).ok_or_else(|| Error::data("the Gram matrix is not positive", "raise the ridge"))?;
    let mut weights = Matrix::from_columns(target(x), x.len(), 1);
    factor.solve(&mut weights);
    let predicted = block(fresh)?.transpose_times(&weights);
    let errors = predicted.data().iter().zip(target(fresh)).map(|(p, t)| (p - t) * (p - t));
    Ok((errors.sum::<f64>() / fresh.len() as f64).sqrt())
}

fn banach(found: &mut Verification, seed: Seed) -> Result<()> {
    let relation = PointRelation(|x: &[f32], y: &[f32]| (3.0 * f64::from(x[0]) + f64::from(y[0]).powi(2)).sin());
    let law = Law::Cube { dim: 1 };
    let options = Options { dimension: Dimension::Fixed(8), seed, ..Options::default() };
    let model = spectral(&relation, law, None, &options, &Silent)?.encoder;
    let mut stream = seed.stream("reproducing pair");
    let (x, y) = (law.draw(POINTS, &mut stream)?, law.draw(POINTS, &mut stream)?);
    let phi = embeddings(model.embed_queries(&x.rows())?, model.dim());
    let psi = embeddings(model.embed_keys(&y.rows())?, model.dim());
    // f = sum_j b_j r^(., y_j) has coefficients w = sum_j b_j psi(y_j): f(x) = <phi(x), w>, and Hoelder bounds it.
    let b: Vec<f64> = (0..POINTS).map(|_| stream.normal()).collect();
    let w = psi.times(&Matrix::from_columns(b.clone(), POINTS, 1)).into_data();
    let block = model.block(0, &x.rows(), &y.rows())?;
    let (mut reproduced, mut hoelder) = (0.0f64, 0.0f64);
    let scale = block.chunks_exact(POINTS).map(|row| dot(row, &b).abs()).fold(0.0, f64::max);
    for (i, row) in block.chunks_exact(POINTS).enumerate() {
        let (f, pairing) = (dot(row, &b), dot(phi.column(i), &w));
        reproduced = reproduced.max((f - pairing).abs() / scale);
        for (p, q) in [(1.0, f64::INFINITY), (3.0, 1.5), (f64::INFINITY, 1.0)] {
            hoelder = hoelder.max(f.abs() / (norm(phi.column(i), p) * norm(&w, q)));
        }
    }
    found.claim(
        "RKBS identification",
        "the pair of towers reproduces its functions through the pairing of coefficients".into(),
        "f(x) = <phi(x), w> up to rounding; |f(x)| <= |phi(x)|_p |w|_q for p = 1, 3, infinity".into(),
        format!("difference {reproduced:.1e} of the largest value; |f| at most {hoelder:.2} of Hoelder's bound"),
        reproduced <= 1e-10 && hoelder <= 1.0 + 1e-12,
    );
    // The keys' embeddings span all coefficients, so these are two functions of the space.
    let mixed = |sign: f64| (0..model.dim()).map(|j| [1.0, sign].get(j).copied().unwrap_or(0.0)).collect::<Vec<f64>>();
    let (u, v) = (mixed(1.0), mixed(-1.0));
    let gap = |p: f64| parallelogram(&u, &v, p);
    found.claim(
        "RKBS identification",
        "with p-norms of coefficients the space is Banach and no Hilbert space".into(),
        "the parallelogram law holds for p = 2 and fails for p = 1 and 3".into(),
        format!("relative gaps {:.1e} for 2, {:.2} for 1, {:.2} for 3", gap(2.0), gap(1.0), gap(3.0)),
        gap(2.0) < 1e-12 && gap(1.0) > 1e-3 && gap(3.0) > 1e-3,
    );
    Ok(())
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn norm(v: &[f64], p: f64) -> f64 {
    if p.is_infinite() {
        return v.iter().fold(0.0, |most, v| most.max(v.abs()));
    }
    v.iter().map(|v| v.abs().powf(p)).sum::<f64>().powf(p.recip())
}

/// How far `|u + v|^2 + |u - v|^2 = 2 |u|^2 + 2 |v|^2` is missed, relative to the right side.
fn parallelogram(u: &[f64], v: &[f64], p: f64) -> f64 {
    let combined = |sign: f64| norm(&u.iter().zip(v).map(|(a, b)| a + sign * b).collect::<Vec<_>>(), p).powi(2);
    let right = 2.0 * (norm(u, p).powi(2) + norm(v, p).powi(2));
    (combined(1.0) + combined(-1.0) - right).abs() / right
}
