//! Certificates: sections of other pages, and the page of `mercer certify`.

use mercer::certify::sup::{Stop, SupNorm};
use mercer::certify::{Certificate, Quantity, Sharper, Statement};
use mercer::pipeline::Population;
use mercer_report::{Axis, Basis, Cell, Column, Fact, Page, Plot, Section, Series, Table, number};
use serde::Serialize;

use crate::certificate::{method, quantity};
use crate::describe::{percent, population};
use crate::report::figures::points;
use crate::report::{share, whole};

/// What is certified of `model` at one dimension or several, as a page.
pub(crate) fn certificate_page(
    model: &str,
    certificates: &[(usize, Certificate)],
    sup: Option<&SupNorm>,
    command: &str,
) -> Page {
    let mut page = Page::new(format!("Certificate: {model}"))
        .subtitle("What is known about the model's error on pairs that nobody has seen yet")
        .command(command);
    for who in [Population::KnownItems, Population::OneNewItem, Population::TwoNewItems] {
        let mut own: Vec<&(usize, Certificate)> = certificates.iter().filter(|c| c.1.population == who).collect();
        own.sort_by_key(|c| c.0);
        let Some((dim, largest)) = own.last() else { continue };
        page = page.section(section(largest, *dim));
        if own.len() > 1 {
            let title = format!("Each dimension: pairs of {}", population(who));
            page = page.section(Section::new(title).plot(over_dimensions(&own)).table(each_dimension(&own)));
        }
    }
    if let Some(sup) = sup {
        page = page.section(sup_section(sup));
    }
    if certificates.is_empty() && sup.is_none() {
        page = page.section(Section::new("Statements").text("Nothing could be stated."));
    }
    page
}

/// The statements about one population, first in words.
pub(super) fn section(certificate: &Certificate, dim: usize) -> Section {
    let confidence = certificate.request.confidence;
    Section::new(format!("Certificate: pairs of {}", population(certificate.population)))
        .text(format!("With confidence {} each, if the assumptions below hold:", share(confidence)))
        .list(certificate.statements.iter().map(|s| sentence(s, confidence)))
        .facts(sample(certificate, dim))
        .table(statements(certificate))
        .text("These statements assume:")
        .list(assumed(&certificate.statements))
}

fn sample(certificate: &Certificate, dim: usize) -> Vec<Fact> {
    let mut facts = vec![
        Fact::new("dimension", whole(dim)),
        Fact::new("held-out pairs", whole(certificate.pairs)),
        Fact::new("items among them", whole(certificate.items)),
    ];
    if certificate.self_pairs > 0 {
        facts.push(Fact::new("pairs of an item with itself, left out", whole(certificate.self_pairs)));
    }
    facts
}

/// A statement in words, with its kind, and with its confidence where that is not the `usual` one.
fn sentence(s: &Statement, usual: f64) -> String {
    let Some(upper) = s.upper else { return silence(s) };
    let bound = match s.quantity {
        Quantity::Tolerance { share: q } => format!("{} of new pairs err by at most {}", share(q), number(upper)),
        Quantity::RootMeanSquare => match s.lower {
            Some(lower) => format!("the RMS error of new pairs is from {} to {}", number(lower), number(upper)),
            None => format!("the RMS error of new pairs is at most {}", number(upper)),
        },
        Quantity::SignErrorRate => format!("at most {} of new labels are predicted wrongly", percent(upper)),
        Quantity::RankingErrorRate => format!("at most {} of new comparisons are ordered wrongly", percent(upper)),
    };
    let kind = if s.exact { "proven" } else { "asymptotic" };
    let unusual = if s.confidence == usual { String::new() } else { format!(", confidence {}", share(s.confidence)) };
    format!("{bound} ({kind}, {}{unusual})", method(s.method))
}

