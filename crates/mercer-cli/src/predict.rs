//! `mercer predict`, and how verbs read pairs for a model.

use std::path::Path;

use mercer::evaluate::Scorer;
use mercer::pipeline::Population;
use mercer::{Model, Split, with_threads};
use mercer_table::{Input, ItemInputs, Observed, OutColumn, PairTable, ReadOptions, Schema};
use serde_json::json;

use crate::Exit;
use crate::args::{ItemArgs, PredictArgs, SplitName};
use crate::console::Console;
use crate::describe;
use crate::failure::Failure;
use crate::output;

/// The input schema of a model that reads tables.
pub(crate) fn schema(model: &Model, path: &Path) -> Result<Schema, Failure> {
    if model.record.schema.is_null() {
        let message = format!("{}: the model was made without tables and cannot read them", path.display());
        return Err(Failure { message, exit: Exit::Failed });
    }
    let schema = Schema::from_json(&model.record.schema.to_string())
        .map_err(|e| Failure { message: format!("{}: {e}", path.display()), exit: Exit::Failed })?;
    let expected = [(&schema.queries, model.encoder.query()), (schema.key_side(), model.encoder.key())];
    if expected.iter().any(|(side, tower)| side.dim() != tower.inputs()) {
        let message =
            format!("{}: the schema and the towers of the model do not fit together; fit again", path.display());
        return Err(Failure { message, exit: Exit::Failed });
    }
    Ok(schema)
}

/// Reads a table of pairs as the model reads it.
pub(crate) fn read(
    model: &Model,
    path: &Path,
    pairs: &Path,
    items: &ItemArgs,
    options: &ReadOptions,
) -> Result<PairTable, Failure> {
    Ok(mercer_table::read_with(&schema(model, path)?, &Input::new(pairs), &inputs(items), options)?)
}

/// As [`read`], where the table may hold comparisons.
pub(crate) fn read_observed(
    model: &Model,
    path: &Path,
    table: &Path,
    items: &ItemArgs,
    options: &ReadOptions,
) -> Result<Observed, Failure> {
    Ok(mercer_table::read_relation_with(&schema(model, path)?, &Input::new(table), &inputs(items), options)?)
}

fn inputs(items: &ItemArgs) -> ItemInputs {
    match (&items.items, &items.queries, &items.keys) {
        (Some(items), ..) => ItemInputs::Shared(Input::new(items)),
        (None, Some(queries), Some(keys)) => ItemInputs::Two { queries: Input::new(queries), keys: Input::new(keys) },
        _ => ItemInputs::None,
    }
}

/// Predicted values of all pairs.
pub(crate) fn scores(model: &Model, table: &PairTable, threads: Option<usize>) -> Result<Vec<f64>, Failure> {
    let keys = table.keys.as_ref().map(|k| &k.features);
    Ok(with_threads(threads, || {
        Scorer::new(&model.encoder, &table.queries.features, keys).map(|scorer| scorer.scores(&table.pairs))
    })??)
}

pub(crate) fn predict(arguments: &PredictArgs, console: &mut Console<'_>) -> Result<Exit, Failure> {
    let items = &arguments.items;
    let inputs = [
        Some(&arguments.model),
        Some(&arguments.pairs),
        items.items.as_ref(),
        items.queries.as_ref(),
        items.keys.as_ref(),
    ];
    output::check_table(&arguments.output, inputs.into_iter().flatten().map(|p| p.as_path()))?;
    let model = Model::load(&arguments.model)?;
    let table = read(&model, &arguments.model, &arguments.pairs, &arguments.items, &ReadOptions::default())?;
    console.detail(describe::roles(&table.roles).trim_end());
    let scores = scores(&model, &table, arguments.threads)?;
    let mut columns: Vec<(&str, OutColumn)> = table.columns.iter().map(|(n, c)| (n.as_str(), c.clone())).collect();
    columns.push(("prediction", OutColumn::Floats(scores.iter().map(|&s| s as f32).collect())));
    mercer_table::write(&arguments.output, &columns)?;
    let report = json!({"output": arguments.output.display().to_string(), "pairs": scores.len()});
    console.result(&report, &format!("{}: {} predictions\n", arguments.output.display(), scores.len()))?;
    Ok(Exit::Done)
}

/// Refuses pairs without anything to compare with.
pub(crate) fn check_values(table: &PairTable, path: &Path) -> Result<(), Failure> {
    if table.has_value || table.positives_only {
        return Ok(());
    }
    let message = format!("{}: there is no value column to compare with; name it with --value", path.display());
    Err(Failure { message, exit: Exit::Failed })
}

/// The pairs of one split, all of them without a wish; `path` names the table in messages.
pub(crate) fn chosen_pairs(table: &PairTable, only: Option<SplitName>, path: &Path) -> Result<Vec<usize>, Failure> {
    let Some(only) = only else { return Ok((0..table.len()).collect()) };
    let wanted = match only {
        SplitName::Train => Split::Train,
        SplitName::Valid => Split::Valid,
        SplitName::Test => Split::Test,
    };
    let split = table.effective_split().ok_or_else(|| {
        Failure::usage(format!("--only needs a split column; {} has none (--split COL names one)", path.display()))
    })?;
    Ok((0..table.len()).filter(|&p| split[p] == wanted).collect())
}

/// The population of each chosen pair.
pub(crate) fn populations(model: &Model, table: &PairTable, chosen: &[usize]) -> Vec<(usize, Population)> {
    let chunk = table.pairs.chunk();
    let known = |side: usize, i: u32| {
        let items = if side == 0 { &table.queries } else { table.key_items() };
        model.known[side].binary_search(&items.fingerprints[i as usize]).is_ok()
    };
    chosen.iter().map(|&p| (p, Population::of(known(0, chunk.x[p]), known(1, chunk.y[p])))).collect()
}
