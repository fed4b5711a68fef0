use crate::fit::gradient::softmax::*;
use crate::parallel::with_threads;
use crate::seed::Seed;

/// One batch with everything in it, owned.
struct Case {
    queries: Vec<f32>,
    keys: Vec<f32>,
    dim: usize,
    positive: Vec<u32>,
    offset: Option<Vec<f32>>,
    masked: Option<(Vec<usize>, Vec<u32>)>,
    weight: Option<Vec<f32>>,
    scale: f32,
}

impl Case {
    fn new(b: usize, m: usize, dim: usize, rich: bool) -> Self {
        let mut stream = Seed(7).stream("softmax");
        let mut draw = |n: usize| (0..n).map(|_| stream.normal() as f32).collect::<Vec<f32>>();
        let (queries, keys, offset) = (draw(b * dim), draw(m * dim), draw(m));
        let positive: Vec<u32> = (0..b).map(|_| stream.below(m) as u32).collect();
        let (mut starts, mut columns) = (vec![0], Vec::new());
        for i in 0..b {
            // The positive is among the columns at times, and must stay.
            let mut own: Vec<u32> = stream.choose(m, i % 4).into_iter().map(|c| c as u32).collect();
            own.extend((i % 3 == 0).then_some(positive[i]));
            columns.extend(own);
            starts.push(columns.len());
        }
        let weight: Vec<f32> = (0..b).map(|i| (i % 5) as f32 * 0.5).collect();
        Case {
            queries,
            keys,
            dim,
            positive,
            offset: rich.then_some(offset),
            masked: rich.then_some((starts, columns)),
            weight: rich.then_some(weight),
            scale: 0.7,
        }
    }

    fn batch(&self) -> SoftmaxBatch<'_> {
        SoftmaxBatch {
            queries: &self.queries,
            keys: &self.keys,
            dim: self.dim,
            positive: &self.positive,
            offset: self.offset.as_deref(),
            masked: self.masked.as_ref().map(|(s, c)| (&s[..], &c[..])),
            weight: self.weight.as_deref(),
            scale: self.scale,
        }
    }

    fn run(&self) -> (SoftmaxLoss, Vec<f32>, Vec<f32>) {
        let (mut d_queries, mut d_keys) = (vec![f32::NAN; self.queries.len()], vec![f32::NAN; self.keys.len()]);
        let loss = Softmax::default().run(&self.batch(), &mut d_queries, &mut d_keys).unwrap();
        (loss, d_queries, d_keys)
    }

    /// Loss and all slopes by their definition, in `f64`.
    fn naive(&self) -> (f64, f64, Vec<f64>, Vec<f64>) {
        let (b, m, dim) = (self.positive.len(), self.keys.len() / self.dim, self.dim);
        let (mut loss, mut d_scale) = (0.0, 0.0);
        let (mut d_queries, mut d_keys) = (vec![0.0; b * dim], vec![0.0; m * dim]);
        let weight = |i: usize| self.weight.as_ref().map_or(1.0, |w| f64::from(w[i]));
        let total: f64 = (0..b).map(weight).sum();
        for i in 0..b {
            let out = |j: usize| {
                self.masked.as_ref().is_some_and(|(s, c)| c[s[i]..s[i + 1]].contains(&(j as u32)))
                    && j != self.positive[i] as usize
            };
            let product = |j: usize| -> f64 {
                (0..dim).map(|k| f64::from(self.queries[i * dim + k]) * f64::from(self.keys[j * dim + k])).sum()
            };
            let score =
                |j: usize| f64::from(self.scale) * product(j) + self.offset.as_ref().map_or(0.0, |o| f64::from(o[j]));
            let own: Vec<usize> = (0..m).filter(|&j| !out(j)).collect();
            let largest = own.iter().map(|&j| score(j)).fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = own.iter().map(|&j| (score(j) - largest).exp()).sum();
            let share = weight(i) / total;
            loss += share * (sum.ln() + largest - score(self.positive[i] as usize));
            for &j in &own {
                let slope = share * ((score(j) - largest).exp() / sum - f64::from(j == self.positive[i] as usize));
                d_scale += slope * product(j);
                for k in 0..dim {
                    let scale = f64::from(self.scale);
                    d_queries[i * dim + k] += slope * scale * f64::from(self.keys[j * dim + k]);
                    d_keys[j * dim + k] += slope * scale * f64::from(self.queries[i * dim + k]);
                }
            }
        }
        (loss, d_scale, d_queries, d_keys)
    }
}

