//! Which columns of a table are the sides of comparisons: query, preferred and other key.

use crate::column::Type;
use crate::error::{Result, TableError};
use crate::options::ReadOptions;
use crate::rankings::{BETTER, WORSE};
use crate::relation::RelationKind;
use crate::schema::{Compared, Schema};
use crate::sides::{ASKING, Finder, OTHER, PREFERRED, Side, Sides, Slot, label_of, names_pairs, present};
use crate::source::Table;

/// Names of the preferred and the other key; the last are those of triplets.
const FAMILIES: [(&str, &str); 5] = [
    ("better", "worse"),
    ("preferred", "other"),
    ("winner", "loser"),
    ("chosen", "rejected"),
    ("positive", "negative"),
];
/// Names of the query of preferences, which may be missing.
const QUERIES: [&str; 3] = ["query", "prompt", "user"];
/// Names of the query of triplets; an anchor is of one kind with its keys.
const ANCHORS: [&str; 2] = ["anchor", "query"];

/// A table's comparisons.
pub(crate) struct Found {
    pub(crate) kind: RelationKind,
    /// Why, in words.
    pub(crate) reason: String,
    query: Option<Name>,
    better: Name,
    worse: Name,
}

/// How a side is named: by its column, or by the label before `_id`.
#[derive(Clone, PartialEq)]
enum Name {
    Column(String),
    Label(String),
}

impl Name {
    fn label(&self) -> String {
        match self {
            Name::Column(name) => label_of(name),
            Name::Label(label) => label.clone(),
        }
    }

    fn written(&self) -> &str {
        match self {
            Name::Column(name) | Name::Label(name) => name,
        }
    }
}

/// Finds the comparisons of `table`; `None`: its rows are pairs.
pub(crate) fn detect(table: &Table, options: &ReadOptions, stored: Option<&Schema>) -> Result<Option<Found>> {
    let forced = options.relation.filter(|kind| kind.is_comparison());
    let named = [&options.query, &options.better, &options.worse].into_iter().any(Option::is_some);
    if let (Some(kind), None, true) = (options.relation, forced, named) {
        let problem = format!("--relation {kind} speaks of pairs, where these name the sides of comparisons");
        let flags = "--query, --better and --worse";
        return Err(TableError::usage(flags, problem, "say --relation preferences, or use --x and --y"));
    }
    if options.relation.is_some() && forced.is_none() {
        return Ok(None);
    }
    let asked = forced.is_some() || named;
    if let (true, Some(key)) = (asked, &options.y) {
        let problem = format!("names the key `{key}` of pairs, where a row compares two keys");
        return Err(TableError::usage("--y", problem, "name them with --better COL --worse COL"));
    }
    let of_fit = stored.and_then(|s| s.columns.compared.as_ref());
    let pairs_named = options.x.is_some() || options.y.is_some();
    if !asked && (pairs_named || (stored.is_some() && of_fit.is_none())) {
        return Ok(None);
    }
    let rivals = rivals(table, options, of_fit, forced);
    let Some((better, worse)) = rivals else {
        return if asked { Err(absent(table, forced)) } else { Ok(None) };
    };
    let triplets = better.label() == "positive" && ANCHORS.iter().any(|label| present(table, label));
    let known = of_fit.is_some_and(|c| c.better == better.label());
    // Names of pairs come first where nobody asked for comparisons; `positive` and `negative` need an anchor.
    if !asked && !known && (names_pairs(table) || (better.label() == "positive" && !triplets)) {
        return Ok(None);
    }
    let kind = match (forced, stored) {
        (Some(kind), _) => kind,
        (None, Some(schema)) if schema.kind().is_comparison() => schema.kind(),
        (None, _) if triplets => RelationKind::Triplets,
        (None, _) => RelationKind::Preferences,
    };
    let query = query(table, options, kind, of_fit)?;
    let reason = reason(forced, query.as_ref(), &better, &worse);
    Ok(Some(Found { kind, reason, query, better, worse }))
}

/// The comparisons of a table that rankings were made into.
pub(crate) fn detect_ranked(table: &Table, options: &ReadOptions, stored: Option<&Schema>) -> Result<Found> {
    let of_fit = stored.and_then(|s| s.columns.compared.as_ref());
    let query = query(table, options, RelationKind::Preferences, of_fit)?;
    let (better, worse) = (Name::Label(BETTER.into()), Name::Label(WORSE.into()));
    Ok(Found { kind: RelationKind::Preferences, reason: "a column of rankings".into(), query, better, worse })
}

/// The names of the preferred and the other key: those of the options, of the fit, or of the first family there is.
fn rivals(
    table: &Table,
    options: &ReadOptions,
    of_fit: Option<&Compared>,
    forced: Option<RelationKind>,
) -> Option<(Name, Name)> {
    let mut families: Vec<(&str, &str)> = FAMILIES.to_vec();
    if forced == Some(RelationKind::Triplets) {
        families.rotate_right(1);
    }
    families.splice(0..0, of_fit.map(|c| (c.better.as_str(), c.worse.as_str())));
    let column = |name: &Option<String>| name.clone().map(Name::Column);
    let label = |name: &str| Name::Label(name.to_string());
    match (column(&options.better), column(&options.worse)) {
        (Some(better), Some(worse)) => Some((better, worse)),
        (Some(better), None) => {
            let worse = families.iter().map(|f| f.1).find(|name| present(table, name))?;
            Some((better, label(worse)))
        }
        (None, Some(worse)) => {
            let better = families.iter().map(|f| f.0).find(|name| present(table, name))?;
            Some((label(better), worse))
        }
        (None, None) => {
            let (better, worse) = families.into_iter().find(|(a, b)| present(table, a) && present(table, b))?;
            Some((label(better), label(worse)))
        }
    }
}

