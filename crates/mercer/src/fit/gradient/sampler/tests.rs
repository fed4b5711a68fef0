//! The estimate of the softmax's sum: exactly unbiased by enumeration; its gradient against full softmax's over many draws.

use crate::fit::gradient::data::{ExampleSet, Known};
use crate::fit::gradient::loss::candidates::Lists;
use crate::fit::gradient::loss::{Embeddings, Loss, NegativeLaw, Sampling, Slopes};
use crate::fit::gradient::sampler::{Batch, Sampler, against_all};
use crate::linalg::{Matrix, cholesky};
use crate::seed::Seed;

fn set(pairs: &[(u32, u32)]) -> ExampleSet {
    let (query, key) = pairs.iter().copied().unzip();
    ExampleSet { query, key, ..ExampleSet::default() }
}

fn sampler<'a>(set: &'a ExampleSet, known: &'a Known, sampling: Sampling, keys: usize, batch: usize) -> Sampler<'a> {
    Sampler::new(set, known, Loss::SampledSoftmax(sampling), keys, false, batch, Seed(1))
}

const NOTHING_MASKED: Sampling = Sampling {
    in_batch: true,
    extra: 2,
    law: NegativeLaw::Popularity { power: 0.5 },
    correction: true,
    mask: false,
    hard: None,
};

/// `Z^` of the example at `row` of a batch, for given scores of the keys.
fn estimate(batch: &Batch, row: usize, scores: &[f64]) -> f64 {
    let column = |c: usize| {
        let own = batch.y[row] as usize == c || batch.certain.row(row).contains(&(c as u32));
        let offset = if own { 0.0 } else { f64::from(batch.offset[c]) };
        if batch.left_out.row(row).contains(&(c as u32)) { 0.0 } else { (scores[batch.keys[c]] + offset).exp() }
    };
    (0..batch.keys.len()).map(column).sum()
}

#[test]
fn the_sum_is_estimated_without_bias_whatever_the_mixture() {
    // Six pairs, keys with 1, 2, 3 and 0 of them; batches of three, two extra keys; all companions and all draws.
    let set = set(&[(0, 0), (0, 1), (1, 1), (1, 2), (2, 2), (3, 2)]);
    let known = Known::new(4, std::iter::empty());
    let scores = [0.3, -1.0, 0.8, 1.7];
    let full: f64 = scores.iter().map(|s: &f64| s.exp()).sum();
    let mut hard = Lists::new();
    for own in [&[][..], &[3], &[], &[1, 3], &[0], &[]] {
        hard.push(own.iter().copied());
    }
    for (in_batch, hard) in [(true, None), (false, None), (true, Some(&hard)), (false, Some(&hard))] {
        let sampling = Sampling { in_batch, ..NOTHING_MASKED };
        let sampler = sampler(&set, &known, sampling, 4, 3);
        let law: Vec<f64> = (0..4).map(|k| sampler.law.as_ref().unwrap().probability(k)).collect();
        assert!((law.iter().sum::<f64>() - 1.0).abs() < 1e-12 && (law[2] / law[0] - 3.0_f64.sqrt()).abs() < 1e-12);
        for pair in 0..6 {
            let (mut mean, mut weight) = (0.0, 0.0);
            for a in 0..6 {
                for b in (a + 1..6).filter(|&b| a != pair && b != pair) {
                    let mut chosen = vec![pair, a, b];
                    chosen.sort_unstable();
                    let row = chosen.iter().position(|&p| p == pair).unwrap();
                    for (i, j) in (0..16).map(|d| (d / 4, d % 4)) {
                        let batch = sampler.sampled(&chosen, &sampling, vec![i as u32, j as u32], hard);
                        mean += law[i] * law[j] * estimate(&batch, row, &scores);
                        weight += law[i] * law[j];
                    }
                }
            }
            assert!((mean / weight - full).abs() < 1e-6 * full, "pair {pair}: {} against {full}", mean / weight);
        }
    }
}

