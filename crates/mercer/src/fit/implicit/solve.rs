//! The rows of implicit alternating least squares.
//!
//! With the other side's rows `v_y` and their Gram matrix `G`, the row `u` of an item with positive cells of confidence
//! `c_y` minimises `sum over its cells of c_y (1 - <u, v_y>)^2 + w0 (sum over all other cells of <u, v_y>^2) + ridge
//! |u|^2`, that is (Hu, Koren and Volinsky 2008)
//!
//! `(M + sum (c_y - w0) v_y v_y^T) u = sum c_y v_y` with the common part `M = w0 G + ridge I`.
//!
//! Two ways give this row exactly, and the cheaper is taken by the list's length alone:
//! - *short lists*: by the identity of Woodbury in the space of the list, with `t_y = M^-1 v_y` computed once for all
//!   items:
//!   `u = sum a_y t_y`, where `a = W^(1/2) (I + W^(1/2) K W^(1/2))^-1 W^(-1/2) c`, `K = <v_y, t_z>`, `W = diag(c -
//!   w0)`;
//! - *long lists*: Cholesky of the sum.
//!
//! A few steps of conjugate gradients from the present row lower the objective, too, and are cheaper where lists are
//! long.

use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::fit::implicit::kernels::{LANE, add_outer, add_rows, dot_rows, solve};
use crate::fit::implicit::lists::Lists;
use crate::linalg::{Matrix, cholesky, gram_rows, multiply_rows};
use crate::seed::Seed;

/// Rows that one task solves.
const BLOCK: usize = 32;
/// Rows of a Gram matrix that are summed in `f32` before they join the sum in `f64`.
const GRAM_BLOCK: usize = 1024;

/// One side's embeddings, row-major `(classes, width)`, padded with zeros.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Factors {
    pub(crate) rows: Vec<f32>,
    pub(crate) width: usize,
}

impl Factors {
    /// Small random rows: large ones would hold the first sweep back.
    pub(crate) fn draw(classes: usize, dim: usize, seed: Seed, name: &str) -> Factors {
        let width = dim.next_multiple_of(LANE);
        let mut stream = seed.stream(name);
        let mut rows = vec![0.0; classes * width];
        for row in rows.chunks_exact_mut(width) {
            row[..dim].iter_mut().for_each(|v| *v = 0.01 * stream.normal() as f32);
        }
        Factors { rows, width }
    }

    /// From rows without padding, `(n, dim)`.
    pub(crate) fn padded(rows: &[f32], dim: usize) -> Factors {
        let width = dim.next_multiple_of(LANE);
        let mut padded = vec![0.0; rows.len() / dim * width];
        let both = padded.chunks_exact_mut(width).zip(rows.chunks_exact(dim));
        both.for_each(|(own, row)| own[..dim].copy_from_slice(row));
        Factors { rows: padded, width }
    }

    pub(crate) fn row(&self, class: usize) -> &[f32] {
        &self.rows[class * self.width..][..self.width]
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len() / self.width
    }

    /// `sum over classes of size * v v^T`, `(width, width)`.
    pub(crate) fn gram(&self, size: &[f32]) -> Matrix {
        let width = self.width;
        let parts: Vec<Vec<f32>> = self
            .rows
            .par_chunks(GRAM_BLOCK * width)
            .zip(size.par_chunks(GRAM_BLOCK))
            .map(|(rows, size)| {
                let mut scaled = rows.to_vec();
                for (row, size) in scaled.chunks_exact_mut(width).zip(size) {
                    let factor = size.sqrt();
                    row.iter_mut().for_each(|v| *v *= factor);
                }
                let mut out = vec![0.0; width * width];
                gram_rows(&scaled, width, &mut out);
                out
            })
            .collect();
        let mut sum = Matrix::zeros(width, width);
        for part in parts {
            sum.data_mut().iter_mut().zip(part).for_each(|(s, p)| *s += f64::from(p));
        }
        sum
    }
}

/// What the rows of one side have in common.
pub(crate) struct Common<'a> {
    other: &'a Factors,
    other_size: &'a [f32],
    /// `M`, row-major.
    common: Vec<f32>,
    /// Rows `t_y = M^-1 v_y`; none where conjugate gradients do without.
    solved: Vec<f32>,
    terms: Terms,
}

