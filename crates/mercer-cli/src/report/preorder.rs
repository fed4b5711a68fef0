//! The page of `mercer preorder`.

use mercer::fit::Recommendation;
use mercer_report::{Axis, Basis, Cell, Column, Fact, Page, Plot, Section, Series, Table, number};

use crate::preorder::{Found, KeyUtility, axiom_lines, rivals};
use crate::report::whole;

/// Utilities that the table lists.
const LISTED: usize = 200;
/// Standard errors on either side of a utility: 95 % where they are normal.
const BAND: f64 = 1.96;

/// Comparisons as a page: axioms, cycles, utilities, and the model that they ask for.
pub(crate) fn preorder_page(found: &Found, command: &str) -> Page {
    let transitive = if found.axioms.is_consistent() { "a preorder" } else { "no preorder" };
    let mut page = Page::new(format!("Preorder: {}", found.comparisons))
        .subtitle(format!("{} comparisons, {transitive}", whole(found.axioms.pooled.comparisons)))
        .command(command)
        .section(axioms(found));
    if let Some(own) = &found.recommendation {
        page = page.section(recommendation(own));
    }
    if found.utilities.is_empty() { page } else { page.section(utilities(found)) }
}

fn axioms(found: &Found) -> Section {
    let facts = axiom_lines(&found.axioms);
    let sampled = !found.axioms.pooled.triples.exact;
    let basis = |what: &str| if sampled && what.ends_with("triples") { Basis::Estimated } else { Basis::Measured };
    let section = Section::new("Axioms")
        .text("A preorder is complete and transitive. What fails is listed, shortest cycle first, and nothing is repaired.")
        .facts(facts.into_iter().map(|(what, value)| Fact::new(what, value).basis(basis(what))));
    if found.cycles.is_empty() { section } else { section.list(found.cycles.iter().cloned()) }
}

fn recommendation(own: &Recommendation) -> Section {
    let columns = vec![
        Column::text("model"),
        Column::number("in the right order").basis(Basis::Measured),
        Column::number("log loss").unit("nats").basis(Basis::Measured),
    ];
    let table = rivals(own)
        .into_iter()
        .fold(Table::new("On comparisons that neither model has seen", columns), |table, (name, figures)| {
            table.row([name.into(), figures.ordered.mean.into(), Cell::from(figures.log_loss)])
        });
    Section::new("Utility or antisymmetric model").text(own.reason.clone()).table(table)
}

fn utilities(found: &Found) -> Section {
    let ranked: Vec<(f64, &KeyUtility)> =
        found.utilities.iter().enumerate().map(|(at, row)| (at as f64 + 1.0, row)).collect();
    let mut section = Section::new("Utilities");
    if let Some(why) = &found.without_utilities {
        section = section.text(format!("No utilities of maximum likelihood: {why}."));
    }
    let points: Vec<(f64, f64)> = ranked.iter().filter_map(|(at, row)| Some((*at, row.utility?))).collect();
    if let (Some(model), false) = (found.model, points.is_empty()) {
        let band = |(at, row): &(f64, &KeyUtility)| {
            let (utility, error) = (row.utility?, row.standard_error?);
            Some((*at, utility - BAND * error, utility + BAND * error))
        };
        let band: Vec<(f64, f64, f64)> = ranked.iter().filter_map(band).collect();
        let mut plot = Plot::new("Utilities", Axis::linear("place"), Axis::linear("utility, log-odds"))
            .caption(format!("{model}, maximum likelihood; the band is 1.96 standard errors on either side."));
        if !band.is_empty() {
            plot = plot.series(Series::band("utility", band));
        }
        section = section.plot(plot.series(Series::points("utility", points)));
    }
    let columns = vec![
        Column::number("place"),
        Column::text("key"),
        Column::number("level").basis(Basis::Measured),
        Column::number("utility").basis(Basis::Estimated),
        Column::number("standard error").basis(Basis::Estimated),
    ];
    let mut table = Table::new("Best first, query by query", columns);
    for (at, row) in ranked.iter().take(LISTED) {
        let level = row.level.map_or(String::new(), |level| whole(level as usize));
        let cell = |v: Option<f64>| Cell::from(v.map_or(String::new(), number));
        let place = whole(*at as usize);
        table = table.row([
            place.into(),
            row.name.clone().into(),
            level.into(),
            cell(row.utility),
            cell(row.standard_error),
        ]);
    }
    if found.utilities.len() > LISTED {
        table =
            table.note(format!("{} more are left out; `-o FILE` writes all.", whole(found.utilities.len() - LISTED)));
    }
    section.table(table)
}