/// Why there is no upper bound.
fn silence(s: &Statement) -> String {
    let why = match s.needed {
        Some(needed) if needed as f64 > s.effective_pairs => format!("it takes {needed} pairs"),
        _ => "see what it assumes".into(),
    };
    format!("of the {} nothing is bounded by the {} method: {why}", quantity(s.quantity), method(s.method))
}

/// A number of the statement's kind: an error, or a share.
fn amount(quantity: Quantity, value: Option<f64>) -> Cell {
    match quantity {
        Quantity::Tolerance { .. } | Quantity::RootMeanSquare => value.into(),
        Quantity::SignErrorRate | Quantity::RankingErrorRate => value.map(percent).into(),
    }
}

/// How the bounds are known, where there are any.
fn kind(s: &Statement) -> Cell {
    match (s.exact, s.lower.or(s.upper)) {
        (_, None) => Cell::Empty,
        (true, _) => Basis::Proven.into(),
        (false, _) => "asymptotic".into(),
    }
}

fn statements(certificate: &Certificate) -> Table {
    let columns = vec![
        Column::text("of new pairs"),
        Column::number("on held-out pairs").basis(Basis::Measured),
        Column::number("at least"),
        Column::number("at most"),
        Column::text("known"),
        Column::text("method"),
        Column::number("confidence"),
        Column::number("effective pairs"),
        Column::number("pairs needed"),
        Column::text("with more pairs"),
    ];
    let table = Table::new("Statements", columns).note(
        "Each statement holds by itself with its confidence. Effective pairs: independent pairs or comparisons that a \
         bound rests on.",
    );
    certificate.statements.iter().fold(table, |table, s| {
        table.row([
            quantity(s.quantity).into(),
            amount(s.quantity, s.measured),
            amount(s.quantity, s.lower),
            amount(s.quantity, s.upper),
            kind(s),
            method(s.method).into(),
            share(s.confidence).into(),
            effective(s.effective_pairs),
            s.needed.into(),
            s.sharper.as_ref().map(sharper).into(),
        ])
    })
}

/// Effective pairs: a count where they are counted.
fn effective(pairs: f64) -> Cell {
    if pairs.fract() == 0.0 && (0.0..1e15).contains(&pairs) { Cell::Count(pairs as u64) } else { pairs.into() }
}

fn sharper(s: &Sharper) -> String {
    format!("{}: {} ({})", s.statement, mercer_report::count(s.pairs), word(&s.evidence))
}

/// The name of a value as its file has it.
fn word(value: &impl Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|v| v.as_str().map(str::to_string)).unwrap_or_default()
}

/// Every assumption once, with the statements that rest on it.
fn assumed(statements: &[Statement]) -> Vec<String> {
    let mut found: Vec<(&str, Vec<String>)> = Vec::new();
    for s in statements {
        let name = format!("{} ({})", quantity(s.quantity), method(s.method));
        match found.iter_mut().find(|(words, _)| *words == s.assumptions) {
            Some((_, names)) => names.push(name),
            None => found.push((&s.assumptions, vec![name])),
        }
    }
    found.into_iter().map(|(words, names)| format!("{}: {words}", names.join(", "))).collect()
}

/// The statements that a plot over dimensions shows, by name.
fn lines(certificate: &Certificate) -> impl Iterator<Item = (String, &Statement)> {
    let errors = certificate
        .statements
        .iter()
        .filter(|s| matches!(s.quantity, Quantity::Tolerance { .. } | Quantity::RootMeanSquare));
    errors.map(|s| (format!("{}, {}", quantity(s.quantity), if s.exact { "proven" } else { "asymptotic" }), s))
}

