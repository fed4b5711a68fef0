//! Every built-in kernel against its formula, evaluated pointwise in `f64` by other means; text forms; refusals.

mod common;

use std::f64::consts::PI;

use common::{EPS, cube, dense_row, densified, dot, sets, sparsified, stream, values};
use mercer::{ErrorKind, Features, Kernel, Relation};
use proptest::prelude::*;
use proptest::test_runner::Config;

/// What rounding may do to a kernel's value.
enum Rounding {
    /// A function of the distance with at most this slope.
    Distance { slope: f64 },
    /// A function of the inner product, evaluated to a relative error of a few eps of this size.
    Product { size: fn(f64, f64) -> f64 },
    /// A multiple of the angle between the rows, which is ill-conditioned at 0 and pi.
    Angle,
}

struct Case {
    kernel: Kernel,
    formula: fn(&[f64], &[f64]) -> f64,
    rounding: Rounding,
    semi_definite: bool,
}

fn distance(x: &[f64], y: &[f64]) -> f64 {
    x.iter().zip(y).map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt()
}

/// Angle by Kahan's formula, accurate where the arc cosine is not; a right angle where a row is zero.
fn angle(x: &[f64], y: &[f64]) -> f64 {
    let (a, b) = (dot(x, x).sqrt(), dot(y, y).sqrt());
    if a * b == 0.0 {
        return 0.5 * PI;
    }
    let part = |sign: f64| x.iter().zip(y).map(|(u, v)| (u / a + sign * v / b).powi(2)).sum::<f64>().sqrt();
    2.0 * part(-1.0).atan2(part(1.0))
}

fn arc_cosine(order: i32, x: &[f64], y: &[f64]) -> f64 {
    let t = angle(x, y);
    let j = match order {
        0 => PI - t,
        1 => t.sin() + (PI - t) * t.cos(),
        _ => 3.0 * t.sin() * t.cos() + (PI - t) * (1.0 + 2.0 * t.cos().powi(2)),
    };
    (dot(x, x) * dot(y, y)).sqrt().powi(order) * j / PI
}

fn cosine(x: &[f64], y: &[f64]) -> f64 {
    let norms = (dot(x, x) * dot(y, y)).sqrt();
    if norms == 0.0 { 0.0 } else { dot(x, y) / norms }
}

fn tanimoto(x: &[f64], y: &[f64]) -> f64 {
    let other = dot(x, x) + dot(y, y) - dot(x, y);
    if other == 0.0 { 1.0 } else { dot(x, y) / other }
}

/// Every kernel, with lengths of about one so that no slope exceeds 2.
fn cases() -> Vec<Case> {
    let of_distance = Rounding::Distance { slope: 2.0 };
    let case = |kernel, formula, rounding| Case { kernel, formula, rounding, semi_definite: true };
    vec![
        case(Kernel::gaussian(0.7).unwrap(), |x, y| (-distance(x, y).powi(2) / (2.0 * 0.49)).exp(), of_distance),
        case(Kernel::matern12(0.9).unwrap(), |x, y| (-distance(x, y) / 0.9).exp(), Rounding::Distance { slope: 2.0 }),
        case(
            Kernel::matern32(1.1).unwrap(),
            |x, y| {
                let s = 3f64.sqrt() * distance(x, y) / 1.1;
                (1.0 + s) * (-s).exp()
            },
            Rounding::Distance { slope: 2.0 },
        ),
        case(
            Kernel::matern52(1.3).unwrap(),
            |x, y| {
                let s = 5f64.sqrt() * distance(x, y) / 1.3;
                (1.0 + s + s * s / 3.0) * (-s).exp()
            },
            Rounding::Distance { slope: 2.0 },
        ),
        case(
            Kernel::rational_quadratic(0.8, 1.5).unwrap(),
            |x, y| (1.0 + distance(x, y).powi(2) / (2.0 * 1.5 * 0.64)).powf(-1.5),
            Rounding::Distance { slope: 2.0 },
        ),
        case(
            Kernel::polynomial(3, 0.5).unwrap(),
            |x, y| (dot(x, y) + 0.5).powi(3),
            Rounding::Product { size: |xx, yy| 3.0 * ((xx * yy).sqrt() + 0.5).powi(3) },
        ),
        case(
            Kernel::exponential(1.2).unwrap(),
            |x, y| (dot(x, y) / 1.44).exp(),
            // The relative error is that of the exponent.
            Rounding::Product { size: |xx, yy| (1.0 + (xx * yy).sqrt()) * ((xx * yy).sqrt() / 1.44).exp() },
        ),
        case(Kernel::arc_cosine(0).unwrap(), |x, y| arc_cosine(0, x, y), Rounding::Angle),
        case(
            Kernel::arc_cosine(1).unwrap(),
            |x, y| arc_cosine(1, x, y),
            Rounding::Product { size: |xx, yy| 3.0 * (xx * yy).sqrt() },
        ),
        case(
            Kernel::arc_cosine(2).unwrap(),
            |x, y| arc_cosine(2, x, y),
            Rounding::Product { size: |xx, yy| 12.0 * xx * yy },
        ),
        case(Kernel::cosine(), cosine, Rounding::Product { size: |_, _| 1.0 }),
        case(Kernel::tanimoto(), tanimoto, Rounding::Product { size: |_, _| 4.0 }),
        Case {
            semi_definite: false,
            ..case(Kernel::negative_distance(), |x, y| -distance(x, y), Rounding::Distance { slope: 1.0 })
        },
    ]
}

