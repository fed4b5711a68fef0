//! Explicit networks: every error measured on a dense grid lies below the guarantee, and the tightness is printed.

mod common;

use common::{cube, stream, values};
use mercer::construct::{
    Construction, Evidence, Modulus, Norm, PartitionOptions, measure, nystrom, partition, partition_size,
    random_features, residual, spectral_network,
};
use mercer::index::Exact;
use mercer::{
    Activation, Class, Cuboid, ErrorKind, Features, Kernel, Law, Model, PointRelation, Record, Relation, Seed,
};

fn distance(x: &[f32], y: &[f32]) -> f64 {
    x.iter().zip(y).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum::<f64>().sqrt()
}

fn norm(x: &[f32]) -> f64 {
    x.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt()
}

/// Relations that change by at most 1 a unit of either argument: with a kink on the diagonal, asymmetric and smooth,
/// with kinks everywhere.
fn lipschitz() -> [(&'static str, Box<dyn Relation>); 3] {
    let direction = |x: &[f32], c: f64| x.iter().map(|v| f64::from(*v)).sum::<f64>() * c / (x.len() as f64).sqrt();
    [
        ("|x - y|", Box::new(PointRelation(distance))),
        (
            "sin(3 x) cos(y) / 3",
            Box::new(PointRelation(move |x: &[f32], y: &[f32]| {
                direction(x, 3.0).sin() * direction(y, 1.0).cos() / 3.0
            })),
        ),
        // A tent of slope 1 in |x|, and one in |y|: the worst points of interpolation lie all over the box.
        (
            "tents",
            Box::new(PointRelation(|x: &[f32], y: &[f32]| {
                let tent = |t: f64| (t * 7.3 - (t * 7.3).round()).abs() / 7.3;
                tent(norm(x)).max(tent(norm(y) + 0.31))
            })),
        ),
    ]
}

const ONE: Modulus<'static> = Modulus::Lipschitz { query: 1.0, key: 1.0 };

fn below(construction: &Construction, relation: &dyn Relation, x: &Features, y: &Features, what: &str) -> f64 {
    let found = measure(construction, relation, x, y).unwrap();
    println!(
        "{what}: measured {:.4}, guaranteed {:.4}, tightness {:.3}, {} neurons, {} parameters, dimension {}",
        found.error,
        found.guarantee,
        found.tightness,
        construction.neurons,
        construction.parameters,
        construction.dimension
    );
    assert!(found.error <= found.guarantee, "{what}: {} above {}", found.error, found.guarantee);
    assert_eq!((found.pairs, found.norm), (x.len() * y.len(), construction.norm));
    found.tightness
}

#[test]
fn partition_networks_keep_their_guarantee_in_one_and_two_columns() {
    for (dim, points) in [(1, 701), (2, 53)] {
        let domain = Cuboid::cube(dim, 0.0, 1.0).unwrap();
        let grid = domain.grid(points).unwrap();
        for (name, relation) in lipschitz() {
            for error in [0.2, 0.1, 0.05] {
                let options = PartitionOptions { error, ..PartitionOptions::default() };
                let network = partition(&*relation, &domain, &domain, ONE, &options).unwrap();
                assert!(network.guarantee <= error && network.guarantee > 0.8 * error, "{}", network.guarantee);
                assert_eq!((network.norm, network.evidence), (Norm::Sup, Evidence::Proven));
                below(&network, &*relation, &grid, &grid, &format!("{dim} + {dim} columns, {name}, {error}"));
            }
        }
    }
}

#[test]
fn partition_networks_keep_their_guarantee_in_three_and_four_columns() {
    let cases = [(3, 0.2, 11), (4, 1.0, 6)];
    for (dim, error, points) in cases {
        let domain = Cuboid::cube(dim, 0.0, 1.0).unwrap();
        let grid = domain.grid(points).unwrap();
        let relation = PointRelation(distance);
        let options = PartitionOptions { error, ..PartitionOptions::default() };
        let network = partition(&relation, &domain, &domain, ONE, &options).unwrap();
        assert!(network.guarantee <= error);
        below(&network, &relation, &grid, &grid, &format!("{dim} + {dim} columns, {error}"));
    }
}

/// The constant is sqrt(d) / 2 for the Euclidean norm and no smaller: the distance to the middle of a cell loses all of
/// it. With the constants of the maximum norm (4/7, 5/8, .647) the guarantee would fail here.
#[test]
fn the_constant_of_the_guarantee_is_reached() {
    for dim in 1..=4usize {
        let domain = Cuboid::cube(dim, 0.0, 1.0).unwrap();
        let middle = vec![0.5f32; dim];
        let relation = PointRelation(|x: &[f32], _: &[f32]| distance(x, &middle));
        let line = Cuboid::cube(1, 0.0, 1.0).unwrap();
        let options = PartitionOptions { error: 0.6 * (dim as f64).sqrt(), ..PartitionOptions::default() };
        let modulus = Modulus::Lipschitz { query: 1.0, key: 0.0 };
        let network = partition(&relation, &domain, &line, modulus, &options).unwrap();
        let x = Features::dense(middle.clone(), dim).unwrap();
        let found = measure(&network, &relation, &x, &line.grid(2).unwrap()).unwrap();
        assert!((found.error - 0.5 * (dim as f64).sqrt()).abs() < 1e-5, "{dim}: {}", found.error);
        assert!(found.tightness <= 1.0 && found.tightness > 0.999, "{dim}: {}", found.tightness);
    }
}

#[test]
fn boxes_and_columns_may_differ_and_affine_relations_are_exact() {
    let queries = Cuboid::new(vec![-3.0, 10.0], vec![1.0, 11.5]).unwrap();
    let keys = Cuboid::new(vec![-0.7], vec![5.3]).unwrap();
    let (x, y) = (queries.grid(61).unwrap(), keys.grid(401).unwrap());
    // Slopes: |(1, -2)| cos.. <= sqrt(5) in x, at most 1 in y.
    let asymmetric =
        PointRelation(|x: &[f32], y: &[f32]| (f64::from(x[0]) - 2.0 * f64::from(x[1]) + f64::from(y[0])).sin());
    let modulus = Modulus::Lipschitz { query: 5f64.sqrt(), key: 1.0 };
    let options = PartitionOptions { error: 0.3, ..PartitionOptions::default() };
    let network = partition(&asymmetric, &queries, &keys, modulus, &options).unwrap();
    assert_eq!(network.encoder.class(), Class::Asymmetric);
    below(&network, &asymmetric, &x, &y, "other boxes");
    let affine = PointRelation(|x: &[f32], y: &[f32]| f64::from(x[0]) - 2.0 * f64::from(x[1]) + f64::from(y[0]) - 4.0);
    let network = partition(&affine, &queries, &keys, modulus, &PartitionOptions { error: 2.0, ..options }).unwrap();
    let error = measure(&network, &affine, &x, &y).unwrap().error;
    assert!(error < 1e-3, "hats do not reproduce an affine function: {error:e}");
}

/// Unseen relations: the largest of random affine functions, with boxes of any place, shape and number of columns.
#[test]
fn partition_networks_keep_their_guarantee_for_random_relations_on_random_boxes() {
    let mut stream = stream("random relations");
    for (dx, dy) in [(1, 1), (1, 2), (2, 1), (2, 2), (3, 1), (1, 3), (2, 3), (4, 1)] {
        for far in [1.0, 30.0] {
            let mut domain = |dim: usize| {
                let low: Vec<f64> = (0..dim).map(|_| far * stream.normal()).collect();
                let high = low.iter().map(|l| l + 0.2 + stream.uniform()).collect();
                Cuboid::new(low, high).unwrap()
            };
            let (queries, keys) = (domain(dx), domain(dy));
            let slopes: Vec<Vec<f64>> = (0..12).map(|_| (0..dx + dy).map(|_| stream.normal()).collect()).collect();
            let middle: Vec<f64> =
                [&queries, &keys].iter().flat_map(|d| d.low.iter().zip(&d.high).map(|(l, h)| 0.5 * (l + h))).collect();
            let relation = PointRelation(|x: &[f32], y: &[f32]| {
                let own = |a: &Vec<f64>| {
                    x.iter().chain(y).zip(a).zip(&middle).map(|((v, a), m)| a * (f64::from(*v) - m)).sum::<f64>()
                };
                slopes.iter().map(own).fold(f64::NEG_INFINITY, f64::max)
            });
            let steepest = |range: std::ops::Range<usize>| {
                let size = |a: &Vec<f64>| a[range.clone()].iter().map(|v| v * v).sum::<f64>().sqrt();
                slopes.iter().map(size).fold(0.0, f64::max)
            };
            let modulus = Modulus::Lipschitz { query: steepest(0..dx), key: steepest(dx..dx + dy) };
            let options = PartitionOptions { error: 1.0, ..PartitionOptions::default() };
            let network = partition(&relation, &queries, &keys, modulus, &options).unwrap();
            assert!(network.guarantee <= 1.0);
            let points = |d: usize| [997, 41, 13, 7][d - 1];
            let (x, y) = (queries.grid(points(dx)).unwrap(), keys.grid(points(dy)).unwrap());
            below(&network, &relation, &x, &y, &format!("random, {dx} + {dy} columns, about {far} from the origin"));
        }
    }
}

#[test]
fn fine_grids_of_one_column_stay_within_their_error() {
    let unit = Cuboid::cube(1, 0.0, 1.0).unwrap();
    let relation = PointRelation(distance);
    let grid = unit.grid(3001).unwrap();
    let mut layers = Vec::new();
    for error in [0.1, 0.004] {
        let options = PartitionOptions { error, ..PartitionOptions::default() };
        let network = partition(&relation, &unit, &unit, ONE, &options).unwrap();
        assert!(network.guarantee <= error);
        below(&network, &relation, &grid, &grid, &format!("1 + 1 columns, {error}"));
        layers.push(network.encoder.query().layers()[1].activation());
    }
    // One shared hidden layer and a linear one; then hats as the units of a second hidden layer.
    assert_eq!(layers, [Activation::Identity, Activation::Relu]);
}

#[test]
fn a_square_root_is_learned_by_its_modulus() {
    let unit = Cuboid::cube(1, 0.0, 1.0).unwrap();
    let relation = PointRelation(|x: &[f32], y: &[f32]| distance(x, y).sqrt());
    let modulus = Modulus::Concave { query: &f64::sqrt, key: &f64::sqrt };
    let options = PartitionOptions { error: 0.2, ..PartitionOptions::default() };
    let network = partition(&relation, &unit, &unit, modulus, &options).unwrap();
    let grid = unit.grid(997).unwrap();
    assert!(below(&network, &relation, &grid, &grid, "square root of the distance") > 0.1);
}

#[test]
fn truncated_cores_keep_the_guarantee_with_fewer_dimensions() {
    let domain = Cuboid::cube(2, 0.0, 1.0).unwrap();
    let grid = domain.grid(41).unwrap();
    let smooth = PointRelation(|x: &[f32], y: &[f32]| (-0.5 * distance(x, y).powi(2)).exp());
    let options = PartitionOptions { error: 0.1, rank_error: Some(0.01), ..PartitionOptions::default() };
    let network =
        partition(&smooth, &domain, &domain, Modulus::Lipschitz { query: 0.61, key: 0.61 }, &options).unwrap();
    let nodes = partition_size(&domain, &domain, ONE, &options).unwrap().query_nodes;
    assert!(network.dimension <= 12 && nodes > 100 && network.guarantee <= 0.1, "{}", network.dimension);
    below(&network, &smooth, &grid, &grid, "truncated");
    // Separable to rank 2.
    let cosine = PointRelation(|x: &[f32], y: &[f32]| (f64::from(x[0]) - f64::from(y[0])).cos());
    let line = Cuboid::cube(1, 0.0, 1.0).unwrap();
    let options = PartitionOptions { error: 0.05, rank_error: Some(1e-5), ..PartitionOptions::default() };
    let network = partition(&cosine, &line, &line, ONE, &options).unwrap();
    assert_eq!(network.dimension, 2);
    below(&network, &cosine, &line.grid(501).unwrap(), &line.grid(499).unwrap(), "rank two");
}

#[test]
fn what_does_not_fit_is_refused_with_its_size() {
    let relation = PointRelation(|_: &[f32], _: &[f32]| -> f64 { panic!("the relation was asked") });
    let refused = |dim: usize, modulus: Modulus<'_>, options: PartitionOptions| {
        let domain = Cuboid::cube(dim, 0.0, 1.0).unwrap();
        partition(&relation, &domain, &domain, modulus, &options).unwrap_err()
    };
    let options = PartitionOptions { error: 0.05, ..PartitionOptions::default() };
    let error = refused(3, ONE, options);
    println!("{error}");
    assert!(matches!(error.kind(), ErrorKind::Data { .. }));
    let text = error.to_string();
    assert!(text.contains("46,656 nodes a tower") && text.contains("GB") && text.contains("limit 537 MB"), "{text}");
    assert!(refused(4, ONE, PartitionOptions { error: 1e-3, ..options }).to_string().contains("EB"));
    assert!(refused(1, ONE, PartitionOptions { error: 1e-9, ..options }).to_string().contains("cells an axis"));
    let small = PartitionOptions { memory: 1000, ..options };
    assert!(refused(1, ONE, small).to_string().contains("limit 1.0 kB"));
    let bad =
        |options: PartitionOptions| assert!(matches!(refused(1, ONE, options).kind(), ErrorKind::Parameter { .. }));
    for error in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        bad(PartitionOptions { error, ..options });
        bad(PartitionOptions { rank_error: Some(error), ..options });
    }
    bad(PartitionOptions { rank_error: Some(0.05), ..options });
    for query in [-1.0, f64::NAN, f64::INFINITY] {
        let error = refused(1, Modulus::Lipschitz { query, key: 1.0 }, options);
        assert!(matches!(error.kind(), ErrorKind::Parameter { .. }));
    }
    assert!(matches!(refused(5, ONE, options).kind(), ErrorKind::Parameter { .. }));
    assert!(
        refused(1, Modulus::Concave { query: &|_| f64::NAN, key: &|t| t }, options).to_string().contains("modulus")
    );
    // Boxes that are none, or flat, or beyond what f32 holds; their fields are public.
    for (low, high, no_grid) in [
        (vec![], vec![], true),
        (vec![0.0], vec![1.0, 2.0], true),
        (vec![0.0], vec![f64::NAN], true),
        (vec![0.0], vec![1e39], true),
        (vec![1.0], vec![1.0], false),
        (vec![1.0], vec![1.0 + 1e-12], false),
    ] {
        let domain = Cuboid { low, high };
        assert!(partition(&relation, &domain, &domain, ONE, &options).is_err(), "{domain:?}");
        assert_eq!(domain.grid(2).is_err(), no_grid, "{domain:?}");
    }
    let nan = PointRelation(|_: &[f32], _: &[f32]| f64::NAN);
    let unit = Cuboid::cube(1, 0.0, 1.0).unwrap();
    assert!(partition(&nan, &unit, &unit, ONE, &options).is_err());
}

