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

#[inline(always)]
fn dot_rows_body<const FMA: bool>(rows: &[f32], x: &[f32], out: &mut [f32]) {
    let width = x.len();
    let mut groups = rows.chunks_exact(4 * width);
    let mut outs = out.chunks_exact_mut(4);
    for (group, out) in groups.by_ref().zip(outs.by_ref()) {
        // Four sums at once hide the latency of an addition.
        let mut sums = [[0.0; LANE]; 4];
        for (at, part) in x.chunks_exact(LANE).enumerate() {
            for (r, sums) in sums.iter_mut().enumerate() {
                let row = &group[r * width + at * LANE..][..LANE];
                for i in 0..LANE {
                    sums[i] = fma::<FMA>(row[i], part[i], sums[i]);
                }
            }
        }
        for r in 0..4 {
            out[r] = total(sums[r]);
        }
    }
    for (row, out) in groups.remainder().chunks_exact(width).zip(outs.into_remainder()) {
        let mut sums = [0.0; LANE];
        for (a, b) in row.chunks_exact(LANE).zip(x.chunks_exact(LANE)) {
            for i in 0..LANE {
                sums[i] = fma::<FMA>(a[i], b[i], sums[i]);
            }
        }
        *out = total(sums);
    }
}
wide!(
    /// `out[i] = <rows[i], x>` for row-major `rows` `(out.len(), x.len())`.
    fn dot_rows(rows: &[f32], x: &[f32], out: &mut [f32]) = dot_rows_body
);

#[inline(always)]
fn add_rows_body<const FMA: bool>(rows: &[f32], factors: &[f32], out: &mut [f32]) {
    const WIDE: usize = 4 * LANE;
    let width = out.len();
    let mut first = 0;
    while first < width {
        // Sums of up to four vectors stay in registers while the rows run.
        if width - first >= WIDE {
            let mut sums = [0.0; WIDE];
            for (row, &factor) in rows.chunks_exact(width).zip(factors) {
                let row = &row[first..first + WIDE];
                for i in 0..WIDE {
                    sums[i] = fma::<FMA>(factor, row[i], sums[i]);
                }
            }
            out[first..first + WIDE].iter_mut().zip(sums).for_each(|(o, s)| *o += s);
            first += WIDE;
        } else {
            let mut sums = [0.0; LANE];
            for (row, &factor) in rows.chunks_exact(width).zip(factors) {
                let row = &row[first..first + LANE];
                for i in 0..LANE {
                    sums[i] = fma::<FMA>(factor, row[i], sums[i]);
                }
            }
            out[first..first + LANE].iter_mut().zip(sums).for_each(|(o, s)| *o += s);
            first += LANE;
        }
    }
}
wide!(
    /// `out += sum over i of factors[i] rows[i]` for row-major `rows` `(factors.len(), out.len())`.
    fn add_rows(rows: &[f32], factors: &[f32], out: &mut [f32]) = add_rows_body
);

#[inline(always)]
fn add_outer_body<const FMA: bool>(rows: &[f32], weights: &[f32], width: usize, out: &mut [f32]) {
    const GROUP: usize = 8;
    let mut first = 0;
    while first < weights.len() {
        let group = GROUP.min(weights.len() - first);
        // A short group repeats its first row with weight 0.
        let row = |r: usize| &rows[(first + if r < group { r } else { 0 }) * width..][..width];
        let own: [&[f32]; GROUP] = std::array::from_fn(row);
        for (i, target) in out.chunks_exact_mut(width).enumerate() {
            let factors: [f32; GROUP] =
                std::array::from_fn(|r| if r < group { weights[first + r] * own[r][i] } else { 0.0 });
            // Whole vectors from the diagonal on: what lies left of it in the first is written but never read.
            let mut at = i / LANE * LANE;
            while at < width {
                let part = &mut target[at..at + LANE];
                let mut sums = [0.0; LANE];
                sums.copy_from_slice(part);
                for r in 0..GROUP {
                    let row = &own[r][at..at + LANE];
                    for l in 0..LANE {
                        sums[l] = fma::<FMA>(factors[r], row[l], sums[l]);
                    }
                }
                part.copy_from_slice(&sums);
                at += LANE;
            }
        }
        first += group;
    }
}
wide!(
    /// Upper triangle of `out += sum over i of weights[i] rows[i]^T rows[i]`, `out` row-major `(width, width)`.
    fn add_outer(rows: &[f32], weights: &[f32], width: usize, out: &mut [f32]) = add_outer_body
);

/// `out -= factor * row` from the vector on that holds column `first`.
#[inline(always)]
fn subtract<const FMA: bool>(out: &mut [f32], factor: f32, row: &[f32], first: usize) {
    let at = first / LANE * LANE;
    for (o, r) in out[at..].chunks_exact_mut(LANE).zip(row[at..].chunks_exact(LANE)) {
        for l in 0..LANE {
            o[l] = fma::<FMA>(-factor, r[l], o[l]);
        }
    }
}

#[inline(always)]
fn solve_body<const FMA: bool>(a: &mut [f32], stride: usize, n: usize, b: &mut [f32]) -> bool {
    // a = U^T U, row by row.
    for k in 0..n {
        let (above, below) = a.split_at_mut((k + 1) * stride);
        let pivot = &mut above[k * stride..];
        if !(pivot[k] > 0.0 && pivot[k] < f32::INFINITY) {
            return false;
        }
        let scale = 1.0 / pivot[k].sqrt();
        pivot[k / LANE * LANE..].iter_mut().for_each(|v| *v *= scale);
        for (i, row) in below.chunks_exact_mut(stride).enumerate().take(n - k - 1) {
            let column = k + 1 + i;
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
        subtract::<FMA>(b, value, row, k);
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