impl Rounding {
    /// Bound on the difference from the formula for two rows of `dim` columns.
    fn bound(&self, x: &[f64], y: &[f64]) -> f64 {
        // A sum of `dim` products errs by at most dim eps times the sum of their sizes; elementary functions by a few ulp.
        let (xx, yy, unit) = (dot(x, x), dot(y, y), (x.len() + 16) as f64 * EPS);
        match self {
            Rounding::Distance { slope } => {
                let (squared, d) = (4.0 * unit * (xx + yy), distance(x, y));
                // |sqrt(a + e) - sqrt(a)| is at most both sqrt(e) and e / sqrt(a).
                slope * squared.sqrt().min(if d > 0.0 { squared / d } else { f64::INFINITY }) + unit * (1.0 + d)
            }
            Rounding::Product { size } => 4.0 * unit * size(xx, yy),
            Rounding::Angle => {
                let (turn, sin) = (4.0 * unit, angle(x, y).sin());
                (2.0 * turn).sqrt().min(if sin > 0.0 { turn / sin } else { f64::INFINITY }) + unit
            }
        }
    }
}

/// Rows with a zero row, a row met again on the other side, and its opposite: where formulas are at their worst.
fn rows(dim: usize, zeros: usize) -> [Features; 2] {
    let (mut stream, n) = (stream("kernel rows"), 9);
    let mut draw = || -> Vec<f32> {
        (0..n * dim).map(|at| if at % (zeros + 1) == 0 { 0.8 * stream.normal() as f32 } else { 0.0 }).collect()
    };
    let (mut x, mut y) = (draw(), draw());
    y[..dim].copy_from_slice(&x[..dim]);
    (0..dim).for_each(|c| y[dim + c] = -x[dim + c]);
    x[2 * dim..3 * dim].fill(0.0);
    y[2 * dim..3 * dim].fill(0.0);
    [x, y].map(|data| Features::dense(data, dim).unwrap())
}

fn check(case: &Case, x: &Features, y: &Features) {
    let block = values(&case.kernel, 0, x, y);
    for i in 0..x.len() {
        for j in 0..y.len() {
            let (a, b) = (dense_row(&x.rows(), i), dense_row(&y.rows(), j));
            let (got, expected) = (block[i * y.len() + j], (case.formula)(&a, &b));
            let bound = case.rounding.bound(&a, &b);
            let what = format!("{} in {} columns, rows {i} and {j}", case.kernel, x.dim());
            assert!((got - expected).abs() <= bound, "{what}: {got} against {expected}, bound {bound:e}");
        }
    }
}

