//! Plans and certified kernel fits: what is proven lies below what is measured, and bounds above what training needs.

use mercer::certify::Method;
use mercer::evaluate::Population;
use mercer::fit::{Dimension, Effort, Options, Silent, Target};
use mercer::pipeline::{KernelFit, PairTable, fit_kernel};
use mercer::plan::{Plan, Wish, plan_relation, plan_table};
use mercer::spectrum::{Evidence, Norm};
use mercer::{Class, Features, Kernel, Law, Pairs, PointRelation, Seed, with_threads};

/// Small fits in closed form: a plan's own contest, not the fit's accuracy, is looked at.
fn wish(targets: &[Target]) -> Wish {
    let options = Options { units: Some(64), effort: Effort::Steps(0), ..Options::default() };
    Wish { targets: targets.to_vec(), options, ..Wish::default() }
}

fn plan(kernel: &Kernel, dim: usize, targets: &[Target]) -> Plan {
    plan_relation(kernel, Some(kernel), Law::Cube { dim }, None, &wish(targets), &Silent).unwrap()
}

fn check(plan: &Plan, interval: bool) {
    for row in &plan.rows {
        assert!(row.attainable >= row.floor.unwrap(), "{row:?}");
        assert_eq!((row.bytes_per_item, row.multiplications), (4 * row.dim, row.dim));
    }
    for need in &plan.needs {
        let trained = need.trained.as_ref().unwrap_or_else(|| panic!("{}: nothing was found", need.target));
        assert!(trained.error <= need.error && trained.dim >= need.least_dim.unwrap(), "{need:?}");
        for count in &need.counts {
            // On an interval the partition network is small, too.
            let excepted = interval && count.name.starts_with("partition");
            if let Some(neurons) = count.neurons.filter(|_| !excepted) {
                assert!(neurons >= trained.neurons as f64, "{}: {count:?} against {trained:?}", need.target);
            }
            assert!(count.error.is_none_or(|e| e <= need.error), "{count:?}");
            assert!(count.neurons.is_none_or(f64::is_finite) && !count.words.is_empty());
        }
        let names: Vec<&str> = need.counts.iter().map(|c| c.name.as_str()).collect();
        assert!(names.contains(&"symmetric bound") && names.contains(&"random-feature bound"), "{names:?}");
    }
}

#[test]
fn trained_towers_need_fewer_neurons_than_every_bound() {
    let targets = [Target::Absolute(0.1), Target::Absolute(0.03), Target::Sup(0.3), Target::Sup(0.1)];
    let gaussian = plan(&Kernel::gaussian(0.6).unwrap(), 2, &targets);
    check(&gaussian, false);
    let matern = plan(&Kernel::matern12(1.3).unwrap(), 1, &targets);
    check(&matern, true);
    assert_eq!(matern.needs.iter().map(|n| n.norm).collect::<Vec<_>>(), [Norm::Rms, Norm::Rms, Norm::Sup, Norm::Sup]);
    // A largest error needs more dimensions than a mean square of the same size.
    let dims = |p: &Plan| p.needs.iter().map(|n| n.theory_dim.unwrap()).collect::<Vec<_>>();
    assert!(dims(&matern)[3] > dims(&matern)[0] && dims(&gaussian)[3] > dims(&gaussian)[0]);
    let radius = matern.independent.as_ref().unwrap().radius.unwrap();
    assert!(radius.together > 0.0 && matern.spectrum.as_ref().unwrap().radius.is_none());
}

#[test]
fn an_asymmetric_relation_is_planned_with_two_towers() {
    let relation = PointRelation(|x: &[f32], y: &[f32]| (2.0 * f64::from(x[0]) + f64::from(y[0])).sin());
    let found = plan_relation(&relation, None, Law::Cube { dim: 1 }, None, &wish(&[Target::Relative(0.01)]), &Silent);
    let found = found.unwrap();
    // sin(2x + y) = sin 2x cos y + cos 2x sin y: two coordinates hold it.
    assert_eq!((found.recommended.class, found.recommended.dim), (Class::Asymmetric, 2));
    assert_eq!(found.rows.iter().find(|r| r.dim == 2).unwrap().floor, Some(0.0));
    let need = &found.needs[0];
    assert!(need.trained.as_ref().unwrap().neurons >= 2 && need.least_dim == Some(2));
    assert!(need.counts.iter().any(|c| c.name == "asymmetric bound" && c.evidence == Evidence::Estimated));
}

#[test]
fn a_loose_target_is_met_by_a_narrower_class() {
    // cos 2x cos 2y less a hundredth of sin 2x sin 2y: not positive, but nearly.
    let relation = PointRelation(|x: &[f32], y: &[f32]| {
        let (x, y) = (2.0 * f64::from(x[0]), 2.0 * f64::from(y[0]));
        x.cos() * y.cos() - 0.01 * x.sin() * y.sin()
    });
    let class = |target: Target| {
        let plan = plan_relation(&relation, None, Law::Cube { dim: 1 }, None, &wish(&[target]), &Silent).unwrap();
        (plan.recommended.class, plan.recommended.class_reason)
    };
    let (loose, reason) = class(Target::Absolute(0.05));
    assert!(loose == Class::Symmetric && reason.contains("narrower class does for RMS 0.05"), "{loose}: {reason}");
    assert_eq!(class(Target::Absolute(1e-4)).0, Class::Signed);
}

#[test]
fn plans_do_not_depend_on_threads() {
    let run = |threads: usize| {
        with_threads(Some(threads), || plan(&Kernel::gaussian(0.8).unwrap(), 1, &[Target::Sup(0.05)])).unwrap()
    };
    assert_eq!(run(1), run(3));
}