#[test]
fn the_size_is_known_before_the_network_is_built() {
    let relation = PointRelation(|x: &[f32], y: &[f32]| 0.01 * (norm(x) - norm(y)));
    for (dx, dy, error) in [(1, 1, 0.11), (2, 1, 0.17), (1, 3, 0.41), (2, 2, 0.23), (4, 1, 0.9), (3, 2, 0.53)] {
        let (queries, keys) = (Cuboid::cube(dx, -0.5, 0.6).unwrap(), Cuboid::cube(dy, 0.1, 1.0).unwrap());
        let options = PartitionOptions { error, ..PartitionOptions::default() };
        let size = partition_size(&queries, &keys, ONE, &options).unwrap();
        let network = partition(&relation, &queries, &keys, ONE, &options).unwrap();
        assert_eq!(
            (size.neurons, size.parameters, size.query_nodes),
            (network.neurons as u128, network.parameters as u128, network.dimension as u128),
            "{dx} + {dy}"
        );
        assert_eq!(size.bytes, 4 * size.parameters);
    }
    // Also of networks that nobody builds.
    let unit = |dim| Cuboid::cube(dim, 0.0, 1.0).unwrap();
    for (dx, dy, error) in [(1, 1, 1e-4), (1, 4, 1e-3), (2, 2, 1e-4), (4, 4, 1e-4)] {
        let options = PartitionOptions { error, ..PartitionOptions::default() };
        let size = partition_size(&unit(dx), &unit(dy), ONE, &options).unwrap();
        assert!(size.bytes > 1 << 29, "{dx} + {dy}: {size:?}");
    }
}