#[test]
fn dense_blocks_follow_the_formulas() {
    // Up to 16 columns distances are summed directly, beyond that they come from a matrix product.
    for dim in [1, 3, 16, 17, 40] {
        let [x, y] = rows(dim, 0);
        cases().iter().for_each(|case| check(case, &x, &y));
    }
}

#[test]
fn sparse_and_mixed_blocks_follow_the_formulas() {
    for dim in [5, 60] {
        let [x, y] = rows(dim, 3);
        let (sx, sy) = (sparsified(&x), sparsified(&y));
        for case in &cases() {
            check(case, &sx, &sy);
            check(case, &sx, &y);
            check(case, &x, &sy);
        }
    }
}

#[test]
fn tanimoto_of_sets_is_the_jaccard_index() {
    let (a, b) = (sets(20, 7, 30, "left"), sets(15, 4, 30, "right"));
    let block = values(&Kernel::tanimoto(), 0, &a, &b);
    for i in 0..a.len() {
        for j in 0..b.len() {
            let common = a.rows().dot(i, &b.rows(), j);
            assert_eq!(block[i * b.len() + j], common / (11.0 - common));
        }
    }
}

/// Whether `a`, row-major `(n, n)`, has a Cholesky decomposition.
fn is_positive_definite(a: &[f64], n: usize) -> bool {
    let mut l = vec![0.0; n * n];
    for i in 0..n {
        for j in 0..=i {
            let rest = a[i * n + j] - dot(&l[i * n..i * n + j], &l[j * n..j * n + j]);
            if i == j && rest <= 0.0 {
                return false;
            }
            l[i * n + j] = if i == j { rest.sqrt() } else { rest / l[j * n + j] };
        }
    }
    true
}

#[test]
fn the_kernels_that_claim_it_are_semi_definite_and_the_other_is_not() {
    let n = 60;
    let dense = [cube(n, 3, "psd"), cube(n, 20, "psd")];
    let sparse = sets(n, 6, 40, "psd");
    for case in &cases() {
        for x in dense.iter().chain([&sparse]) {
            let block = values(&case.kernel, 0, x, x);
            let largest = block.iter().fold(0.0, |a: f64, v| a.max(v.abs()));
            let entry =
                (0..n).map(|i| dense_row(&x.rows(), i)).fold(0.0, |a: f64, row| a.max(case.rounding.bound(&row, &row)));
            // Rounding moves the smallest eigenvalue by at most n times the largest error of an entry, Cholesky's own n^2 eps.
            let tolerance = n as f64 * entry + (n * n) as f64 * EPS * largest;
            let mut shifted = block.clone();
            (0..n).for_each(|i| shifted[i * n + i] += tolerance);
            assert_eq!(is_positive_definite(&shifted, n), case.semi_definite, "{} in {} columns", case.kernel, x.dim());
            let mut stream = stream("quadratic forms");
            for _ in 0..20 {
                let mut v: Vec<f64> = (0..n).map(|_| stream.normal()).collect();
                if !case.semi_definite {
                    // Conditionally definite: on vectors that sum to 0.
                    let mean = v.iter().sum::<f64>() / n as f64;
                    v.iter_mut().for_each(|v| *v -= mean);
                }
                let form: f64 = (0..n).map(|i| v[i] * dot(&block[i * n..(i + 1) * n], &v)).sum();
                assert!(form >= -tolerance * dot(&v, &v), "{}: {form:e}", case.kernel);
            }
        }
    }
}

#[test]
fn blocks_that_do_not_fit_are_refused() {
    let (x, y) = (cube(3, 2, "x"), cube(4, 3, "y"));
    for case in &cases() {
        let refused = |x: &Features, y: &Features, len: usize| {
            let error = case.kernel.block(0, &x.rows(), &y.rows(), &mut vec![0.0; len]).unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::Shape { .. }), "{}: {error}", case.kernel);
        };
        refused(&x, &y, 12);
        refused(&x, &x, 8);
        refused(&densified(&x), &sparsified(&y), 12);
    }
}

