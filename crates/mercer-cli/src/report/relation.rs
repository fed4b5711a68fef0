//! The page of `mercer fit` on labels, clicks and comparisons.

use mercer::evaluate::{Estimate, OrderSummary, RankingMetrics};
use mercer::fit::gradient::EpochRecord;
use mercer::pipeline::{Evidence, FullRanking, RelationFit};
use mercer_report::{Axis, Basis, Cell, Column, Fact, Page, Plot, Section, Series, Table, number};
use mercer_table::RelationKind;

use crate::describe::{counted, percent, population};
use crate::report::calibration::calibration_section;
use crate::report::fit::{choice_table, outcome};
use crate::report::whole;

/// What the page shows.
pub(crate) struct RelationPage<'a> {
    pub(crate) relation: &'a str,
    pub(crate) kind: RelationKind,
    pub(crate) fit: &'a RelationFit,
}

/// A fit of labels, clicks or comparisons as a page.
pub(crate) fn relation_page(page: &RelationPage<'_>, command: &str) -> Page {
    let fit = page.fit;
    let model = &fit.encoder;
    let held_out = fit.held_out.as_ref().map(|f| format!(": {} {} on {}", f.name, number(f.value), f.on));
    let mut html = Page::new(format!("Fit: {}", page.relation))
        .subtitle(format!(
            "{}, {}, dimension {}{}",
            page.kind,
            model.class(),
            model.dim(),
            held_out.unwrap_or_default()
        ))
        .command(command)
        .section(Section::new("Model").facts(facts(fit)).table(choice_table(&fit.choices)));
    match &fit.evidence {
        Some(Evidence::Ranking(found)) => html = html.section(ranking(found)),
        Some(Evidence::Labels(found)) => {
            for (who, own) in found {
                html = html.section(calibration_section(own).text(format!("Test pairs of {}.", population(*who))));
            }
        }
        Some(Evidence::Order(rows)) => html = html.section(order(rows)),
        _ => {}
    }
    if fit.history.len() > 1 { html.section(training(&fit.history)) } else { html }
}

fn facts(fit: &RelationFit) -> Vec<Fact> {
    let model = &fit.encoder;
    let mut facts = vec![
        Fact::new("class", model.class().to_string()),
        Fact::new("dimension", model.dim().to_string()),
        Fact::new("parameters", whole(model.parameters())),
        Fact::new("run", format!("{}, {}", outcome(fit.outcome), counted(fit.steps, "step"))),
    ];
    if let Some(figure) = &fit.held_out {
        facts.push(Fact::new(format!("held-out {}", figure.name), number(figure.value)).basis(Basis::Measured));
    }
    if fit.masked > 0 {
        facts.push(Fact::new("negatives that are known positives, left out", whole(fit.masked as usize)));
    }
    facts
}

/// Loss and spread of the embeddings over a training.
fn training(history: &[EpochRecord]) -> Section {
    let over = |f: &dyn Fn(&EpochRecord) -> Option<f64>| -> Vec<(f64, f64)> {
        history.iter().filter_map(|r| Some((r.step as f64, f(r)?))).filter(|p| p.1.is_finite()).collect()
    };
    let loss = Plot::new("Loss", Axis::linear("step"), Axis::linear("loss"))
        .caption("Mean over the batches of an epoch, and on held-out examples after it.")
        .series(Series::line("training", over(&|r| r.training_loss)))
        .series(Series::line("held out", over(&|r| Some(r.held_out.loss))));
    let rank = Plot::new("Effective rank", Axis::linear("step"), Axis::linear("effective rank"))
        .caption("How many directions the held-out embeddings fill; near 1 they would have collapsed.")
        .series(Series::line("", over(&|r| Some(r.effective_rank))));
    Section::new("Training").plot(loss).plot(rank)
}