#[test]
fn random_features_keep_their_guarantee() {
    let (mut failures, mut networks) = (0, 0);
    for (text, dim, features) in [
        ("gaussian:1", 1, 1000),
        ("gaussian:0.5", 2, 4000),
        ("matern32:1", 1, 2000),
        ("matern52:1", 2, 2000),
        ("rational-quadratic:1,0.7", 1, 2000),
        ("matern12:0.5", 1, 2000),
        ("matern12:1", 2, 1000),
    ] {
        let kernel: Kernel = text.parse().unwrap();
        let domain = Cuboid::cube(dim, -1.0, 1.0).unwrap();
        let grid = domain.grid(if dim == 1 { 401 } else { 21 }).unwrap();
        for seed in 0..5 {
            let network = random_features(&kernel, &domain, features, 0.95, Seed(seed)).unwrap();
            let found = measure(&network, &kernel, &grid, &grid).unwrap();
            if seed == 0 {
                println!("{text}, {dim} columns, {features} features: {found:?}");
            }
            assert_eq!((network.neurons, network.encoder.class()), (features, Class::Symmetric));
            assert_eq!(network.norm == Norm::Rms, text.starts_with("matern12"));
            assert!(found.error > 0.0 && found.guarantee < 1.0, "{text}: {}", found.guarantee);
            failures += usize::from(found.error > found.guarantee);
            networks += 1;
        }
    }
    // Each may fail with probability 0.05; the bounds are so wide that none does.
    assert_eq!(failures, 0, "of {networks}");
}

