//! Sup-norm certificates: the bound holds, and it is close.

mod common;

use common::{EPS, cube};
use mercer::certify::sup::{Budget, Stop, SupNorm, certify};
use mercer::fit::{Dimension, Effort, Law, Options, Silent, spectral};
use mercer::{
    Activation, BoundedFunction, Cuboid, Domain, DualEncoder, ErrorKind, Features, Form, Kernel, Layer, Link, Relation,
    RowScaling, Seed, Smooth, Stream, Tower, with_threads,
};

fn square(dim: usize) -> Domain {
    Domain::cube(dim, -1.0, 1.0).unwrap()
}

fn fit(kernel: &Kernel, inputs: usize, dim: usize, units: usize) -> DualEncoder {
    let (dimension, effort) = (Dimension::Fixed(dim), Effort::Steps(0));
    let options = Options { dimension, units: Some(units), effort, ..Options::default() };
    spectral(kernel, Law::Cube { dim: inputs }, None, &options, &Silent).unwrap().encoder
}

/// A tower in `f64`, one unit after another: independent of the library's forward passes.
fn naive(tower: &Tower, x: &[f64]) -> Vec<f64> {
    let act = |a: Activation, z: f64| match a {
        Activation::Sine => z.sin(),
        Activation::Cosine => z.cos(),
        Activation::Relu => z.max(0.0),
        Activation::Tanh => z.tanh(),
        Activation::Gelu => 0.5 * z * (1.0 + (0.797_884_560_802_865_4 * (z + 0.044_715 * z * z * z)).tanh()),
        _ => z,
    };
    tower.layers().iter().fold(x.to_vec(), |row, layer| {
        let outputs = layer.outputs();
        let sum = |u: usize| -> f64 {
            let products = row.iter().enumerate().map(|(i, v)| v * f64::from(layer.weights()[i * outputs + u]));
            products.sum::<f64>() + f64::from(layer.bias()[u])
        };
        (0..outputs).map(|u| act(layer.activation(), sum(u))).collect()
    })
}

fn naive_error(model: &DualEncoder, relation: &dyn Smooth, l: usize, x: &[f64], y: &[f64]) -> f64 {
    let (f, g) = (naive(model.query(), x), naive(model.key(), y));
    let sign = |j: usize| match model.form() {
        Form::Signs(signs) => f64::from(signs[j]),
        _ => 1.0,
    };
    let own = l * model.dim()..(l + 1) * model.dim();
    (own.map(|j| sign(j) * f[j] * g[j]).sum::<f64>() - relation.value(l, x, y)).abs()
}

fn draw(side: &Cuboid, stream: &mut Stream) -> Vec<f64> {
    side.low.iter().zip(&side.high).map(|(low, high)| low + (high - low) * stream.uniform()).collect()
}

/// The largest error that random pairs and hill climbing from the best of them find.
fn searched(model: &DualEncoder, relation: &dyn Smooth, domain: &Domain, stream: &mut Stream) -> f64 {
    let mut best = 0.0f64;
    for l in 0..model.components() {
        let error = |p: &(Vec<f64>, Vec<f64>)| naive_error(model, relation, l, &p.0, &p.1);
        let mut seen: Vec<_> =
            (0..3000).map(|_| (draw(&domain.x, stream), draw(&domain.y, stream))).map(|p| (error(&p), p)).collect();
        seen.sort_by(|a, b| b.0.total_cmp(&a.0));
        for (value, mut at) in seen.into_iter().take(8) {
            let (mut value, mut size) = (value, 0.05);
            for _ in 0..400 {
                let near = |side: &Cuboid, point: &[f64], stream: &mut Stream| -> Vec<f64> {
                    let ends = side.low.iter().zip(&side.high);
                    let step = ends.zip(point).map(|((l, h), p)| (p + size * (h - l) * stream.normal()).clamp(*l, *h));
                    step.collect()
                };
                let moved = (near(&domain.x, &at.0, stream), near(&domain.y, &at.1, stream));
                let found = error(&moved);
                if found > value {
                    (value, at) = (found, moved);
                } else {
                    size *= 0.97;
                }
            }
            best = best.max(value);
        }
    }
    best
}

