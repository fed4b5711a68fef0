use crate::fit::gradient::adam::{Adam, Settings};
use crate::fit::gradient::net::*;
use crate::parallel::with_threads;
use crate::rows::Features;
use crate::seed::Seed;

const ALL: [Activation; 9] = [
    Activation::Identity,
    Activation::Sine,
    Activation::Cosine,
    Activation::Relu,
    Activation::Gelu,
    Activation::Tanh,
    Activation::Exp,
    Activation::Power(0),
    Activation::Power(3),
];

/// A tower of random layers; weights of size `1 / sqrt(inputs)`.
fn tower(widths: &[usize], activations: &[Activation], scaling: RowScaling) -> Tower {
    let mut stream = Seed(5).stream("net");
    let layers = widths.windows(2).zip(activations.iter().cycle()).map(|(pair, &activation)| {
        let size = 1.0 / (pair[0] as f64).sqrt();
        let weights = (0..pair[0] * pair[1]).map(|_| (size * stream.normal()) as f32).collect();
        let bias = (0..pair[1]).map(|_| (0.3 * stream.normal()) as f32).collect();
        Layer::new(weights, bias, activation).unwrap()
    });
    Tower::new(layers.collect()).unwrap().with_scaling(scaling).with_scale(0.8).unwrap()
}

fn dense(n: usize, dim: usize) -> Features {
    let mut stream = Seed(6).stream("rows");
    Features::dense((0..n * dim).map(|_| stream.normal() as f32).collect(), dim).unwrap()
}

/// Rows of up to 5 entries, some of them empty.
fn sparse(n: usize, dim: usize) -> Features {
    let mut stream = Seed(6).stream("sparse rows");
    let (mut starts, mut columns, mut values) = (vec![0], Vec::new(), Vec::new());
    for i in 0..n {
        let mut own: Vec<u32> = stream.choose(dim, i % 6).into_iter().map(|c| c as u32).collect();
        own.sort_unstable();
        values.extend(own.iter().map(|_| stream.normal() as f32));
        columns.extend(own);
        starts.push(columns.len());
    }
    Features::sparse(starts, columns, values, dim).unwrap()
}

fn draws(n: usize, name: &str) -> Vec<f32> {
    let mut stream = Seed(8).stream(name);
    (0..n).map(|_| stream.normal() as f32).collect()
}

/// The tower's outputs by its definition in `f64`, for any parameters in the net's layout, one row.
fn naive(tower: &Tower, parameters: &[f64], row: &[f64]) -> Vec<f64> {
    let norm = row.iter().map(|v| v * v).sum::<f64>().sqrt();
    let unit = tower.scaling() == RowScaling::UnitNorm && norm > 0.0;
    let mut values: Vec<f64> = row.iter().map(|v| if unit { v / norm } else { *v }).collect();
    let mut first = 0;
    for layer in tower.layers() {
        let (inputs, outputs) = (layer.inputs(), layer.outputs());
        let bias = first + inputs * outputs;
        let sum = |j: usize| -> f64 { (0..inputs).map(|i| values[i] * parameters[first + i * outputs + j]).sum() };
        let mut next: Vec<f64> = (0..outputs).map(|j| sum(j) + parameters[bias + j]).collect();
        for z in &mut next {
            *z = match layer.activation() {
                Activation::Identity => *z,
                Activation::Sine => z.sin(),
                Activation::Cosine => z.cos(),
                Activation::Relu => z.max(0.0),
                Activation::Gelu => {
                    let inner = (2.0 / std::f64::consts::PI).sqrt() * (*z + 0.044_715 * z.powi(3));
                    0.5 * *z * (1.0 + inner.tanh())
                }
                Activation::Tanh => z.tanh(),
                Activation::Exp => z.exp(),
                Activation::Power(p) => z.powi(p as i32),
            };
        }
        (values, first) = (next, bias + outputs);
    }
    values.iter().map(|v| v * f64::from(tower.scale())).collect()
}

