//! Whether a likelihood of preferences has a maximum.

use std::fmt;

use serde::Serialize;

use crate::error::Error;
use crate::preorder::graph::{Arrows, Components, Graph};
use crate::preorder::observed::{Reading, pooled};
use crate::preorder::plackett_luce::beats;
use crate::preorder::rankings::Rankings;
use crate::relation::Comparisons;

/// Keys of a part that an error names.
const NAMED: usize = 4;
/// Parts that an error names.
const PARTS: usize = 4;

/// Why a likelihood of preferences has no unique finite maximum (Ford 1957).
///
/// Displayed with item indices; [`NoMaximum::describe`] takes names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NoMaximum {
    /// Item indices, largest group first: groups that no comparison joins, or between which all preferences go one way.
    pub groups: Vec<Vec<u32>>,
    /// Whether comparisons join the groups, one way.
    pub joined: bool,
}

impl NoMaximum {
    /// In a sentence, with the names of some keys of each group.
    ///
    /// ```
    /// use mercer::{Comparisons, preorder::no_maximum};
    /// let unbeaten = Comparisons::new(vec![0], vec![0], vec![1], None)?;
    /// let why = no_maximum(&unbeaten, 2).unwrap();
    /// assert!(why.joined && why.describe(|key| ["ann", "bob"][key as usize].into()).contains("ann"));
    /// # Ok::<(), mercer::Error>(())
    /// ```
    pub fn describe(&self, name: impl Fn(u32) -> String) -> String {
        let (count, groups) = (self.groups.len(), described(&self.groups, name));
        match self.joined {
            true => format!(
                "the likelihood has no finite maximum: the keys fall into {count} groups between which all preferences go one \
                 way ({groups}; Ford 1957)"
            ),
            false => format!(
                "the comparison graph falls into {count} parts that no comparison joins ({groups}), so their utilities cannot be \
                 compared"
            ),
        }
    }

    /// What to do about it.
    pub fn remedy(&self) -> &'static str {
        match self.joined {
            true => "give a penalty such as 0.01, or add comparisons between the groups",
            false => "give a penalty such as 0.01, estimate each part by itself, or add comparisons between them",
        }
    }
}

impl fmt::Display for NoMaximum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.describe(|key| key.to_string()))
    }
}

impl std::error::Error for NoMaximum {}

impl From<NoMaximum> for Error {
    fn from(why: NoMaximum) -> Error {
        Error::data(why.to_string(), why.remedy())
    }
}

/// Why [`bradley_terry`](crate::preorder::bradley_terry) has no maximum without a penalty; `None` where it has one.
pub fn no_maximum(comparisons: &Comparisons, keys: usize) -> Option<NoMaximum> {
    check(&Graph::new(keys, &pooled(comparisons), Reading::Majority), keys).err()
}

/// Why [`plackett_luce`](crate::preorder::plackett_luce) has no maximum without a penalty; `None` where it has one.
pub fn no_maximum_of_rankings(rankings: &Rankings, keys: usize) -> Option<NoMaximum> {
    check(&beats(rankings, keys), keys).err()
}

/// Refuses a beat graph that is not strongly connected: then utilities of some keys run away from others.
///
/// Keys from `items` on are auxiliary, and are not named.
pub(crate) fn check(graph: &Graph, items: usize) -> Result<(), NoMaximum> {
    for (arrows, joined) in [(Arrows::All, false), (Arrows::Beats, true)] {
        let groups = members(&graph.components(arrows), items);
        if groups.len() > 1 {
            return Err(NoMaximum { groups, joined });
        }
    }
    Ok(())
}

/// The items of each component, largest first.
fn members(components: &Components, items: usize) -> Vec<Vec<u32>> {
    let mut own = vec![Vec::new(); components.count];
    (0..items).for_each(|i| own[components.of[i] as usize].push(i as u32));
    own.retain(|keys| !keys.is_empty());
    own.sort_by_key(|keys| (std::cmp::Reverse(keys.len()), keys[0]));
    own
}

fn described(own: &[Vec<u32>], name: impl Fn(u32) -> String) -> String {
    let part = |keys: &Vec<u32>| {
        let named: Vec<String> = keys.iter().take(NAMED).map(|&key| name(key)).collect();
        let dots = if keys.len() > NAMED { ", ..." } else { "" };
        format!("{} key{}: {}{dots}", keys.len(), if keys.len() == 1 { "" } else { "s" }, named.join(", "))
    };
    let mut text: Vec<String> = own.iter().take(PARTS).map(part).collect();
    if own.len() > PARTS {
        text.push(format!("and {} smaller ones", own.len() - PARTS));
    }
    text.join("; ")
}