/// What every certificate must satisfy: a bracket of what a search finds, with a pair that has the error it says.
fn check(
    model: &DualEncoder,
    relation: &dyn Smooth,
    domain: &Domain,
    sup: &SupNorm,
    stream: &mut Stream,
    what: &str,
) -> f64 {
    let found = searched(model, relation, domain, stream);
    let size = 1.0 + relation.value(0, &sup.worst.0, &sup.worst.1).abs();
    assert!(sup.lower <= sup.upper, "{what}: {sup:?}");
    assert!(found <= sup.upper, "{what}: {found:e} above {sup:?}");
    let again = naive_error(model, relation, sup.component, &sup.worst.0, &sup.worst.1);
    assert!(
        (again - sup.lower).abs() < 1e5 * EPS * size,
        "{what}: {again:e} at the worst pair, {:e} stated",
        sup.lower
    );
    for (side, point) in [(&domain.x, &sup.worst.0), (&domain.y, &sup.worst.1)] {
        assert!((0..side.dim()).all(|i| side.low[i] <= point[i] && point[i] <= side.high[i]), "{what}");
    }
    found
}

fn random_tower(inputs: usize, outputs: usize, speed: f64, activation: Activation, stream: &mut Stream) -> Tower {
    let units = 3 + stream.below(10);
    let mut normals = |n: usize, scale: f64| (0..n).map(|_| (scale * stream.normal()) as f32).collect::<Vec<_>>();
    let hidden = Layer::new(normals(inputs * units, speed), normals(units, speed), activation).unwrap();
    let last = Layer::new(normals(units * outputs, 1.0), normals(outputs, 0.3), Activation::Identity).unwrap();
    Tower::new(vec![hidden, last]).unwrap()
}

fn random_cuboid(dim: usize, stream: &mut Stream) -> Cuboid {
    let low: Vec<f64> = (0..dim).map(|_| 2.0 * stream.uniform() - 2.0).collect();
    let high = low.iter().map(|l| l + 0.2 + 2.0 * stream.uniform()).collect();
    Cuboid::new(low, high).unwrap()
}

const ACTIVATIONS: [Activation; 6] =
    [Activation::Sine, Activation::Cosine, Activation::Relu, Activation::Gelu, Activation::Tanh, Activation::Identity];

fn kernels() -> Vec<Kernel> {
    let texts = [
        "gaussian:0.4",
        "matern12:0.7",
        "matern32:0.5",
        "matern52:0.5",
        "rational-quadratic:0.6,0.8",
        "polynomial:3,0.5",
        "negative-distance",
        "arc-cosine:1",
        "arc-cosine:2",
    ];
    texts.iter().map(|t| t.parse().unwrap()).collect()
}

#[test]
fn the_bound_holds_for_random_towers_kernels_and_boxes() {
    // Fast units on the first, coarse grid: its nodes miss peaks, so that a term left out of the bound would show.
    let (mut missed, mut total) = (0, 0);
    for seed in 0..90 {
        let mut stream = Seed(seed).stream("random certificates");
        let dim = 1 + stream.below(2);
        let all = kernels();
        let kernel = all[stream.below(all.len())];
        let components = 3;
        let tower = |stream: &mut Stream| {
            let speed = if dim == 1 { 40.0 } else { 5.0 } * stream.uniform();
            random_tower(dim, components, speed, ACTIVATIONS[stream.below(6)], stream)
        };
        let (query, key) = (tower(&mut stream), tower(&mut stream));
        let form = if stream.below(2) == 0 { Form::Identity } else { Form::Signs(vec![1.0, -1.0, -1.0]) };
        let model = DualEncoder::new(query, Some(key), form, 1).unwrap();
        let domain = Domain { x: random_cuboid(dim, &mut stream), y: random_cuboid(dim, &mut stream) };
        for evaluations in [1.0, 3e5] {
            let budget = Budget { evaluations, gap: 1.02, ..Budget::default() };
            let sup = certify(&model, &kernel, &domain, &budget).unwrap();
            let what = format!("seed {seed}, {kernel}, {dim} axes, {:?}", model.query().layers()[0].activation());
            let found = check(&model, &kernel, &domain, &sup, &mut stream, &what);
            total += 1;
            missed += usize::from(found > 1.0001 * sup.lower);
        }
    }
    println!("{missed} of {total} grids missed a peak");
    assert!(missed > 20, "only {missed} of {total} grids missed a peak: the test sees too little");
}