#[test]
fn random_features_err_by_the_mean_square_that_theory_gives() {
    // E err^2 = (2 / m) Var cos(w t) = (1 + k(2 t) - 2 k(t)^2) / m.
    let (kernel, m) = (Kernel::gaussian(0.6).unwrap(), 64);
    let domain = Cuboid::cube(1, 0.0, 1.0).unwrap();
    let (x, y) = (Features::dense(vec![0.1], 1).unwrap(), Features::dense(vec![0.8], 1).unwrap());
    let double = Features::dense(vec![1.5], 1).unwrap();
    let (k, twice) = (values(&kernel, 0, &x, &y)[0], values(&kernel, 0, &x, &double)[0]);
    let expected = (1.0 + twice - 2.0 * k * k) / m as f64;
    let square = |seed| {
        let network = random_features(&kernel, &domain, m, 0.9, Seed(seed)).unwrap();
        (network.encoder.block(0, &x.rows(), &y.rows()).unwrap()[0] - k).powi(2)
    };
    let n = 4000;
    let mean = (0..n).map(square).sum::<f64>() / n as f64;
    // The relative standard deviation of a mean of squares of nearly normal errors is sqrt(2 / n).
    assert!((mean / expected - 1.0).abs() < 5.0 * (2.0 / n as f64).sqrt(), "{mean:e} against {expected:e}");
}

