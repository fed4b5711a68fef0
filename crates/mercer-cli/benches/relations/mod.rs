//! The nine reference relations on which training is compared; `benchmarks/reference_relations.py` holds the same in numpy.
//!
//! Inputs are uniform on `[-1, 1]^d`. `digits` reads the 8x8 digits with pixels divided by 16, shuffled; the first 1200 are
//! for training, the other 597 for the test. The test block is 1500 x 1500 fresh points (digits: 597 x 597).

use std::error::Error;
use std::path::Path;

use mercer::fit::Law;
use mercer::{Class, Features, Kernel, Relation, Result, Rows, Seed};
use mercer_table::{Input, ReadOptions, read_items};
use rayon::prelude::*;

/// What the project promises: a relative error within a budget of CPU seconds.
pub(crate) struct Promise {
    pub(crate) budget: f64,
    pub(crate) error: f64,
}

/// A relation of two rows.
type Formula = fn(&[f64], &[f64]) -> f64;

/// A reference relation.
pub(crate) struct Reference {
    pub(crate) name: &'static str,
    pub(crate) class: Class,
    pub(crate) relation: Box<dyn Relation>,
    pub(crate) promises: Vec<Promise>,
    /// The formula as it is written, for [`Reference::check`].
    formula: Formula,
    dim: usize,
}

/// Names in the order of the report.
pub(crate) const NAMES: [&str; 9] = [
    "gaussian-2",
    "gaussian-8",
    "matern-2",
    "mixed-3",
    "relu-3",
    "negative-distance-3",
    "utility-quadratic-8",
    "utility-distance-4",
    "digits",
];

const A3: [[f64; 3]; 3] = [[0.9, -0.6, 0.3], [0.2, 1.1, -0.8], [-0.5, 0.4, 0.7]];
const M4: [[f64; 4]; 4] = [[0.6, 0.1, -0.3, 0.2], [-0.2, 0.5, 0.4, 0.0], [0.3, -0.4, 0.7, 0.1], [0.0, 0.2, -0.1, 0.8]];

impl Reference {
    /// The relation called `name`, one of [`NAMES`].
    pub(crate) fn new(name: &'static str) -> Result<Self> {
        let promise = |budget, error| vec![Promise { budget, error }];
        let (dim, class, promises, relation, formula): (_, _, _, Box<dyn Relation>, Formula) = match name {
            "gaussian-2" => (2, Class::Symmetric, promise(0.6, 2e-6), Box::new(Kernel::gaussian(0.5)?), |x, y| {
                (-squared_distance(x, y) / 0.5).exp()
            }),
            "gaussian-8" => {
                let promises = vec![Promise { budget: 4.0, error: 2e-2 }, Promise { budget: 8.0, error: 1.7e-2 }];
                (8, Class::Symmetric, promises, Box::new(Kernel::gaussian(1.5)?), |x, y| {
                    (-squared_distance(x, y) / 4.5).exp()
                })
            }
            "matern-2" => (2, Class::Symmetric, promise(0.6, 8.5e-3), Box::new(Kernel::matern12(1.0)?), |x, y| {
                (-squared_distance(x, y).sqrt()).exp()
            }),
            "mixed-3" => {
                // exp(-d^2) is the Gaussian of length sqrt(1/2).
                let start = Some(Kernel::gaussian(std::f64::consts::FRAC_1_SQRT_2)?);
                let relation = ByRows { name, start, prepare: with_phase, row: mixed };
                (3, Class::Asymmetric, promise(1.0, 6e-4), Box::new(relation), |x, y| {
                    (3.0 * x[0] * y[0]).sin() + (2.0 * x[1] - y[2]).cos() * (-squared_distance(x, y)).exp()
                })
            }
            "relu-3" => {
                let relation = ByRows { name, start: None, prepare: |y| times(&A3, y), row: positive_product };
                (3, Class::Asymmetric, promise(8.0, 1.7e-2), Box::new(relation), |x, y| {
                    (0..3).flat_map(|i| (0..3).map(move |j| x[i] * A3[i][j] * y[j])).sum::<f64>().max(0.0)
                })
            }
            "negative-distance-3" => {
                let relation = Box::new(Kernel::negative_distance());
                (3, Class::Signed, promise(0.6, 5e-3), relation, |x, y| -squared_distance(x, y).sqrt())
            }
            "utility-quadratic-8" => {
                let relation = ByRows { name, start: None, prepare: rotated, row: minus_square };
                (8, Class::Asymmetric, promise(1.0, 1e-3), Box::new(relation), |x, y| -squared_distance(x, &rotated(y)))
            }
            "utility-distance-4" => {
                let relation = ByRows { name, start: None, prepare: |y| times(&M4, y), row: minus_distance };
                (4, Class::Asymmetric, promise(1.0, 6e-3), Box::new(relation), |x, y| {
                    -squared_distance(x, &times(&M4, y)).sqrt()
                })
            }
            _ => (64, Class::Symmetric, promise(1.0, 2.2e-2), Box::new(Kernel::gaussian(2.5)?), |x, y| {
                (-squared_distance(x, y) / 12.5).exp()
            }),
        };
        Ok(Reference { name, class, relation, promises, formula, dim })
    }