#[test]
fn derivatives_of_kernels_are_those_of_the_values() {
    let mut stream = Seed(1).stream("derivatives");
    for kernel in kernels().into_iter().filter(|k| !k.to_string().starts_with("arc")) {
        for _ in 0..60 {
            let dim = 1 + stream.below(3);
            let side = Cuboid::new(vec![-1.0; dim], vec![1.0; dim]).unwrap();
            let (x, y) = (draw(&side, &mut stream), draw(&side, &mut stream));
            let distance = x.iter().zip(&y).map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt();
            if distance < 0.2 {
                continue;
            }
            // From order to order along random axes; each is checked against differences of the one before.
            let (mut order, h) = ([vec![0u32; dim], vec![0u32; dim]], 1e-4);
            for _ in 0..6 {
                let before = order.clone();
                let (own, axis) = (stream.below(2), stream.below(dim));
                order[own][axis] += 1;
                let at = |shift: f64| {
                    let mut points = [x.clone(), y.clone()];
                    points[own][axis] += shift;
                    kernel.derivative(0, &before[0], &before[1], &points[0], &points[1]).unwrap()
                };
                let five = (8.0 * (at(h) - at(-h)) - (at(2.0 * h) - at(-2.0 * h))) / (12.0 * h);
                let stated = kernel.derivative(0, &order[0], &order[1], &x, &y).unwrap();
                let size = 1.0 + stated.abs() + at(0.0).abs();
                assert!((five - stated).abs() < 1e-6 * size, "{kernel} {order:?}: {five} against {stated}");
            }
        }
    }
}

#[test]
fn bounds_of_kernel_derivatives_hold() {
    let mut stream = Seed(2).stream("derivative bounds");
    let mut finite = 0;
    let others: [Kernel; 4] = ["cosine", "tanimoto", "arc-cosine:0", "arc-cosine:2"].map(|t| t.parse().unwrap());
    for kernel in kernels().into_iter().chain(others) {
        for _ in 0..200 {
            let dim = 1 + stream.below(3);
            let x = random_cuboid(dim, &mut stream);
            // Small boxes too, apart from the other one or across it.
            let y = if stream.below(2) == 0 { random_cuboid(dim, &mut stream) } else { x.clone() };
            let domain = Domain { x, y };
            let mut order = [vec![0u32; dim], vec![0u32; dim]];
            for _ in 0..stream.below(7) {
                order[stream.below(2)][stream.below(dim)] += 1;
            }
            let total: u32 = order.iter().flatten().sum();
            let bound = kernel.derivative_bound(0, &order[0], &order[1], &domain);
            finite += usize::from(bound.is_finite());
            for _ in 0..100 {
                let (x, y) = (draw(&domain.x, &mut stream), draw(&domain.y, &mut stream));
                let value = match (kernel.derivative(0, &order[0], &order[1], &x, &y), total) {
                    (Some(value), _) => value,
                    // A difference quotient obeys a Lipschitz constant.
                    (None, 1) => {
                        let own = usize::from(order[1].contains(&1));
                        let axis = order[own].iter().position(|&o| o == 1).unwrap();
                        let mut moved = [x.clone(), y.clone()];
                        let side = if own == 0 { &domain.x } else { &domain.y };
                        moved[own][axis] = draw(side, &mut stream)[axis];
                        let step = moved[own][axis] - [&x, &y][own][axis];
                        (kernel.value(0, &moved[0], &moved[1]) - kernel.value(0, &x, &y)) / step
                    }
                    _ => 0.0,
                };
                assert!(value.abs() <= bound * (1.0 + 1e-9), "{kernel} {order:?} on {domain:?}: {value} above {bound}");
            }
        }
    }
    assert!(finite > 1000, "{finite}");
}