/// The weights of the objective.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    /// Confidence of a positive cell of strength 1.
    pub(crate) alpha: f32,
    /// Confidence `w0` of all other cells.
    pub(crate) unobserved: f32,
    /// Ridge.
    pub(crate) ridge: f64,
    /// Steps of conjugate gradients for long lists; 0: every row exactly.
    pub(crate) steps: usize,
}

/// How a row is solved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Woodbury,
    Cholesky,
    Gradients,
}

/// Gradients where steps are asked for; else the exact way with fewer multiplications, those of inner products counted
/// twice for their sums across a vector.
pub(crate) fn way(count: usize, width: usize, steps: usize) -> Way {
    let (c, w) = (count as f64, width as f64);
    match () {
        () if steps > 0 => Way::Gradients,
        () if c * c * w + c * c * c / 3.0 <= c * w * w / 2.0 + w * w * w / 3.0 => Way::Woodbury,
        () => Way::Cholesky,
    }
}

/// Room for one row's solution, kept between rows.
#[derive(Default)]
pub(crate) struct Room {
    pub(crate) rows: Vec<f32>,
    solved: Vec<f32>,
    pub(crate) weight: Vec<f32>,
    right: Vec<f32>,
    matrix: Vec<f32>,
    dots: Vec<f32>,
    vectors: [Vec<f32>; 3],
}

pub(crate) fn cleared(room: &mut Vec<f32>, len: usize) -> &mut [f32] {
    room.clear();
    room.resize(len, 0.0);
    room
}