    /// Training items (`None`: the cube) and the two sides of the test block.
    pub(crate) fn items(&self, root: &Path) -> std::result::Result<Items, Box<dyn Error>> {
        if self.name == "digits" {
            let path = root.join("data/digits/items.parquet");
            let options = ReadOptions { features: Some(vec!["pixels".into()]), ..ReadOptions::default() };
            let raw = read_items(&Input::new(&path), &options)?.features;
            let Rows::Dense { data, dim } = raw.rows() else { return Err("the digits' pixels are not dense".into()) };
            let pixels = Features::dense(data.iter().map(|v| v / 16.0).collect(), dim)?;
            let order = Seed(0).stream("digits").choose(pixels.len(), pixels.len());
            let test = pixels.select(&order[1200..]);
            return Ok(Items { train: Some(pixels.select(&order[..1200])), x: test.clone(), y: test, dim });
        }
        let mut stream = Seed(12345).stream("test block");
        let mut draw =
            || Features::dense((0..1500 * self.dim).map(|_| (2.0 * stream.uniform() - 1.0) as f32).collect(), self.dim);
        Ok(Items { train: None, x: draw()?, y: draw()?, dim: self.dim })
    }

    /// Compares a corner of the test block with the formula: the blocks below are written for speed.
    pub(crate) fn check(&self, items: &Items) -> Result<()> {
        let (x, y) = (items.x.slice(0..20), items.y.slice(20..50));
        let mut block = vec![0.0; 600];
        self.relation.block(0, &x, &y, &mut block)?;
        let (x, y) = (doubles(&x), doubles(&y));
        for (at, &value) in block.iter().enumerate() {
            let expected = (self.formula)(&x[at / 30], &y[at % 30]);
            assert!((value - expected).abs() < 1e-11, "{}: {value} where the formula gives {expected}", self.name);
        }
        Ok(())
    }
}

/// What a fit is trained and tested on.
pub(crate) struct Items {
    train: Option<Features>,
    pub(crate) x: Features,
    pub(crate) y: Features,
    dim: usize,
}

impl Items {
    /// The law of the training items.
    pub(crate) fn law(&self) -> Law<'_> {
        match &self.train {
            Some(items) => Law::Items(items),
            None => Law::Cube { dim: self.dim },
        }
    }
}

/// The rows in `f64`.
fn doubles(rows: &Rows<'_>) -> Vec<Vec<f64>> {
    let mut all = vec![vec![0.0; rows.dim()]; rows.len()];
    for (i, row) in all.iter_mut().enumerate() {
        rows.for_each(i, |column, value| row[column] = value.into());
    }
    all
}

fn squared_distance(x: &[f64], y: &[f64]) -> f64 {
    x.iter().zip(y).map(|(a, b)| (a - b) * (a - b)).sum()
}

fn times<const N: usize>(matrix: &[[f64; N]; N], y: &[f64]) -> Vec<f64> {
    matrix.iter().map(|row| row.iter().zip(y).map(|(m, v)| m * v).sum()).collect()
}

