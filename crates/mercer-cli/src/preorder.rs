//! `mercer preorder`: which axioms comparisons keep, their utilities, and which model they ask for.

use std::fmt::Write;
use std::path::Path;

use mercer::fit::{AntisymmetricOptions, Recommendation, Recommended, antisymmetric};
use mercer::preorder::{
    self, AxiomOptions, Axioms, Cycle, Estimated, LikelihoodOptions, NoMaximum, Rankings, Reading, Utility, axioms,
    bradley_terry, bradley_terry_by_query, no_maximum, no_maximum_of_rankings, plackett_luce,
};
use mercer::{Comparisons, with_threads};
use mercer_table::{ComparisonTable, OutColumn};
use serde::Serialize;
use serde_json::Value;

use crate::Exit;
use crate::args::{PreorderArgs, ReadingName};
use crate::console::Console;
use crate::describe::{counted, number, percent};
use crate::failure::Failure;
use crate::output;
use crate::report;
use crate::search::id_column;
use crate::source::{ComparisonSource, Source};

/// Keys whose utilities are printed.
const SHOWN: usize = 20;

/// The utility of one key.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct KeyUtility {
    /// Index of the query item and of the key item.
    #[serde(skip)]
    pub(crate) query: u32,
    #[serde(skip)]
    pub(crate) key: u32,
    pub(crate) name: String,
    /// Rank in the preorder, from 0 for the lowest; `None` where the comparisons are none.
    pub(crate) level: Option<u32>,
    /// By maximum likelihood, with its standard error.
    pub(crate) utility: Option<f64>,
    pub(crate) standard_error: Option<f64>,
}

/// What the command found, and what `--json` prints.
#[derive(Serialize)]
pub(crate) struct Found {
    pub(crate) comparisons: String,
    pub(crate) axioms: Axioms,
    /// The offending cycles, with names.
    pub(crate) cycles: Vec<String>,
    pub(crate) model: Option<&'static str>,
    /// Why there are no utilities of maximum likelihood.
    pub(crate) without_utilities: Option<String>,
    /// Best first, query by query.
    pub(crate) utilities: Vec<KeyUtility>,
    pub(crate) recommendation: Option<Recommendation>,
    pub(crate) without_recommendation: Option<String>,
    pub(crate) columns: Vec<Value>,
}

pub(crate) fn run(arguments: &PreorderArgs, console: &mut Console<'_>) -> Result<Exit, Failure> {
    let settings = &arguments.source;
    settings.check()?;
    if let Some(output) = &arguments.output {
        output::check_table(output, settings.inputs())?;
    }
    if let Some(page) = &arguments.report {
        output::check_page(page, settings.inputs())?;
    }
    if arguments.penalty.is_some_and(|a| !(a >= 0.0 && a.is_finite())) {
        return Err(Failure::usage("--penalty must be 0 or a positive number"));
    }
    let Source::Comparisons(source) = settings.read("preorder", console)? else {
        return Err(Failure::usage(
            "mercer preorder reads comparisons: two key columns such as winner and loser, a ranking column, or a PrefLib file; for pairs \
             there is mercer fit",
        ));
    };
    let found = with_threads(settings.threads, || find(&source, arguments))??;
    if let Some(path) = &arguments.output {
        write(path, &source.table, &found.utilities)?;
        console.note(format!("{}: the utilities of {}", path.display(), counted(found.utilities.len(), "key")));
    }
    if let Some(path) = &arguments.report {
        report::save(&report::preorder_page(&found, console.command()), path, console)?;
    }
    console.result(&found, &text(&found, &source, arguments))?;
    Ok(Exit::Done)
}

