//! What a margin guarantees: weights, temperatures, numbers of keys, and the share of queries that have it.

use serde::Serialize;

use crate::attention::{AttentionMap, Map};
use crate::error::{Error, Result};
use crate::stats::{binomial_pairs_needed, binomial_rank, rate_interval};

/// Up to how many keys a temperature holds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum KeysHeld {
    /// For any number of keys.
    All,
    /// Up to this number.
    UpTo(f64),
}

impl KeysHeld {
    /// Whether it holds for `keys` keys.
    pub fn holds(self, keys: usize) -> bool {
        match self {
            KeysHeld::All => true,
            KeysHeld::UpTo(most) => keys as f64 <= most,
        }
    }
}

/// Refuses an `eps` that is no share strictly between 0 and 1.
pub(super) fn check_eps(eps: f64) -> Result<()> {
    if eps > 0.0 && eps < 1.0 {
        return Ok(());
    }
    Err(Error::parameter("eps", "above 0 and below 1: the best key's weight shall be 1 - eps", eps))
}

fn check(keys: usize, gap: f64, beta: Option<f64>, eps: Option<f64>) -> Result<()> {
    if keys == 0 {
        return Err(Error::parameter("number of keys", "at least 1", keys));
    }
    if gap.is_nan() || gap <= 0.0 {
        return Err(Error::parameter(
            "gap between the best key and the others",
            "positive: no temperature tells apart what ties",
            gap,
        ));
    }
    if let Some(beta) = beta.filter(|beta| !(beta.is_finite() && *beta >= 0.0)) {
        return Err(Error::parameter("inverse temperature", "0 or a positive finite number", beta));
    }
    eps.map_or(Ok(()), check_eps)
}

/// The smallest inverse temperature at which the best of `keys` keys, `gap` above all others, has the weight `1 - eps` (softmax) or
/// exactly 1 (the other maps, whatever `eps` is).
///
/// `ln((n - 1) (1 - eps) / eps) / gap` for softmax, `1 / ((alpha - 1) gap)` for alpha-entmax, 0 for the hard map.
///
/// # Errors
/// [`crate::ErrorKind::Parameter`] without keys, for a gap that is not positive and for an `eps` that is not between 0 and 1.
///
/// ```
/// use mercer::{attention::Map, retrieval::{guaranteed_weight, inverse_temperature}};
/// let beta = inverse_temperature(Map::Softmax, 1000, 0.5, 1e-3)?;
/// assert!((guaranteed_weight(Map::Softmax, 1000, beta, 0.5)? - 0.999).abs() < 1e-12);
/// assert_eq!(inverse_temperature(Map::entmax(1.5)?, 1000, 0.5, 1e-3)?, 4.0);
/// # Ok::<(), mercer::Error>(())
/// ```
pub fn inverse_temperature(map: Map, keys: usize, gap: f64, eps: f64) -> Result<f64> {
    check(keys, gap, None, Some(eps))?;
    Ok(match map.threshold() {
        None => (((keys - 1) as f64 * (1.0 - eps) / eps).ln() / gap).max(0.0),
        Some(_) if keys == 1 => 0.0,
        // Rounded up, so that the product with the gap is not below the threshold.
        Some(threshold) => {
            let beta = threshold / gap;
            if beta * gap < threshold { beta.next_up() } else { beta }
        }
    })
}

/// The least weight of the best of `keys` keys, `gap` above all others, at the inverse temperature `beta`: that with all others
/// exactly `gap` below.
///
/// `1 / (1 + (n - 1) e^(-beta gap))` for softmax. For alpha-entmax 1 from `beta gap >= 1 / (alpha - 1)` on; below, by bisection.
///
/// # Errors
/// [`crate::ErrorKind::Parameter`] as [`inverse_temperature`], and for a `beta` that is negative or not finite.
pub fn guaranteed_weight(map: Map, keys: usize, beta: f64, gap: f64) -> Result<f64> {
    check(keys, gap, Some(beta), None)?;
    let others = (keys - 1) as f64;
    let scaled = beta * gap;
    Ok(match map.threshold() {
        _ if keys == 1 => 1.0,
        None => 1.0 / (1.0 + others * (-scaled).exp()),
        Some(threshold) if scaled >= threshold => 1.0,
        Some(threshold) => {
            // With t the best key's power: t^threshold + (n - 1) (t - scaled / threshold)_+^threshold = 1.
            let sum = |t: f64| t.powf(threshold) + others * (t - scaled / threshold).max(0.0).powf(threshold);
            let (mut low, mut high) = (0.0, 1.0);
            for _ in 0..100 {
                let middle = 0.5 * (low + high);
                if sum(middle) <= 1.0 { low = middle } else { high = middle }
            }
            low.powf(threshold)
        }
    })
}