#[test]
fn kernel_values_are_those_of_the_relation() {
    for kernel in kernels().into_iter().chain(["cosine", "tanimoto", "arc-cosine:0"].map(|t| t.parse().unwrap())) {
        let (x, y) = (cube(30, 3, "x"), cube(30, 3, "y"));
        let values = common::values(&kernel, 0, &x, &y);
        for i in 0..30 {
            for j in 0..30 {
                let (a, b) = (common::dense_row(&x.rows(), i), common::dense_row(&y.rows(), j));
                assert!((kernel.value(0, &a, &b) - values[30 * i + j]).abs() < 1e-12, "{kernel}");
            }
        }
    }
}

/// Largest error of the `f32` model on an even grid of 2000 points an axis over `[-1, 1]^2`.
fn dense_error(model: &DualEncoder, relation: &dyn Relation) -> f64 {
    const POINTS: usize = 2000;
    let line = (0..POINTS).map(|i| -1.0 + 2.0 * i as f32 / (POINTS - 1) as f32).collect();
    let line = Features::dense(line, 1).unwrap();
    let mut largest = 0.0f64;
    for first in (0..POINTS).step_by(250) {
        let rows = line.slice(first..first + 250);
        let mut values = vec![0.0; rows.len() * POINTS];
        relation.block(0, &rows, &line.rows(), &mut values).unwrap();
        let model = model.block(0, &rows, &line.rows()).unwrap();
        largest = model.iter().zip(&values).map(|(a, b)| (a - b).abs()).fold(largest, f64::max);
    }
    largest
}

fn report(what: &str, dense: f64, sup: &SupNorm, time: std::time::Instant) {
    let ratio = sup.upper / dense.max(sup.lower);
    let (work, steps) = (format!("{:.1e} evaluations, {} tiles", sup.evaluations, sup.tiles), sup.steps);
    print!("{what}: on the dense grid {dense:.3e}, bracket {:.3e} to {:.3e}, ratio {ratio:.3}, ", sup.lower, sup.upper);
    print!("f32 {:.1e}, {work}, steps {:.1e} to {:.1e}, ", sup.rounding, steps.0, steps.1);
    println!("{:?}, {:.2} s", sup.stopped, time.elapsed().as_secs_f64());
}

#[test]
fn gaussian_fits_are_certified_close_to_their_largest_error() {
    for length in [0.3, 0.5, 1.0] {
        let kernel = Kernel::gaussian(length).unwrap();
        let largest = fit(&kernel, 1, 20, 64);
        for error in [1e-2, 1e-3, 1e-5] {
            // The smallest dimension that meets the error on the dense grid, as `--error sup:...` would choose it.
            let meets = |dim: &usize| dense_error(&largest.truncate(*dim).unwrap(), &kernel) <= error;
            let dim = (1..20).find(meets).unwrap();
            let model = largest.truncate(dim).unwrap();
            let (dense, time) = (dense_error(&model, &kernel), std::time::Instant::now());
            let sup = certify(&model, &kernel, &square(1), &Budget::default()).unwrap();
            report(&format!("{kernel} to {error:e}, dimension {dim}"), dense, &sup, time);
            assert_eq!(sup.stopped, Stop::Gap);
            assert!(dense <= sup.with_rounding(), "{kernel}, dimension {dim}: {dense:e} above {sup:?}");
            assert!(sup.upper <= 1.2 * sup.lower && sup.lower <= dense * 1.01 + sup.rounding);
            assert!(sup.with_rounding() <= 2.0 * dense, "{kernel}, dimension {dim}: {dense:e} and {sup:?}");
        }
    }
}