fn close(got: &[f32], expected: &[f64]) {
    let size = expected.iter().fold(0.0, |a: f64, b| a.max(b.abs()));
    for (at, (a, b)) in got.iter().zip(expected).enumerate() {
        assert!((f64::from(*a) - b).abs() <= 1e-5 * size, "{at}: {a}, expected {b} of {size}");
    }
}

#[test]
fn loss_and_slopes_agree_with_the_definition_in_f64() {
    // One key, remainders of every block, and more keys than one pass holds.
    for (b, m, dim) in [(3, 1, 2), (5, 7, 3), (64, 64, 16), (70, 130, 20), (33, 2 * KEYS + 100, 5)] {
        for rich in [false, true] {
            let case = Case::new(b, m, dim, rich);
            let (loss, d_queries, d_keys) = case.run();
            let (expected, d_scale, naive_queries, naive_keys) = case.naive();
            assert!((loss.loss - expected).abs() < 1e-5 * expected.abs().max(1.0), "{loss:?}, {expected}");
            assert!((loss.d_scale - d_scale).abs() < 1e-5 * d_scale.abs().max(1.0), "{loss:?}, {d_scale}");
            close(&d_queries, &naive_queries);
            close(&d_keys, &naive_keys);
        }
    }
}

#[test]
fn large_scores_neither_overflow_nor_vanish() {
    let mut case = Case::new(6, 9, 4, false);
    case.scale = 300.0;
    let (loss, d_queries, d_keys) = case.run();
    let (expected, _, naive_queries, naive_keys) = case.naive();
    assert!((loss.loss - expected).abs() < 1e-5 * expected, "{loss:?}, {expected}");
    close(&d_queries, &naive_queries);
    close(&d_keys, &naive_keys);
}

#[test]
fn masked_keys_get_no_slope_and_no_weight_means_no_loss() {
    let mut case = Case::new(1, 8, 3, false);
    case.masked = Some((vec![0, 7], (0..8).filter(|&j| j != case.positive[0]).collect()));
    let (loss, d_queries, d_keys) = case.run();
    assert!(loss.loss.abs() < 1e-7, "the positive alone has probability 1, but the loss is {}", loss.loss);
    assert!(d_queries.iter().chain(&d_keys).all(|d| d.abs() < 1e-7));
    case.weight = Some(vec![0.0]);
    assert_eq!(case.run(), (SoftmaxLoss { loss: 0.0, d_scale: 0.0 }, vec![0.0; 3], vec![0.0; 24]));
}

#[test]
fn parts_that_do_not_fit_are_refused() {
    let refused = |change: fn(&mut Case)| {
        let mut case = Case::new(4, 6, 2, true);
        let (mut a, mut b) = (vec![0.0; 8], vec![0.0; 12]);
        change(&mut case);
        Softmax::default().run(&case.batch(), &mut a, &mut b).is_err()
    };
    assert!(!refused(|_| ()));
    assert!(refused(|c| c.positive[1] = 6));
    assert!(refused(|c| c.scale = f32::NAN));
    assert!(refused(|c| c.scale = 0.0));
    assert!(refused(|c| c.weight = Some(vec![-1.0; 4])));
    assert!(refused(|c| c.weight = Some(vec![1.0; 3])));
    assert!(refused(|c| c.offset = Some(vec![0.0; 5])));
    assert!(refused(|c| c.masked = Some((vec![0, 1, 1, 1, 1], vec![6]))));
    assert!(refused(|c| c.masked = Some((vec![0, 2, 1, 1, 1], vec![0]))));
    assert!(refused(|c| c.queries.truncate(7)));
    assert!(refused(|c| c.dim = 0));
}

#[test]
fn the_same_bits_for_any_number_of_threads() {
    let case = Case::new(150, KEYS + 300, 24, true);
    let one = with_threads(Some(1), || case.run()).unwrap();
    for threads in [2, 8] {
        assert_eq!(with_threads(Some(threads), || case.run()).unwrap(), one);
    }
}
