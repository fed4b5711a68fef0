//! Neuron bounds: dimensions known in the literature, constants against quadrature, and networks drawn as the proofs
//! draw them.

mod common;

use std::f64::consts::PI;

use common::cube;
use mercer::bounds::{FeatureNorms, Norm, asymmetric, partition, random_features, random_features_error, symmetric};
use mercer::spectrum::{Anchors, Spectrum, sampled};
use mercer::{Cuboid, Features, Kernel, Law, PointRelation, Relation, Seed};

const LINE: Law<'static> = Law::Cube { dim: 1 };
const ERRORS: [f64; 4] = [0.3, 0.1, 0.03, 0.01];

fn spectrum(kernel: &Kernel, n: usize) -> Spectrum {
    sampled(kernel, 0, LINE, None, Anchors::Spread, n, Seed(1)).unwrap()
}

/// Smallest dimensions with `tau_D <= eps` for `exp(-|x - y|)` on [-1, 1] by its own eigenfunctions: `cos(w x)` with
/// `w tan w = 1` and `sin(w x)` with `w cot w = -1`, eigenvalue `1 / (1 + w^2)`. The supremum is at an end, where one of
/// each kind is largest together with all others.
fn exact_dimensions() -> [usize; 4] {
    let root = |f: &dyn Fn(f64) -> f64, mut low: f64, mut high: f64| {
        let sign = f(low).signum();
        for _ in 0..80 {
            let middle = 0.5 * (low + high);
            if f(middle).signum() == sign { low = middle } else { high = middle }
        }
        low
    };
    let (even, odd) = (|w: f64| w * w.sin() - w.cos(), |w: f64| w * w.cos() + w.sin());
    let mut rest = vec![1.0; 2001];
    let mut tau = vec![1.0];
    for i in 0..100 {
        let start = f64::from(i) * PI;
        for (w, sine) in
            [(root(&even, start + 1e-9, start + 0.5 * PI), false), (root(&odd, start + 0.5 * PI, start + PI), true)]
        {
            let norm = 0.5 * (1.0 + if sine { -1.0 } else { 1.0 } * (2.0 * w).sin() / (2.0 * w));
            for (at, rest) in rest.iter_mut().enumerate() {
                let x = -1.0 + at as f64 / 1000.0;
                let e = if sine { (w * x).sin() } else { (w * x).cos() };
                *rest -= e * e / norm / (1.0 + w * w);
            }
            tau.push(rest.iter().copied().fold(0.0, f64::max));
        }
    }
    ERRORS.map(|eps| tau.iter().position(|t| *t <= eps).unwrap())
}

#[test]
fn dimensions_of_the_exponential_kernel() {
    // A rougher sample gives 27 in the third place; tau_27 is .0306.
    let exact = exact_dimensions();
    assert_eq!(exact, [3, 9, 28, 82]);
    let found = spectrum(&Kernel::matern12(1.0).unwrap(), 2000);
    let sup = ERRORS.map(|eps| found.dimension_for(eps, Norm::Sup).unwrap());
    let rms = ERRORS.map(|eps| found.dimension_for(eps, Norm::Rms).unwrap());
    println!("sup {sup:?}, rms {rms:?}");
    assert_eq!(sup[..3], exact[..3]);
    assert!(sup[3].abs_diff(exact[3]) <= 1, "{}", sup[3]);
    assert_eq!(rms, [1, 2, 5, 9]);
    // Asked beyond what the sample resolves: nothing rather than a guess.
    assert_eq!(found.dimension_for(1e-9, Norm::Sup), None);
}

#[test]
fn dimensions_of_the_gaussian_grow_like_the_logarithm() {
    let found = spectrum(&Kernel::gaussian(0.5).unwrap(), 600);
    for norm in [Norm::Rms, Norm::Sup] {
        let dims: Vec<usize> = (1..=10).map(|k| found.dimension_for(0.1f64.powi(k), norm).unwrap()).collect();
        println!("{norm}: {dims:?}");
        // About equal steps a decade, where a power law would multiply.
        assert!(dims.windows(2).all(|pair| pair[1] >= pair[0] && pair[1] - pair[0] <= 2), "{dims:?}");
    }
}