#[test]
fn batches_are_drawn_as_the_correction_assumes() {
    // How often each key comes beside one pair, over many passes.
    let set = set(&(0..30).map(|p| (p, [0, 0, 0, 1, 1, 2][p as usize % 6])).collect::<Vec<_>>());
    let known = Known::new(30, std::iter::empty());
    let sampling = Sampling { extra: 5, law: NegativeLaw::Uniform, ..NOTHING_MASKED };
    let mut sampler = sampler(&set, &known, sampling, 4, 10);
    let (mut counts, mut seen) = ([0.0; 4], 0.0);
    for step in 0..30_000 {
        if sampler.examples(step).contains(&5) {
            let batch = sampler.batch(step, None);
            seen += 1.0;
            for (c, &key) in batch.keys.iter().enumerate() {
                counts[key] += f64::from(batch.offset[c].exp()) * sampler.law.as_ref().unwrap().expected(key, 10, 5);
            }
        }
    }
    assert_eq!(seen, 10_000.0, "one batch of a pass has the pair");
    // Key 2 is the pair's own, which is there once more.
    for (key, expected) in [(0, 9.0 * 15.0 / 29.0 + 1.25), (1, 9.0 * 10.0 / 29.0 + 1.25), (3, 1.25)] {
        let mean = counts[key] / seen;
        // The counts' standard deviation is below 2.
        assert!((mean - expected).abs() < 5.0 * 2.0 / seen.sqrt(), "key {key}: {mean} against {expected}");
    }
}

/// A problem with 12 keys of very different popularity.
fn skewed(n: usize) -> (ExampleSet, Vec<f32>, Vec<f32>) {
    let mut stream = Seed(3).stream("skewed");
    let pairs: Vec<(u32, u32)> =
        (0..n).map(|_| (stream.below(5) as u32, (12.0 * stream.uniform().powi(3)) as u32)).collect();
    let mut normal = |n: usize| (0..n).map(|_| stream.normal() as f32).collect::<Vec<_>>();
    let (queries, keys) = (normal(15), normal(36));
    (set(&pairs), queries, keys)
}

/// Slopes of a batch's loss at all embeddings, in `f64`: 5 queries and 12 keys in 3 dimensions.
fn gradient(batch: &Batch, loss: &Loss, queries: &[f32], keys: &[f32]) -> Vec<f64> {
    let rows =
        |items: &[usize], all: &[f32]| items.iter().flat_map(|&i| all[3 * i..3 * i + 3].to_vec()).collect::<Vec<f32>>();
    let (own_queries, own_keys) = (rows(&batch.queries, queries), rows(&batch.keys, keys));
    let at = Embeddings { queries: &own_queries, keys: &own_keys, dim: 3, scale: 1.0 };
    let mut slopes = Slopes::default();
    batch.loss(loss, at, &mut slopes);
    let mut all = vec![0.0; 51];
    for (items, slopes, first) in [(&batch.queries, &slopes.queries, 0), (&batch.keys, &slopes.keys, 15)] {
        for (row, &item) in slopes.chunks_exact(3).zip(items) {
            row.iter().enumerate().for_each(|(c, v)| all[first + 3 * item + c] = f64::from(*v));
        }
    }
    all
}

/// Coordinates of the gradient that determine the others.
const FREE: usize = 39;

