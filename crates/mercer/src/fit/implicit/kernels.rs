//! Products of short lists of rows, at the machine's vector width.
//!
//! Rows are padded with zeros to a multiple of [`LANE`] numbers, so that every loop runs over whole vectors.

use crate::wide::wide;

/// Numbers that a row's length is a multiple of: one AVX-512 register of `f32`.
pub(crate) const LANE: usize = 16;

#[inline(always)]
fn fma<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

/// Sum of a vector by halves: shorter chains of additions, smaller rounding.
#[inline(always)]
fn total(mut lanes: [f32; LANE]) -> f32 {
    let mut half = LANE / 2;
    while half > 0 {
        for i in 0..half {
            lanes[i] += lanes[i + half];
        }
        half /= 2;
    }
    lanes[0]
}

// Plain indices: iterators and copies were left as calls in functions compiled for other instruction sets, at half the
// speed.

#[inline(always)]
fn dot_rows_body<const FMA: bool>(rows: &[f32], x: &[f32], out: &mut [f32]) {
    let (width, n) = (x.len(), out.len());
    let mut first = 0;
    while first + 4 <= n {
        // Four sums at once hide the latency of an addition.
        let mut sums = [[0.0; LANE]; 4];
        let mut at = 0;
        while at < width {
            let part = &x[at..at + LANE];
            for r in 0..4 {
                let from = (first + r) * width + at;
                let row = &rows[from..from + LANE];
                for i in 0..LANE {
                    sums[r][i] = fma::<FMA>(row[i], part[i], sums[r][i]);
                }
            }
            at += LANE;
        }
        // Halves of the four together: whole vectors until the end.
        let mut half = LANE / 2;
        while half > 0 {
            for r in 0..4 {
                for i in 0..half {
                    sums[r][i] += sums[r][i + half];
                }
            }
            half /= 2;
        }
        for r in 0..4 {
            out[first + r] = sums[r][0];
        }
        first += 4;
    }
    while first < n {
        let mut sums = [0.0; LANE];
        let mut at = 0;
        while at < width {
            let (row, part) = (&rows[first * width + at..first * width + at + LANE], &x[at..at + LANE]);
            for i in 0..LANE {
                sums[i] = fma::<FMA>(row[i], part[i], sums[i]);
            }
            at += LANE;
        }
        out[first] = total(sums);
        first += 1;
    }
}
wide!(
    /// `out[i] = <rows[i], x>` for row-major `rows` `(out.len(), x.len())`.
    fn dot_rows(rows: &[f32], x: &[f32], out: &mut [f32]) = dot_rows_body
);

/// Columns `first` to `first + N` of a sum of rows: the sums stay in registers while the rows run.
#[allow(clippy::manual_memcpy)]
#[inline(always)]
fn add_columns<const FMA: bool, const N: usize>(rows: &[f32], factors: &[f32], out: &mut [f32], first: usize) {
    let width = out.len();
    let mut sums = [0.0; N];
    for i in 0..N {
        sums[i] = out[first + i];
    }
    for r in 0..factors.len() {
        let row = &rows[r * width + first..r * width + first + N];
        for i in 0..N {
            sums[i] = fma::<FMA>(factors[r], row[i], sums[i]);
        }
    }
    for i in 0..N {
        out[first + i] = sums[i];
    }
}

#[inline(always)]
fn add_rows_body<const FMA: bool>(rows: &[f32], factors: &[f32], out: &mut [f32]) {
    const WIDE: usize = 4 * LANE;
    let mut first = 0;
    while first + WIDE <= out.len() {
        add_columns::<FMA, WIDE>(rows, factors, out, first);
        first += WIDE;
    }
    while first < out.len() {
        add_columns::<FMA, LANE>(rows, factors, out, first);
        first += LANE;
    }
}
wide!(
    /// `out += sum over i of factors[i] rows[i]` for row-major `rows` `(factors.len(), out.len())`.
    fn add_rows(rows: &[f32], factors: &[f32], out: &mut [f32]) = add_rows_body
);

#[allow(clippy::manual_memcpy)]
#[inline(always)]
fn add_outer_body<const FMA: bool>(rows: &[f32], weights: &[f32], width: usize, out: &mut [f32]) {
    const GROUP: usize = 8;
    let mut first = 0;
    while first < weights.len() {
        let group = GROUP.min(weights.len() - first);
        // A short group repeats its first row with weight 0.
        let (mut from, mut weight) = ([first * width; GROUP], [0.0; GROUP]);
        for r in 0..group {
            (from[r], weight[r]) = ((first + r) * width, weights[first + r]);
        }
        for i in 0..width {
            let mut factors = [0.0; GROUP];
            for r in 0..GROUP {
                factors[r] = weight[r] * rows[from[r] + i];
            }
            // Whole vectors from the diagonal on: what lies left of it in the first is written but never read.
            let mut at = i / LANE * LANE;
            while at < width {
                let part = &mut out[i * width + at..i * width + at + LANE];
                let mut sums = [0.0; LANE];
                for l in 0..LANE {
                    sums[l] = part[l];
                }
                for r in 0..GROUP {
                    let row = &rows[from[r] + at..from[r] + at + LANE];
                    for l in 0..LANE {
                        sums[l] = fma::<FMA>(factors[r], row[l], sums[l]);
                    }
                }
                for l in 0..LANE {
                    part[l] = sums[l];
                }
                at += LANE;
            }
        }
        first += GROUP;
    }
}
wide!(
    /// Upper triangle of `out += sum over i of weights[i] rows[i]^T rows[i]`, `out` row-major `(width, width)`.
    fn add_outer(rows: &[f32], weights: &[f32], width: usize, out: &mut [f32]) = add_outer_body
);