#[test]
fn complete_tables_have_exact_floors() {
    // A table of rank 2: x = 0..20 on the diagonal of two outer products.
    let value =
        |i: u32, j: u32| (f64::from(i) * 0.3).sin() * (f64::from(j) * 0.2).cos() + 0.1 * f64::from(i * j) / 40.0;
    let cells: Vec<(u32, u32)> = (0..20).flat_map(|i| (0..25).map(move |j| (i, j))).collect();
    let (x, y): (Vec<u32>, Vec<u32>) = cells.iter().copied().unzip();
    let values: Vec<f32> = cells.iter().map(|&(i, j)| value(i, j) as f32).collect();
    let pairs = Pairs::new(x, y, values, None).unwrap();
    let (queries, keys) = (Features::one_hot(20), Features::one_hot(25));
    let table = PairTable { queries: &queries, keys: Some(&keys), pairs: &pairs, split: None, absent: Some(0.0) };
    let found = plan_table(&table, "table", &Wish::default(), &Silent).unwrap();
    let floors = found.floors.as_ref().unwrap();
    assert!(floors.exact && floors.evidence == Evidence::Proven);
    let at = |dim: usize| found.rows.iter().find(|r| r.dim == dim).unwrap();
    // The decomposition attains the floor, and values in f32 have rank 2 up to their rounding.
    assert!((at(1).attainable / at(1).floor.unwrap() - 1.0).abs() < 1e-4);
    assert!(at(2).floor.unwrap() < 1e-7 && at(2).attainable < 1e-6);
    assert_eq!((found.recommended.dim, found.recommended.units), (2, None));
}

#[test]
fn observed_pairs_have_noise_and_no_floor() {
    let mut stream = Seed(3).stream("ratings");
    let (mut x, mut y, mut value) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..3000 {
        let (i, j) = (stream.below(60) as u32, stream.below(40) as u32);
        x.push(i);
        y.push(j);
        value.push((3.0 + (f64::from(i) * 0.4).sin() * (f64::from(j) * 0.3).cos() + 0.2 * stream.normal()) as f32);
    }
    let pairs = Pairs::new(x, y, value, None).unwrap();
    let (queries, keys) = (Features::one_hot(60), Features::one_hot(40));
    let table = PairTable { queries: &queries, keys: Some(&keys), pairs: &pairs, split: None, absent: None };
    let found = plan_table(&table, "ratings", &wish(&[Target::Absolute(0.3)]), &Silent).unwrap();
    assert!(found.floors.is_none() && found.rows.iter().all(|r| r.floor.is_none()));
    assert!(found.assumptions.iter().any(|a| a.contains("no floor can be certified")));
    let noise = found.noise.as_ref().unwrap();
    let (low, high) = noise.interval.unwrap();
    assert!(low < 0.2 && high > 0.2 && high - low < 0.05, "{noise:?}");
    // The fit comes close to the noise, which then explains most of its error.
    assert!(noise.explains(found.recommended.rmse).unwrap() > 0.6);
    assert!(found.sizes.len() >= 20 && found.recommended.target_met == Some(true));
}

fn proven(kernel: Kernel, dim: usize, error: f64) -> KernelFit {
    let options = Options { dimension: Dimension::Target(Target::Sup(error)), ..Options::default() };
    fit_kernel(&kernel, Law::Cube { dim }, &options, &Silent).unwrap()
}

#[test]
fn a_largest_error_is_proven_and_not_only_seen() {
    for (kernel, error) in [(Kernel::gaussian(0.4).unwrap(), 1e-4), (Kernel::matern52(0.7).unwrap(), 1e-2)] {
        let found = proven(kernel, 1, error);
        let sup = found.sup.as_ref().unwrap();
        assert_eq!((found.fit.target_met, sup.met), (Some(true), Some(true)), "{kernel}");
        assert!(sup.with_rounding() <= error && sup.lower <= sup.upper);
        // Fresh pairs stay below it, and give an exact interval of the mean square within it.
        let largest = found.residuals.value.iter().zip(&found.residuals.predicted).map(|(v, p)| (v - p).abs());
        assert!(largest.fold(0.0, f64::max) <= sup.with_rounding());
        assert_eq!(found.certificate.population, Population::TwoNewItems);
        assert!(found.certificate.statements.iter().filter(|s| s.exact).all(|s| s.upper.is_some()));
    }
    // What cannot be reached is said, not claimed.
    let missed = proven(Kernel::gaussian(0.4).unwrap(), 1, 1e-12);
    assert_eq!((missed.fit.target_met, missed.sup.unwrap().met), (Some(false), Some(false)));
}

#[test]
fn a_kernel_without_derivatives_is_fitted_without_a_largest_error() {
    let options =
        Options { dimension: Dimension::Fixed(6), units: Some(32), effort: Effort::Steps(0), ..Options::default() };
    let found = fit_kernel(&Kernel::cosine(), Law::Cube { dim: 2 }, &options, &Silent).unwrap();
    assert!(found.sup.is_none() && found.sup_refused.is_some());
    // Pairs of given items are drawn blindly from all of their pairs: known items.
    let items = Features::dense((0..400).map(|i| (i as f32 * 0.37).sin()).collect(), 2).unwrap();
    let found = fit_kernel(&Kernel::gaussian(0.5).unwrap(), Law::Items(&items), &options, &Silent).unwrap();
    assert_eq!(found.certificate.population, Population::KnownItems);
    assert!(found.certificate.statements.iter().any(|s| s.method == Method::Binomial && s.upper.is_some()));
    assert!(found.sup.is_none() && found.sup_refused.is_none());
}
