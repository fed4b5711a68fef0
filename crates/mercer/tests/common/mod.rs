//! What several tests share: random items, the reference relations, errors and a few small matrix routines.

#![allow(dead_code)] // every test crate uses its own part

use mercer::{DualEncoder, Features, PointRelation, Relation, Rows, Seed, Stream};

/// Machine precision of `f32` and of `f64`, in `f64`.
pub(crate) const EPS32: f64 = f32::EPSILON as f64;
pub(crate) const EPS: f64 = f64::EPSILON;

/// Random numbers that depend on nothing but `name`.
pub(crate) fn stream(name: &str) -> Stream {
    Seed(20_240_213).stream(name)
}

/// `n` rows uniform on `[-1, 1]^dim`.
pub(crate) fn cube(n: usize, dim: usize, name: &str) -> Features {
    let mut stream = stream(name);
    Features::dense((0..n * dim).map(|_| (2.0 * stream.uniform() - 1.0) as f32).collect(), dim).unwrap()
}

/// `n` sets of `size` out of `dim` elements.
pub(crate) fn sets(n: usize, size: usize, dim: usize, name: &str) -> Features {
    let mut stream = stream(name);
    let draw = |_| {
        let mut set: Vec<u32> = stream.choose(dim, size).into_iter().map(|c| c as u32).collect();
        set.sort_unstable();
        set
    };
    Features::sets(&(0..n).map(draw).collect::<Vec<_>>(), dim).unwrap()
}

/// The stored numbers of one row, zeros filled in.
pub(crate) fn dense_row(rows: &Rows<'_>, i: usize) -> Vec<f64> {
    let mut row = vec![0.0; rows.dim()];
    rows.for_each(i, |column, value| row[column] = value.into());
    row
}

/// The same rows, stored densely.
pub(crate) fn densified(features: &Features) -> Features {
    let rows = features.rows();
    let data = (0..rows.len()).flat_map(|i| dense_row(&rows, i)).map(|v| v as f32).collect();
    Features::dense(data, features.dim()).unwrap()
}

/// The same rows, stored sparsely without their zeros.
pub(crate) fn sparsified(features: &Features) -> Features {
    let (mut starts, mut columns, mut values) = (vec![0], Vec::new(), Vec::new());
    for i in 0..features.len() {
        features.rows().for_each(i, |column, value| {
            if value != 0.0 {
                columns.push(column as u32);
                values.push(value);
            }
        });
        starts.push(columns.len());
    }
    Features::sparse(starts, columns, values, features.dim()).unwrap()
}

/// Values of component `l` on all pairs, row-major.
pub(crate) fn values(relation: &dyn Relation, l: usize, x: &Features, y: &Features) -> Vec<f64> {
    let mut out = vec![0.0; x.len() * y.len()];
    relation.block(l, &x.rows(), &y.rows(), &mut out).unwrap();
    out
}

/// `|a - b| / |b|` over whole slices.
pub(crate) fn relative(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    let difference: f64 = a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum();
    (difference / b.iter().map(|b| b * b).sum::<f64>()).sqrt()
}

/// Relative root mean square error of component `l` of a model on all pairs of `x` and `y`.
pub(crate) fn model_error(model: &DualEncoder, relation: &dyn Relation, l: usize, x: &Features, y: &Features) -> f64 {
    relative(&model.block(l, &x.rows(), &y.rows()).unwrap(), &values(relation, l, x, y))
}

fn squared_distance(x: &[f32], y: &[f64]) -> f64 {
    x.iter().zip(y).map(|(a, b)| (f64::from(*a) - b).powi(2)).sum()
}

fn wide(y: &[f32]) -> Vec<f64> {
    y.iter().map(|&v| v.into()).collect()
}

const A3: [[f64; 3]; 3] = [[0.9, -0.6, 0.3], [0.2, 1.1, -0.8], [-0.5, 0.4, 0.7]];
const M4: [[f64; 4]; 4] = [[0.6, 0.1, -0.3, 0.2], [-0.2, 0.5, 0.4, 0.0], [0.3, -0.4, 0.7, 0.1], [0.0, 0.2, -0.1, 0.8]];