/// A small box is certified more sharply than a large one of the same columns, wherever it lies, and still with right.
#[test]
fn guarantees_of_random_features_follow_the_box() {
    let kernel = Kernel::gaussian(1.0).unwrap();
    let guarantee = |low: f64, high: f64| {
        let domain = Cuboid::cube(2, low, high).unwrap();
        let grid = domain.grid(15).unwrap();
        let network = random_features(&kernel, &domain, 1000, 0.95, Seed(2)).unwrap();
        below(&network, &kernel, &grid, &grid, &format!("{low} to {high}"));
        network.guarantee
    };
    let guarantees = [(0.0, 0.1), (0.0, 1.0), (-1.0, 1.0), (-4.0, 4.0)].map(|(low, high)| guarantee(low, high));
    assert!(guarantees.windows(2).all(|pair| pair[0] < pair[1]), "{guarantees:?}");
    // The published formula alone gives .63 on [-1, 1]^2.
    let proven =
        mercer::bounds::random_features_error(&kernel, &Cuboid::cube(2, -1.0, 1.0).unwrap(), 1000, 0.95).unwrap();
    assert!((guarantees[2] - proven).abs() < 1e-4 && proven < 0.32, "{guarantees:?}, {proven}");
    // Far from the origin only the rounding of the phases grows, until f32 holds none of them.
    let far = guarantee(100.0, 101.0);
    assert!(far > guarantees[1] && far < guarantees[1] + 1e-3, "{far} {guarantees:?}");
    let network = random_features(&kernel, &Cuboid::cube(2, 5e4, 5.0001e4).unwrap(), 1000, 0.95, Seed(2));
    assert!(network.is_err() || network.is_ok_and(|n| n.guarantee >= 2.0));
    // Few features: nothing beyond the size of the values.
    let few = random_features(&kernel, &Cuboid::cube(2, -1.0, 1.0).unwrap(), 2, 0.95, Seed(2)).unwrap();
    assert!(few.guarantee >= 2.0 && few.guarantee < 2.001);
    let few = random_features(&Kernel::matern12(1.0).unwrap(), &Cuboid::cube(2, -1.0, 1.0).unwrap(), 2, 0.95, Seed(2));
    assert!(few.unwrap().guarantee < 2.001);
    // A box of one point: the kernel is 1 there, and so is the network.
    let point = Cuboid::cube(1, 0.5, 0.5).unwrap();
    let network = random_features(&kernel, &point, 10, 0.95, Seed(2)).unwrap();
    below(&network, &kernel, &point.grid(2).unwrap(), &point.grid(2).unwrap(), "a point");
}

