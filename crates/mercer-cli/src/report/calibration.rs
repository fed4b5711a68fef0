//! Calibration: what predicted probabilities are worth, as a section of other pages.

use mercer::evaluate::Calibration;
use mercer_report::{Axis, Basis, Cell, Column, Fact, Plot, Section, Series, Table, number};

use crate::describe::percent;
use crate::report::{share, whole};

/// Predicted probabilities against labels of held-out pairs.
pub(crate) fn calibration_section(c: &Calibration) -> Section {
    let auc = c.auc.map_or("unknown: labels of one kind".into(), number);
    Section::new("Calibration: are the probabilities right?")
        .text(verdict(c))
        .facts([
            Fact::new("held-out pairs", whole(c.pairs)),
            Fact::new("ones among them", format!("{} ({} by weight)", whole(c.positives), percent(c.base_rate))),
            Fact::new("expected calibration error", number(c.ece)).basis(Basis::Measured),
            Fact::new("the same if every probability were right", number(c.ece_if_calibrated)).basis(Basis::Estimated),
            Fact::new("calibration error without chance", format!("from {} to {}", number(c.low), number(c.high)))
                .basis(Basis::Proven),
            Fact::new("area under the ROC curve", auc).basis(Basis::Measured),
        ])
        .plot(reliability_plot(c))
        .table(losses(c))
}

fn verdict(c: &Calibration) -> String {
    let confidence = share(c.confidence);
    let p = format!("{:.3}", c.p_value);
    match c.rejected {
        true => format!(
            "The probabilities are off: right ones would hardly show so large an error (probability {p}). With confidence \
             {confidence} they miss the share of ones by {} to {} on average over the bins.",
            number(c.low),
            number(c.high)
        ),
        false => format!(
            "Nothing speaks against the probabilities: right ones show an error as large with probability {p}. With confidence \
             {confidence} they miss the share of ones by at most {} on average over the bins.",
            number(c.high)
        ),
    }
}

/// Share of ones against predicted probability, a point a bin with the band of its intervals, and where right ones would lie.
fn reliability_plot(c: &Calibration) -> Plot {
    let most = c.bins.iter().map(|b| b.high.max(b.predicted)).fold(0.0, f64::max);
    // Rare ones fill a corner of the unit square only.
    let end = if most > 0.5 { 1.0 } else { most };
    let axis = |name: &str| if end == 1.0 { Axis::linear(name).within(0.0, 1.0) } else { Axis::linear(name) };
    let name = "share of ones";
    let plot = Plot::new("Reliability", axis("predicted probability"), axis("share of ones among held-out pairs"))
        .series(Series::band(name, c.bins.iter().map(|b| (b.predicted, b.low, b.high)).collect()))
        .series(Series::line("right probabilities", vec![(0.0, 0.0), (end, end)]).dashed());
    plot.series(Series::points(name, c.bins.iter().map(|b| (b.predicted, b.observed)).collect())).caption(format!(
        "Each point stands for pairs with neighbouring predictions, {} bins of about equal weight. The band holds each bin's \
         true share of ones with confidence {}; where it holds the dashed line, the bin does not contradict its probability. \
         Measured on pairs that neither fitted nor calibrated the model.",
        c.bins.len(),
        share(c.confidence)
    ))
}

fn losses(c: &Calibration) -> Table {
    let columns = vec![
        Column::text("score"),
        Column::number("model").basis(Basis::Measured),
        Column::number("base rate for every pair").basis(Basis::Measured),
    ];
    let row = |name: &str, own: f64, base: f64| [Cell::from(name), Cell::from(own), Cell::from(base)];
    Table::new("What the model adds to the base rate: lower is better", columns)
        .row(row("log loss (nats)", c.log_loss, c.base_log_loss))
        .row(row("Brier score", c.brier, c.base_brier))
}
