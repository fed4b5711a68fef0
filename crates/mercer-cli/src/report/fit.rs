//! The page of `mercer fit`.

use mercer::certify::sup::SupNorm;
use mercer::certify::{Certificate, Values};
use mercer::evaluate::{Ranking, Summary};
use mercer::fit::{Choice, Fit, Outcome};
use mercer::pipeline::Population;
use mercer_report::{Axis, Basis, Cell, Column, Fact, Mark, Page, Plot, Section, Series, Table, number};

use crate::describe::{counted, percent, population};
use crate::report::figures::{Errors, error_plot, ridge_plot};
use crate::report::{certificate, whole};

/// Everything that is known about a fit; all but the first two may be absent.
pub(crate) struct FitPage<'a> {
    /// What was learned.
    pub(crate) relation: &'a str,
    /// The model and the choices.
    pub(crate) fit: &'a Fit,
    /// Errors on pairs that no part of the fit has seen.
    pub(crate) test: &'a [(Population, Summary)],
    /// Ranking of the listed pairs.
    pub(crate) ranking: Option<&'a Ranking>,
    /// Values and predictions of pairs that were not fitted.
    pub(crate) residuals: Option<&'a Values>,
    /// What is certified of the model.
    pub(crate) certificates: &'a [Certificate],
    /// The bracket of the largest error.
    pub(crate) sup: Option<&'a SupNorm>,
    /// Why there is no such bracket, where one could be expected.
    pub(crate) sup_refused: Option<&'a str>,
}

impl<'a> FitPage<'a> {
    /// A fit, and nothing else yet.
    pub(crate) fn new(relation: &'a str, fit: &'a Fit) -> Self {
        FitPage {
            relation,
            fit,
            test: &[],
            ranking: None,
            residuals: None,
            certificates: &[],
            sup: None,
            sup_refused: None,
        }
    }
}

/// `(value, predicted - value)`; what is not finite is left out.
fn points(residuals: &Values) -> Vec<(f64, f64)> {
    let all = residuals.value.iter().zip(&residuals.predicted).map(|(v, p)| (*v, p - v));
    all.filter(|(value, error)| value.is_finite() && error.is_finite()).collect()
}

/// A fit as a page.
pub(crate) fn fit_page(page: &FitPage<'_>, command: &str) -> Page {
    let fit = page.fit;
    let model = &fit.encoder;
    let mut html = Page::new(format!("Fit: {}", page.relation))
        .subtitle(format!(
            "{}, dimension {}: RMS error {} on held-out pairs",
            model.class(),
            model.dim(),
            number(fit.held_out_rmse)
        ))
        .command(command)
        .section(Section::new("Model").facts(facts(fit)).table(choice_table(&fit.choices)))
        .section(dimensions(page));
    if !page.test.is_empty() || page.ranking.is_some() || page.residuals.is_some() {
        html = html.section(errors(page));
    }
    for own in page.certificates {
        html = html.section(certificate::section(own, model.dim()));
    }
    if let Some(sup) = page.sup {
        html = html.section(certificate::sup_section(sup));
    } else if let Some(why) = page.sup_refused {
        html = html.section(Section::new("Largest error").text(format!("There is no proven bound: {why}")));
    }
    html
}

fn facts(fit: &Fit) -> Vec<Fact> {
    let model = &fit.encoder;
    let (outcome, steps) = (outcome(fit.outcome), counted(fit.steps, "step"));
    let mut facts = vec![
        Fact::new("class", model.class().to_string()),
        Fact::new("dimension", model.dim().to_string()),
        Fact::new("parameters", whole(model.parameters())),
        Fact::new("run", format!("{outcome}, {steps}")),
        Fact::new("held-out RMS error", number(fit.held_out_rmse)).basis(Basis::Measured),
        Fact::new("relative to the values' RMS", percent(fit.held_out_relative)).basis(Basis::Measured),
        Fact::new("held-out pairs", fit.held_out_pairs.as_str()),
    ];
    if let Some(met) = fit.target_met {
        facts.push(Fact::new("target met", if met { "yes" } else { "no" }));
    }
    facts
}

/// How a run ended, in words.
pub(super) fn outcome(outcome: Outcome) -> String {
    match outcome {
        Outcome::Converged => "converged".into(),
        Outcome::StepLimit => "stopped at its limit of steps or time".into(),
        Outcome::Diverged { step } => format!("diverged at step {step}"),
        Outcome::Collapsed { step } => format!("collapsed at step {step}"),
    }
}

/// Every choice with its reason.
pub(super) fn choice_table(choices: &[Choice]) -> Table {
    let columns = vec![Column::text(""), Column::text("chosen"), Column::text("why")];
    let table = Table::new("Choices", columns);
    choices.iter().fold(table, |table, c| table.row([c.what.into(), c.value.as_str().into(), c.reason.as_str().into()]))
}