#[test]
fn brackets_in_two_and_two_dimensions() {
    for (length, dim) in [(1.0, 15), (0.5, 28), (0.5, 60)] {
        let kernel = Kernel::gaussian(length).unwrap();
        let (model, time) = (fit(&kernel, 2, dim, 128), std::time::Instant::now());
        let sup = certify(&model, &kernel, &square(2), &Budget { evaluations: 1e8, ..Budget::default() }).unwrap();
        report(&format!("{kernel} in 2 + 2, dimension {dim}"), 0.0, &sup, time);
        check(&model, &kernel, &square(2), &sup, &mut Seed(3).stream("2 + 2"), "2 + 2");
        assert!(sup.upper <= 1.2 * sup.lower, "{sup:?}");
    }
}

#[test]
fn kernels_with_a_kink_get_useful_brackets() {
    for (text, dim) in [("matern12:1", 12), ("negative-distance", 12), ("matern32:0.5", 12), ("matern52:0.5", 12)] {
        let kernel: Kernel = text.parse().unwrap();
        let (model, time) = (fit(&kernel, 1, dim, 64), std::time::Instant::now());
        let dense = dense_error(&model, &kernel);
        let sup = certify(&model, &kernel, &square(1), &Budget { evaluations: 3e7, ..Budget::default() }).unwrap();
        report(&format!("{kernel}, dimension {dim}, {:?}", model.query().layers()[0].activation()), dense, &sup, time);
        assert!(dense <= sup.with_rounding() && sup.upper <= 1.5 * dense, "{kernel}: {dense:e} and {sup:?}");
    }
}

/// `sin(a x) cos(b (y1 + y2)) + x y1`, with what is known of it on a box of reach 2.
fn waves() -> BoundedFunction<impl Fn(&[f64], &[f64]) -> f64 + Sync> {
    let value = |x: &[f64], y: &[f64]| (3.0 * x[0]).sin() * (2.0 * (y[0] + y[1])).cos() + x[0] * y[0];
    BoundedFunction::new(value, vec![3.0 + 2.0], vec![2.0 + 2.0, 2.0]).unwrap()
}

#[test]
fn closures_with_constants_are_bracketed_in_one_and_two_axes() {
    let rough = waves();
    let smooth = waves().with_second_derivatives(vec![9.0], vec![4.0, 4.0]).unwrap();
    for seed in 0..12 {
        let mut stream = Seed(seed).stream("closures");
        let query = random_tower(1, 2, 4.0, ACTIVATIONS[seed as usize % 6], &mut stream);
        let key = random_tower(2, 2, 3.0, ACTIVATIONS[(seed / 2) as usize % 6], &mut stream);
        let model = DualEncoder::new(query, Some(key), Form::Identity, 1).unwrap();
        let domain = Domain { x: random_cuboid(1, &mut stream), y: random_cuboid(2, &mut stream) };
        let budget = Budget { evaluations: 1e6, gap: 1.05, ..Budget::default() };
        for relation in [&rough, &smooth] {
            let sup = certify(&model, relation, &domain, &budget).unwrap();
            check(&model, relation, &domain, &sup, &mut stream, &format!("closure, seed {seed}"));
            assert!(sup.upper < 2.0 * sup.lower, "{sup:?}");
        }
    }
}

/// Two components, the second with ten times the errors of the first.
struct Two;
impl Relation for Two {
    fn block(&self, l: usize, x: &mercer::Rows<'_>, y: &mercer::Rows<'_>, out: &mut [f64]) -> mercer::Result<()> {
        let one = Kernel::gaussian(0.7)?;
        one.block(l, x, y, out)?;
        out.iter_mut().for_each(|v| *v *= if l == 0 { 1.0 } else { 10.0 });
        Ok(())
    }
    fn components(&self) -> usize {
        2
    }
}
impl Smooth for Two {
    fn value(&self, l: usize, x: &[f64], y: &[f64]) -> f64 {
        Kernel::gaussian(0.7).unwrap().value(0, x, y) * if l == 0 { 1.0 } else { 10.0 }
    }
    fn derivative_bound(&self, l: usize, a: &[u32], b: &[u32], domain: &Domain) -> f64 {
        Kernel::gaussian(0.7).unwrap().derivative_bound(0, a, b, domain) * if l == 0 { 1.0 } else { 10.0 }
    }
}

