//! The forward pass against a plain loop in `f64`, with an error bound carried along.

mod common;

use common::{EPS32, cube, densified, sparsified, stream};
use mercer::{Activation, ErrorKind, Features, Layer, RowScaling, Rows, Stream, Tower, with_threads};
use proptest::prelude::*;
use proptest::test_runner::Config;

const ACTIVATIONS: [Activation; 6] =
    [Activation::Identity, Activation::Sine, Activation::Cosine, Activation::Relu, Activation::Gelu, Activation::Tanh];

/// The activation and the largest slope it has anywhere.
fn activate(activation: Activation, z: f64) -> (f64, f64) {
    match activation {
        Activation::Identity => (z, 1.0),
        Activation::Sine => (z.sin(), 1.0),
        Activation::Cosine => (z.cos(), 1.0),
        Activation::Relu => (z.max(0.0), 1.0),
        Activation::Gelu => {
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (z + 0.044715 * z.powi(3));
            (0.5 * z * (1.0 + inner.tanh()), 1.13)
        }
        Activation::Tanh => (z.tanh(), 1.0),
        _ => unreachable!("an activation that this test does not know"),
    }
}

/// Outputs for one row and, for each, a bound on the `f32` error.
fn naive(tower: &Tower, row: &[f64]) -> Vec<(f64, f64)> {
    let norm = row.iter().map(|v| v * v).sum::<f64>().sqrt();
    let factor = match tower.scaling() {
        RowScaling::None => 1.0,
        RowScaling::UnitNorm if norm == 0.0 => 0.0,
        RowScaling::UnitNorm => 1.0 / norm,
    };
    let mut current: Vec<(f64, f64)> = row.iter().map(|v| (v * factor, 2.0 * EPS32 * (v * factor).abs())).collect();
    for layer in tower.layers() {
        let next = |j: usize| {
            let (mut sum, mut size, mut error) = (f64::from(layer.bias()[j]), f64::from(layer.bias()[j]).abs(), 0.0);
            for (i, (value, own)) in current.iter().enumerate() {
                let weight = f64::from(layer.weights()[i * layer.outputs() + j]);
                sum += weight * value;
                size += (weight * value).abs();
                error += weight.abs() * own;
            }
            // A sum of k products in any order errs by at most k eps times the sum of their sizes.
            error += (current.len() + 2) as f64 * EPS32 * size;
            let (value, slope) = activate(layer.activation(), sum);
            // Sine and cosine err by a few ulp of 1, the others by a few ulp of their argument.
            (value, slope * error + 4.0 * EPS32 * (1.0 + sum.abs()))
        };
        current = (0..layer.outputs()).map(next).collect();
    }
    current
}

/// Weights of such a size that numbers neither vanish nor grow from layer to layer.
fn random_tower(widths: &[usize], activations: &[Activation], scaling: RowScaling, stream: &mut Stream) -> Tower {
    let layer = |(pair, activation): (&[usize], &Activation)| {
        let scale = 1.5 / (pair[0] as f64).sqrt();
        let weights = (0..pair[0] * pair[1]).map(|_| (scale * stream.normal()) as f32).collect();
        let bias = (0..pair[1]).map(|_| (0.5 * stream.normal()) as f32).collect();
        Layer::new(weights, bias, *activation).unwrap()
    };
    Tower::new(widths.windows(2).zip(activations).map(layer).collect()).unwrap().with_scaling(scaling)
}

fn check(tower: &Tower, rows: &Rows<'_>, got: &[f32]) {
    assert_eq!(got.len(), rows.len() * tower.outputs());
    for (i, own) in got.chunks_exact(tower.outputs()).enumerate() {
        for (j, (value, bound)) in naive(tower, &common::dense_row(rows, i)).into_iter().enumerate() {
            let difference = (f64::from(own[j]) - value).abs();
            assert!(difference <= bound, "row {i}, output {j}: {} against {value}, bound {bound:e}", own[j]);
        }
    }
}

fn sparse_rows(n: usize, dim: usize, share: f64, stream: &mut Stream) -> Features {
    let data = (0..n * dim).map(|_| if stream.uniform() < share { stream.normal() as f32 } else { 0.0 }).collect();
    sparsified(&Features::dense(data, dim).unwrap())
}

