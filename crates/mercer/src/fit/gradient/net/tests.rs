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
    let tower = tower(&[12, 20, 6], &[Activation::Relu, Activation::Identity], RowScaling::None);
    let net = Net::of(&tower);
    let (large, small) = (sparse(200, 12), sparse(50, 12));
    let pass = |tape: &mut Tape, gradient: &mut Gradient, features: &Features| {
        forward(&net, &features.rows(), tape).unwrap();
        let slopes = draws(features.len() * 6, "slopes");
        backward(&net, &features.rows(), tape, &slopes, gradient).unwrap();
        (tape.outputs().to_vec(), gradient.clone())
    };
    let (mut tape, mut gradient) = (Tape::new(&net, 200), Gradient::new(&net));
    pass(&mut tape, &mut gradient, &large);
    let again = pass(&mut tape, &mut gradient, &small);
    assert_eq!(again, pass(&mut Tape::new(&net, 50), &mut Gradient::new(&net), &small));
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
    for features in [dense(700, 90), sparse(700, 90)] {
        let pass = || {
            let (mut tape, mut gradient) = (Tape::new(&net, 700), Gradient::new(&net));
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
    let net = Net::of(&tower(&[4, 3], &[Activation::Relu], RowScaling::None));
    let (mut tape, mut gradient) = (Tape::new(&net, 5), Gradient::new(&net));
    assert!(forward(&net, &dense(6, 4).rows(), &mut tape).is_err());
    assert!(forward(&net, &dense(5, 3).rows(), &mut tape).is_err());
    forward(&net, &dense(5, 4).rows(), &mut tape).unwrap();
    assert!(backward(&net, &dense(4, 4).rows(), &mut tape, &[0.0; 12], &mut gradient).is_err());
    assert!(backward(&net, &dense(5, 4).rows(), &mut tape, &[0.0; 14], &mut gradient).is_err());
    forward(&net, &Features::dense(Vec::new(), 4).unwrap().rows(), &mut tape).unwrap();
    backward(&net, &Features::dense(Vec::new(), 4).unwrap().rows(), &mut tape, &[], &mut gradient).unwrap();
    assert!(tape.outputs().is_empty() && gradient.values().iter().all(|g| *g == 0.0));
}