#[test]
fn the_largest_error_of_all_components_counts() {
    let mut stream = Seed(5).stream("components");
    let query = random_tower(1, 4, 1.0, Activation::Sine, &mut stream);
    let key = random_tower(1, 4, 1.0, Activation::Tanh, &mut stream);
    let zero = |t: Tower| {
        let mut layers = t.layers().to_vec();
        let last = layers.pop().unwrap();
        layers.push(Layer::new(vec![0.0; last.weights().len()], vec![0.0; 4], Activation::Identity).unwrap());
        Tower::new(layers).unwrap()
    };
    let model = DualEncoder::new(zero(query), Some(key), Form::Identity, 2).unwrap();
    let sup = certify(&model, &Two, &square(1), &Budget::default()).unwrap();
    // The model is 0 everywhere, so the largest error is the second component's value at x = y.
    assert_eq!((sup.component, sup.lower), (1, 10.0));
    assert!(sup.upper >= 10.0 && sup.upper <= 12.0, "{sup:?}");
    check(&model, &Two, &square(1), &sup, &mut stream, "two components");
}

#[test]
fn an_exact_model_is_certified_to_rounding() {
    // <x, y> on two axes and cos 2 (x - y) = cos 2x cos 2y + sin 2x sin 2y are models themselves.
    let identity = Layer::new(vec![1.0, 0.0, 0.0, 1.0], vec![0.0; 2], Activation::Identity).unwrap();
    let model = DualEncoder::new(Tower::new(vec![identity]).unwrap(), None, Form::Identity, 1).unwrap();
    let sup = certify(&model, &Kernel::polynomial(1, 0.0).unwrap(), &square(2), &Budget::default()).unwrap();
    assert!(sup.upper < 1e-13 && sup.lower < 1e-15, "{sup:?}");

    let half_pi = std::f32::consts::FRAC_PI_2;
    let hidden = Layer::new(vec![2.0, 2.0], vec![0.0, half_pi], Activation::Sine).unwrap();
    let model = DualEncoder::new(Tower::new(vec![hidden]).unwrap(), None, Form::Identity, 1).unwrap();
    let relation =
        BoundedFunction::new(|x: &[f64], y: &[f64]| (2.0 * (x[0] - y[0])).cos(), vec![2.0], vec![2.0]).unwrap();
    let relation = relation.with_second_derivatives(vec![4.0], vec![4.0]).unwrap();
    let budget = Budget { target: Some(3e-5), ..Budget::default() };
    let sup = certify(&model, &relation, &square(1), &budget).unwrap();
    // The bias differs from pi / 2 by 4.4e-8, and cos 2x cos 2y by at most twice that.
    assert!(sup.lower < 9e-8 && sup.upper <= 3e-5 && sup.met == Some(true) && sup.stopped == Stop::Target, "{sup:?}");
}

#[test]
fn budget_and_target_are_kept_and_reported() {
    let kernel = Kernel::gaussian(0.3).unwrap();
    let model = fit(&kernel, 1, 13, 64);
    let run = |budget: &Budget| certify(&model, &kernel, &square(1), budget).unwrap();
    let best = run(&Budget { gap: 1.01, ..Budget::default() });
    assert!(best.stopped == Stop::Gap && best.met.is_none());
    let mut last = f64::INFINITY;
    for evaluations in [1.0, 1e5, 3e5, 1e6] {
        let sup = run(&Budget { evaluations, gap: 1.000_01, ..Budget::default() });
        assert!(sup.upper >= best.lower && sup.lower <= best.upper, "{sup:?}");
        assert!(sup.upper <= last, "more work gave a worse bound: {sup:?}");
        assert!(sup.evaluations <= evaluations.max(4e4), "{sup:?}");
        assert_eq!(sup.stopped, Stop::Budget);
        last = sup.upper;
    }
    let loose = run(&Budget { target: Some(2.0 * best.upper), ..Budget::default() });
    assert!(loose.met == Some(true) && loose.upper + loose.rounding <= 2.0 * best.upper);
    let tight = run(&Budget { target: Some(0.5 * best.lower), ..Budget::default() });
    assert_eq!((tight.met, tight.stopped), (Some(false), Stop::Gap));
}