#[test]
fn bad_parameters_are_refused_with_their_name() {
    let bad = [
        ("gaussian:0", "length"),
        ("gaussian:-0.5", "length"),
        ("gaussian:nan", "length"),
        ("gaussian:inf", "length"),
        ("gaussian:1e999", "length"),
        ("matern12:0", "length"),
        ("matern32:-inf", "length"),
        ("matern52:-1", "length"),
        ("rational-quadratic:1,0", "exponent"),
        ("rational-quadratic:0,1", "length"),
        ("polynomial:0", "degree"),
        ("polynomial:17,1", "degree"),
        ("polynomial:2,-1", "offset"),
        ("polynomial:2,nan", "offset"),
        ("arc-cosine:3", "order"),
        ("exponential:0", "length"),
    ];
    let unknown = [
        "",
        ":",
        "gaussian",
        "gaussian:",
        "gaussian:a",
        "gaussian:1,2",
        "gaussian:1,",
        "Gaussian:1",
        "gaussian:1:2",
        "matern:1",
        "polynomial:2.5",
        "polynomial:-1",
        "polynomial:1e10",
        "polynomial:nan",
        "polynomial:1,2,3",
        "arc-cosine",
        "arc-cosine:0.5",
        "exponential",
        "exponential:1,2",
        "cosine:1",
        "tanimoto:2",
        "negative-distance:1",
        "rational-quadratic:1",
        "kernel:1",
        "gaussian 1",
    ];
    for (text, name) in bad.into_iter().chain(unknown.map(|text| (text, "kernel"))) {
        let error = text.parse::<Kernel>().unwrap_err();
        assert!(
            matches!(error.kind(), ErrorKind::Parameter { name: own, .. } if own.contains(name)),
            "'{text}': {error}"
        );
    }
}

proptest! {
    #![proptest_config(Config { failure_persistence: None, ..Config::default() })]

    #[test]
    fn text_forms_are_read_back(length in 1e-6..1e6f64, other in 1e-3..1e3f64, degree in 1..=16u32, order in 0..=2u32) {
        let kernels = [
            Kernel::gaussian(length).unwrap(),
            Kernel::matern12(length).unwrap(),
            Kernel::matern32(length).unwrap(),
            Kernel::matern52(length).unwrap(),
            Kernel::rational_quadratic(length, other).unwrap(),
            Kernel::polynomial(degree, other).unwrap(),
            Kernel::polynomial(degree, 0.0).unwrap(),
            Kernel::exponential(length).unwrap(),
            Kernel::arc_cosine(order).unwrap(),
            Kernel::cosine(),
            Kernel::tanimoto(),
            Kernel::negative_distance(),
        ];
        for kernel in kernels {
            prop_assert_eq!(kernel.to_string().parse::<Kernel>().unwrap(), kernel);
            prop_assert_eq!(kernel.name(), kernel.to_string());
        }
    }

    #[test]
    fn any_text_gives_a_kernel_or_a_parameter_error(text in any::<String>()) {
        if let Err(error) = text.parse::<Kernel>() {
            let is_parameter = matches!(error.kind(), ErrorKind::Parameter { .. });
            prop_assert!(is_parameter, "{}", error);
        }
    }

    /// Texts that come close to a kernel reach the numbers and their ranges.
    #[test]
    fn nearly_right_texts_never_panic(name in 0..11usize, numbers in prop::collection::vec(any::<f64>(), 0..4)) {
        let names = [
            "gaussian", "rbf", "matern12", "matern32", "matern52", "rational-quadratic", "polynomial", "arc-cosine", "cosine",
            "tanimoto", "exponential",
        ];
        let numbers: Vec<String> = numbers.iter().map(f64::to_string).collect();
        let text = format!("{}:{}", names[name], numbers.join(","));
        match text.parse::<Kernel>() {
            Ok(kernel) => prop_assert_eq!(kernel.to_string().parse::<Kernel>().unwrap(), kernel),
            Err(error) => {
                let is_parameter = matches!(error.kind(), ErrorKind::Parameter { .. });
                prop_assert!(is_parameter, "{}", error);
            }
        }
    }
}