fn dense_row(rows: &Rows<'_>, i: usize) -> Vec<f64> {
    let mut row = vec![0.0; rows.dim()];
    rows.for_each(i, |column, value| row[column] = value.into());
    row
}

/// Checks outputs and, at up to `checks` parameters, the gradient of `sum of outputs times d_outputs`.
fn check(tower: &Tower, features: &Features, checks: usize) {
    let (net, rows) = (Net::of(tower), features.rows());
    let (mut tape, mut gradient) = (Tape::new(&net, rows.len() + 3), Gradient::new(&net));
    forward(&net, &rows, &mut tape).unwrap();
    let parameters: Vec<f64> = net.parameters().iter().map(|&v| v.into()).collect();
    let expected: Vec<f64> = (0..rows.len()).flat_map(|i| naive(tower, &parameters, &dense_row(&rows, i))).collect();
    let d_outputs = draws(expected.len(), "slopes");
    for (a, b) in tape.outputs().iter().zip(&expected) {
        assert!((f64::from(*a) - b).abs() < 2e-5 * b.abs().max(1.0), "{a}, {b}");
    }
    assert_eq!(tape.outputs().len(), expected.len());
    backward(&net, &rows, &mut tape, &d_outputs, &mut gradient).unwrap();
    let objective = |parameters: &[f64]| -> f64 {
        let values = (0..rows.len()).flat_map(|i| naive(tower, parameters, &dense_row(&rows, i)));
        values.zip(&d_outputs).map(|(v, d)| v * f64::from(*d)).sum()
    };
    let size = gradient.values().iter().fold(0.0, |a: f64, g| a.max(g.abs().into()));
    let mut stream = Seed(9).stream("which");
    for at in stream.choose(parameters.len(), checks) {
        let (h, mut moved) = (1e-6, parameters.clone());
        moved[at] += h;
        let above = objective(&moved);
        moved[at] -= 2.0 * h;
        let slope = (above - objective(&moved)) / (2.0 * h);
        let got = f64::from(gradient.values()[at]);
        // Relative to the largest slope: small ones are differences of large terms.
        assert!((got - slope).abs() <= 1e-3 * slope.abs().max(0.03 * size), "{at}: {got}, expected {slope}, {tower:?}");
    }
}

#[test]
fn gradients_of_every_activation_agree_with_central_differences() {
    for activation in ALL {
        for features in [dense(9, 7), sparse(9, 7)] {
            for scaling in [RowScaling::None, RowScaling::UnitNorm] {
                // The activation within, and at the end.
                check(&tower(&[7, 17, 4], &[activation, Activation::Identity], scaling), &features, 60);
                check(&tower(&[7, 5], &[activation], scaling), &features, 40);
            }
        }
    }
}

#[test]
fn gradients_over_several_blocks_and_deep_towers_agree_with_central_differences() {
    let activations = [Activation::Relu, Activation::Tanh, Activation::Relu, Activation::Identity];
    check(&tower(&[20, 33, 70, 65, 9], &activations, RowScaling::None), &dense(2 * BLOCK + 37, 20), 40);
    check(&tower(&[300, 33, 9], &activations, RowScaling::UnitNorm), &sparse(2 * BLOCK + 37, 300), 40);
    check(&tower(&[3 * CHUNK / 2, 6, 3], &activations, RowScaling::None), &dense(40, 3 * CHUNK / 2), 40);
}

#[test]
fn a_net_gives_its_tower_back() {
    for scaling in [RowScaling::None, RowScaling::UnitNorm] {
        let tower = tower(&[7, 17, 5, 4], &ALL, scaling);
        let net = Net::of(&tower);
        assert_eq!(net.tower().unwrap(), tower);
        assert_eq!((net.inputs(), net.outputs(), net.parameters().len()), (7, 4, tower.parameters()));
    }
    let mut net = Net::of(&tower(&[2, 2], &[Activation::Relu], RowScaling::None));
    net.parameters_mut()[1] = f32::NAN;
    assert!(net.tower().is_err());
}

