//! Whether a likelihood of preferences has a maximum.

use crate::error::{Error, Result};
use crate::preorder::graph::{Arrows, Components, Graph};

/// Keys of a part that an error names.
const NAMED: usize = 4;
/// Parts that an error names.
const PARTS: usize = 4;

/// Refuses a beat graph that is not strongly connected: then utilities of some keys run away from others (Ford 1957).
///
/// Keys from `items` on are auxiliary, and are not named.
pub(crate) fn check(graph: &Graph, items: usize) -> Result<()> {
    let parts = graph.components(Arrows::All);
    let own = members(&parts, items);
    if own.len() > 1 {
        let problem = format!(
            "the comparison graph falls into {} parts that no comparison joins ({}), so their utilities cannot be compared",
            own.len(),
            described(&own)
        );
        return Err(Error::data(
            problem,
            "give a penalty such as 0.01, estimate each part by itself, or add comparisons between them",
        ));
    }
    let strong = graph.components(Arrows::Beats);
    let own = members(&strong, items);
    if own.len() > 1 {
        let problem = format!(
            "the likelihood has no finite maximum: the keys fall into {} groups between which all preferences go one way ({}; \
             Ford 1957)",
            own.len(),
            described(&own)
        );
        return Err(Error::data(problem, "give a penalty such as 0.01, or add comparisons between the groups"));
    }
    Ok(())
}

/// The items of each component, largest first.
fn members(components: &Components, items: usize) -> Vec<Vec<usize>> {
    let mut own = vec![Vec::new(); components.count];
    (0..items).for_each(|i| own[components.of[i] as usize].push(i));
    own.retain(|keys| !keys.is_empty());
    own.sort_by_key(|keys| (std::cmp::Reverse(keys.len()), keys[0]));
    own
}

fn described(own: &[Vec<usize>]) -> String {
    let part = |keys: &Vec<usize>| {
        let named: Vec<String> = keys.iter().take(NAMED).map(usize::to_string).collect();
        let dots = if keys.len() > NAMED { ", ..." } else { "" };
        format!("{} key{}: {}{dots}", keys.len(), if keys.len() == 1 { "" } else { "s" }, named.join(", "))
    };
    let mut text: Vec<String> = own.iter().take(PARTS).map(part).collect();
    if own.len() > PARTS {
        text.push(format!("and {} smaller ones", own.len() - PARTS));
    }
    text.join("; ")
}
