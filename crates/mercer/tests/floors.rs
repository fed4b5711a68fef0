//! Floors and spectra against relations whose decomposition is known.

mod common;

use std::f64::consts::PI;

use common::cube;
use mercer::spectrum::{Anchors, FloorOptions, Floors, Norm, diagnose, floors, sampled, table_floors};
use mercer::{Class, Features, Kernel, Law, PointRelation, Relation, Seed};
use rayon::prelude::*;

const LINE: Law<'static> = Law::Cube { dim: 1 };

/// A coordinate of the cube on `[0, 1]`.
fn unit(x: &[f32]) -> f64 {
    0.5 * (f64::from(x[0]) + 1.0)
}

fn brownian() -> impl Relation {
    PointRelation(|x: &[f32], y: &[f32]| unit(x).min(unit(y)))
}

fn step() -> impl Relation {
    PointRelation(|x: &[f32], y: &[f32]| f64::from(u8::from(y[0] < x[0])))
}

const RHO: f64 = 0.8;

/// `sum_k rho^|k| exp(i k t)` on the circle.
fn poisson() -> impl Relation {
    PointRelation(|x: &[f32], y: &[f32]| {
        let cos = (2.0 * PI * (unit(x) - unit(y))).cos();
        (1.0 - RHO * RHO) / (1.0 - 2.0 * RHO * cos + RHO * RHO)
    })
}

/// `sum_{i > dim} values(i)^2` for decreasing values, `i` from 1.
fn known_floor(values: impl Fn(usize) -> f64, dim: usize) -> f64 {
    (dim + 1..2_000_000).rev().map(|i| values(i) * values(i)).sum::<f64>().sqrt()
}

fn brownian_value(i: usize) -> f64 {
    4.0 / ((2 * i - 1) as f64 * PI).powi(2)
}

fn step_value(i: usize) -> f64 {
    2.0 / ((2 * i - 1) as f64 * PI)
}

fn poisson_value(i: usize) -> f64 {
    RHO.powi((i / 2) as i32)
}

fn options(size: usize, blocks: usize, seed: u64) -> FloorOptions {
    FloorOptions {
        size: Some(size),
        blocks: Some(blocks),
        self_pairs: true,
        seed: Seed(seed),
        ..FloorOptions::default()
    }
}

fn rms(found: &Floors, class: Class, dim: usize) -> f64 {
    found.get(class, dim).unwrap().rms
}

/// `P(Binomial(n, p) >= k)`.
fn upper_tail(n: usize, p: f64, k: usize) -> f64 {
    let mut term = (1.0 - p).powi(n as i32);
    let mut below = 0.0;
    for i in 0..k {
        below += term;
        term *= (n - i) as f64 / (i + 1) as f64 * p / (1.0 - p);
    }
    1.0 - below
}

#[test]
fn finite_rank_has_no_floor_from_its_rank_on() {
    let two = PointRelation(|x: &[f32], y: &[f32]| (f64::from(x[0]) * PI - f64::from(y[0]) * PI).cos());
    let three = PointRelation(|x: &[f32], y: &[f32]| {
        (0..3).map(|p| f64::from(x[0]).powi(p) * (f64::from(y[0]) * f64::from(p + 1)).sin()).sum()
    });
    let turn =
        PointRelation(|x: &[f32], y: &[f32]| f64::from(x[0]) * f64::from(y[1]) - f64::from(x[1]) * f64::from(y[0]));
    let relations: [(&dyn Relation, usize, usize); 3] = [(&two, 1, 2), (&three, 1, 3), (&turn, 2, 2)];
    for (relation, dim, rank) in relations {
        let found =
            floors(relation, Law::Cube { dim }, None, &[rank - 1, rank, rank + 3], &options(128, 32, 1)).unwrap();
        assert!(rms(&found, Class::Asymmetric, rank - 1) > 0.0);
        assert_eq!(rms(&found, Class::Asymmetric, rank), 0.0, "rank {rank}");
        assert_eq!(rms(&found, Class::Asymmetric, rank + 3), 0.0, "rank {rank}");
    }
    // A symmetric positive one has no floor in any class; an antisymmetric one keeps all of it in the symmetric ones.
    let found = floors(&two, LINE, None, &[1, 2], &options(128, 32, 1)).unwrap();
    assert!(found.floors.iter().all(|f| f.dim == 1 || f.rms == 0.0));
    let found = floors(&turn, Law::Cube { dim: 2 }, None, &[64], &options(128, 64, 1)).unwrap();
    let whole = (2f64 / 9.0).sqrt();
    for class in [Class::Symmetric, Class::Signed] {
        assert!((0.9 * whole..=whole).contains(&rms(&found, class, 64)), "{}", rms(&found, class, 64) / whole);
    }
}