#[test]
fn random_features_refuse_what_they_cannot_do() {
    let unit = Cuboid::cube(1, 0.0, 1.0).unwrap();
    let gaussian = Kernel::gaussian(1.0).unwrap();
    for kernel in [Kernel::tanimoto(), Kernel::negative_distance(), Kernel::polynomial(2, 1.0).unwrap()] {
        assert!(matches!(
            random_features(&kernel, &unit, 10, 0.9, Seed(0)).unwrap_err().kind(),
            ErrorKind::Parameter { .. }
        ));
    }
    for features in [0, 3, usize::MAX - 1] {
        assert!(random_features(&gaussian, &unit, features, 0.9, Seed(0)).is_err());
    }
    for confidence in [0.0, 1.0, f64::NAN] {
        assert!(random_features(&gaussian, &unit, 10, confidence, Seed(0)).is_err());
    }
    let far = Cuboid::new(vec![1e9], vec![1.1e9]).unwrap();
    assert!(matches!(random_features(&gaussian, &far, 10, 0.9, Seed(0)).unwrap_err().kind(), ErrorKind::Data { .. }));
}

#[test]
fn dot_product_networks_are_exact_at_the_landmarks() {
    for (text, dim, n, activation) in [
        ("polynomial:3,0.5", 3, 40, Activation::Power(3)),
        ("polynomial:2,0", 5, 30, Activation::Power(2)),
        ("exponential:1", 2, 50, Activation::Exp),
        ("exponential:0.7", 4, 100, Activation::Exp),
        ("cosine", 6, 20, Activation::Identity),
    ] {
        let kernel: Kernel = text.parse().unwrap();
        let landmarks = cube(n, dim, "landmarks");
        let network = nystrom(&kernel, &landmarks, usize::MAX).unwrap();
        assert_eq!(network.encoder.query().layers()[0].activation(), activation);
        below(&network, &kernel, &landmarks, &landmarks, &format!("Nystrom, {text}"));
        let exact = values(&kernel, 0, &landmarks, &landmarks);
        let largest = exact.iter().fold(0.0, |a: f64, v| a.max(v.abs()));
        let error = measure(&network, &kernel, &landmarks, &landmarks).unwrap().error;
        // Rounding of a sum over n landmarks, relative to the largest value.
        assert!(error < 2.0 * n as f64 * common::EPS32 * largest, "{text}: {error:e} of {largest}");
        println!("{text}: error {error:.2e} of values up to {largest:.2}, dimension {}", network.dimension);
        // Elsewhere: within the residuals, which a smaller model has, too.
        let x = cube(200, dim, "fresh");
        for most in [usize::MAX, 5] {
            let network = nystrom(&kernel, &landmarks, most).unwrap();
            assert!(network.dimension <= most);
            let (model, exact) = (network.encoder.block(0, &x.rows(), &x.rows()).unwrap(), values(&kernel, 0, &x, &x));
            let residuals = residual(&kernel, &network.encoder, &x).unwrap();
            let slack =
                2.0 * n as f64 * common::EPS32 * largest.max(exact.iter().fold(0.0, |a: f64, v| a.max(v.abs())));
            for (at, (a, b)) in model.iter().zip(&exact).enumerate() {
                let bound = ((residuals[at / 200] + slack) * (residuals[at % 200] + slack)).sqrt() + slack;
                assert!((a - b).abs() <= bound, "{text}: {} against {bound}", (a - b).abs());
            }
            below(&network, &kernel, &landmarks, &landmarks, &format!("Nystrom, {text}, at most {most}"));
        }
    }
}

#[test]
fn landmarks_that_span_the_feature_space_lose_nothing_anywhere() {
    // (<x, y> + 1)^2 in two columns has 6 dimensions.
    let kernel = Kernel::polynomial(2, 1.0).unwrap();
    let network = nystrom(&kernel, &cube(12, 2, "landmarks"), 100).unwrap();
    assert_eq!((network.dimension, network.neurons), (6, 12));
    let x = cube(100, 2, "anywhere");
    assert!(residual(&kernel, &network.encoder, &x).unwrap().iter().all(|r| *r < 1e-4));
    assert!(measure(&network, &kernel, &x, &x).unwrap().error < 1e-4);
    // The same landmark twice changes nothing.
    let twice = cube(12, 2, "landmarks").select(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 0, 1]);
    assert_eq!(nystrom(&kernel, &twice, 100).unwrap().dimension, 6);
}