/// `c_1` of `exp(-|x - y|)` on [-1, 1]: `e_1 = cos(w x) / norm` with `w tan w = 1`, `lambda_1 = 1 / (1 + w^2)`.
#[test]
fn barron_norm_against_quadrature() {
    let kernel = Kernel::matern12(1.0).unwrap();
    let found = spectrum(&kernel, 600);
    let norms = FeatureNorms::of_kernel(&kernel, &found, 20_000, Seed(2)).unwrap();
    let w = (0..100).fold(0.86, |w: f64, _| (1.0 / w).atan());
    let lambda = 1.0 / (1.0 + w * w);
    assert!((found.values[0] / lambda - 1.0).abs() < 1e-3);
    let norm = (0.5 * (1.0 + (2.0 * w).sin() / (2.0 * w))).sqrt();
    let sinc = |t: f64| if t.abs() < 1e-9 { 1.0 } else { t.sin() / t };
    let transform = |t: f64| 0.5 * (sinc(t - w) + sinc(t + w)) / norm;
    // Substituting t = tan(a) turns the Cauchy measure into the uniform one.
    let steps = 2_000_000;
    let mean: f64 =
        (0..steps).map(|i| transform((PI * ((i as f64 + 0.5) / steps as f64 - 0.5)).tan()).abs()).sum::<f64>()
            / f64::from(steps);
    let expected = mean / lambda.sqrt();
    println!("c_1 = {:.4}, quadrature {expected:.4}; c = {:?}", norms.single[0], &norms.single[..6]);
    assert!((norms.single[0] / expected - 1.0).abs() < 0.02);
    assert!((norms.joint[0] - norms.single[0]).abs() < 1e-12);
    for d in 1..40 {
        let total: f64 = norms.single[..d].iter().sum();
        assert!(norms.joint[d - 1] <= total * (1.0 + 1e-12) && norms.joint[d - 1] <= (d as f64).sqrt());
    }
}

#[test]
fn symmetric_and_asymmetric_bounds_hang_together() {
    for text in ["gaussian:1", "matern12:1", "matern32:0.7"] {
        let kernel: Kernel = text.parse().unwrap();
        let found = spectrum(&kernel, 800);
        let norms = FeatureNorms::of_kernel(&kernel, &found, 2000, Seed(3)).unwrap();
        let proven = FeatureNorms::proven(found.values.len());
        let mut last = [0.0; 3];
        for eps in ERRORS {
            let sup = symmetric(&found, &norms, Some(&kernel), &LINE, eps, Norm::Sup).unwrap();
            let rms = symmetric(&found, &norms, Some(&kernel), &LINE, eps, Norm::Rms).unwrap();
            let two = asymmetric(&found, &norms, &norms, eps, Norm::Rms).unwrap();
            let safe = symmetric(&found, &proven, Some(&kernel), &LINE, eps, Norm::Rms).unwrap();
            println!(
                "{text} {eps}: sup {:.3e} at D = {:?}, rms {:.3e} at D = {:?}",
                sup.neurons, sup.dimension, rms.neurons, rms.dimension
            );
            assert!(sup.valid && rms.valid && sup.neurons >= rms.neurons && two.neurons == 2.0 * rms.neurons);
            assert!(rms.neurons <= safe.neurons && sup.neurons.fract() == 0.0);
            // The parts give the error back: tail + 2 s delta + delta^2 = eps.
            for (bound, lead) in [(&sup, "kappa"), (&rms, "root of the largest value")] {
                let part = |name| bound.part(name).unwrap();
                let delta = part("error of the features, delta");
                let total = part("tail beyond the dimension") + 2.0 * part(lead) * delta + delta * delta;
                assert!((total / eps - 1.0).abs() < 1e-9, "{total} {eps}");
            }
            let now = [sup.neurons, rms.neurons, sup.dimension.unwrap()];
            assert!(now.iter().zip(last).all(|(now, before)| *now >= before));
            last = now;
        }
    }
}