#[test]
fn outputs_agree_with_the_tower_of_inference() {
    for features in [dense(300, 40), sparse(300, 40)] {
        let tower = tower(&[40, 70, 30], &[Activation::Gelu, Activation::Identity], RowScaling::UnitNorm);
        let net = Net::of(&tower);
        let mut tape = Tape::new(&net, 300);
        forward(&net, &features.rows(), &mut tape).unwrap();
        for (a, b) in tape.outputs().iter().zip(tower.forward(&features.rows()).unwrap()) {
            assert!((a - b).abs() < 1e-5 * b.abs().max(1.0), "{a}, {b}");
        }
    }
}

#[test]
fn a_tape_serves_smaller_batches_and_leaves_no_trace() {
    for precision in [Precision::F32, Precision::Bf16] {
        leaves_no_trace(precision);
    }
}

fn leaves_no_trace(precision: Precision) {
    let tower = tower(&[12, 20, 6], &[Activation::Relu, Activation::Identity], RowScaling::None);
    let net = Net::of(&tower);
    let (large, small) = (sparse(200, 12), sparse(50, 12));
    let pass = |tape: &mut Tape, gradient: &mut Gradient, features: &Features| {
        forward(&net, &features.rows(), tape).unwrap();
        let slopes = draws(features.len() * 6, "slopes");
        backward(&net, &features.rows(), tape, &slopes, gradient).unwrap();
        (tape.outputs().to_vec(), gradient.clone())
    };
    let (mut tape, mut gradient) = (Tape::with_precision(&net, 200, precision), Gradient::new(&net));
    pass(&mut tape, &mut gradient, &large);
    let again = pass(&mut tape, &mut gradient, &small);
    assert_eq!(again, pass(&mut Tape::with_precision(&net, 50, precision), &mut Gradient::new(&net), &small));
    // Dense rows touch everything, sparse ones after them only their own columns.
    pass(&mut tape, &mut gradient, &dense(200, 12));
    assert!(gradient.touched().is_none());
    assert_eq!(pass(&mut tape, &mut gradient, &small), again);
}

#[test]
fn sparse_rows_touch_only_their_columns() {
    let tower = tower(&[1000, 3], &[Activation::Identity], RowScaling::None);
    let (net, features) = (Net::of(&tower), Features::sets(&[vec![7, 900], vec![7], vec![]], 1000).unwrap());
    let (mut tape, mut gradient) = (Tape::new(&net, 3), Gradient::new(&net));
    forward(&net, &features.rows(), &mut tape).unwrap();
    backward(&net, &features.rows(), &mut tape, &[1.0; 9], &mut gradient).unwrap();
    assert_eq!(gradient.touched(), Some(&[7u32, 900][..]));
    let nonzero: Vec<usize> = (0..3003).filter(|&i| gradient.values()[i] != 0.0).collect();
    assert_eq!(nonzero, [21, 22, 23, 2700, 2701, 2702, 3000, 3001, 3002]);
    assert!((gradient.squared_norm() - 0.64 * f64::from(3 * (4 + 1 + 9))).abs() < 1e-5);
    let mut other = Gradient::new(&net);
    let more = Features::sets(&[vec![3]], 1000).unwrap();
    forward(&net, &more.rows(), &mut tape).unwrap();
    backward(&net, &more.rows(), &mut tape, &[1.0; 3], &mut other).unwrap();
    gradient.add(&other);
    assert_eq!(gradient.touched(), Some(&[3u32, 7, 900][..]));
    assert!((gradient.squared_norm() - 0.64 * f64::from(3 * (1 + 4 + 1 + 16))).abs() < 1e-5);
}