impl<'a> Common<'a> {
    /// # Errors
    /// If `M` is not positive definite in `f64`: extreme numbers.
    pub(crate) fn new(other: &'a Factors, other_size: &'a [f32], terms: Terms) -> Result<Common<'a>> {
        let width = other.width;
        let mut common = other.gram(other_size).scaled(terms.unobserved.into());
        common.add_to_diagonal(terms.ridge);
        let factor = cholesky(&common).ok_or_else(|| {
            Error::data("the embeddings left the finite range", "use a larger ridge or a smaller alpha")
        })?;
        let mut inverse = Matrix::from_fn(width, width, |i, j| if i == j { 1.0 } else { 0.0 });
        factor.solve(&mut inverse);
        let inverse: Vec<f32> = inverse.data().iter().map(|&v| v as f32).collect();
        let mut solved = vec![0.0; if terms.steps > 0 { 0 } else { other.rows.len() }];
        solved
            .par_chunks_mut(GRAM_BLOCK * width)
            .zip(other.rows.par_chunks(GRAM_BLOCK * width))
            .for_each(|(out, rows)| multiply_rows(rows, &inverse, width, out));
        let common = common.data().iter().map(|&v| v as f32).collect();
        Ok(Common { other, other_size, common, solved, terms })
    }

    /// Solves every row of `own` for its list.
    pub(crate) fn update(&self, own: &mut Factors, lists: &Lists) {
        let width = own.width;
        own.rows.par_chunks_mut(BLOCK * width).enumerate().for_each_init(Room::default, |room, (block, rows)| {
            for (i, row) in rows.chunks_exact_mut(width).enumerate() {
                let list = lists.list(block * BLOCK + i);
                let way = way(list.len(), width, self.terms.steps);
                self.solve(row, &lists.other[list.clone()], &lists.strength[list], way, room);
            }
        });
    }

    /// One row for its list. Weights that are not positive, where a strength falls below the others' confidence,
    /// exclude Woodbury.
    pub(crate) fn solve(&self, row: &mut [f32], list: &[u32], strength: &[f32], way: Way, room: &mut Room) {
        let width = row.len();
        let of = |rows: &[f32], room: &mut Vec<f32>| {
            room.clear();
            list.iter().for_each(|&y| room.extend_from_slice(&rows[y as usize * width..][..width]));
        };
        of(&self.other.rows, &mut room.rows);
        room.weight.clear();
        room.right.clear();
        for (&y, &strength) in list.iter().zip(strength) {
            let (size, confidence) = (self.other_size[y as usize], self.terms.alpha * strength);
            room.weight.push(size * (confidence - self.terms.unobserved));
            room.right.push(size * confidence);
        }
        let positive = room.weight.iter().all(|w| *w > 0.0);
        if way != Way::Gradients && room.weight.iter().all(|w| *w == 0.0) {
            // Every cell has the same confidence: the common part alone.
            row.fill(0.0);
            of(&self.solved, &mut room.solved);
            return add_rows(&room.solved, &room.right, row);
        }
        if way == Way::Woodbury && positive {
            of(&self.solved, &mut room.solved);
            if by_woodbury(row, room) {
                return;
            }
        }
        if way == Way::Gradients {
            self.by_gradients(row, room);
        } else {
            self.by_cholesky(row, room);
        }
    }

    /// A positive ridge makes the sum positive definite; a failure can only be overflow, and the row then stays.
    fn by_cholesky(&self, row: &mut [f32], room: &mut Room) {
        let width = row.len();
        room.matrix.clear();
        room.matrix.extend_from_slice(&self.common);
        add_outer(&room.rows, &room.weight, width, &mut room.matrix);
        let right = cleared(&mut room.vectors[0], width);
        add_rows(&room.rows, &room.right, right);
        if solve(&mut room.matrix, width, width, right) {
            row.copy_from_slice(right);
        }
    }

    /// `out = (M + sum w v v^T) x`.
    fn apply(&self, x: &[f32], rows: &[f32], weight: &[f32], dots: &mut [f32], out: &mut [f32]) {
        // M is symmetric: its rows added up need no sums across a vector.
        out.fill(0.0);
        add_rows(&self.common, x, out);
        dot_rows(rows, x, dots);
        dots.iter_mut().zip(weight).for_each(|(d, w)| *d *= w);
        add_rows(rows, dots, out);
    }

    fn by_gradients(&self, row: &mut [f32], room: &mut Room) {
        let width = row.len();
        let mut right = std::mem::take(&mut room.vectors[0]);
        let image = cleared(&mut room.vectors[1], width);
        self.apply(row, &room.rows, &room.weight, cleared(&mut room.dots, room.weight.len()), image);
        add_rows(&room.rows, &room.right, cleared(&mut right, width));
        right.iter_mut().zip(image.iter()).for_each(|(r, i)| *r -= i);
        self.descend(row, &mut right, room);
        room.vectors[0] = right;
    }

    /// Adds to `row` what conjugate gradients from zero find of `(M + sum w v v^T)^-1 residual`; the residual is
    /// spoilt.
    pub(crate) fn descend(&self, row: &mut [f32], residual: &mut [f32], room: &mut Room) {
        let [_, direction, image] = &mut room.vectors;
        let image = cleared(image, row.len());
        let dots = cleared(&mut room.dots, room.weight.len());
        direction.clear();
        direction.extend_from_slice(residual);
        let product = |a: &[f32], b: &[f32]| {
            let mut out = [0.0];
            dot_rows(a, b, &mut out);
            out[0]
        };
        let mut norm = product(residual, residual);
        for _ in 0..self.terms.steps {
            self.apply(direction, &room.rows, &room.weight, dots, image);
            let step = norm / product(direction, image);
            // Nothing is left to descend, or the numbers are beyond f32.
            if !(norm > f32::MIN_POSITIVE && step.is_finite()) {
                break;
            }
            add_rows(direction, &[step], row);
            add_rows(image, &[-step], residual);
            let new = product(residual, residual);
            let turn = new / norm;
            direction.iter_mut().zip(residual.iter()).for_each(|(d, r)| *d = r + turn * *d);
            norm = new;
        }
    }
}

/// `false` if the small system is not positive definite in `f32`.
fn by_woodbury(row: &mut [f32], room: &mut Room) -> bool {
    let (width, count) = (row.len(), room.weight.len());
    let stride = count.next_multiple_of(LANE);
    let matrix = cleared(&mut room.matrix, count * stride);
    let right = cleared(&mut room.vectors[0], stride);
    room.weight.iter_mut().for_each(|w| *w = w.sqrt());
    for i in 0..count {
        let (row, weight) = (&mut matrix[i * stride..(i + 1) * stride], room.weight[i]);
        dot_rows(&room.rows[i * width..], &room.solved[i * width..(i + 1) * width], &mut row[i..count]);
        row[i..count].iter_mut().zip(&room.weight[i..]).for_each(|(k, w)| *k *= weight * w);
        row[i] += 1.0;
        right[i] = room.right[i] / weight;
    }
    if !solve(matrix, stride, count, right) {
        return false;
    }
    right.iter_mut().zip(&room.weight).for_each(|(a, w)| *a *= w);
    row.fill(0.0);
    add_rows(&room.solved, &right[..count], row);
    true
}