/// The reflection along `(1, ..., 1)`, then the one along `(1, ..., d)`: orthogonal, and not symmetric.
fn rotated(y: &[f64]) -> Vec<f64> {
    let mut turned = y.to_vec();
    for slope in [0.0, 1.0] {
        let axis: Vec<f64> = (0..y.len()).map(|i| 1.0 + slope * i as f64).collect();
        let along: f64 = axis.iter().zip(&turned).map(|(a, t)| a * t).sum();
        let length: f64 = axis.iter().map(|a| a * a).sum();
        turned.iter_mut().zip(&axis).for_each(|(t, a)| *t -= 2.0 * a * along / length);
    }
    turned
}

/// A relation evaluated a row at a time, in passes over contiguous columns of prepared keys, which the compiler vectorises.
///
/// Being asked is part of the measured time of a fit.
struct ByRows {
    name: &'static str,
    /// What a row holds before the passes; zeros if `None`.
    start: Option<Kernel>,
    /// From a key to the numbers that the passes read.
    prepare: fn(&[f64]) -> Vec<f64>,
    /// `(query, columns of prepared keys, row of values)`.
    row: fn(&[f64], &[Vec<f64>], &mut [f64]),
}

impl Relation for ByRows {
    fn block(&self, component: usize, x: &Rows<'_>, y: &Rows<'_>, out: &mut [f64]) -> Result<()> {
        match &self.start {
            Some(kernel) => kernel.block(component, x, y, out)?,
            None => out.fill(0.0),
        }
        let keys: Vec<Vec<f64>> = doubles(y).iter().map(|row| (self.prepare)(row)).collect();
        let columns: Vec<Vec<f64>> = (0..keys[0].len()).map(|c| keys.iter().map(|key| key[c]).collect()).collect();
        out.par_chunks_exact_mut(y.len()).zip(doubles(x)).for_each(|(row, query)| (self.row)(&query, &columns, row));
        Ok(())
    }

    fn name(&self) -> String {
        self.name.into()
    }
}

fn add_squares(query: &[f64], columns: &[Vec<f64>], row: &mut [f64]) {
    for (x, column) in query.iter().zip(columns) {
        row.iter_mut().zip(column).for_each(|(v, y)| *v += (x - y) * (x - y));
    }
}

fn minus_square(query: &[f64], columns: &[Vec<f64>], row: &mut [f64]) {
    add_squares(query, columns, row);
    row.iter_mut().for_each(|v| *v = -*v);
}

fn minus_distance(query: &[f64], columns: &[Vec<f64>], row: &mut [f64]) {
    add_squares(query, columns, row);
    row.iter_mut().for_each(|v| *v = -v.sqrt());
}

fn positive_product(query: &[f64], columns: &[Vec<f64>], row: &mut [f64]) {
    for (x, column) in query.iter().zip(columns) {
        row.iter_mut().zip(column).for_each(|(v, y)| *v += x * y);
    }
    row.iter_mut().for_each(|v| *v = v.max(0.0));
}

/// What [`mixed`] reads of a key.
fn with_phase(y: &[f64]) -> Vec<f64> {
    vec![y[0], y[2].cos(), y[2].sin()]
}

/// `row` holds `exp(-d^2)`; `cos(2 x_1 - y_2)` comes from the addition theorem, which leaves one sine a value.
fn mixed(query: &[f64], columns: &[Vec<f64>], row: &mut [f64]) {
    let (turn, sin, cos) = (3.0 * query[0], (2.0 * query[1]).sin(), (2.0 * query[1]).cos());
    for (((v, y), c), s) in row.iter_mut().zip(&columns[0]).zip(&columns[1]).zip(&columns[2]) {
        *v = sine(turn * y) + (cos * c + sin * s) * *v;
    }
}

/// `-1 / (2 k (2 k + 1))` for k = 13, ..., 1: the ratios of the sine series' terms.
const RATIOS: [f64; 13] = {
    let mut ratios = [0.0; 13];
    let mut i = 0;
    while i < 13 {
        let k = (13 - i) as f64;
        ratios[i] = -1.0 / (2.0 * k * (2.0 * k + 1.0));
        i += 1;
    }
    ratios
};

/// `sin t` for `|t| <= 3`, as on the cube, by the series to order 27 (remainder below 1e-16), which vectorises.
#[inline(always)]
fn sine(t: f64) -> f64 {
    let square = t * t;
    t * RATIOS.iter().fold(1.0, |sum, ratio| 1.0 + sum * square * ratio)
}