fn metric_columns(first: &str, at: &[usize]) -> Vec<Column> {
    let measured = |name: String| Column::number(name).basis(Basis::Measured);
    let mut columns = vec![Column::text(first), Column::number("pairs")];
    columns.extend(["mean rank", "MRR", "MAP", "AUC"].map(|name| measured(name.into())));
    columns.extend(at.iter().take(1).flat_map(|k| ["NDCG", "recall"].map(|n| measured(format!("{n}@{k}")))));
    columns
}

fn metric_row(table: Table, name: &str, own: &RankingMetrics, shown: usize) -> Table {
    let mean = |e: Estimate| Cell::from(e.mean);
    let first = [Cell::from(name), own.pairs.into(), mean(own.mean_rank), mean(own.mrr), mean(own.map)];
    let [name, pairs, rank, mrr, map] = first;
    let auc = Cell::from(own.auc.map(|e| e.mean));
    match own.at.get(shown) {
        Some(at) => table.row([name, pairs, rank, mrr, map, auc, mean(at.ndcg), mean(at.recall)]),
        None => table.row([name, pairs, rank, mrr, map, auc]),
    }
}

fn ranking(found: &FullRanking) -> Section {
    let model = &found.model;
    // The places that people read first: ten, or the most that there are below.
    let shown = model.at.iter().rposition(|at| at.k <= 10).unwrap_or(0);
    let at: Vec<usize> = model.at.get(shown).map(|at| at.k).into_iter().collect();
    let mut table = Table::new("The model and what it is compared with", metric_columns("", &at));
    table = metric_row(table, "model", model, shown);
    if let Some(svd) = &found.truncated_svd {
        table = metric_row(table, &format!("truncated SVD of dimension {}", svd.dim), &svd.metrics, shown);
    }
    table = metric_row(table, "popularity", &found.popularity, shown);
    table = metric_row(table, "random", &found.random, shown)
        .note(format!("Baselines are made of {}; random is an exact expectation.", found.baselines_from));
    let mut section = Section::new("Ranking")
        .text(format!(
            "{} related keys of {} queries, each among the {} keys that are not known to be related to its query.",
            whole(model.pairs),
            whole(model.queries),
            whole(found.keys)
        ))
        .table(table);
    if !found.groups.is_empty() {
        let groups = Table::new("The model by groups of pairs", metric_columns("group", &at));
        section =
            section.table(found.groups.iter().fold(groups, |table, (name, own)| metric_row(table, name, own, shown)));
    }
    section.plot(recall_plot(found))
}

/// Recall over the number of first places.
fn recall_plot(found: &FullRanking) -> Plot {
    let line = |own: &RankingMetrics| own.at.iter().map(|at| (at.k as f64, at.recall.mean)).collect::<Vec<_>>();
    let mut plot = Plot::new("Recall", Axis::log("first places"), Axis::linear("share of related keys found"))
        .caption("Measured on the ranked pairs, means over queries.")
        .series(Series::line("model", line(&found.model)));
    if let Some(svd) = &found.truncated_svd {
        plot = plot.series(Series::line("truncated SVD", line(&svd.metrics)).dashed());
    }
    plot.series(Series::line("popularity", line(&found.popularity)).dashed())
}

fn order(rows: &[(String, OrderSummary)]) -> Section {
    let measured = |name: &str| Column::number(name).basis(Basis::Measured);
    let columns = vec![
        Column::text(""),
        Column::number("comparisons"),
        measured("in order"),
        Column::text("95 % interval"),
        measured("log loss"),
    ];
    let table = rows.iter().fold(Table::new("Test comparisons", columns), |table, (name, own)| {
        let interval = match (own.ordered.low, own.ordered.high) {
            (Some(low), Some(high)) => format!("{} to {}", percent(low), percent(high)),
            _ => "–".into(),
        };
        table.row([
            name.as_str().into(),
            own.comparisons.into(),
            Cell::from(percent(own.ordered.mean)),
            interval.into(),
            Cell::from(own.log_loss),
        ])
    });
    Section::new("Order")
        .text("Comparisons that no part of the fit has seen: how often the preferred key has the larger utility.")
        .table(table.note("A model without any opinion has half of them in order and a log loss of 0.6931."))
}