fn find(source: &ComparisonSource, arguments: &PreorderArgs) -> mercer::Result<Found> {
    let table = &source.table;
    let (comparisons, seed) = (&table.comparisons, arguments.source.seed());
    let reading = match arguments.reading {
        ReadingName::Majority => Reading::Majority,
        ReadingName::Every => Reading::Every,
    };
    let axioms =
        axioms(comparisons, &AxiomOptions { reading, cycles: arguments.cycles, seed, ..AxiomOptions::default() })?;
    let name = |key: u32| table.key_items().label(key as usize).to_string();
    let cycle = |cycle: &Cycle| match table.has_query {
        true => format!("{}: {}", table.queries.label(cycle.query as usize), cycle.describe(name)),
        false => cycle.describe(name),
    };
    let cycles = axioms.cycles.iter().map(cycle).collect();
    let levels: Vec<Utility> = preorder::utilities(comparisons, reading).into_iter().flatten().collect();
    let penalty = arguments.penalty.unwrap_or(0.0);
    let (model, estimates, without) = estimate(table, &LikelihoodOptions { penalty, ..LikelihoodOptions::default() })?;
    let utilities = together(table, &levels, &estimates, name);
    let (recommendation, without_recommendation) = match table.has_query {
        true => (None, Some("each query has a utility of its own: mercer fit learns them together".to_string())),
        false => recommend(comparisons, table.key_items().len(), seed),
    };
    Ok(Found {
        comparisons: source.path.display().to_string(),
        axioms,
        cycles,
        model: if estimates.is_empty() { None } else { Some(model) },
        without_utilities: without,
        utilities,
        recommendation,
        without_recommendation,
        columns: source.columns(),
    })
}

/// One query's keys with their estimates.
struct Estimate {
    query: u32,
    keys: Vec<u32>,
    estimated: Estimated,
}

type Estimates = (&'static str, Vec<Estimate>, Option<String>);

/// Utilities of maximum likelihood: Plackett and Luce's of whole rankings, else Bradley and Terry's; what has no maximum says why.
fn estimate(table: &ComparisonTable, options: &LikelihoodOptions) -> mercer::Result<Estimates> {
    let keys = table.key_items().len();
    let named = |why: Option<NoMaximum>, error: mercer::Error| match why {
        Some(why) => format!("{}; {}", why.describe(|key| table.key_items().label(key as usize)), why.remedy()),
        None => error.to_string(),
    };
    let all = |estimated| Estimate { query: 0, keys: (0..keys as u32).collect(), estimated };
    if let (Some(rankings), false) = (&table.rankings, table.has_query) {
        let places = |at: usize| rankings.places(at).map(<[u32]>::to_vec).collect();
        let orders: Vec<Vec<Vec<u32>>> = (0..rankings.len()).map(places).collect();
        let weights = (0..rankings.len()).map(|at| rankings.weight(at)).collect();
        let rankings = Rankings::new(&orders, Some(weights))?;
        return Ok(match plackett_luce(&rankings, keys, options) {
            Ok(estimated) => ("Plackett and Luce", vec![all(estimated)], None),
            Err(error) => {
                ("Plackett and Luce", Vec::new(), Some(named(no_maximum_of_rankings(&rankings, keys), error)))
            }
        });
    }
    let name = "Bradley and Terry";
    if !table.has_query {
        return Ok(match bradley_terry(&table.comparisons, keys, options) {
            Ok(estimated) => (name, vec![all(estimated)], None),
            Err(error) => (name, Vec::new(), Some(named(no_maximum(&table.comparisons, keys), error))),
        });
    }
    let (mut found, mut failed) = (Vec::new(), 0);
    for own in bradley_terry_by_query(&table.comparisons, options) {
        match own {
            Ok(own) => found.push(Estimate { query: own.query, keys: own.keys, estimated: own.estimated }),
            Err(_) => failed += 1,
        }
    }
    let why = "keys that no comparison joins, or groups between which all preferences go one way; give a penalty such as 0.01";
    let without = (failed > 0).then(|| format!("{} have {why}", counted_queries(failed)));
    Ok((name, found, without))
}

fn counted_queries(queries: usize) -> String {
    format!("{queries} quer{}", if queries == 1 { "y" } else { "ies" })
}

/// Levels and estimates of each key of each query, best first.
fn together(
    table: &ComparisonTable,
    levels: &[Utility],
    estimates: &[Estimate],
    name: impl Fn(u32) -> String,
) -> Vec<KeyUtility> {
    let mut rows = std::collections::BTreeMap::new();
    let mut row = |query: u32, key: u32, change: &dyn Fn(&mut KeyUtility)| {
        let empty = KeyUtility { query, key, name: name(key), level: None, utility: None, standard_error: None };
        change(rows.entry((query, key)).or_insert(empty));
    };
    for own in levels {
        let query = if table.has_query { own.query } else { 0 };
        for (&key, &level) in own.keys.iter().zip(&own.levels) {
            row(query, key, &|row| row.level = Some(level));
        }
    }
    for own in estimates {
        for (at, &key) in own.keys.iter().enumerate() {
            row(own.query, key, &|row| {
                row.utility = Some(own.estimated.utilities[at]);
                row.standard_error = own.estimated.standard_errors.as_ref().map(|errors| errors[at]);
            });
        }
    }
    let mut rows: Vec<KeyUtility> = rows.into_values().collect();
    let height = |row: &KeyUtility| row.utility.or(row.level.map(f64::from)).unwrap_or(f64::NEG_INFINITY);
    rows.sort_by(|a, b| a.query.cmp(&b.query).then(height(b).total_cmp(&height(a))).then(a.key.cmp(&b.key)));
    rows
}

/// Whether a utility is enough, or why nobody can tell.
fn recommend(comparisons: &Comparisons, items: usize, seed: mercer::Seed) -> (Option<Recommendation>, Option<String>) {
    match antisymmetric(comparisons, items, &AntisymmetricOptions { seed, ..AntisymmetricOptions::default() }) {
        Ok(fit) if fit.recommendation.is_none() => {
            (None, Some("there are too few comparisons to hold some out".into()))
        }
        Ok(fit) => (fit.recommendation, None),
        Err(error) => (None, Some(error.to_string())),
    }
}

fn write(path: &Path, table: &ComparisonTable, rows: &[KeyUtility]) -> Result<(), Failure> {
    let float = |of: &dyn Fn(&KeyUtility) -> Option<f64>| {
        OutColumn::Floats(rows.iter().map(|row| of(row).map_or(f32::NAN, |v| v as f32)).collect())
    };
    let mut columns = Vec::new();
    if table.has_query {
        columns.push(("query_id", id_column(&table.queries.ids, rows.iter().map(|row| row.query as usize))));
    }
    columns.push(("key_id", id_column(&table.key_items().ids, rows.iter().map(|row| row.key as usize))));
    // A column that no key has a number in is left out.
    let mut add = |name: &'static str, of: &dyn Fn(&KeyUtility) -> Option<f64>| {
        if rows.iter().any(|row| of(row).is_some()) {
            columns.push((name, float(of)));
        }
    };
    add("level", &|row| row.level.map(f64::from));
    add("utility", &|row| row.utility);
    add("standard_error", &|row| row.standard_error);
    Ok(mercer_table::write(path, &columns)?)
}