/// The largest difference of `units / 2` random frequencies from the kernel, on a grid of differences.
fn drawn_error(kernel: &Kernel, dim: usize, units: usize, seed: u64, grid: &[Vec<f64>]) -> f64 {
    let measure = kernel.spectral_measure(dim).unwrap();
    let mut stream = Seed(seed).stream("drawn");
    let frequencies: Vec<Vec<f64>> = (0..units / 2).map(|_| measure.draw(&mut stream)).collect();
    let zero = Features::dense(vec![0.0; dim], dim).unwrap();
    let points = Features::dense(grid.iter().flatten().map(|v| *v as f32).collect(), dim).unwrap();
    let mut values = vec![0.0; grid.len()];
    kernel.block(0, &zero.rows(), &points.rows(), &mut values).unwrap();
    let error = |(z, value): (&Vec<f64>, &f64)| {
        let sum: f64 = frequencies.iter().map(|w| common::dot(w, z).cos()).sum();
        (sum / frequencies.len() as f64 - value).abs()
    };
    grid.iter().zip(&values).map(error).fold(0.0, f64::max)
}

#[test]
fn random_features_stay_below_their_bound() {
    let (square, domain) = (Law::Cube { dim: 2 }, Cuboid::cube(2, -1.0, 1.0).unwrap());
    let grid: Vec<Vec<f64>> =
        (0..=40).flat_map(|i| (0..=20).map(move |j| vec![-2.0 + 0.1 * f64::from(i), 0.1 * f64::from(j)])).collect();
    for text in ["gaussian:1", "matern52:1", "matern12:1", "rational-quadratic:1,0.5"] {
        let kernel: Kernel = text.parse().unwrap();
        let bound = random_features_error(&kernel, &domain, 1000, 0.95).unwrap();
        let mut errors: Vec<f64> = (0..20).map(|seed| drawn_error(&kernel, 2, 1000, seed, &grid)).collect();
        errors.sort_by(f64::total_cmp);
        println!("{text}: 1000 units, bound {bound:.3}, median {:.3}, largest {:.3}", errors[10], errors[19]);
        assert!(errors[19] <= bound, "{text}");
        // Asking for that error asks for that many units.
        let units = random_features(&kernel, &square, bound, Norm::Sup, 0.95).unwrap();
        assert!((units.neurons / 1000.0 - 1.0).abs() < 0.01, "{text}: {}", units.neurons);
    }
    let gaussian = Kernel::gaussian(1.0).unwrap();
    let error = random_features_error(&gaussian, &domain, 1000, 0.95).unwrap();
    assert!(error < 0.32, "{error}");
    let bound = random_features(&gaussian, &square, 0.1, Norm::Sup, 0.95).unwrap();
    assert!(bound.part("grid argument") < bound.part("published formula"));
    // Given items need no grid; Matern-1/2 has no published bound and a valid one.
    let items = cube(100, 2, "items");
    assert!(random_features(&gaussian, &Law::Items(&items), 0.1, Norm::Sup, 0.95).unwrap().neurons < bound.neurons);
    let rough = random_features(&Kernel::matern12(1.0).unwrap(), &square, 0.1, Norm::Sup, 0.95).unwrap();
    assert!(rough.valid && rough.part("published formula") == Some(f64::INFINITY));
    println!("gaussian .1: {bound:?}\nmatern12 .1: {rough:?}");
}

#[test]
fn mean_square_of_random_features() {
    // In expectation at most 9 / (16 M), whatever the law of the pairs; here one difference at which it is largest.
    for text in ["gaussian:1", "matern12:1"] {
        let kernel: Kernel = text.parse().unwrap();
        let (units, trials) = (20, 400);
        let distances: Vec<Vec<f64>> = (1..20).map(|i| vec![0.2 * f64::from(i)]).collect();
        for z in &distances {
            let mean =
                (0..trials).map(|s| drawn_error(&kernel, 1, units, s, std::slice::from_ref(z)).powi(2)).sum::<f64>();
            let bound = 9.0 / 16.0 / (units / 2) as f64;
            // Four standard errors of a mean of 400 squares.
            assert!(mean / trials as f64 <= bound * (1.0 + 4.0 * (2.0f64 / trials as f64).sqrt()), "{text} at {z:?}");
        }
        let bound = random_features(&kernel, &LINE, 0.1, Norm::Rms, 0.95).unwrap();
        assert_eq!(bound.part("units that suffice for some draw"), Some(114.0));
        assert_eq!(bound.neurons, 2.0 * (9.0f64 / 16.0 / (0.05 * 0.01)).ceil());
    }
}