/// Hotelling's `T^2` of the differences between the sampled gradient and full softmax's on the same positives, over `draws`
/// batches: about chi-squared with 39 degrees of freedom where their mean is zero.
///
/// With coefficients `C`, whose rows sum to zero, the slopes are `C K` and `C^T Q`. So of the 51 coordinates 12 follow from the others:
/// the keys' slopes sum to zero (3), and `Q^T (C K) = (C^T Q)^T K` (9). The last key and the first three queries are left out.
fn hotelling(sampling: Sampling, n: usize, batch: usize, draws: usize) -> f64 {
    let (set, queries, keys) = skewed(n);
    let known = Known::new(5, std::iter::empty());
    let (loss, mut sampler) = (Loss::SampledSoftmax(sampling), sampler(&set, &known, sampling, 12, batch));
    let mut all: Vec<Vec<f64>> = Vec::new();
    for step in 0..draws {
        let chosen = sampler.examples(step);
        let sampled = gradient(&sampler.batch(step, None), &loss, &queries, &keys);
        let full = against_all(&set, &chosen, &known, 12, false);
        let full = gradient(&full, &Loss::FullSoftmax, &queries, &keys);
        all.push(sampled.iter().zip(&full).map(|(a, b)| a - b).collect::<Vec<f64>>()[9..48].to_vec());
    }
    let n = draws as f64;
    let mean: Vec<f64> = (0..FREE).map(|c| all.iter().map(|d| d[c]).sum::<f64>() / n).collect();
    let covariance = Matrix::from_fn(FREE, FREE, |i, j| {
        all.iter().map(|d| (d[i] - mean[i]) * (d[j] - mean[j])).sum::<f64>() / (n - 1.0)
    });
    let mut half = Matrix::from_columns(mean, FREE, 1);
    cholesky(&covariance).unwrap().solve_lower(&mut half);
    n * half.data().iter().map(|v| v * v).sum::<f64>()
}

#[test]
fn the_corrected_gradient_is_full_softmaxs_and_the_uncorrected_one_is_not() {
    // So many samples that the bias is far below the noise of 300 batches. Chi-squared with 39 degrees of freedom exceeds 85
    // once in 30,000 times; Hotelling's law at 300 draws, 39 * 299 / 261 F(39, 261), exceeds 110 about as rarely.
    let mixed = Sampling { extra: 30_000, law: NegativeLaw::Uniform, ..NOTHING_MASKED };
    let popular = Sampling { in_batch: false, law: NegativeLaw::Popularity { power: 0.75 }, ..mixed };
    for (sampling, batch, name) in [(mixed, 1000, "mixed"), (popular, 50, "popularity")] {
        let corrected = hotelling(sampling, 4000, batch, 300);
        let uncorrected = hotelling(Sampling { correction: false, ..sampling }, 4000, batch, 300);
        println!("T^2 of {name} samples: corrected {corrected:.1}, uncorrected {uncorrected:.3e}");
        assert!(corrected < 110.0, "{name}: {corrected}");
        assert!(uncorrected > 1e4, "{name}: {uncorrected}");
    }
}

#[test]
fn the_bias_of_the_gradient_vanishes_as_one_over_the_samples() {
    // One positive among three keys, extra keys uniform: the expectation over all draws, exactly, by their counts.
    let set = set(&[(0, 0)]);
    let known = Known::new(1, std::iter::empty());
    let (queries, keys) = ([1.0_f32], [0.4_f32, 1.1, -0.9]);
    let embedded = |batch: &Batch, loss: &Loss| {
        let own: Vec<f32> = batch.keys.iter().map(|&k| keys[k]).collect();
        let mut slopes = Slopes::default();
        batch.loss(loss, Embeddings { queries: &queries, keys: &own, dim: 1, scale: 1.0 }, &mut slopes);
        f64::from(slopes.queries[0])
    };
    let full = embedded(&against_all(&set, &[0], &known, 3, false), &Loss::FullSoftmax);
    let bias = |m: usize, correction: bool| {
        let sampling = Sampling { in_batch: false, extra: m, law: NegativeLaw::Uniform, correction, ..NOTHING_MASKED };
        let (loss, sampler) = (Loss::SampledSoftmax(sampling), sampler(&set, &known, sampling, 3, 1));
        let factorial: Vec<f64> = (0..=m)
            .scan(0.0, |sum, i| {
                *sum += (i.max(1) as f64).ln();
                Some(*sum)
            })
            .collect();
        let mut mean = 0.0;
        for a in 0..=m {
            for b in 0..=m - a {
                let c = m - a - b;
                let chance = factorial[m] - factorial[a] - factorial[b] - factorial[c] - m as f64 * 3.0_f64.ln();
                let drawn = [vec![0; a], vec![1; b], vec![2; c]].concat();
                mean += chance.exp() * embedded(&sampler.sampled(&[0], &sampling, drawn, None), &loss);
            }
        }
        mean - full
    };
    let biases: Vec<f64> = [8, 16, 32, 64].into_iter().map(|m| bias(m, true)).collect();
    println!("bias at 8, 16, 32, 64 samples: {biases:?}; uncorrected {:?}", [bias(8, false), bias(64, false)]);
    assert!(biases.windows(2).all(|b| (1.7..2.4).contains(&(b[0] / b[1]))), "{biases:?}");
    // Without the correction the negatives' part grows with their number: another loss.
    assert!(bias(64, false).abs() > 15.0 * biases[3].abs());
}