/// What the comparisons are, in lines.
pub(crate) fn axiom_lines(axioms: &Axioms) -> Vec<(&'static str, String)> {
    let all = &axioms.pooled;
    let of = |part: usize| {
        if axioms.queries == 1 { String::new() } else { format!(" ({part} of {} queries)", axioms.queries) }
    };
    let yes = |holds: bool| if holds { "yes" } else { "no" };
    let triples = match (all.triples.share, all.triples.interval) {
        (Some(share), _) if all.triples.exact => format!(
            "{} of {} completely compared triples ({})",
            all.triples.intransitive,
            all.triples.compared,
            percent(share)
        ),
        (Some(share), Some([low, high])) => format!(
            "{} of a sample of {} triples, with 95 % confidence {} to {}",
            percent(share),
            all.triples.compared,
            percent(low),
            percent(high)
        ),
        _ => "no triple of keys is completely compared".into(),
    };
    let transitive = match all.cyclic {
        0 => "yes: no strict preference contradicts a chain of others".to_string(),
        cyclic => format!(
            "no: {cyclic} of {} strict preferences ({}) contradict a chain of others",
            all.strict,
            percent(all.cyclic_share)
        ),
    };
    vec![
        (
            "complete",
            format!(
                "{}, {} of pairs are compared{}",
                yes(all.compared == all.pairs),
                percent(all.completeness),
                of(axioms.complete)
            ),
        ),
        ("connected", format!("{}{}", yes(axioms.connected == axioms.queries), of(axioms.connected))),
        ("ties", format!("{} of {} compared pairs", all.ties, all.compared)),
        ("transitive", transitive + &of(axioms.consistent)),
        ("intransitive triples", triples),
    ]
}