/// The objective: the sum over all cells of confidence times squared error, plus the ridge's term.
///
/// Each positive cell also counts among all cells, from which its part with confidence `w0` is taken away.
pub(crate) fn objective(sides: &[Lists; 2], factors: [&Factors; 2], terms: Terms) -> f64 {
    let [queries, keys] = sides;
    let [u, v] = factors;
    let (gram_u, gram_v) = (u.gram(&queries.size), v.gram(&keys.size));
    let all: f64 = gram_u.data().iter().zip(gram_v.data()).map(|(a, b)| a * b).sum();
    let trace = |g: &Matrix| (0..g.rows()).map(|i| g[(i, i)]).sum::<f64>();
    let own = |x: usize| -> f64 {
        let cell = |p: usize| {
            let (y, mut score) = (queries.other[p] as usize, [0.0]);
            dot_rows(v.row(y), u.row(x), &mut score);
            let (score, items) = (f64::from(score[0]), f64::from(keys.size[y]));
            let confidence = f64::from(terms.alpha) * f64::from(queries.strength[p]);
            items * (confidence * (1.0 - score).powi(2) - f64::from(terms.unobserved) * score * score)
        };
        f64::from(queries.size[x]) * queries.list(x).map(cell).sum::<f64>()
    };
    let listed: Vec<f64> = (0..queries.classes()).into_par_iter().map(own).collect();
    listed.iter().sum::<f64>() + f64::from(terms.unobserved) * all + terms.ridge * (trace(&gram_u) + trace(&gram_v))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fit::implicit::lists::both_sides;
    use crate::parallel::with_threads;
    use crate::relation::Pairs;

    const DIM: usize = 20;

    /// Queries with 1 to 60 keys, some with equal lists, some keys without pairs.
    fn sides() -> [Lists; 2] {
        let mut stream = Seed(8).stream("lists");
        let (mut x, mut y, mut value) = (Vec::new(), Vec::new(), Vec::new());
        for query in 0..70u32 {
            let own = stream.choose(90, 1 + (query as usize * query as usize) / 82);
            for copy in [query, 70 + query] {
                // Odd queries have a twin.
                let keys = own.iter().filter(|_| copy < 70 || query % 2 == 1);
                keys.for_each(|&key| (x.push(copy), y.push(key as u32), value.push(1.0 + (key % 3) as f32)).0);
            }
        }
        both_sides(&Pairs::new(x, y, value, None).unwrap(), [140, 100])
    }

    fn drawn(sides: &[Lists; 2]) -> [Factors; 2] {
        [0, 1].map(|side| {
            let mut factors = Factors::draw(sides[side].classes(), DIM, Seed(5), ["u", "v"][side]);
            factors.rows.iter_mut().for_each(|v| *v *= 30.0);
            factors
        })
    }

    const TERMS: Terms = Terms { alpha: 4.0, unobserved: 0.7, ridge: 0.9, steps: 0 };

    /// The row's equations in `f64`, item by item.
    fn reference(lists: &Lists, class: usize, other: &Factors, size: &[f32], terms: Terms) -> Vec<f64> {
        let v = |y: usize| -> Vec<f64> { other.row(y)[..DIM].iter().map(|&v| v.into()).collect() };
        let mut matrix = Matrix::zeros(DIM, DIM);
        let mut right = Matrix::zeros(DIM, 1);
        let mut confidence = vec![f64::from(terms.unobserved); other.len()];
        let mut positive = vec![0.0; other.len()];
        for p in lists.list(class) {
            let y = lists.other[p] as usize;
            (confidence[y], positive[y]) = (f64::from(terms.alpha) * f64::from(lists.strength[p]), 1.0);
        }
        for y in 0..other.len() {
            let (row, items) = (v(y), f64::from(size[y]));
            for i in 0..DIM {
                right[(i, 0)] += items * confidence[y] * positive[y] * row[i];
                (0..DIM).for_each(|j| matrix[(i, j)] += items * confidence[y] * row[i] * row[j]);
            }
        }
        matrix.add_to_diagonal(terms.ridge);
        cholesky(&matrix).unwrap().solve(&mut right);
        right.into_data()
    }

    #[test]
    fn every_way_gives_the_row_of_the_dense_equations() {
        let sides = sides();
        let [_, v] = drawn(&sides);
        // With alpha 0.35 a strength of 2 has the confidence of the others, of 1 less.
        for (alpha, steps, tolerance) in [(4.0, 0, 2e-5), (0.35, 0, 2e-5), (4.0, 60, 1e-4)] {
            let terms = Terms { alpha, steps, ..TERMS };
            let common = Common::new(&v, &sides[1].size, terms).unwrap();
            let mut room = Room::default();
            let ways: &[Way] = if steps > 0 { &[Way::Gradients] } else { &[Way::Woodbury, Way::Cholesky] };
            for class in 0..sides[0].classes() {
                let expected = reference(&sides[0], class, &v, &sides[1].size, terms);
                let scale = expected.iter().map(|v| v.abs()).fold(0.0, f64::max);
                for &way in ways {
                    let (mut row, list) = (vec![0.1; v.width], sides[0].list(class));
                    row[DIM..].fill(0.0);
                    common.solve(&mut row, &sides[0].other[list.clone()], &sides[0].strength[list], way, &mut room);
                    for i in 0..v.width {
                        let wanted = expected.get(i).copied().unwrap_or(0.0);
                        let error = (f64::from(row[i]) - wanted).abs() / scale;
                        assert!(error < tolerance, "{way:?} alpha {alpha}, class {class}, {i}: {error:e}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_objective_is_the_sum_over_all_cells_of_items() {
        let sides = sides();
        let [u, v] = drawn(&sides);
        let [queries, keys] = &sides;
        let mut expected = 0.0;
        let norm = |row: &[f32]| row.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>();
        for &x in &queries.class {
            for &y in &keys.class {
                // Items without pairs score zero in cells that are zero.
                let (Some(x), Some(y)) =
                    (queries.size.get(x as usize).map(|_| x), keys.size.get(y as usize).map(|_| y))
                else {
                    continue;
                };
                let (row, key) = (u.row(x as usize), v.row(y as usize));
                let score: f64 = row.iter().zip(key).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
                let cell = queries.list(x as usize).find(|&p| queries.other[p] == y);
                expected += match cell {
                    Some(p) => f64::from(TERMS.alpha) * f64::from(queries.strength[p]) * (1.0 - score).powi(2),
                    None => f64::from(TERMS.unobserved) * score * score,
                };
            }
        }
        let members = |lists: &Lists, f: &Factors| {
            (0..lists.classes()).map(|c| f64::from(lists.size[c]) * norm(f.row(c))).sum::<f64>()
        };
        expected += TERMS.ridge * (members(queries, &u) + members(keys, &v));
        let own = objective(&sides, [&u, &v], TERMS);
        assert!((own / expected - 1.0).abs() < 1e-6, "{own} {expected}");
    }

    #[test]
    fn updates_never_raise_the_objective_and_do_not_depend_on_threads() {
        let sides = sides();
        for steps in [0, 1, 3] {
            let terms = Terms { steps, ..TERMS };
            let sweeps = |threads: usize| {
                let work = || {
                    let [mut u, mut v] = drawn(&sides);
                    let mut values = vec![objective(&sides, [&u, &v], terms)];
                    for _ in 0..6 {
                        Common::new(&v, &sides[1].size, terms).unwrap().update(&mut u, &sides[0]);
                        values.push(objective(&sides, [&u, &v], terms));
                        Common::new(&u, &sides[0].size, terms).unwrap().update(&mut v, &sides[1]);
                        values.push(objective(&sides, [&u, &v], terms));
                    }
                    (values, u, v)
                };
                with_threads(Some(threads), work).unwrap()
            };
            let one = sweeps(1);
            assert_eq!(one, sweeps(2));
            assert!(one.0.windows(2).all(|w| w[1] <= w[0] * (1.0 + 1e-6)), "{steps}: {:?}", one.0);
        }
    }
}
