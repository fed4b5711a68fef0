//! Positive cells as lists, equal lists once.
//!
//! Items with the same list of related items (with the same strengths) have the same embedding in every minimum that
//! alternating solves reach, so a class of such items is solved once and counted as often as it has members. Items
//! without pairs have embedding zero and are left out. Nothing is approximated: sums over items become sums over
//! classes times their sizes.

use std::collections::HashMap;

use crate::relation::Pairs;

/// Class of items without pairs.
pub(crate) const NONE: u32 = u32::MAX;

/// One side's classes of items with equal lists, and their lists.
#[derive(Debug, PartialEq)]
pub(crate) struct Lists {
    /// Class of each item, or [`NONE`].
    pub(crate) class: Vec<u32>,
    /// Items of each class.
    pub(crate) size: Vec<f32>,
    /// Where the list of each class starts, and where the last one ends.
    pub(crate) starts: Vec<usize>,
    /// Classes of the other side, in increasing order.
    pub(crate) other: Vec<u32>,
    /// Strength of each cell.
    pub(crate) strength: Vec<f32>,
}

impl Lists {
    pub(crate) fn classes(&self) -> usize {
        self.size.len()
    }

    pub(crate) fn list(&self, class: usize) -> std::ops::Range<usize> {
        self.starts[class]..self.starts[class + 1]
    }
}

/// Each positive cell once, `(item, item of the other side, summed strength)`, sorted.
fn cells(pairs: &Pairs) -> Vec<(u32, u32, f32)> {
    let chunk = pairs.chunk();
    let strength = |p: usize| chunk.value[p] * chunk.weight.map_or(1.0, |w| w[p]);
    let mut all: Vec<(u32, u32, f32)> =
        (0..pairs.len()).filter(|&p| chunk.value[p] > 0.0).map(|p| (chunk.x[p], chunk.y[p], strength(p))).collect();
    all.sort_by_key(|&(x, y, _)| (x, y));
    all.dedup_by(|next, kept| {
        let same = (next.0, next.1) == (kept.0, kept.1);
        if same {
            kept.2 += next.2;
        }
        same
    });
    all
}

/// Class of each item, and a representative of each class, its first item.
fn classes(cells: &[(u32, u32, f32)], items: usize) -> (Vec<u32>, Vec<u32>) {
    let (mut class, mut first) = (vec![NONE; items], Vec::new());
    let mut known: HashMap<Vec<(u32, u32)>, u32> = HashMap::new();
    for own in cells.chunk_by(|a, b| a.0 == b.0) {
        let list = own.iter().map(|c| (c.1, c.2.to_bits())).collect();
        class[own[0].0 as usize] = *known.entry(list).or_insert_with(|| {
            first.push(own[0].0);
            first.len() as u32 - 1
        });
    }
    (class, first)
}

/// The lists of both sides of the positive pairs among `queries` and `keys` items.
pub(crate) fn both_sides(pairs: &Pairs, [queries, keys]: [usize; 2]) -> [Lists; 2] {
    let by_query = cells(pairs);
    let mut by_key: Vec<(u32, u32, f32)> = by_query.iter().map(|&(x, y, s)| (y, x, s)).collect();
    by_key.sort_by_key(|&(y, x, _)| (y, x));
    let (query, key) = (classes(&by_query, queries), classes(&by_key, keys));
    // Equal items stand in the same lists, so that a representative stands for all of its class.
    let side = |cells: &[(u32, u32, f32)], own: &(Vec<u32>, Vec<u32>), other: &(Vec<u32>, Vec<u32>)| {
        let mut lists = Lists {
            class: own.0.clone(),
            size: vec![0.0; own.1.len()],
            starts: vec![0; own.1.len() + 1],
            other: Vec::new(),
            strength: Vec::new(),
        };
        own.0.iter().filter(|c| **c != NONE).for_each(|&c| lists.size[c as usize] += 1.0);
        // Classes are numbered by their first item, so that this walks through them in order.
        for &(x, y, strength) in cells {
            let (class, other_class) = (own.0[x as usize], other.0[y as usize]);
            if own.1[class as usize] == x && other.1[other_class as usize] == y {
                lists.other.push(other_class);
                lists.strength.push(strength);
                lists.starts[class as usize + 1] = lists.other.len();
            }
        }
        lists
    };
    [side(&by_query, &query, &key), side(&by_key, &key, &query)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_lists_are_one_class_and_unrelated_items_none() {
        // Queries 0 and 3 have the same list, query 1 another strength, query 2 none; keys 1 and 2 are alike.
        let x = vec![0, 0, 3, 3, 1, 1, 1, 4];
        let y = vec![1, 2, 2, 1, 1, 2, 1, 4];
        let value = vec![1.0, 1.0, 1.0, 1.0, 1.0, 2.0, 1.0, 0.0];
        let [queries, keys] = both_sides(&Pairs::new(x, y, value, None).unwrap(), [5, 5]);
        assert_eq!(queries.class, [0, 1, NONE, 0, NONE]);
        assert_eq!(queries.size, [2.0, 1.0]);
        assert_eq!((queries.other.as_slice(), queries.strength.as_slice()), (&[0, 0][..], &[1.0, 2.0][..]));
        assert_eq!((keys.class, keys.size), (vec![NONE, 0, 0, NONE, NONE], vec![2.0]));
        assert_eq!((keys.other, keys.strength, keys.starts), (vec![0, 1], vec![1.0, 2.0], vec![0, 2]));
    }
}