#[test]
fn known_positives_are_left_out_and_counted() {
    let set = set(&[(0, 0), (0, 1), (1, 1), (1, 2), (2, 3)]);
    let known = Known::new(3, set.query.iter().copied().zip(set.key.iter().copied()).chain([(2, 0)]));
    let sampling = Sampling { mask: true, extra: 2, ..NOTHING_MASKED };
    let mut own = sampler(&set, &known, sampling, 5, 5);
    let batch = own.sampled(&[0, 1, 2, 3, 4], &sampling, vec![4, 0], None);
    let left_out: Vec<Vec<usize>> =
        (0..5).map(|i| batch.left_out.row(i).iter().map(|&c| batch.keys[c as usize]).collect()).collect();
    assert_eq!(left_out, [vec![1], vec![0], vec![2], vec![1], vec![0]]);
    assert_eq!(batch.masked, 5);
    // Where both sides are one set, the query itself is left out, too, but is no known positive.
    own.one_set = true;
    let batch = own.sampled(&[3], &sampling, vec![1, 4, 0], None);
    assert_eq!(batch.left_out.row(0).iter().map(|&c| batch.keys[c as usize]).collect::<Vec<_>>(), [1]);
    let batch = own.sampled(&[4], &sampling, vec![2, 4], None);
    assert_eq!(batch.left_out.row(0).iter().map(|&c| batch.keys[c as usize]).collect::<Vec<_>>(), [2]);
    assert_eq!(batch.masked, 0);
    // A hard negative that is a known positive is left out; others count once.
    let mut hard = Lists::new();
    (0..5).for_each(|_| hard.push([1, 2, 4]));
    let batch = own.sampled(&[3], &sampling, vec![0, 0], Some(&hard));
    assert_eq!(batch.keys, [0, 1, 2, 4]);
    assert_eq!(batch.offset[3], f32::NEG_INFINITY, "it was not sampled");
    assert_eq!((batch.certain.row(0), batch.left_out.row(0)), (&[1, 3][..], &[1][..]));
}

#[test]
fn a_pass_has_every_example_once_in_batches_of_nearly_one_size() {
    let set = set(&(0..1000).map(|p| (p, p % 7)).collect::<Vec<_>>());
    let known = Known::new(1000, std::iter::empty());
    let mut sampler = sampler(&set, &known, NOTHING_MASKED, 7, 300);
    assert_eq!(sampler.steps_per_pass, 4);
    let pass = |sampler: &mut Sampler<'_>, pass: usize| -> Vec<Vec<usize>> {
        (4 * pass..4 * pass + 4).map(|step| sampler.examples(step)).collect()
    };
    let (first, second) = (pass(&mut sampler, 0), pass(&mut sampler, 1));
    for own in [&first, &second] {
        assert!(own.iter().all(|b| b.len() == 250));
        let mut all = own.concat();
        all.sort_unstable();
        assert!(all.into_iter().eq(0..1000));
    }
    assert_ne!(first, second);
    // Whatever was asked before.
    assert_eq!(pass(&mut sampler, 0), first);
}