#[test]
fn nystrom_refuses_what_it_cannot_do() {
    let landmarks = cube(5, 2, "landmarks");
    assert!(matches!(
        nystrom(&Kernel::gaussian(1.0).unwrap(), &landmarks, 3).unwrap_err().kind(),
        ErrorKind::Parameter { .. }
    ));
    let kernel = Kernel::exponential(1.0).unwrap();
    assert!(nystrom(&kernel, &landmarks, 0).is_err());
    assert!(nystrom(&Kernel::exponential(0.01).unwrap(), &landmarks, 3).unwrap_err().to_string().contains("e"));
    assert!(nystrom(&kernel, &Features::dense(vec![], 2).unwrap(), 3).is_err());
    let zero = Features::dense(vec![0.0; 4], 2).unwrap();
    assert!(nystrom(&Kernel::polynomial(2, 0.0).unwrap(), &zero, 3).is_err());
}

#[test]
fn spectral_networks_err_as_they_were_measured() {
    for (text, dim, dimension, units) in [("gaussian:0.7", 1, 6, 64), ("matern32:0.8", 2, 20, 200)] {
        let kernel: Kernel = text.parse().unwrap();
        let network = spectral_network(&kernel, Law::Cube { dim }, None, dimension, units, Seed(1)).unwrap();
        assert_eq!((network.norm, network.evidence, network.neurons), (Norm::Rms, Evidence::Measured, units));
        let (x, y) = (cube(700, dim, "other x"), cube(700, dim, "other y"));
        let found = measure(&network, &kernel, &x, &y).unwrap();
        println!("{}: {found:?}; {}", network.name, network.assumptions);
        assert!((found.tightness - 1.0).abs() < 0.15, "{}", found.tightness);
    }
    let asymmetric = PointRelation(|x: &[f32], y: &[f32]| f64::from(x[0] * (1.0 + y[1])));
    let laws = (Law::Cube { dim: 1 }, Law::Cube { dim: 2 });
    let network = spectral_network(&asymmetric, laws.0, Some(laws.1), 1, 40, Seed(1)).unwrap();
    assert!(network.guarantee < 0.01, "{}", network.guarantee);
    assert_eq!(network.neurons, 80);
}