/// Up to how many keys the best one, `gap` above all others, keeps the weight `1 - eps` at the inverse temperature `beta`.
///
/// `1 + e^(beta gap) eps / (1 - eps)` for softmax; for alpha-entmax any number from the threshold on.
///
/// # Errors
/// As [`guaranteed_weight`].
pub fn keys_held(map: Map, beta: f64, gap: f64, eps: f64) -> Result<KeysHeld> {
    check(1, gap, Some(beta), Some(eps))?;
    let scaled = beta * gap;
    let most = match map.threshold() {
        None => 1.0 + scaled.exp() * eps / (1.0 - eps),
        Some(threshold) if scaled >= threshold => return Ok(KeysHeld::All),
        Some(threshold) => {
            let rival = ((1.0 - eps).powf(1.0 / threshold) - scaled / threshold).max(0.0).powf(threshold);
            if rival == 0.0 {
                return Ok(KeysHeld::All);
            }
            1.0 + eps / rival
        }
    };
    // A whole number that rounding has cut counts as that number.
    Ok(if most.is_finite() { KeysHeld::UpTo((most * (1.0 + 1e-12)).floor()) } else { KeysHeld::All })
}

/// How often the margin exceeds what the model's error may change: statements about new queries, drawn as these were,
/// independently.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MarginLaw {
    /// The margin that was asked for: twice the error of the scores.
    pub asked: f64,
    /// Queries whose margin exceeds it, of all.
    pub exceeding: usize,
    /// Number of queries.
    pub queries: usize,
    /// With the confidence below at least this share of new queries have such a margin (Clopper and Pearson).
    pub share: f64,
    /// The share that the next number speaks of.
    pub covered: f64,
    /// With the confidence below at least the share `covered` of new queries has at least this margin: an order statistic (Wilks).
    /// `None`: there are too few queries.
    pub margin: Option<f64>,
    /// Queries that such a statement needs.
    pub needed: u64,
    /// Confidence of either statement.
    pub confidence: f64,
}