#[test]
fn the_bits_do_not_depend_on_threads_and_survive_json() {
    let kernel = Kernel::matern32(0.4).unwrap();
    let model = fit(&kernel, 1, 8, 32);
    let run = |threads| {
        let budget = Budget { evaluations: 2e6, gap: 1.01, ..Budget::default() };
        with_threads(Some(threads), || certify(&model, &kernel, &square(1), &budget).unwrap()).unwrap()
    };
    let one = run(1);
    assert_eq!(one, run(2));
    assert_eq!(one, run(5));
    let text = serde_json::to_string(&one).unwrap();
    assert_eq!(serde_json::from_str::<SupNorm>(&text).unwrap(), one);
    assert!(text.contains("\"stopped\":\"gap\""), "{text}");
}

#[test]
fn what_has_no_certificate_is_refused_with_the_reason() {
    let mut stream = Seed(9).stream("refusals");
    let tower = |inputs: usize, stream: &mut Stream| random_tower(inputs, 2, 1.0, Activation::Sine, stream);
    let model = |tower: Tower| DualEncoder::new(tower, None, Form::Identity, 1).unwrap();
    let (kernel, budget) = (Kernel::gaussian(1.0).unwrap(), Budget::default());
    let refused = |model: &DualEncoder, relation: &dyn Smooth, domain: &Domain, budget: &Budget, words: &str| {
        let error = certify(model, relation, domain, budget).unwrap_err();
        assert!(error.to_string().contains(words), "{error} lacks '{words}'");
        assert!(matches!(
            error.kind(),
            ErrorKind::Shape { .. }
                | ErrorKind::Parameter { .. }
                | ErrorKind::NonFinite { .. }
                | ErrorKind::Data { .. }
        ));
    };
    let plain = model(tower(1, &mut stream));
    let deep = [plain.query().layers(), &[Layer::new(vec![1.0; 4], vec![0.0; 2], Activation::Relu).unwrap()]].concat();
    refused(&model(Tower::new(deep).unwrap()), &kernel, &square(1), &budget, "3 layers");
    refused(
        &model(plain.query().clone().with_scaling(RowScaling::UnitNorm)),
        &kernel,
        &square(1),
        &budget,
        "unit norm",
    );
    refused(&plain.clone().with_link(Link::LOGISTIC), &kernel, &square(1), &budget, "logistic");
    refused(&plain, &kernel, &square(2), &budget, "1 axes");
    refused(&plain, &Two, &square(1), &budget, "components");
    refused(&model(tower(5, &mut stream)), &kernel, &square(5), &budget, "at most 4 axes");
    refused(&model(tower(2, &mut stream)), &Kernel::cosine(), &square(2), &budget, "keeps away from 0");
    refused(&plain, &waves(), &square(1), &budget, "[1, 2] axes");
    for bad in [f64::NAN, 0.0, -1.0] {
        refused(&plain, &kernel, &square(1), &Budget { evaluations: bad, ..budget }, "evaluations");
        refused(&plain, &kernel, &square(1), &Budget { gap: bad, ..budget }, "gap");
        refused(&plain, &kernel, &square(1), &Budget { target: Some(bad), ..budget }, "target");
        assert!(BoundedFunction::new(|_: &[f64], _: &[f64]| 0.0, vec![bad], vec![]).is_err());
    }
    let broken =
        BoundedFunction::new(|x: &[f64], _: &[f64]| if x[0] > 0.9 { f64::NAN } else { 0.0 }, vec![1.0], vec![1.0]);
    refused(&plain, &broken.unwrap(), &square(1), &budget, "finite");
    let upside_down = Domain { x: Cuboid { low: vec![1.0], high: vec![0.0] }, ..square(1) };
    refused(&plain, &kernel, &upside_down, &budget, "low corner");
    assert!(Cuboid::new(vec![f64::NAN], vec![0.0]).is_err() && Cuboid::new(vec![], vec![]).is_err());
    // A point is a box too, and kernels with a singular point are fine away from it.
    let apart = Domain {
        x: Cuboid::new(vec![0.5, 0.5], vec![1.0, 0.5]).unwrap(),
        y: Cuboid::new(vec![0.2, -1.0], vec![0.7, 1.0]).unwrap(),
    };
    let flat = model(tower(2, &mut stream));
    for relation in [Kernel::cosine(), Kernel::tanimoto(), Kernel::arc_cosine(0).unwrap()] {
        let sup = certify(&flat, &relation, &apart, &Budget { evaluations: 1e7, ..budget }).unwrap();
        check(&flat, &relation, &apart, &sup, &mut stream, &relation.to_string());
        assert!(sup.upper <= 1.2 * sup.lower, "{relation}: {sup:?}");
    }
}

