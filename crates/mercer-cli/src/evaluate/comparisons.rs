//! `mercer evaluate` on comparisons: how often the preferred key has the larger utility.

use mercer::evaluate::{OrderSummary, Scorer};
use mercer::{Comparisons, Model, Split, with_threads};
use mercer_table::ComparisonTable;
use serde::Serialize;

use crate::Exit;
use crate::args::{EvaluateArgs, SplitName};
use crate::console::Console;
use crate::describe;
use crate::failure::Failure;
use crate::relation;

/// What `evaluate --json` prints of comparisons.
#[derive(Serialize)]
struct Report {
    model: String,
    order: OrderSummary,
}

pub(super) fn evaluate(
    arguments: &EvaluateArgs,
    model: &Model,
    table: &ComparisonTable,
    console: &mut Console<'_>,
) -> Result<Exit, Failure> {
    if arguments.error.is_some() || arguments.ranking {
        return Err(Failure::usage("--error and --ranking are for pairs: comparisons have an order only"));
    }
    console.detail(describe::roles(&table.roles).trim_end());
    let chosen = chosen(table, arguments)?;
    let keys = table.keys.as_ref().map(|k| &k.features);
    let scorer = with_threads(arguments.threads, || Scorer::new(&model.encoder, &table.queries.features, keys))??;
    let differences: Vec<f64> = (0..chosen.len())
        .map(|c| {
            let (query, preferred, other) = (chosen.query()[c], chosen.preferred()[c], chosen.other()[c]);
            scorer.score(query, preferred) - scorer.score(query, other)
        })
        .collect();
    let Some(order) = OrderSummary::new(&chosen, &differences, true) else {
        let message = format!("{}: no comparison is left to evaluate; check --only", arguments.pairs.display());
        return Err(Failure { message, exit: Exit::Failed });
    };
    let text = relation::order("comparisons", &order);
    console.result(&Report { model: arguments.model.display().to_string(), order }, &text)?;
    Ok(Exit::Done)
}

/// The comparisons of the split that was asked for.
fn chosen(table: &ComparisonTable, arguments: &EvaluateArgs) -> Result<Comparisons, Failure> {
    let Some(only) = arguments.only else { return Ok(table.comparisons.clone()) };
    let wanted = match only {
        SplitName::Train => Split::Train,
        SplitName::Valid => Split::Valid,
        SplitName::Test => Split::Test,
    };
    let Some(split) = table.effective_split() else {
        let message = format!("{}: --only needs a column that says train, valid or test", arguments.pairs.display());
        return Err(Failure::usage(message));
    };
    let own: Vec<usize> = (0..split.len()).filter(|&c| split[c] == wanted).collect();
    Ok(table.comparisons.select(&own))
}