/// `out -= factor * row` from the vector on that holds column `first`.
#[inline(always)]
fn subtract<const FMA: bool>(out: &mut [f32], factor: f32, row: &[f32], first: usize) {
    let mut at = first / LANE * LANE;
    while at < out.len() {
        let (o, r) = (&mut out[at..at + LANE], &row[at..at + LANE]);
        for l in 0..LANE {
            o[l] = fma::<FMA>(-factor, r[l], o[l]);
        }
        at += LANE;
    }
}

#[inline(always)]
fn solve_body<const FMA: bool>(a: &mut [f32], stride: usize, n: usize, b: &mut [f32]) -> bool {
    // a = U^T U, row by row.
    for k in 0..n {
        let (above, below) = a.split_at_mut((k + 1) * stride);
        let pivot = &mut above[k * stride..(k + 1) * stride];
        if !(pivot[k] > 0.0 && pivot[k] < f32::INFINITY) {
            return false;
        }
        let scale = 1.0 / pivot[k].sqrt();
        pivot[k / LANE * LANE..].iter_mut().for_each(|v| *v *= scale);
        for column in k + 1..n {
            let row = &mut below[(column - k - 1) * stride..(column - k) * stride];
            subtract::<FMA>(row, pivot[column], pivot, column);
        }
    }
    for k in 0..n {
        let row = &a[k * stride..(k + 1) * stride];
        let value = b[k] / row[k];
        // Numbers before k are done: they are put back after a step over whole vectors.
        let from = k / LANE * LANE;
        let mut kept = [0.0; LANE];
        kept.copy_from_slice(&b[from..from + LANE]);
        subtract::<FMA>(&mut b[..stride], value, row, k);
        b[from..k].copy_from_slice(&kept[..k - from]);
        b[k] = value;
    }
    for k in (0..n).rev() {
        let row = &a[k * stride..(k + 1) * stride];
        let mut sum = 0.0;
        for j in k + 1..n {
            sum = fma::<FMA>(row[j], b[j], sum);
        }
        b[k] = (b[k] - sum) / row[k];
    }
    true
}
wide!(
    /// Solves `a x = b` in place by Cholesky, given the upper triangle of the leading `n` rows of the row-major `a`;
    /// `b` has at least `stride` numbers. `false` if a pivot is not positive; `a` and `b` are then spoilt.
    fn solve(a: &mut [f32], stride: usize, n: usize, b: &mut [f32]) -> bool = solve_body
);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::Seed;

    fn draw(n: usize, width: usize, padded: usize, name: &str) -> Vec<f32> {
        let mut stream = Seed(4).stream(name);
        (0..n * padded).map(|at| if at % padded < width { stream.normal() as f32 } else { 0.0 }).collect()
    }

    #[test]
    fn products_agree_with_sums_in_f64() {
        for (n, width) in [(1, 16), (3, 48), (4, 64), (9, 80), (13, 128)] {
            let (rows, x, factors) = (draw(n, width, width, "rows"), draw(1, width, width, "x"), draw(n, 1, 1, "f"));
            let at = |i: usize, j: usize| f64::from(rows[i * width + j]);
            let (mut dots, mut sums, mut outer) = (vec![0.0; n], vec![0.5; width], vec![0.25; width * width]);
            dot_rows(&rows, &x, &mut dots);
            add_rows(&rows, &factors, &mut sums);
            add_outer(&rows, &factors, width, &mut outer);
            for i in 0..n {
                let expected: f64 = (0..width).map(|j| at(i, j) * f64::from(x[j])).sum();
                assert!((f64::from(dots[i]) - expected).abs() < 2e-5, "{n} {width}");
            }
            for j in 0..width {
                let expected: f64 = 0.5 + (0..n).map(|i| f64::from(factors[i]) * at(i, j)).sum::<f64>();
                assert!((f64::from(sums[j]) - expected).abs() < 2e-5, "{n} {width}");
                for k in j..width {
                    let expected: f64 = 0.25 + (0..n).map(|i| f64::from(factors[i]) * at(i, j) * at(i, k)).sum::<f64>();
                    assert!((f64::from(outer[j * width + k]) - expected).abs() < 5e-5, "{n} {width} {j} {k}");
                }
            }
        }
    }

    #[test]
    fn systems_are_solved_for_every_remainder() {
        for n in [1, 2, 15, 16, 17, 31, 33, 50] {
            let stride = usize::next_multiple_of(n, LANE);
            let rows = draw(2 * n, n, stride, "system");
            let mut a = vec![0.0; stride * stride];
            add_outer(&rows, &vec![1.0; 2 * n], stride, &mut a);
            (0..n).for_each(|i| a[i * stride + i] += 1.0);
            let x: Vec<f64> = (0..n).map(|i| (i as f64 * 0.7).sin()).collect();
            let entry = |i: usize, j: usize| f64::from(a[i.min(j) * stride + i.max(j)]);
            let mut b = vec![0.0; stride];
            (0..n).for_each(|i| b[i] = (0..n).map(|j| entry(i, j) * x[j]).sum::<f64>() as f32);
            assert!(solve(&mut a.clone(), stride, n, &mut b));
            for i in 0..n {
                assert!((f64::from(b[i]) - x[i]).abs() < 1e-3, "{n} {i}: {} {}", b[i], x[i]);
            }
            a[0] = -1.0;
            assert!(!solve(&mut a, stride, n, &mut b));
        }
    }
}
