//! Ranking by reweighted least squares on hard negatives.
use rayon::prelude::*;

use crate::affine::affine_rows;
use crate::error::Result;
use crate::fit::implicit::kernels::{add_rows, dot_rows};
use crate::fit::implicit::lists::Lists;
use crate::fit::implicit::solve::{Common, Factors, Room, Terms, cleared};
use crate::wide::exp32;

const BLOCK: usize = 32;

/// Cells that compete: each query's positives and its hardest negatives.
struct Cells {
    starts: Vec<usize>,
    key: Vec<u32>,
    /// Number of positives at the front of each query's cells.
    positives: Vec<u32>,
    /// Transposed: where each key's cells start, query and place of each.
    key_starts: Vec<usize>,
    query: Vec<u32>,
    place: Vec<u32>,
}

impl Cells {
    fn mine(sides: &[Lists; 2], u: &Factors, v: &Factors, most: usize, margin: f32) -> Cells {
        let [queries, keys] = sides;
        let (width, m) = (u.width, v.len());
        let mut turned = vec![0.0; v.rows.len()];
        for (y, row) in v.rows.chunks_exact(width).enumerate() {
            row.iter().enumerate().for_each(|(k, value)| turned[k * m + y] = *value);
        }
        let bias = vec![0.0; m];
        let found: Vec<Vec<Vec<u32>>> = u
            .rows
            .par_chunks(BLOCK * width)
            .enumerate()
            .map_init(Vec::new, |scores: &mut Vec<f32>, (block, rows)| {
                let n = rows.len() / width;
                scores.resize(n * m, 0.0);
                affine_rows(rows, &turned, &bias, f32::NEG_INFINITY, &mut scores[..n * m]);
                let of = |i: usize| {
                    let scores = &mut scores[i * m..(i + 1) * m].to_vec();
                    let own = &queries.other[queries.list(block * BLOCK + i)];
                    let least = own.iter().map(|&y| scores[y as usize]).fold(f32::INFINITY, f32::min);
                    own.iter().for_each(|&y| scores[y as usize] = f32::NEG_INFINITY);
                    let mut above: Vec<u32> = (0..m as u32).filter(|&y| scores[y as usize] > least - margin).collect();
                    if above.len() > most {
                        above.select_nth_unstable_by(most, |&a, &b| {
                            scores[b as usize].total_cmp(&scores[a as usize]).then(a.cmp(&b))
                        });
                        above.truncate(most);
                        above.sort_unstable();
                    }
                    above
                };
                (0..n).map(of).collect()
            })
            .collect();
        let (mut starts, mut key, mut positives) = (vec![0], Vec::new(), Vec::new());
        for (x, hard) in found.into_iter().flatten().enumerate() {
            let own = &queries.other[queries.list(x)];
            key.extend_from_slice(own);
            key.extend(hard);
            positives.push(own.len() as u32);
            starts.push(key.len());
        }
        let mut key_starts = vec![0; keys.classes() + 1];
        key.iter().for_each(|&y| key_starts[y as usize + 1] += 1);
        (0..keys.classes()).for_each(|y| key_starts[y + 1] += key_starts[y]);
        let (mut next, mut query, mut place) = (key_starts.clone(), vec![0; key.len()], vec![0; key.len()]);
        for x in 0..queries.classes() {
            for p in starts[x]..starts[x + 1] {
                let at = &mut next[key[p] as usize];
                (query[*at], place[*at]) = (x as u32, p as u32);
                *at += 1;
            }
        }
        Cells { starts, key, positives, key_starts, query, place }
    }
}

/// Slopes and curvatures of one query's cells from their scores; the loss.
fn slopes(scores: &mut [f32], size: &[f32], positives: usize, curvature: &mut [f32], floor: f32) -> f64 {
    let top = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    for s in scores.iter_mut() {
        *s = exp32::<true>(*s - top);
    }
    let rest: f32 = scores[positives..].iter().zip(&size[positives..]).map(|(e, n)| e * n).sum::<f32>() + 1e-30;
    let count: f32 = size[..positives].iter().sum();
    let (mut shared, mut loss) = (0.0, 0.0);
    for p in 0..positives {
        let inverse = 1.0 / (scores[p] + rest);
        shared += size[p] * inverse;
        loss -= f64::from(size[p]) * f64::from((scores[p] * inverse).max(1e-30)).ln();
        scores[p] = -rest * inverse / count;
    }
    shared /= count;
    scores[positives..].iter_mut().for_each(|e| *e *= shared);
    for (c, s) in curvature.iter_mut().zip(scores.iter()) {
        *c = s.abs() + floor;
    }
    loss / f64::from(count)
}

struct Work {
    slope: Vec<f32>,
    curvature: Vec<f32>,
}

fn env(name: &str, d: f32) -> f32 {
    std::env::var(name).map_or(d, |v| v.parse().unwrap_or(d))
}