impl MarginLaw {
    /// From the margins of independent queries. `asked` is the margin that counts, `covered` the share of new queries that the
    /// tolerance bound speaks of.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Data`] without margins, [`crate::ErrorKind::Parameter`] for a share or a confidence that is not between
    /// 0 and 1 or margins that are NaN.
    ///
    /// ```
    /// use mercer::retrieval::MarginLaw;
    /// let margins: Vec<f64> = (1..=299).map(f64::from).collect();
    /// let law = MarginLaw::new(&margins, 0.5, 0.99, 0.95)?;
    /// assert_eq!((law.exceeding, law.margin, law.needed), (299, Some(1.0), 299));
    /// assert!((law.share - 0.99).abs() < 1e-4); // 0.05^(1/299)
    /// # Ok::<(), mercer::Error>(())
    /// ```
    pub fn new(margins: &[f64], asked: f64, covered: f64, confidence: f64) -> Result<MarginLaw> {
        for (name, share) in [("share of covered queries", covered), ("confidence", confidence)] {
            if !(share > 0.0 && share < 1.0) {
                return Err(Error::parameter(name, "above 0 and below 1", share));
            }
        }
        if margins.is_empty() {
            return Err(Error::data("there are no queries", "give at least one"));
        }
        if asked.is_nan() || margins.iter().any(|m| m.is_nan()) {
            return Err(Error::parameter("margins", "numbers", f64::NAN));
        }
        let (n, delta) = (margins.len(), 1.0 - confidence);
        let exceeding = margins.iter().filter(|margin| **margin > asked).count();
        let mut sorted = margins.to_vec();
        sorted.sort_by(|a, b| b.total_cmp(a));
        let rank = binomial_rank(n as u64, covered, delta);
        Ok(MarginLaw {
            asked,
            exceeding,
            queries: n,
            // An interval of which each side fails with half of what it is given.
            share: rate_interval(exceeding as f64, n as f64, 2.0 * delta).0,
            covered,
            margin: rank.map(|k| sorted[k as usize - 1]),
            needed: binomial_pairs_needed(covered, delta),
            confidence,
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::attention::{AttentionMap, Map};
    use crate::retrieval::certificate::*;

    fn maps() -> [Map; 6] {
        let entmax = |alpha| Map::entmax(alpha).unwrap();
        [Map::Softmax, Map::Sparsemax, entmax(1.25), entmax(1.5), entmax(3.0), Map::Hard]
    }

    /// The best key's weight with all others exactly `gap` below.
    fn worst(map: Map, keys: usize, beta: f64, gap: f64) -> f64 {
        let mut scores = vec![-gap; keys];
        scores[keys / 2] = 0.0;
        let mut weights = vec![0.0; keys];
        map.weights_f64(&scores, keys, beta, &mut weights);
        weights[keys / 2]
    }

    #[test]
    fn guarantees_are_the_weights_with_all_rivals_at_the_margin() {
        for map in maps() {
            for keys in [1, 2, 10, 1000] {
                for (gap, scaled) in [(0.5, 0.1), (2.0, 0.45), (0.01, 0.9), (1.0, 3.0), (1.0, 12.0)] {
                    let beta = scaled / gap;
                    let (bound, seen) = (guaranteed_weight(map, keys, beta, gap).unwrap(), worst(map, keys, beta, gap));
                    assert!((bound - seen).abs() < 1e-12, "{map}, {keys} keys, {scaled}: {bound}, {seen}");
                }
            }
        }
    }

    #[test]
    fn the_needed_temperature_is_enough_and_hardly_less_is_not() {
        for map in maps() {
            for keys in [2, 30, 5000] {
                for gap in [1e-3, 0.7, 40.0] {
                    let eps = 1e-3;
                    let beta = inverse_temperature(map, keys, gap, eps).unwrap();
                    let weight = |factor: f64| guaranteed_weight(map, keys, factor * beta, gap).unwrap();
                    if map.threshold().is_none() {
                        assert!(weight(1.0 + 1e-12) >= 1.0 - eps && weight(0.999) < 1.0 - eps);
                    } else {
                        assert_eq!(weight(1.0), 1.0);
                        assert!(map == Map::Hard || weight(0.9) < 1.0);
                    }
                }
            }
        }
    }

    #[test]
    fn temperatures_hold_up_to_the_number_of_keys_told() {
        let eps = 0.01;
        for map in maps() {
            for scaled in [0.2, 0.45, 0.9, 2.5, 6.0] {
                match keys_held(map, scaled / 0.3, 0.3, eps).unwrap() {
                    KeysHeld::All => assert!(worst(map, 10_000, scaled / 0.3, 0.3) >= 1.0 - eps, "{map} {scaled}"),
                    KeysHeld::UpTo(most) => {
                        let weight = |keys: f64| guaranteed_weight(map, keys as usize, scaled / 0.3, 0.3).unwrap();
                        assert!(weight(most) >= 1.0 - eps && weight(most + 1.0) < 1.0 - eps, "{map} {scaled} {most}");
                    }
                }
            }
        }
    }

    #[test]
    fn what_no_temperature_serves_is_refused() {
        for gap in [0.0, -1.0, f64::NAN] {
            assert!(inverse_temperature(Map::Softmax, 10, gap, 0.1).is_err());
        }
        assert!(inverse_temperature(Map::Softmax, 0, 1.0, 0.1).is_err());
        assert!(inverse_temperature(Map::Softmax, 10, 1.0, 0.0).is_err());
        assert!(guaranteed_weight(Map::Softmax, 10, f64::INFINITY, 1.0).is_err());
        assert!(guaranteed_weight(Map::Softmax, 10, -1.0, 1.0).is_err());
        assert!(MarginLaw::new(&[], 0.0, 0.9, 0.9).is_err());
        assert!(MarginLaw::new(&[1.0], 0.0, 1.0, 0.9).is_err());
        assert!(MarginLaw::new(&[f64::NAN], 0.0, 0.9, 0.9).is_err());
        assert_eq!(MarginLaw::new(&[1.0, 2.0], 0.0, 0.9, 0.95).unwrap().margin, None);
    }

    /// Both statements fail no more often than they may, over many draws.
    #[test]
    fn statements_about_new_queries_hold_often_enough() {
        let (mut share, mut margin) = (0, 0);
        for seed in 0..400 {
            // Uniform margins on [0, 1): a share 1 - t of new queries has more than t.
            let mut stream = crate::seed::Seed(seed).stream("margins");
            let margins: Vec<f64> = (0..80).map(|_| stream.uniform()).collect();
            let law = MarginLaw::new(&margins, 0.2, 0.8, 0.9).unwrap();
            share += u32::from(law.share > 0.8);
            margin += u32::from(law.margin.unwrap() > 0.2);
        }
        // 40 expected at most, standard deviation 6; and neither bound is idle.
        assert!((8..=58).contains(&share) && (8..=58).contains(&margin), "{share} {margin}");
    }
}