proptest! {
    #![proptest_config(Config { failure_persistence: None, cases: 48, ..Config::default() })]

    #[test]
    fn forward_is_the_plain_loop(
        widths in prop::collection::vec(1..40usize, 2..6),
        which in prop::collection::vec(0..6usize, 5),
        n in prop_oneof![0..5usize, 120..300usize],
        share in prop_oneof![Just(0.1), Just(1.0)],
        unit in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let mut stream = mercer::Seed(seed).stream("tower");
        let activations: Vec<Activation> = which.iter().map(|&i| ACTIVATIONS[i]).collect();
        let scaling = if unit { RowScaling::UnitNorm } else { RowScaling::None };
        let tower = random_tower(&widths, &activations, scaling, &mut stream);
        let sparse = sparse_rows(n, widths[0], share, &mut stream);
        // Sparse and dense rows of the same numbers: both within the bound of the same exact value.
        check(&tower, &sparse.rows(), &tower.forward(&sparse.rows()).unwrap());
        let dense = densified(&sparse);
        check(&tower, &dense.rows(), &tower.forward(&dense.rows()).unwrap());
        // One row at a time, and in the middle of a view.
        let middle = n / 2..n - n / 4;
        let slice = dense.slice(middle.clone());
        check(&tower, &slice, &tower.forward(&slice).unwrap());
        for i in middle.take(3) {
            let own = sparse.slice(i..i + 1);
            check(&tower, &own, &tower.forward(&own).unwrap());
        }
    }
}

#[test]
fn one_row_at_a_time_is_all_at_once() {
    let mut stream = stream("batch");
    let tower = random_tower(
        &[20, 33, 17, 9],
        &[Activation::Sine, Activation::Gelu, Activation::Identity],
        RowScaling::None,
        &mut stream,
    );
    let rows = cube(300, 20, "batch");
    let all = tower.forward(&rows.rows()).unwrap();
    for i in 0..rows.len() {
        let own = tower.forward(&rows.slice(i..i + 1)).unwrap();
        let bounds = naive(&tower, &common::dense_row(&rows.rows(), i));
        for (j, (_, bound)) in bounds.into_iter().enumerate() {
            assert!(f64::from((own[j] - all[i * 9 + j]).abs()) <= 2.0 * bound, "row {i}, output {j}");
        }
    }
}

#[test]
fn threads_change_no_bit() {
    let mut stream = stream("threads");
    let activations = [Activation::Gelu, Activation::Sine, Activation::Tanh];
    for scaling in [RowScaling::None, RowScaling::UnitNorm] {
        let tower = random_tower(&[24, 50, 30, 12], &activations, scaling, &mut stream);
        // Blocks of 128 rows: eight of them and a remainder.
        let dense = cube(1100, 24, "threads");
        let sparse = sparse_rows(1100, 24, 0.2, &mut stream);
        for rows in [&dense, &sparse] {
            let run = |threads: usize| -> Vec<u32> {
                let out = with_threads(Some(threads), || tower.forward(&rows.rows()).unwrap()).unwrap();
                out.into_iter().map(f32::to_bits).collect()
            };
            let one = run(1);
            assert_eq!(one, run(2));
            assert_eq!(one, run(3));
        }
    }
}

#[test]
fn unit_norm_forgets_the_length_and_keeps_zero_rows() {
    let identity = Layer::new(vec![1.0, 0.0, 0.0, 1.0], vec![0.0, 0.0], Activation::Identity).unwrap();
    let tower = Tower::new(vec![identity]).unwrap().with_scaling(RowScaling::UnitNorm);
    let rows = Features::dense(vec![3.0, 4.0, 3e18, -4e18, 0.0, 0.0, 3e-18, 4e-18], 2).unwrap();
    for (got, expected) in
        tower.forward(&rows.rows()).unwrap().into_iter().zip([0.6, 0.8, 0.6, -0.8, 0.0, 0.0, 0.6, 0.8])
    {
        assert!(f64::from((got - expected as f32).abs()) <= 2.0 * EPS32, "{got} against {expected}");
    }
}

#[test]
fn towers_that_do_not_fit_are_refused() {
    let layer = |inputs: usize, outputs: usize| {
        Layer::new(vec![0.5; inputs * outputs], vec![0.0; outputs], Activation::Relu).unwrap()
    };
    assert!(Tower::new(Vec::new()).is_err());
    assert!(Tower::new(vec![layer(3, 4), layer(5, 2)]).is_err());
    assert!(Layer::new(vec![1.0; 5], vec![0.0; 2], Activation::Relu).is_err());
    assert!(Layer::new(Vec::new(), vec![0.0], Activation::Relu).is_err());
    assert!(Layer::new(Vec::new(), Vec::new(), Activation::Relu).is_err());
    let place =
        |weights: Vec<f32>, bias: Vec<f32>| match Layer::new(weights, bias, Activation::Relu).unwrap_err().kind() {
            ErrorKind::NonFinite { row, column, .. } => (*row, *column),
            other => panic!("{other:?}"),
        };
    assert_eq!(place(vec![0.0, 0.0, 0.0, f32::NAN], vec![0.0, 0.0]), (1, 1));
    assert_eq!(place(vec![0.0; 4], vec![f32::INFINITY, 0.0]), (2, 0));
    let tower = Tower::new(vec![layer(3, 4)]).unwrap();
    let error = tower.forward(&cube(2, 4, "shape").rows()).unwrap_err();
    assert!(error.to_string().contains("3 feature columns"), "{error}");
    assert!(tower.forward_into(&cube(2, 3, "shape").rows(), &mut [0.0; 7]).is_err());
}
