//! Plackett and Luce's likelihood of the rankings that values imply.
//!
//! The model draws a ranking from the top: the first key with probability `e^s / sum e^s` of all, the next one among those
//! that are left, and so on. The ranking of a query's listed keys is by decreasing value. Keys of one value are not compared
//! with each other: each is drawn from itself and the keys of smaller value. With two values that is the softmax of each
//! positive against the negatives.

use crate::fit::gradient::loss::edges::Edges;
use crate::fit::gradient::loss::{Embeddings, Slopes};

/// `1/n sum over draws of w (ln sum e^s - s)` over `n` draws with a choice, and its slopes.
///
/// Edges come query by query (`lists` holds where each list starts and the last one ends), in a list by decreasing value.
pub(crate) fn plackett_luce(
    at: Embeddings<'_>,
    edges: Edges<'_>,
    lists: &[usize],
    values: &[f32],
    weights: Option<&[f32]>,
    slopes: &mut Slopes,
) -> f64 {
    let mut products = std::mem::take(&mut slopes.scratch);
    edges.products(at, &mut products);
    let share = 1.0 / draws(lists, values).max(1) as f64;
    let mut loss = 0.0;
    for list in lists.windows(2).map(|w| w[0]..w[1]) {
        let scores: Vec<f64> = products[list.clone()].iter().map(|s| at.scale * f64::from(*s)).collect();
        let weight = |i: usize| share * weights.map_or(1.0, |w| f64::from(w[list.start + i]));
        let (own, slope) = list_loss(&scores, &values[list.clone()], weight);
        loss += own;
        products[list].iter_mut().zip(slope).for_each(|(p, g)| *p = (g * at.scale) as f32);
    }
    edges.pull_back(at, &products, slopes);
    slopes.scratch = products;
    loss
}

/// Number of draws that had a choice: keys with another one of smaller value in their list.
pub(crate) fn draws(lists: &[usize], values: &[f32]) -> usize {
    let own = |list: &[f32]| list.iter().filter(|v| list.last().is_some_and(|least| least < v)).count();
    lists.windows(2).map(|w| own(&values[w[0]..w[1]])).sum()
}

/// Loss of one list and its derivative with respect to each score. Cost: the list's length, by running sums from the end.
fn list_loss(scores: &[f64], values: &[f32], weight: impl Fn(usize) -> f64) -> (f64, Vec<f64>) {
    let n = scores.len();
    let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    // below[i]: the sum of e^(s - top) over the keys of smaller value than key i.
    let (mut below, mut group, mut sum) = (vec![0.0; n], n, 0.0);
    while group > 0 {
        let first = (0..group).rev().take_while(|&i| values[i] == values[group - 1]).last().unwrap_or(group - 1);
        below[first..group].fill(sum);
        sum += scores[first..group].iter().map(|s| (s - top).exp()).sum::<f64>();
        group = first;
    }
    let (mut loss, mut slope) = (0.0, vec![0.0; n]);
    // running: sum of w / Z over the draws in which key i was among the smaller ones.
    let (mut running, mut pending, mut last) = (0.0, 0.0, f32::INFINITY);
    for i in 0..n {
        if values[i] < last {
            (running, pending, last) = (running + pending, 0.0, values[i]);
        }
        let own = (scores[i] - top).exp();
        slope[i] += own * running;
        if below[i] > 0.0 {
            let (total, w) = (own + below[i], weight(i));
            loss += w * (total.ln() + top - scores[i]);
            slope[i] -= w * below[i] / total;
            pending += w / total;
        }
    }
    (loss, slope)
}
