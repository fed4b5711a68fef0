//! Implicit feedback between ids.
mod balance;
mod kernels;
mod lists;
mod ranking;
mod solve;

use crate::encoder::DualEncoder;
use crate::error::{Error, Result};
use crate::fit::implicit::solve::{Common, Factors, Terms, objective};
use crate::fit::implicit::lists::{Lists, both_sides};
use crate::fit::{Progress, Table};
use crate::seed::Seed;

/// Settings.
#[derive(Clone, Debug)]
pub struct Implicit {
    /// dim
    pub dim: usize,
    /// ridge
    pub ridge: f64,
    /// alpha
    pub alpha: f64,
    /// w0
    pub unobserved: f64,
    /// sweeps
    pub sweeps: usize,
    /// steps
    pub steps: usize,
    /// epochs
    pub epochs: usize,
    /// seed
    pub seed: Seed,
}

/// fit
pub struct ImplicitFit {
    /// enc
    pub encoder: DualEncoder,
    /// obj
    pub objective: Vec<f64>,
}

fn start(lists: &Lists, dim: usize, name: &str, seed: Seed) -> Factors {
    let width = dim.next_multiple_of(kernels::LANE);
    let mut stream = seed.stream(name);
    let rows = (0..lists.classes() * width)
        .map(|at| if at % width < dim { 0.01 * stream.normal() as f32 } else { 0.0 })
        .collect();
    Factors { rows, width }
}

/// fit
pub fn implicit(table: Table<'_>, o: &Implicit, _progress: &dyn Progress) -> Result<ImplicitFit> {
    table.load(|table| {
        let n = table.queries.len();
        let m = table.keys.unwrap_or(table.queries).len();
        let t0 = std::time::Instant::now();
        let sides = both_sides(table.train, [n, m]);
        eprintln!("lists {:?} {} {}", t0.elapsed(), sides[0].classes(), sides[1].classes());
        let terms = Terms { alpha: o.alpha as f32, unobserved: o.unobserved as f32, ridge: o.ridge, steps: o.steps };
        let [queries, keys] = &sides;
        let mut u = start(queries, o.dim, "u", o.seed);
        let mut v = start(keys, o.dim, "v", o.seed);
        let mut list = Vec::new();
        for sweep in 0..o.sweeps {
            Common::new(&v, &keys.size, terms)?.update(&mut u, queries);
            Common::new(&u, &queries.size, terms)?.update(&mut v, keys);
            if std::env::var("OBJ").is_ok() {
                list.push(objective(&sides, [&u, &v], terms));
                eprintln!("{sweep} {:?} {}", t0.elapsed(), list[list.len() - 1]);
            }
        }
        eprintln!("als {:?}", t0.elapsed());
        ranking::refine(&sides, &mut u, &mut v, o.dim, o.epochs, o.seed)?;
        let encoder = balance::model(&sides, [&u, &v], o.dim)?;
        eprintln!("model {:?}", t0.elapsed());
        let _ = Error::data("", "");
        Ok(ImplicitFit { encoder, objective: list })
    })
}