#[test]
fn the_same_bits_for_any_number_of_threads() {
    let tower = tower(&[90, 80, 70, 30], &[Activation::Relu, Activation::Gelu], RowScaling::None);
    let net = Net::of(&tower);
    let cases = [dense(700, 90), sparse(700, 90)].map(|f| [(f.clone(), Precision::F32), (f, Precision::Bf16)]);
    for (features, precision) in cases.into_iter().flatten() {
        let pass = || {
            let (mut tape, mut gradient) = (Tape::with_precision(&net, 700, precision), Gradient::new(&net));
            forward(&net, &features.rows(), &mut tape).unwrap();
            backward(&net, &features.rows(), &mut tape, &draws(700 * 30, "slopes"), &mut gradient).unwrap();
            (tape.outputs().to_vec(), gradient)
        };
        let one = with_threads(Some(1), pass).unwrap();
        for threads in [2, 8] {
            assert_eq!(with_threads(Some(threads), pass).unwrap(), one);
        }
    }
}

#[test]
fn batches_that_do_not_fit_are_refused() {
    for precision in [Precision::F32, Precision::Bf16] {
        refuses(precision);
    }
}

fn refuses(precision: Precision) {
    let net = Net::of(&tower(&[4, 3], &[Activation::Relu], RowScaling::None));
    let (mut tape, mut gradient) = (Tape::with_precision(&net, 5, precision), Gradient::new(&net));
    assert!(forward(&net, &dense(6, 4).rows(), &mut tape).is_err());
    assert!(forward(&net, &dense(5, 3).rows(), &mut tape).is_err());
    forward(&net, &dense(5, 4).rows(), &mut tape).unwrap();
    assert!(backward(&net, &dense(4, 4).rows(), &mut tape, &[0.0; 12], &mut gradient).is_err());
    assert!(backward(&net, &dense(5, 4).rows(), &mut tape, &[0.0; 14], &mut gradient).is_err());
    forward(&net, &Features::dense(Vec::new(), 4).unwrap().rows(), &mut tape).unwrap();
    backward(&net, &Features::dense(Vec::new(), 4).unwrap().rows(), &mut tape, &[], &mut gradient).unwrap();
    assert!(tape.outputs().is_empty() && gradient.values().iter().all(|g| *g == 0.0));
}

/// Root of the sum of squared differences, relative to that of the squares.
fn difference(a: &[f32], b: &[f32]) -> f64 {
    let sum = |terms: &mut dyn Iterator<Item = f32>| terms.map(|v| f64::from(v).powi(2)).sum::<f64>();
    (sum(&mut a.iter().zip(b).map(|(a, b)| a - b)) / sum(&mut b.iter().copied()).max(1e-30)).sqrt()
}

#[test]
fn bf16_passes_agree_with_those_of_f32_to_their_rounding() {
    // A few roundings of 2^-9 each, that add up along the layers and turn ReLU's of numbers near zero.
    for activation in ALL {
        for features in [dense(150, 40), sparse(150, 40)] {
            for widths in [&[40, 70, 33, 9][..], &[40, 5]] {
                let tower = tower(widths, &[activation, Activation::Relu, Activation::Identity], RowScaling::UnitNorm);
                let net = Net::of(&tower);
                let d_outputs = draws(150 * net.outputs(), "slopes");
                let pass = |precision| {
                    let (mut tape, mut gradient) = (Tape::with_precision(&net, 150, precision), Gradient::new(&net));
                    forward(&net, &features.rows(), &mut tape).unwrap();
                    backward(&net, &features.rows(), &mut tape, &d_outputs, &mut gradient).unwrap();
                    (tape.outputs().to_vec(), gradient)
                };
                let (single, half) = (pass(Precision::F32), pass(Precision::Bf16));
                let outputs = difference(&half.0, &single.0);
                let gradient = difference(half.1.values(), single.1.values());
                assert!(outputs < 0.01 && gradient < 0.05, "{activation:?} {widths:?}: {outputs}, {gradient}");
                assert_eq!(half.1.touched(), single.1.touched());
            }
        }
    }
}