#[test]
fn a_lipschitz_constant_alone_bounds_what_nodes_miss() {
    // Triangular waves of slope 1 that vanish at the 65 nodes of [-1, 1] and reach 1/64 between them: the bound is
    // attained.
    let wave = |x: &[f64], _: &[f64]| (x[0] * 32.0 - (x[0] * 32.0).round()).abs() / 32.0;
    let relation = BoundedFunction::new(wave, vec![1.0], vec![0.0]).unwrap();
    let zero = Layer::new(vec![0.0], vec![0.0], Activation::Identity).unwrap();
    let model = DualEncoder::new(Tower::new(vec![zero]).unwrap(), None, Form::Identity, 1).unwrap();
    let sup = certify(&model, &relation, &square(1), &Budget { evaluations: 1.0, ..Budget::default() }).unwrap();
    assert_eq!((sup.lower, sup.stopped), (0.0, Stop::Budget));
    assert!((1.0..1.000_001).contains(&(64.0 * sup.upper)), "{sup:?}");
}

#[test]
fn constants_alone_bracket_a_gaussian_fit() {
    // exp(-2 d^2): slope at most 2 exp(-1/2), second derivative at most 4.
    let relation = || {
        let value = |x: &[f64], y: &[f64]| (-2.0 * (x[0] - y[0]).powi(2)).exp();
        BoundedFunction::new(value, vec![1.2131], vec![1.2131]).unwrap()
    };
    let curved = relation().with_second_derivatives(vec![4.0], vec![4.0]).unwrap();
    let kernel = Kernel::gaussian(0.5).unwrap();
    let mut stream = Seed(6).stream("constants");
    // Second derivatives serve errors of 1e-5, slopes alone those of 1e-3; below that the budget leaves a wide bracket.
    let cases: [(usize, &dyn Smooth, f64, f64); 4] =
        [(6, &relation(), 2e6, 1.2), (7, &curved, 1e6, 1.2), (9, &curved, 1e7, 1.2), (9, &relation(), 3e6, 1000.0)];
    for (dim, relation, evaluations, gap) in cases {
        let (model, time) = (fit(&kernel, 1, dim, 64), std::time::Instant::now());
        let sup = certify(&model, relation, &square(1), &Budget { evaluations, ..Budget::default() }).unwrap();
        report(&format!("constants alone, dimension {dim}"), 0.0, &sup, time);
        check(&model, relation, &square(1), &sup, &mut stream, "constants alone");
        assert!(sup.upper <= gap * sup.lower, "{sup:?}");
    }
}

#[test]
fn huge_and_tiny_boxes_do_no_harm() {
    let kernel = Kernel::gaussian(1.0).unwrap();
    let model = fit(&kernel, 1, 4, 16);
    for size in [1e-12, 1e-6, 1e3, 1e9, 1e30, 1e60, 1e300] {
        let domain = Domain::cube(1, -size, size).unwrap();
        match certify(&model, &kernel, &domain, &Budget { evaluations: 1e5, ..Budget::default() }) {
            Ok(sup) => {
                check(&model, &kernel, &domain, &sup, &mut Seed(8).stream("sizes"), &format!("size {size:e}"));
            }
            Err(error) => assert!(size > 1e20, "size {size:e}: {error}"),
        }
    }
}