#[test]
fn spectra_known_in_closed_form() {
    let found = sampled(&brownian(), 0, LINE, None, Anchors::Spread, 600, Seed(3)).unwrap();
    for k in 1..=12 {
        assert!((found.values[k - 1] / brownian_value(k) - 1.0).abs() < 0.01, "{k}: {}", found.values[k - 1]);
    }
    assert!(found.symmetric && found.positive && found.radius.is_none());
    assert!((found.trace.unwrap() - 0.5).abs() < 1e-3);
    for dim in [1, 4, 16] {
        assert!((found.rms_tail(dim) / known_floor(brownian_value, dim) - 1.0).abs() < 0.05, "{dim}");
    }
    // 1{y<x} has singular values 2 / ((2k - 1) pi) and no eigenvalues to speak of.
    let found = sampled(&step(), 0, LINE, None, Anchors::Spread, 600, Seed(3)).unwrap();
    assert!(!found.symmetric && found.tau.is_none());
    (1..=8).for_each(|k| assert!((found.values[k - 1] / step_value(k) - 1.0).abs() < 0.02, "{k}"));
    // Independent anchors: the radius holds (it is wide), and covers.
    for seed in 0..5 {
        let found = sampled(&brownian(), 0, LINE, None, Anchors::Independent, 300, Seed(seed)).unwrap();
        let radius = found.radius.unwrap();
        assert!(radius.together < radius.each);
        let off = (1..=50).map(|k| (found.values[k - 1] - brownian_value(k)).powi(2)).sum::<f64>().sqrt();
        assert!(off < radius.together, "{off} {}", radius.together);
    }
}

/// Failures among 500 seeds: a floor above the truth at any of the dimensions.
fn failures(relation: &(dyn Relation + Sync), values: fn(usize) -> f64) -> usize {
    let dims = [1, 4, 16];
    let truth = dims.map(|dim| known_floor(values, dim));
    let fails = |seed| {
        let found = floors(relation, LINE, Some(LINE), &dims, &options(128, 32, seed)).unwrap();
        usize::from(dims.iter().zip(truth).any(|(&dim, truth)| rms(&found, Class::Asymmetric, dim) > truth))
    };
    (0..500u64).into_par_iter().map(fails).sum()
}

#[test]
fn floors_hold_as_often_as_they_say() {
    for (name, failures) in [
        ("brownian", failures(&brownian(), brownian_value)),
        ("step", failures(&step(), step_value)),
        ("poisson", failures(&poisson(), poisson_value)),
    ] {
        println!("{name}: {failures} of 500 fail");
        assert!(upper_tail(500, 0.05, failures) > 1e-3, "{name}: {failures} of 500");
    }
}