fn loss_and_slopes(sides: &[Lists; 2], cells: &Cells, u: &Factors, v: &Factors, scale: f32, floor: f32) -> (f64, Work) {
    let width = u.width;
    let parts: Vec<(f64, Vec<f32>, Vec<f32>)> = (0..u.len().div_ceil(BLOCK))
        .into_par_iter()
        .map_init(Vec::new, |rows: &mut Vec<f32>, block| {
            let last = ((block + 1) * BLOCK).min(u.len());
            let len = cells.starts[last] - cells.starts[block * BLOCK];
            let (mut slope, mut curvature, mut loss) = (vec![0.0; len], vec![0.0; len], 0.0);
            let base = cells.starts[block * BLOCK];
            for x in block * BLOCK..last {
                let range = cells.starts[x]..cells.starts[x + 1];
                rows.clear();
                let mut size = Vec::with_capacity(range.len());
                for &y in &cells.key[range.clone()] {
                    rows.extend_from_slice(v.row(y as usize));
                    size.push(sides[1].size[y as usize]);
                }
                let own = range.start - base..range.end - base;
                dot_rows(rows, u.row(x), &mut slope[own.clone()]);
                slope[own.clone()].iter_mut().for_each(|s| *s *= scale);
                loss += f64::from(sides[0].size[x])
                    * slopes(&mut slope[own.clone()], &size, cells.positives[x] as usize, &mut curvature[own], floor);
            }
            (loss, slope, curvature)
        })
        .collect();
    let mut work = Work { slope: Vec::new(), curvature: Vec::new() };
    let mut loss = 0.0;
    let _ = width;
    for (l, s, c) in parts {
        loss += l;
        work.slope.extend(s);
        work.curvature.extend(c);
    }
    (loss / sides[0].size.iter().map(|s| f64::from(*s)).sum::<f64>(), work)
}

pub(crate) fn refine(sides: &[Lists; 2], u: &mut Factors, v: &mut Factors, _dim: usize, epochs: usize, _seed: crate::seed::Seed) -> Result<()> {
    if epochs == 0 {
        return Ok(());
    }
    let t0 = std::time::Instant::now();
    let (most, margin, every) = (env("MOST", 64.0) as usize, env("MARGIN", 6.0), env("EVERY", 3.0) as usize);
    let (floor, eps, ridge, steps, tau) =
        (env("FLOOR", 0.001), env("EPS", 1e-6), env("RIDGE", 1e-4), env("STEPS", 4.0) as usize, env("TAU", 1.0));
    let [queries, keys] = sides;
    let mut cells = Cells::mine(sides, u, v, most, f32::INFINITY);
    let scales = [2.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0f32];
    let best = scales
        .iter()
        .map(|&s| (loss_and_slopes(sides, &cells, u, v, s, floor).0, s))
        .min_by(|a, b| a.0.total_cmp(&b.0))
        .unwrap_or((0.0, 1.0));
    eprintln!("scale {best:?} cells {} {:?}", cells.key.len(), t0.elapsed());
    for f in [&mut *u, &mut *v] {
        f.rows.iter_mut().for_each(|x| *x *= best.1.sqrt());
    }
    let terms = Terms { alpha: 1.0, unobserved: eps, ridge: f64::from(ridge), steps };
    for epoch in 0..epochs {
        if epoch % every == 0 {
            cells = Cells::mine(sides, u, v, most, margin);
        }
        for side in 0..2 {
            let (loss, work) = loss_and_slopes(sides, &cells, u, v, 1.0, floor);
            if side == 0 {
                eprintln!("{epoch} loss {loss:.5} cells {} {:?}", cells.key.len(), t0.elapsed());
            }
            let (own, other, size) = if side == 0 { (&mut *u, &*v, &keys.size) } else { (&mut *v, &*u, &queries.size) };
            let common = Common::new(other, size, terms)?;
            let width = own.width;
            own.rows.par_chunks_mut(BLOCK * width).enumerate().for_each_init(
                || (Room::default(), Vec::new(), Vec::new()),
                |(room, residual, factors), (block, rows)| {
                    for (i, row) in rows.chunks_exact_mut(width).enumerate() {
                        let at = block * BLOCK + i;
                        (room.rows.clear(), room.weight.clear(), factors.clear());
                        let mut push = |o: u32, p: usize| {
                            room.rows.extend_from_slice(other.row(o as usize));
                            room.weight.push(size[o as usize] * work.curvature[p] / tau);
                            factors.push(-size[o as usize] * work.slope[p]);
                        };
                        if side == 0 {
                            (cells.starts[at]..cells.starts[at + 1]).for_each(|p| push(cells.key[p], p));
                        } else {
                            (cells.key_starts[at]..cells.key_starts[at + 1])
                                .for_each(|q| push(cells.query[q], cells.place[q] as usize));
                        }
                        let residual = cleared(residual, width);
                        residual.iter_mut().zip(row.iter()).for_each(|(r, u)| *r = -ridge * u);
                        add_rows(&room.rows, factors, residual);
                        common.descend(row, residual, room);
                    }
                },
            );
        }
    }
    Ok(())
}
