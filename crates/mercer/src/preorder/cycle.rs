//! Cycles: why a relation is not a preorder.

use std::fmt;

use serde::Serialize;

use crate::error::Error;
use crate::preorder::graph::Graph;
use crate::preorder::observed::Observed;

/// `k_0 > k_1 >= ... >= k_0`: no utility orders these keys as the comparisons do.
///
/// Displayed with item indices; [`Cycle::describe`] takes names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cycle {
    /// The query whose relation it is of.
    pub query: u32,
    /// Item indices; each key stands above, or beside, the next, and the last one above or beside the first.
    pub keys: Vec<u32>,
    /// Whether each key only stands beside the next.
    pub ties: Vec<bool>,
}

impl Cycle {
    pub(crate) fn new(observed: &Observed, graph: &Graph, places: &[u32]) -> Cycle {
        let tie = |i: usize| graph.order_of(places[i] as usize, places[(i + 1) % places.len()]) == Some(0);
        Cycle {
            query: observed.query,
            keys: places.iter().map(|&p| observed.keys[p as usize]).collect(),
            ties: (0..places.len()).map(tie).collect(),
        }
    }

    /// `a > b ~ c > a` with the names of keys, `~` for ties.
    ///
    /// ```
    /// use mercer::preorder::Cycle;
    /// let cycle = Cycle { query: 0, keys: vec![0, 2, 1], ties: vec![false, true, false] };
    /// assert_eq!(cycle.describe(|key| ["rock", "paper", "scissors"][key as usize].into()), "rock > scissors ~ paper > rock");
    /// ```
    pub fn describe(&self, name: impl Fn(u32) -> String) -> String {
        let mut text = String::new();
        for (&key, &tie) in self.keys.iter().zip(&self.ties) {
            text += &name(key);
            text += if tie { " ~ " } else { " > " };
        }
        text + &self.keys.first().map_or(String::new(), |&key| name(key))
    }
}

impl fmt::Display for Cycle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.describe(|key| key.to_string()))
    }
}

impl std::error::Error for Cycle {}

impl From<Cycle> for Error {
    fn from(cycle: Cycle) -> Error {
        const SHOWN: usize = 12;
        let keys = cycle.keys.len();
        let text = match keys > SHOWN {
            true => {
                let part =
                    Cycle { keys: cycle.keys[..SHOWN].to_vec(), ties: cycle.ties[..SHOWN - 1].to_vec(), ..cycle };
                let own = part.keys.iter().zip(part.ties.iter().chain([&false]));
                let shown: Vec<String> =
                    own.map(|(key, tie)| format!("{key}{}", if *tie { " ~" } else { " >" })).collect();
                format!("{} ... ({keys} keys)", shown.join(" "))
            }
            false => cycle.to_string(),
        };
        Error::data(
            format!("the comparisons of query {} are no preorder: keys {text} are a cycle", cycle.query),
            "remove contradictory comparisons, estimate a utility by maximum likelihood, or fit an antisymmetric model",
        )
    }
}