/// Name, relation, singular values.
type Known = (&'static str, Box<dyn Relation>, fn(usize) -> f64);

#[test]
fn floors_are_sharp() {
    let relations: [Known; 3] = [
        ("brownian", Box::new(brownian()), brownian_value),
        ("step", Box::new(step()), step_value),
        ("poisson", Box::new(poisson()), poisson_value),
    ];
    for (name, relation, values) in relations {
        for seed in 0..5 {
            let found = floors(&*relation, LINE, Some(LINE), &[16, 64], &options(512, 32, seed)).unwrap();
            let share = |dim| rms(&found, Class::Asymmetric, dim) / known_floor(values, dim);
            let (few, many) = (share(16).powi(2), share(64));
            println!("{name} seed {seed}: squared floor at 16 {few:.3}, rms at 64 {many:.3}");
            assert!((0.8..=1.0).contains(&few) && (0.75..=1.0).contains(&many), "{name} seed {seed}: {few} {many}");
        }
    }
}

#[test]
fn class_floors_of_a_known_relation() {
    // In the orthonormal Legendre basis: symmetric part diag(1, 2, -1.5), antisymmetric part 0.5 (p1 p2' - p2 p1').
    let legendre = |x: f64| [1.0, 3f64.sqrt() * x, 5f64.sqrt() * (1.5 * x * x - 0.5)];
    let relation = PointRelation(move |x: &[f32], y: &[f32]| {
        let (p, q) = (legendre(x[0].into()), legendre(y[0].into()));
        p[0] * q[0] + 2.0 * p[1] * q[1] - 1.5 * p[2] * q[2] + 0.5 * (p[1] * q[2] - p[2] * q[1])
    });
    let root = (6.75f64 * 6.75 - 4.0 * 2.75 * 2.75).sqrt();
    let truth = |class: Class, dim: usize| -> f64 {
        let squares: [f64; 4] = match class {
            Class::Symmetric => [0.5 + 2.25 + 1.0, 0.5 + 2.25, 0.5 + 2.25, 0.5 + 2.25],
            Class::Signed => [0.5 + 2.25 + 1.0, 0.5 + 1.0, 0.5, 0.5],
            Class::Asymmetric => [1.0 + (6.75 - root) / 2.0, 1.0, 0.0, 0.0],
        };
        squares[dim - 1].sqrt()
    };
    for seed in 0..4 {
        let found = floors(&relation, LINE, None, &[1, 2, 3, 4], &options(128, 64, seed)).unwrap();
        for floor in &found.floors {
            let known = truth(floor.class, floor.dim);
            assert!(floor.rms <= known && floor.rms >= 0.85 * known, "seed {seed}: {floor:?}, truth {known}");
        }
        assert_eq!(found.class, Class::Asymmetric);
        // At an error between the signed and the asymmetric floor only the widest class is left.
        let left = found.smallest_class(0.3).unwrap();
        assert_eq!((left.class, left.dim), (Class::Asymmetric, 3));
        assert_eq!(found.smallest_class(1.2).unwrap().class, Class::Signed);
    }
}

#[test]
fn class_floors_of_the_negative_distance() {
    // In one dimension evenly spread anchors give the eigenvalues to many digits.
    let relation = Kernel::negative_distance();
    let spectrum = sampled(&relation, 0, LINE, None, Anchors::Spread, 800, Seed(1)).unwrap();
    let negative: f64 = spectrum.values.iter().filter(|v| **v < 0.0).map(|v| v * v).sum();
    let mut positive: Vec<f64> = spectrum.values.iter().copied().filter(|v| *v > 0.0).collect();
    positive.sort_by(|a, b| b.total_cmp(a));
    for seed in 0..3 {
        let found = floors(&relation, LINE, None, &[1, 4], &options(128, 64, seed)).unwrap();
        for dim in [1, 4] {
            let symmetric = (negative + positive[dim..].iter().map(|v| v * v).sum::<f64>()).sqrt();
            for (class, known) in [(Class::Symmetric, symmetric), (Class::Signed, spectrum.rms_tail(dim))] {
                let own = rms(&found, class, dim);
                println!("{class} {dim}: {own:.5} of {known:.5}");
                assert!(own <= known && own >= 0.85 * known, "{class} {dim}: {own} of {known}");
            }
        }
    }
}

#[test]
fn class_floors_hold_over_seeds() {
    // Rank 2: f(x) f(y) - g(x) g(y) with orthonormal f, g of weights 1 and 0.8: the negative part is .64 of the energy.
    let legendre = |x: f64| (3f64.sqrt() * x, 5f64.sqrt() * (1.5 * x * x - 0.5));
    let relation = PointRelation(move |x: &[f32], y: &[f32]| {
        let ((f, g), (p, q)) = (legendre(x[0].into()), legendre(y[0].into()));
        f * p - 0.8 * g * q
    });
    let bounds: Vec<(f64, f64)> = (0..200u64)
        .into_par_iter()
        .map(|seed| {
            let found = floors(&relation, LINE, None, &[1], &options(48, 32, seed)).unwrap();
            (rms(&found, Class::Symmetric, 1), rms(&found, Class::Signed, 1))
        })
        .collect();
    // Both are 0.8: one positive coordinate leaves the negative part, and so does one signed coordinate.
    let failures = bounds.iter().filter(|(symmetric, signed)| *symmetric > 0.8 || *signed > 0.8).count();
    let mean = bounds.iter().map(|b| b.0).sum::<f64>() / 200.0;
    println!("{failures} of 200 fail, mean bound {mean:.3} of 0.8");
    assert!(upper_tail(200, 0.05, failures) > 1e-3, "{failures} of 200");
    assert!(mean > 0.8 * 0.8, "{mean}");
}

/// The diagonal of a common sample breaks the direction: what `floors` avoids, and this test would catch.
#[test]
fn a_common_sample_certifies_too_much() {
    let (relation, square) = (Kernel::matern12(1.0).unwrap(), Law::Cube { dim: 2 });
    // Its tail lies above the floor too, by its own diagonal.
    let above = sampled(&relation, 0, square, None, Anchors::Spread, 900, Seed(5)).unwrap().rms_tail(64);
    let common = sampled(&relation, 0, square, None, Anchors::Independent, 512, Seed(5)).unwrap().rms_tail(64);
    let bound = floors(&relation, square, None, &[64], &options(512, 32, 5)).unwrap();
    println!("common {common:.5}, reference {above:.5}, bound {:.5}", rms(&bound, Class::Symmetric, 64));
    assert!(common > 1.05 * above, "{common} {above}");
    assert!(rms(&bound, Class::Symmetric, 64) < above);
}

#[test]
fn the_class_is_named() {
    let turn =
        PointRelation(|x: &[f32], y: &[f32]| f64::from(x[0]) * f64::from(y[1]) - f64::from(x[1]) * f64::from(y[0]));
    let gaussian = |length| Box::new(Kernel::gaussian(length).unwrap());
    let cases: Vec<(&str, Box<dyn Relation>, usize, Class)> = vec![
        ("turn", Box::new(turn), 2, Class::Asymmetric),
        ("gaussian-2", gaussian(0.5), 2, Class::Symmetric),
        ("gaussian-8", gaussian(1.5), 8, Class::Symmetric),
        ("matern-2", Box::new(Kernel::matern12(1.0).unwrap()), 2, Class::Symmetric),
        ("mixed-3", Box::new(common::mixed()), 3, Class::Asymmetric),
        ("relu-3", Box::new(common::relu()), 3, Class::Asymmetric),
        ("negative-distance-3", Box::new(Kernel::negative_distance()), 3, Class::Signed),
        ("utility-quadratic-8", Box::new(common::utility_quadratic()), 8, Class::Asymmetric),
        ("utility-distance-4", Box::new(common::utility_distance()), 4, Class::Asymmetric),
    ];
    for (name, relation, dim, class) in &cases {
        let law = Law::Cube { dim: *dim };
        let found = diagnose(&**relation, law, None, 32, 256, Seed(2)).unwrap();
        assert_eq!(found.class, *class, "{name}: {}", found.reason);
        let sampled = floors(&**relation, law, None, &[8, 32], &options(128, 2, 2)).unwrap();
        assert_eq!(sampled.class, *class, "{name}: {}", sampled.reason);
    }
    // Given items: exact, for these items.
    for (relation, items) in [
        (Kernel::tanimoto(), common::sets(300, 12, 120, "tanimoto")),
        (Kernel::gaussian(2.5).unwrap(), cube(300, 64, "digits")),
    ] {
        let found = floors(&relation, Law::Items(&items), None, &[8, 32], &FloorOptions::default()).unwrap();
        assert!(found.exact && found.class == Class::Symmetric, "{relation:?}: {}", found.reason);
        let two =
            floors(&relation, Law::Items(&items), Some(Law::Items(&items)), &[8], &FloorOptions::default()).unwrap();
        assert!((rms(&two, Class::Asymmetric, 8) / rms(&found, Class::Asymmetric, 8) - 1.0).abs() < 1e-12);
        assert_eq!((two.class, two.floors.len()), (Class::Asymmetric, 1));
        assert!(rms(&found, Class::Asymmetric, 8) > rms(&found, Class::Asymmetric, 32));
    }
}

/// More items than an exact answer takes: blocks drawn with replacement, sizes chosen by the program.
#[test]
fn floors_of_many_items() {
    let items = common::sets(1500, 10, 60, "many");
    let found = floors(&Kernel::tanimoto(), Law::Items(&items), None, &[2, 8], &FloorOptions::default()).unwrap();
    assert!(!found.exact && found.size == 128 && found.blocks >= 64 && found.class == Class::Symmetric);
    let few = items.select(&(0..1000).collect::<Vec<_>>());
    let exact = floors(&Kernel::tanimoto(), Law::Items(&few), None, &[2, 8], &FloorOptions::default()).unwrap();
    for dim in [2, 8] {
        // Two samples of one population: the exact floor of the smaller one is close to that of the larger.
        let share = rms(&found, Class::Symmetric, dim) / rms(&exact, Class::Symmetric, dim);
        assert!((0.7..1.0).contains(&share), "{dim}: {share}");
    }
}

#[test]
fn floors_of_tables_are_exact() {
    let (queries, keys) = (30, 20);
    let mut stream = common::stream("table");
    let values: Vec<f64> = (0..queries * keys).map(|_| stream.normal()).collect();
    let columns = (0..keys).map(|j| (0..queries).map(|i| values[i * keys + j]).collect()).collect();
    let singular = common::singular_values(columns);
    let found = table_floors(&values, queries, keys, false, &[1, 5, 19, 20]).unwrap();
    for dim in [1, 5, 19, 20] {
        let tail: f64 = singular[dim..].iter().map(|s| s * s).sum::<f64>() / (queries * keys) as f64;
        assert!((rms(&found, Class::Asymmetric, dim) - tail.sqrt()).abs() < 1e-12);
    }
    assert!(found.get(Class::Signed, 1).is_none() && found.exact);
    // The antisymmetric part of a 2 x 2 turn is all of it.
    let found = table_floors(&[0.0, 1.0, -1.0, 0.0], 2, 2, true, &[2]).unwrap();
    assert!((rms(&found, Class::Signed, 2) - 0.5f64.sqrt()).abs() < 1e-12);
    assert_eq!(rms(&found, Class::Asymmetric, 2), 0.0);
}

#[test]
fn same_bits_for_any_number_of_threads() {
    let run = |threads| {
        mercer::with_threads(Some(threads), || {
            let found = floors(&Kernel::negative_distance(), LINE, None, &[1, 4], &options(64, 16, 7)).unwrap();
            let spectrum = sampled(&brownian(), 0, LINE, None, Anchors::Independent, 100, Seed(7)).unwrap();
            (found, spectrum)
        })
        .unwrap()
    };
    assert_eq!(run(1), run(3));
}

#[test]
fn bad_parameters_are_refused() {
    let relation = Kernel::gaussian(1.0).unwrap();
    let bad = |dims: &[usize], options: FloorOptions| floors(&relation, LINE, None, dims, &options).is_err();
    let standard = FloorOptions::default();
    assert!(bad(&[], standard) && bad(&[0], standard));
    assert!(bad(&[1], FloorOptions { confidence: 1.0, ..standard }));
    assert!(bad(&[1], FloorOptions { confidence: f64::NAN, ..standard }));
    assert!(
        bad(&[1], FloorOptions { size: Some(1), ..standard })
            && bad(&[1], FloorOptions { blocks: Some(0), ..standard })
    );
    let none = Features::dense(vec![], 1).unwrap();
    assert!(floors(&relation, Law::Items(&none), None, &[1], &standard).is_err());
    assert!(table_floors(&[1.0], 2, 2, true, &[1]).is_err() && table_floors(&[f64::NAN], 1, 1, true, &[1]).is_err());
    assert!(table_floors(&[1.0, 2.0], 1, 2, true, &[1]).is_err() && table_floors(&[], 0, 0, true, &[1]).is_err());
    assert!(
        diagnose(&relation, LINE, None, 0, 10, Seed(0)).is_err()
            && diagnose(&relation, LINE, None, 1, 1, Seed(0)).is_err()
    );
    assert!(sampled(&relation, 1, LINE, None, Anchors::Spread, 10, Seed(0)).is_err());
    assert!(sampled(&relation, 0, LINE, None, Anchors::Spread, 1, Seed(0)).is_err());
    let zero = PointRelation(|_: &[f32], _: &[f32]| 0.0);
    assert!(sampled(&zero, 0, LINE, None, Anchors::Spread, 10, Seed(0)).is_err());
    assert!(floors(&zero, LINE, None, &[1], &standard).unwrap().floors.iter().all(|f| f.rms == 0.0));
    let broken = PointRelation(|_: &[f32], _: &[f32]| f64::NAN);
    assert!(floors(&broken, LINE, None, &[1], &standard).is_err());
    assert_eq!(
        sampled(&relation, 0, LINE, None, Anchors::Spread, 50, Seed(0)).unwrap().dimension_for(2.0, Norm::Sup),
        Some(0)
    );
}

#[test]
fn pairs_of_an_item_with_itself_count_only_where_they_are_asked_for() {
    // 1/2 everywhere, and 1 more where an item meets itself: rank 1 but for the diagonal.
    let relation = PointRelation(|x: &[f32], y: &[f32]| if x == y { 1.5 } else { 0.5 });
    let items = Features::dense((0..60).map(|i| i as f32).collect(), 1).unwrap();
    let at = |self_pairs: bool| {
        let options = FloorOptions { self_pairs, ..FloorOptions::default() };
        floors(&relation, Law::Items(&items), None, &[1, 5], &options).unwrap()
    };
    let (with, without) = (at(true), at(false));
    assert!(with.exact && !without.exact);
    // The identity of 60 items has 59 singular values 1 beyond the leading one: sqrt(59) / 60.
    assert!((with.get(Class::Asymmetric, 1).unwrap().rms - 59f64.sqrt() / 60.0).abs() < 1e-9);
    for class in [Class::Symmetric, Class::Signed, Class::Asymmetric] {
        assert_eq!(without.get(class, 1).unwrap().rms, 0.0, "{class}");
    }
    assert!((without.value_rms - 0.5).abs() < 1e-12 && without.assumptions.contains("never the same item twice"));
    let few = Features::dense(vec![0.0, 1.0, 2.0], 1).unwrap();
    let options = FloorOptions { self_pairs: false, ..FloorOptions::default() };
    assert!(floors(&relation, Law::Items(&few), None, &[1], &options).is_err());
}