/// `sin(3 x1 y1) + cos(2 x2 - y3) exp(-|x - y|^2)`
pub(crate) fn mixed() -> impl Relation {
    PointRelation(|x: &[f32], y: &[f32]| {
        let (a, b) = (wide(x), wide(y));
        (3.0 * a[0] * b[0]).sin() + (2.0 * a[1] - b[2]).cos() * (-squared_distance(x, &b)).exp()
    })
}

/// `max(x^T A y, 0)`
pub(crate) fn relu() -> impl Relation {
    PointRelation(|x: &[f32], y: &[f32]| {
        let (a, b) = (wide(x), wide(y));
        let sum: f64 = (0..3).map(|i| (0..3).map(|j| a[i] * A3[i][j] * b[j]).sum::<f64>()).sum();
        sum.max(0.0)
    })
}

/// `-|x - Q y|^2` with the rotation `Q`: the reflection along (1, ..., d) after the one along (1, ..., 1).
pub(crate) fn utility_quadratic() -> impl Relation {
    PointRelation(|x: &[f32], y: &[f32]| {
        let mut u = wide(y);
        let d = u.len();
        for along in [|_: usize| 1.0, |i: usize| (i + 1) as f64] {
            let square: f64 = (0..d).map(|i| along(i) * along(i)).sum();
            let part: f64 = (0..d).map(|i| along(i) * u[i]).sum();
            (0..d).for_each(|i| u[i] -= 2.0 * along(i) * part / square);
        }
        -squared_distance(x, &u)
    })
}

/// `-|x - M y|`
pub(crate) fn utility_distance() -> impl Relation {
    PointRelation(|x: &[f32], y: &[f32]| {
        let b = wide(y);
        let moved: Vec<f64> = M4.iter().map(|row| row.iter().zip(&b).map(|(m, b)| m * b).sum()).collect();
        -squared_distance(x, &moved).sqrt()
    })
}

/// A small column-major matrix: a list of columns.
pub(crate) type Columns = Vec<Vec<f64>>;

pub(crate) fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Orthonormal columns with the span of `columns` (Gram and Schmidt, twice); dependent columns are dropped.
pub(crate) fn orthonormal(columns: &Columns) -> Columns {
    let mut basis: Columns = Vec::new();
    for column in columns {
        let (mut own, before) = (column.clone(), dot(column, column).sqrt());
        for _ in 0..2 {
            for q in &basis {
                let part = dot(q, &own);
                own.iter_mut().zip(q).for_each(|(v, q)| *v -= part * q);
            }
        }
        let norm = dot(&own, &own).sqrt();
        if norm > 1e-12 * before {
            own.iter_mut().for_each(|v| *v /= norm);
            basis.push(own);
        }
    }
    basis
}

/// `n` orthonormal columns of length `len`.
pub(crate) fn random_orthonormal(len: usize, n: usize, name: &str) -> Columns {
    let mut stream = stream(name);
    orthonormal(&(0..n).map(|_| (0..len).map(|_| stream.normal()).collect()).collect())
}

/// Singular values of `a`, decreasing, by one-sided rotations (Jacobi): slow and accurate, and not the library's method.
pub(crate) fn singular_values(mut a: Columns) -> Vec<f64> {
    for _ in 0..40 {
        let mut turned = false;
        for i in 0..a.len() {
            for j in i + 1..a.len() {
                let (aa, bb, ab) = (dot(&a[i], &a[i]), dot(&a[j], &a[j]), dot(&a[i], &a[j]));
                if ab.abs() <= 1e-14 * (aa * bb).sqrt() {
                    continue;
                }
                turned = true;
                let zeta = (bb - aa) / (2.0 * ab);
                let t = zeta.signum() / (zeta.abs() + (1.0 + zeta * zeta).sqrt());
                let (cos, sin) = (1.0 / (1.0 + t * t).sqrt(), t / (1.0 + t * t).sqrt());
                let (left, right) = a.split_at_mut(j);
                left[i]
                    .iter_mut()
                    .zip(&mut right[0])
                    .for_each(|(p, q)| (*p, *q) = (cos * *p - sin * *q, sin * *p + cos * *q));
            }
        }
        if !turned {
            break;
        }
    }
    let mut values: Vec<f64> = a.iter().map(|c| dot(c, c).sqrt()).collect();
    values.sort_by(|a, b| b.total_cmp(a));
    values
}