/// Held-out mean square of `sin(<x, y>)` after training two towers on fresh batches, relative to that of the values.
fn held_out(precision: Precision, seed: u64) -> f64 {
    let activations = [Activation::Relu, Activation::Relu, Activation::Identity];
    let start = |name: &str| {
        let mut stream = Seed(seed).stream(name);
        let layers = [3, 64, 64, 16].windows(2).zip(activations).map(|(pair, activation)| {
            let size = (2.0 / pair[0] as f64).sqrt();
            let weights = (0..pair[0] * pair[1]).map(|_| (size * stream.normal()) as f32).collect();
            Layer::new(weights, vec![0.0; pair[1]], activation).unwrap()
        });
        Net::of(&Tower::new(layers.collect()).unwrap())
    };
    let mut nets = ["x", "y"].map(start);
    let batch = 256;
    let mut adams = nets.each_ref().map(|net| Adam::new(net, Settings::default()).unwrap());
    let mut tapes = nets.each_ref().map(|net| Tape::with_precision(net, batch, precision));
    let mut gradients = nets.each_ref().map(Gradient::new);
    let mut stream = Seed(seed).stream("pairs");
    let mut ask = || {
        let mut rows = || -> Vec<f32> { (0..3 * batch).map(|_| (2.0 * stream.uniform() - 1.0) as f32).collect() };
        let (x, y) = (rows(), rows());
        let product = |i: usize| -> f32 { (0..3).map(|k| x[3 * i + k] * y[3 * i + k]).sum() };
        let values: Vec<f32> = (0..batch).map(|i| product(i).sin()).collect();
        ([x, y].map(|rows| Features::dense(rows, 3).unwrap()), values)
    };
    let (steps, looks) = (1500, 40);
    let (mut error, mut size) = (0.0, 0.0);
    for step in 0..steps + looks {
        let (items, values) = ask();
        for side in 0..2 {
            forward(&nets[side], &items[side].rows(), &mut tapes[side]).unwrap();
        }
        let [x, y] = tapes.each_ref().map(|tape| tape.outputs().to_vec());
        let mut slopes = [x.clone(), y.clone()];
        for (i, value) in values.iter().enumerate() {
            let own = 16 * i..16 * (i + 1);
            let got: f32 = x[own.clone()].iter().zip(&y[own.clone()]).map(|(a, b)| a * b).sum();
            for k in own {
                let factor = 2.0 * (got - value) / batch as f32;
                (slopes[0][k], slopes[1][k]) = (factor * y[k], factor * x[k]);
            }
            if step >= steps {
                error += f64::from((got - value).powi(2));
                size += f64::from(value.powi(2));
            }
        }
        if step >= steps {
            continue;
        }
        let rate = 5e-3 * (1.0 - step as f32 / steps as f32);
        for side in 0..2 {
            let (net, tape, gradient) = (&mut nets[side], &mut tapes[side], &mut gradients[side]);
            backward(net, &items[side].rows(), tape, &slopes[side], gradient).unwrap();
            adams[side].step(net, gradient, rate, 1.0);
        }
    }
    error / size
}

#[test]
fn training_in_bf16_loses_nothing_that_seeds_do_not_change_more() {
    let mut ratios = Vec::new();
    let mut singles = Vec::new();
    for seed in 0..6 {
        let (single, half) = (held_out(Precision::F32, seed), held_out(Precision::Bf16, seed));
        ratios.push((half / single).ln());
        singles.push(single.ln());
    }
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let spread = |values: &[f64]| {
        let centre = mean(values);
        (values.iter().map(|v| (v - centre).powi(2)).sum::<f64>() / (values.len() - 1) as f64).sqrt()
    };
    println!(
        "log ratio of held-out errors {:.4} (spread {:.4}), seeds {:.4}",
        mean(&ratios),
        spread(&ratios),
        spread(&singles)
    );
    println!("relative errors in f32: {:?}", singles.iter().map(|v| v.exp().sqrt()).collect::<Vec<_>>());
    assert!(singles.iter().all(|v| *v < 0.02f64.ln()), "the towers learned too little to compare: {singles:?}");
    assert!(mean(&ratios) < 0.1, "bf16 costs accuracy: {ratios:?}");
}