fn dimensions(page: &FitPage<'_>) -> Section {
    let curve: Vec<(usize, f64)> = page.fit.curve.iter().map(|p| (p.dim, p.rmse)).collect();
    let plot = error_plot(Errors {
        title: "Error against dimension".into(),
        attained: &curve,
        floors: None,
        chosen: Some(page.fit.encoder.dim()),
        target: None,
    });
    let section = Section::new("Dimension").plot(plot);
    if page.fit.sizes.is_empty() {
        return section;
    }
    let sizes: Vec<_> = page.fit.sizes.iter().map(|s| (s.dim, s.ridge, s.rmse)).collect();
    section.plot(ridge_plot(&sizes))
}

fn errors(page: &FitPage<'_>) -> Section {
    let mut section = Section::new("Errors on pairs that were not fitted");
    if !page.test.is_empty() {
        section = section.table(populations(page.test));
    }
    if let Some(r) = page.ranking {
        section = section.facts([
            Fact::new("mean rank of a related key", number(r.mean_rank)).basis(Basis::Measured),
            Fact::new("mean average precision", number(r.map)).basis(Basis::Measured),
            Fact::new("related pairs", whole(r.positives)),
            Fact::new("queries with one", whole(r.queries)),
        ]);
    }
    if let Some(residuals) = page.residuals {
        let points = points(residuals);
        section = section.plot(scatter(&points)).plot(histogram(&points));
    }
    section
}

fn populations(test: &[(Population, Summary)]) -> Table {
    let measured = |name: &str| Column::number(name).basis(Basis::Measured);
    let columns = vec![
        Column::text("population"),
        Column::number("pairs"),
        measured("RMS error"),
        measured("relative"),
        measured("mean absolute"),
        measured("largest"),
        measured("Spearman"),
    ];
    test.iter().fold(Table::new("Test pairs, seen by no part of the fit", columns), |table, (who, s)| {
        table.row([
            population(*who).into(),
            s.pairs.into(),
            s.rmse.into(),
            percent(s.relative_rmse).into(),
            s.mae.into(),
            s.max.into(),
            Cell::from(s.spearman),
        ])
    })
}

fn scatter(points: &[(f64, f64)]) -> Plot {
    Plot::new("Residuals against value", Axis::linear("value"), Axis::linear("predicted − value"))
        .caption(format!(
            "Measured on {} pairs: a slope or a curve would be a bias, a funnel an error that depends on the value.",
            whole(points.len())
        ))
        .series(Series::points("", points.to_vec()))
        .mark(Mark::y(0.0, ""))
}

/// Bars of the histogram on each side of zero.
const BARS: i32 = 16;
/// How many root mean squares the bars reach.
const REACH: f64 = 4.0;

fn histogram(points: &[(f64, f64)]) -> Plot {
    let n = points.len().max(1) as f64;
    let rms = (points.iter().map(|p| p.1 * p.1).sum::<f64>() / n).sqrt();
    let width = REACH / f64::from(BARS);
    let mut counts = vec![0usize; 2 * BARS as usize + 1];
    for (_, error) in points {
        let scaled = if rms > 0.0 { error / rms } else { 0.0 };
        let bar = (scaled / width).round().clamp(-f64::from(BARS), f64::from(BARS));
        counts[(bar as i32 + BARS) as usize] += 1;
    }
    let bars = if points.is_empty() {
        Vec::new()
    } else {
        (-BARS..=BARS).map(|b| f64::from(b) * width).zip(counts.iter().map(|c| *c as f64)).collect()
    };
    Plot::new(
        "Distribution of errors",
        Axis::linear("error, in multiples of its root mean square"),
        Axis::linear("pairs"),
    )
    .caption(format!("The root mean square is {}; the outermost bars hold all that lies beyond.", number(rms)))
    .series(Series::bars("", bars))
}

#[cfg(test)]
mod tests {
    use super::*;
    use mercer_report::Data;

    #[test]
    fn the_bars_hold_every_error() {
        let points: Vec<(f64, f64)> = (0..1000).map(|i| (0.0, f64::from(i % 7) - 3.0)).chain([(0.0, 1e3)]).collect();
        let Data::Bars(bars) = &histogram(&points).series[0].data else { panic!("no bars") };
        assert_eq!(bars.iter().map(|b| b.1).sum::<f64>(), 1001.0);
        assert_eq!(bars[bars.len() - 1], (REACH, 1.0), "what lies beyond is in the last bar");
    }

    #[test]
    fn odd_errors_are_left_out() {
        let residuals = Values { value: vec![0.0, f64::NAN, 1.0], predicted: vec![f64::INFINITY, 0.0, 1.5, 7.0] };
        assert_eq!(points(&residuals), [(1.0, 0.5)]);
        assert!(matches!(&histogram(&[]).series[0].data, Data::Bars(bars) if bars.is_empty()));
        let Data::Bars(bars) = &histogram(&[(1.0, 0.0)]).series[0].data else { panic!("no bars") };
        assert_eq!(bars[BARS as usize], (0.0, 1.0));
    }
}