fn over_dimensions(certificates: &[&(usize, Certificate)]) -> Plot {
    let mut series: Vec<(String, Vec<(usize, f64)>)> = Vec::new();
    let mut add = |name: String, dim: usize, value: Option<f64>| {
        let Some(value) = value else { return };
        match series.iter_mut().find(|(known, _)| *known == name) {
            Some((_, line)) => line.push((dim, value)),
            None => series.push((name, vec![(dim, value)])),
        }
    };
    for (dim, certificate) in certificates {
        for (name, statement) in lines(certificate) {
            add(format!("{name}: at most"), *dim, statement.upper);
        }
        let measured = certificate.statements.iter().find(|s| s.quantity == Quantity::RootMeanSquare);
        add("RMS error, measured".into(), *dim, measured.and_then(|s| s.measured));
    }
    let plot = Plot::new("Certified error against dimension", Axis::log("dimension D"), Axis::log("error")).caption(
        "Upper bounds for new pairs, and what was measured on the held-out ones. Each point holds by itself: to choose \
         a dimension by them, ask for more confidence.",
    );
    series.into_iter().fold(plot, |plot, (name, line)| {
        let own = Series::line(&name, points(&line));
        plot.series(if name.ends_with("at most") { own.dashed() } else { own })
    })
}

fn each_dimension(certificates: &[&(usize, Certificate)]) -> Table {
    let mut names: Vec<String> = Vec::new();
    for (_, certificate) in certificates {
        for (name, _) in lines(certificate) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    let mut columns = vec![Column::number("dimension")];
    columns.extend(names.iter().map(|name| Column::number(format!("{name}: at most"))));
    let mut table = Table::new("Each dimension", columns);
    for (dim, certificate) in certificates {
        let upper = |name: &String| lines(certificate).find(|(own, _)| own == name).and_then(|(_, s)| s.upper);
        let mut row = vec![Cell::from(*dim)];
        row.extend(names.iter().map(|name| upper(name).into()));
        table.rows.push(row);
    }
    table
}

/// The bracket of the largest error on a box.
pub(super) fn sup_section(sup: &SupNorm) -> Section {
    let mut facts = vec![
        Fact::new("largest error, at most", number(sup.upper)).basis(Basis::Proven),
        Fact::new("largest error found", number(sup.lower)).basis(Basis::Measured),
        Fact::new("bound over found", number(sup.upper / sup.lower)),
        Fact::new("evaluation in f32 adds", number(sup.rounding)).basis(Basis::Estimated),
    ];
    if let Some(target) = sup.target {
        let met = match sup.met {
            Some(true) => "met",
            Some(false) => "not met",
            None => "not judged",
        };
        facts.push(Fact::new("target", format!("{}, {met}", number(target))));
    }
    facts.extend([
        Fact::new("worst query", coordinates(&sup.worst.0)),
        Fact::new("worst key", coordinates(&sup.worst.1)),
        Fact::new("box of the queries", sides(&sup.domain.x.low, &sup.domain.x.high)),
        Fact::new("box of the keys", sides(&sup.domain.y.low, &sup.domain.y.high)),
        Fact::new("ended because", stop(sup.stopped)),
        Fact::new("evaluations", number(sup.evaluations)),
        Fact::new("tiles", whole(sup.tiles)),
    ]);
    Section::new("Largest error on the box")
        .text(format!("{} Method: {}.", bracket(sup), sup.method))
        .facts(facts)
        .list(&sup.assumptions)
}

/// The bracket in a sentence.
pub(super) fn bracket(sup: &SupNorm) -> String {
    format!(
        "No pair of the box errs by more than {} (proven); an error of {} was found (measured).",
        number(sup.upper),
        number(sup.lower)
    )
}

fn stop(stop: Stop) -> &'static str {
    match stop {
        Stop::Gap => "the bound is close to the error found",
        Stop::Target => "the target is met",
        Stop::Budget => "the budget ended",
        Stop::Rounding => "only rounding is left",
    }
}

fn coordinates(point: &[f64]) -> String {
    format!("({})", point.iter().map(|c| number(*c)).collect::<Vec<_>>().join(", "))
}

fn sides(low: &[f64], high: &[f64]) -> String {
    let each = low.iter().zip(high).map(|(low, high)| format!("[{low}, {high}]"));
    each.collect::<Vec<_>>().join(" × ")
}