fn query(table: &Table, options: &ReadOptions, kind: RelationKind, of_fit: Option<&Compared>) -> Result<Option<Name>> {
    if let Some(name) = options.query.as_ref().or(options.x.as_ref()) {
        return Ok(Some(Name::Column(name.clone())));
    }
    let needed = |label: &str| {
        let remedy = "name the column with --query COL";
        Err(table.missing(&format!("`{label}` of queries"), remedy))
    };
    let first = |labels: &[&str]| labels.iter().find(|l| present(table, l)).map(|l| Name::Label((*l).to_string()));
    match (of_fit, kind) {
        (Some(Compared { query: None, .. }), _) => Ok(None),
        (Some(Compared { query: Some(label), .. }), _) => match first(&[label]).or_else(|| first(&QUERIES)) {
            Some(name) => Ok(Some(name)),
            None if table.find(label).is_some() => Ok(Some(Name::Column(label.clone()))),
            None => needed(label),
        },
        (None, RelationKind::Triplets) => match first(&ANCHORS) {
            Some(name) => Ok(Some(name)),
            None => needed("anchor"),
        },
        (None, _) => Ok(first(&QUERIES).or_else(|| first(&ANCHORS))),
    }
}

fn reason(forced: Option<RelationKind>, query: Option<&Name>, better: &Name, worse: &Name) -> String {
    let names: Vec<String> = query.into_iter().chain([better, worse]).map(|n| format!("`{}`", n.written())).collect();
    let listed = match names.as_slice() {
        [a, b, c] => format!("columns {a}, {b} and {c}"),
        names => format!("columns {}", names.join(" and ")),
    };
    forced.map_or(listed.clone(), |kind| format!("--relation {kind}, {listed}"))
}

fn absent(table: &Table, forced: Option<RelationKind>) -> TableError {
    if forced == Some(RelationKind::Triplets) {
        let wanted = "for triplets, such as `anchor`, `positive` and `negative`";
        return table.missing(wanted, "name them with --query COL --better COL --worse COL");
    }
    let wanted = "for preferences, such as `better` and `worse`, `preferred` and `other`, `winner` and `loser`, `chosen` \
                  and `rejected`";
    table.missing(wanted, "name them with --better COL --worse COL, and a query with --query COL")
}

impl Found {
    /// The sides of these comparisons.
    pub(crate) fn sides(
        &self,
        table: &Table,
        options: &ReadOptions,
        with_items: bool,
        stored: Option<&Schema>,
    ) -> Result<Sides> {
        let finder = Finder::new(table, options, with_items, stored);
        let label = self.query.as_ref().map(Name::label);
        let alike = match label.as_deref() {
            Some("anchor") => Some(true),
            Some(name) if QUERIES.contains(&name) => Some(false),
            _ => None,
        };
        let of_keys = self.better.label();
        let shared = label.clone().filter(|_| alike != Some(false)).unwrap_or_else(|| of_keys.clone());
        let side = |name: &Name, slot: Slot, canonical: &str| match name {
            Name::Column(column) => finder.explicit_side(column, label_of(column), canonical, slot),
            Name::Label(label) => finder.gather(label, canonical, slot, true),
        };
        let own = if alike == Some(false) { label.unwrap_or_default() } else { shared.clone() };
        let query = self.query.as_ref().map(|name| side(name, ASKING, &own)).transpose()?;
        let keys = vec![side(&self.better, PREFERRED, &shared)?, side(&self.worse, OTHER, &shared)?];
        let mut sides = Sides { query, keys, alike };
        one_reading(table, &mut sides, &shared);
        own_columns(table, &sides)?;
        finder.check_ids(&sides)?;
        Ok(sides)
    }

    /// What the table calls the keys, the one named first and the other.
    pub(crate) fn keys(&self) -> [&str; 2] {
        [self.better.written(), self.worse.written()]
    }

    /// Whether the names of the keys say which of them is better.
    pub(crate) fn telling(&self) -> bool {
        let better = self.better.label();
        FAMILIES.iter().any(|family| family.0 == better)
    }

    /// What the sides are called, for the schema.
    pub(crate) fn compared(&self) -> Compared {
        let (better, worse) = (self.better.label(), self.worse.label());
        Compared { query: self.query.as_ref().map(Name::label), better, worse }
    }
}

/// Reads columns of one kind in one way: if one is text, the others are no ids because most of their texts are short.
fn one_reading(table: &Table, sides: &mut Sides, canonical: &str) {
    let query = sides.query.as_mut().filter(|_| sides.alike == Some(true));
    let mut own: Vec<&mut Side> = query.into_iter().chain(&mut sides.keys).collect();
    if !own.iter().any(|side| side.bare) {
        return;
    }
    for side in own.iter_mut().filter(|side| !side.bare) {
        if let Some(at) = side.id.filter(|&at| *table.kind(at) == Type::Text && !table.names()[at].ends_with("_id")) {
            side.id = None;
            side.bare = true;
            side.inline.insert(0, (at, canonical.to_string()));
        }
    }
}

/// Refuses a column that serves two sides.
fn own_columns(table: &Table, sides: &Sides) -> Result<()> {
    let all = sides.all();
    for (i, side) in all.iter().enumerate() {
        if let (Some(at), Some(other)) =
            (side.own_column(), all[..i].iter().find(|s| s.own_column() == side.own_column()))
        {
            let flags = format!("{} and {}", other.slot.flag, side.slot.flag);
            let problem = format!("both name the column `{}`", table.names()[at]);
            return Err(TableError::usage(flags, problem, "name a column of its own for each side"));
        }
    }
    Ok(())
}