#[test]
fn explicit_networks_save_load_embed_truncate_and_search() {
    let domain = Cuboid::cube(2, -1.0, 1.0).unwrap();
    let relation = PointRelation(|x: &[f32], y: &[f32]| distance(x, y) - 0.5 * f64::from(x[0]));
    let options = PartitionOptions { error: 0.5, ..PartitionOptions::default() };
    let modulus = Modulus::Lipschitz { query: 1.5, key: 1.0 };
    let gaussian = Kernel::gaussian(1.0).unwrap();
    let networks = [
        partition(&relation, &domain, &domain, modulus, &options).unwrap(),
        partition(&relation, &domain, &domain, modulus, &PartitionOptions { rank_error: Some(0.05), ..options })
            .unwrap(),
        random_features(&gaussian, &domain, 64, 0.9, Seed(3)).unwrap(),
        nystrom(&Kernel::exponential(1.0).unwrap(), &cube(30, 2, "landmarks"), 20).unwrap(),
        nystrom(&Kernel::polynomial(3, 1.0).unwrap(), &cube(30, 2, "landmarks"), 20).unwrap(),
        spectral_network(&gaussian, Law::Cube { dim: 2 }, None, 8, 40, Seed(0)).unwrap(),
    ];
    let folder = tempfile::tempdir().unwrap();
    let (x, y) = (cube(30, 2, "x"), cube(50, 2, "y"));
    for network in networks {
        let path = folder.path().join("model.safetensors");
        let model = Model { encoder: network.encoder.clone(), record: Record::default(), known: [vec![], vec![]] };
        model.save(&path).unwrap();
        let loaded = Model::load(&path).unwrap();
        assert_eq!(loaded, model);
        assert_eq!(loaded.to_bytes().unwrap(), model.to_bytes().unwrap());
        let text = String::from_utf8_lossy(&model.to_bytes().unwrap()).to_string();
        let scale = network.encoder.query().scale();
        assert_eq!(text.contains("scale\\\":0"), scale != 1.0, "{}", network.name);
        assert_eq!(scale != 1.0, network.name.starts_with("random"));
        for bad in [0.0, -1.0, f32::NAN, f32::INFINITY] {
            assert!(network.encoder.query().clone().with_scale(bad).is_err());
        }
        let encoder = &loaded.encoder;
        let block = encoder.block(0, &x.rows(), &y.rows()).unwrap();
        assert_eq!(block, network.encoder.block(0, &x.rows(), &y.rows()).unwrap());
        // Embeddings, their index and a smaller model agree with the block.
        let (q, k) = (encoder.embed_queries(&x.rows()).unwrap(), encoder.embed_keys(&y.rows()).unwrap());
        let hits = Exact::new(&k, encoder.dim()).unwrap().search(&q, 1, None).unwrap();
        for (row, hit) in block.chunks_exact(50).zip(&hits) {
            let best = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            assert!((row[hit[0].key as usize] - best).abs() < 1e-4);
        }
        let cut = encoder.truncate(2).unwrap();
        let own = cut.block(0, &x.rows(), &y.rows()).unwrap();
        for i in 0..30 {
            for j in 0..50 {
                let d = encoder.dim();
                let sum: f64 = (0..2).map(|c| f64::from(q[i * d + c]) * f64::from(k[j * d + c])).sum();
                assert!((own[i * 50 + j] - sum).abs() < 1e-4);
            }
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_bits_for_any_number_of_threads() {
    let domain = Cuboid::cube(2, 0.0, 1.0).unwrap();
    let make = || {
        let options = PartitionOptions { error: 0.3, rank_error: Some(0.05), ..PartitionOptions::default() };
        [
            partition(&PointRelation(distance), &domain, &domain, ONE, &options).unwrap(),
            random_features(&Kernel::matern32(1.0).unwrap(), &domain, 200, 0.9, Seed(3)).unwrap(),
            nystrom(&Kernel::exponential(1.0).unwrap(), &cube(60, 2, "landmarks"), 40).unwrap(),
        ]
    };
    let one = mercer::with_threads(Some(1), make).unwrap();
    assert_eq!(one, mercer::with_threads(Some(3), make).unwrap());
    assert_ne!(
        one[1].encoder,
        random_features(&Kernel::matern32(1.0).unwrap(), &domain, 200, 0.9, Seed(4)).unwrap().encoder
    );
    let json = serde_json::to_value(&one[0]).unwrap();
    assert_eq!((json["norm"].as_str(), json["evidence"].as_str()), (Some("sup"), Some("proven")));
    assert!(json.get("encoder").is_none() && json["neurons"].as_u64().is_some());
}

/// The two constants of the theory, by search over the simplex: the mean distance to the corners in either norm.
#[test]
fn mean_distances_in_a_simplex() {
    let mut stream = stream("simplex");
    let maximum = [0.5, 4.0 / 7.0, 5.0 / 8.0, 0.647];
    for dim in 1..=4usize {
        let value = |x: &[f64], euclidean: bool| {
            // x is decreasing; corner k has k leading ones.
            let weight = |k: usize| if k == 0 { 1.0 - x[0] } else { x[k - 1] - x.get(k).copied().unwrap_or(0.0) };
            let distance = |k: usize| {
                let part = |i: usize| (x[i] - if i < k { 1.0 } else { 0.0 }).abs();
                if euclidean {
                    (0..dim).map(|i| part(i).powi(2)).sum::<f64>().sqrt()
                } else {
                    (0..dim).map(part).fold(0.0, f64::max)
                }
            };
            (0..=dim).map(|k| weight(k) * distance(k)).sum::<f64>()
        };
        for euclidean in [true, false] {
            let mut best = (0.0, vec![0.5; dim]);
            best.0 = value(&best.1, euclidean);
            for step in 0..60_000 {
                let size = if step % 3 == 0 { 1.0 } else { 0.3 * 0.9997f64.powi(step / 2) };
                let mut x: Vec<f64> =
                    best.1.iter().map(|v| (v + size * (stream.uniform() - 0.5)).clamp(0.0, 1.0)).collect();
                x.sort_by(|a, b| b.total_cmp(a));
                let found = value(&x, euclidean);
                if found > best.0 {
                    best = (found, x);
                }
            }
            let expected = if euclidean { 0.5 * (dim as f64).sqrt() } else { maximum[dim - 1] };
            println!("d = {dim}, euclidean {euclidean}: {:.4} (expected {expected:.4})", best.0);
            assert!((best.0 - expected).abs() < 1e-3, "{dim}, {euclidean}: {}", best.0);
        }
    }
}