#[test]
fn partition_counts() {
    let nodes = |dim, eps| partition((1.0, 1.0), dim, 1.0, eps).unwrap().dimension.unwrap();
    assert_eq!((nodes(1, 0.1), nodes(2, 0.05), nodes(3, 0.05)), (11.0, 900.0, 46_656.0));
    let huge = partition((1e3, 1e3), 4, 2.0, 1e-5).unwrap();
    assert!(huge.valid && huge.neurons > 1e30, "{}", huge.neurons);
    assert_eq!(partition((0.0, 0.0), 2, 2.0, 0.1).unwrap().dimension, Some(4.0));
    let high = partition((1.0, 1.0), 5, 1.0, 0.5).unwrap();
    assert!(!high.valid && high.part("nodes a tower") == Some(6f64.powi(5)), "{high:?}");
}

#[test]
fn what_does_not_apply_says_so() {
    let kernel = Kernel::matern12(1.0).unwrap();
    let found = spectrum(&kernel, 50);
    let norms = FeatureNorms::of_kernel(&kernel, &found, 100, Seed(0)).unwrap();
    let bound = symmetric(&found, &norms, Some(&kernel), &LINE, 1e-6, Norm::Sup).unwrap();
    assert!(!bound.valid && bound.neurons.is_infinite() && bound.assumptions.contains("sample more"));
    assert!(!symmetric(&found, &norms, None, &LINE, 0.3, Norm::Sup).unwrap().valid);
    assert!(!asymmetric(&found, &norms, &norms, 0.1, Norm::Sup).unwrap().valid);
    assert!(!random_features(&Kernel::negative_distance(), &LINE, 0.1, Norm::Rms, 0.9).unwrap().valid);
    let nan = f64::NAN;
    assert!(symmetric(&found, &norms, None, &LINE, nan, Norm::Rms).is_err());
    assert!(random_features(&kernel, &LINE, 0.0, Norm::Rms, 0.9).is_err());
    assert!(random_features(&kernel, &LINE, 0.1, Norm::Sup, 1.0).is_err());
    let line = Cuboid::cube(1, -1.0, 1.0).unwrap();
    assert!(random_features_error(&kernel, &line, 1, 0.9).is_err());
    assert!(random_features_error(&Kernel::tanimoto(), &line, 10, 0.9).is_err());
    let none = Cuboid { low: vec![1.0], high: vec![0.0] };
    assert!(random_features_error(&kernel, &none, 10, 0.9).is_err());
    assert!(partition((1.0, 1.0), 0, 1.0, 0.1).is_err() && partition((nan, 1.0), 1, 1.0, 0.1).is_err());
    assert!(FeatureNorms::given(&[]).is_err() && FeatureNorms::given(&[nan]).is_err());
    assert!(FeatureNorms::of_kernel(&kernel, &found, 0, Seed(0)).is_err());
    let signed = PointRelation(|x: &[f32], y: &[f32]| -f64::from((x[0] - y[0]).abs()));
    let other = sampled(&signed, 0, LINE, None, Anchors::Spread, 50, Seed(0)).unwrap();
    assert!(symmetric(&other, &norms, None, &LINE, 0.1, Norm::Rms).is_err());
    // Constants found elsewhere serve any relation.
    let given = FeatureNorms::given(&vec![2.0; 30]).unwrap();
    assert!(asymmetric(&other, &given, &given, 0.1, Norm::Rms).unwrap().valid);
}
