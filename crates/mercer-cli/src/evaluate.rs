//! `mercer evaluate`: errors on pairs with known values, and rankings among all keys.

mod comparisons;
mod ranking;
mod text;

pub(crate) use text::full_ranking;

use mercer::evaluate::{Calibration, CalibrationOptions, QueryAgreement, Ranking, Summary};
use mercer::fit::Target;
use mercer::pipeline::{FullRanking, Population};
use mercer::{Model, with_threads};
use mercer_table::{Observed, ReadOptions, RelationKind};
use serde::Serialize;

use crate::Exit;
use crate::args::EvaluateArgs;
use crate::console::Console;
use crate::describe;
use crate::failure::Failure;
use crate::predict::{check_values, chosen_pairs, populations, read_observed, scores};
use crate::relation;
use crate::settings::target;

/// What `evaluate --json` prints.
#[derive(Serialize)]
struct Report {
    model: String,
    all: Summary,
    populations: Vec<(Population, Summary)>,
    /// Order within queries, where values have one.
    query_agreement: Option<QueryAgreement>,
    ranking: Option<Ranking>,
    full_ranking: Option<FullRanking>,
    /// Of labels, where the model's values are probabilities.
    calibration: Option<Calibration>,
    target_met: Option<bool>,
}

pub(crate) fn evaluate(arguments: &EvaluateArgs, console: &mut Console<'_>) -> Result<Exit, Failure> {
    let goal = arguments.error.as_deref().map(target).transpose()?;
    let model = Model::load(&arguments.model)?;
    let options =
        ReadOptions { value: arguments.value.clone(), split: arguments.split.clone(), ..ReadOptions::default() };
    let table = match read_observed(&model, &arguments.model, &arguments.pairs, &arguments.items, &options)? {
        Observed::Pairs(table) => table,
        Observed::Comparisons(table) => return comparisons::evaluate(arguments, &model, &table, console),
    };
    console.detail(describe::roles(&table.roles).trim_end());
    check_values(&table, &arguments.pairs)?;
    let chosen = chosen_pairs(&table, arguments.only, &arguments.pairs)?;
    let scores = scores(&model, &table, arguments.threads)?;
    let value = table.pairs.chunk().value;
    let summary = |own: &[usize]| {
        let predicted: Vec<f64> = own.iter().map(|&p| scores[p]).collect();
        let values: Vec<f64> = own.iter().map(|&p| value[p].into()).collect();
        Summary::new(&predicted, &values)
    };
    let Some(all) = summary(&chosen) else {
        let message = format!("{}: no pair is left to evaluate; check --only", arguments.pairs.display());
        return Err(Failure { message, exit: Exit::Failed });
    };
    let populations = populations(&model, &table, &chosen);
    let by = [Population::KnownItems, Population::OneNewItem, Population::TwoNewItems];
    let populations: Vec<(Population, Summary)> = by
        .into_iter()
        .filter_map(|wanted| {
            let own: Vec<usize> = populations.iter().filter(|(_, p)| *p == wanted).map(|(at, _)| *at).collect();
            summary(&own).map(|s| (wanted, s))
        })
        .collect();
    let full_ranking = match arguments.ranking {
        true => Some(ranking::rank(arguments, &model, &table, &chosen, console)?),
        false => None,
    };
    let ranking = if table.positives_only && !arguments.ranking {
        let keys = table.keys.as_ref().map(|k| &k.features);
        let own = table.pairs.select(&chosen);
        with_threads(arguments.threads, || Ranking::new(&model.encoder, &table.queries.features, keys, &own))??
    } else {
        None
    };
    let calibration = if table.kind == RelationKind::Label && model.encoder.link().is_logistic() && chosen.len() > 1 {
        let predicted: Vec<f64> = chosen.iter().map(|&p| scores[p]).collect();
        let own = table.pairs.select(&chosen);
        let (labels, weights) = (own.chunk().value, own.chunk().weight);
        Some(Calibration::new(&predicted, labels, weights, &CalibrationOptions::default())?)
    } else {
        None
    };
    let query_agreement = if table.has_value {
        let predicted: Vec<f64> = chosen.iter().map(|&p| scores[p]).collect();
        QueryAgreement::new(&predicted, &table.pairs.select(&chosen))
    } else {
        None
    };
    let met = goal.map(|goal| match goal {
        Target::Absolute(error) => all.rmse <= error,
        Target::Relative(share) => all.relative_rmse <= share,
        Target::Sup(error) => all.max <= error,
        Target::Quantile { share, error } => {
            let within = chosen.iter().filter(|&&p| (scores[p] - f64::from(value[p])).abs() <= error).count();
            within as f64 >= share * chosen.len() as f64
        }
    });
    let mut text = describe::summaries(&populations);
    let kendall = all.kendall.map(|tau| format!(", Kendall {tau:.4}")).unwrap_or_default();
    text += &format!(
        "all {} pairs: RMSE {}, {} relative{kendall}\n",
        all.pairs,
        describe::number(all.rmse),
        describe::percent(all.relative_rmse)
    );
    if let Some(own) = query_agreement.filter(|own| own.queries > 1) {
        let (spearman, kendall) = (text::spread(&own.spearman), text::spread(&own.kendall));
        text += &format!("order within {} queries: Spearman {spearman}, Kendall {kendall}\n", own.queries);
    }
    if let Some(own) = &calibration {
        text += &relation::calibration("probabilities", own);
    }
    if let Some(ranking) = &ranking {
        text += &format!("ranking of the listed pairs: {}", describe::ranking(ranking));
    }
    if let Some(ranking) = &full_ranking {
        text += "\n";
        text += &text::full_ranking(ranking);
    }
    if met == Some(false) {
        text += "the target error is not met\n";
    }
    let report = Report {
        model: arguments.model.display().to_string(),
        all,
        populations,
        query_agreement,
        ranking,
        full_ranking,
        calibration,
        target_met: met,
    };
    console.result(&report, &text)?;
    Ok(if met == Some(false) { Exit::TargetMissed } else { Exit::Done })
}