fn text(found: &Found, source: &ComparisonSource, arguments: &PreorderArgs) -> String {
    let all = &found.axioms.pooled;
    let reading = match arguments.reading {
        ReadingName::Majority => "the majority of a pair's weight decides",
        ReadingName::Every => "every preference counts",
    };
    let mut text = format!(
        "{}: {} of {}{}; {reading}\n",
        found.comparisons,
        counted(all.comparisons, "comparison"),
        counted(source.table.key_items().len(), "key"),
        if source.table.has_query { format!(" by {}", counted_queries(found.axioms.queries)) } else { String::new() },
    );
    for (what, value) in axiom_lines(&found.axioms) {
        let _ = writeln!(text, "  {what:<21} {value}");
    }
    if !found.cycles.is_empty() {
        let cut = if found.axioms.cycles_searched { "" } else { " (the search was cut)" };
        let _ = writeln!(text, "cycles, shortest first{cut}");
        for cycle in &found.cycles {
            let _ = writeln!(text, "  {cycle}");
        }
    }
    utility_lines(found, &source.table, &mut text);
    match (&found.recommendation, &found.without_recommendation) {
        (Some(own), _) => recommendation_lines(own, &source.path, &mut text),
        (None, Some(why)) => drop(writeln!(text, "no recommendation: {why}")),
        (None, None) => {}
    }
    text
}

fn utility_lines(found: &Found, table: &ComparisonTable, text: &mut String) {
    if let Some(why) = &found.without_utilities {
        let _ = writeln!(text, "no utilities of maximum likelihood: {why} (--penalty)");
    }
    if table.has_query {
        let _ = writeln!(text, "utilities of {} keys of the queries; -o FILE writes them", found.utilities.len());
        return;
    }
    match (found.model, found.utilities.first()) {
        (Some(model), _) => drop(writeln!(text, "utilities ({model}, maximum likelihood; differences are log-odds)")),
        (None, Some(_)) => drop(writeln!(text, "levels of the preorder, the lowest is 0")),
        (None, None) => return,
    }
    for (rank, row) in found.utilities.iter().take(SHOWN).enumerate() {
        let level = row.level.map(|level| format!("  level {level}")).unwrap_or_default();
        let utility = row.utility.map(|u| format!("  {:>9}", number(u))).unwrap_or_default();
        let error = row.standard_error.map(|e| format!(" +- {}", number(e))).unwrap_or_default();
        let _ = writeln!(text, "  {:>3}{utility}{error}{level}  {}", rank + 1, row.name);
    }
    if found.utilities.len() > SHOWN {
        let _ = writeln!(text, "  ... {} more; -o FILE writes all", found.utilities.len() - SHOWN);
    }
}

/// Both models' figures on comparisons that neither has seen, best first.
pub(crate) fn rivals(own: &Recommendation) -> [(&'static str, mercer::fit::HeldOutOrder); 2] {
    let both = [("utility", own.bradley_terry), ("antisymmetric", own.antisymmetric)];
    if own.model == Recommended::Utility { both } else { [both[1], both[0]] }
}

fn recommendation_lines(own: &Recommendation, path: &Path, text: &mut String) {
    let (name, command) = match own.model {
        Recommended::Utility => ("a utility", format!("mercer fit {}", path.display())),
        Recommended::Antisymmetric => {
            ("the antisymmetric model", format!("mercer fit {} --method antisymmetric", path.display()))
        }
    };
    let _ = writeln!(text, "recommended: {name}: {}", own.reason);
    for (name, figures) in rivals(own) {
        let _ = writeln!(
            text,
            "  {name:<14} {:.4} of {} in the right order, log loss {:.4}",
            figures.ordered.mean,
            counted(own.comparisons, "held-out comparison"),
            figures.log_loss
        );
    }
    let _ = writeln!(text, "  {command}");
}
