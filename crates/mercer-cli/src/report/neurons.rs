//! How many neurons an error needs: plots over errors, tables for each.

use mercer::bounds::{Evidence, Norm};
use mercer::plan::{Count, Need};
use mercer_report::{Axis, Basis, Cell, Column, Plot, Series, Table};

use crate::describe::counted;
use crate::report::{basis, norm_words};

const TRAINED: &str = "trained";

/// One plot for each norm in which there is something to compare, called `of`.
pub(super) fn plots(needs: &[Need], of: &str) -> Vec<Plot> {
    let in_norm = |norm| needs.iter().filter(|n| n.norm == norm).collect::<Vec<&Need>>();
    let numbers = |n: &&Need| n.counts.len() + usize::from(n.trained.is_some());
    let all = [Norm::Rms, Norm::Sup].map(|norm| (norm, in_norm(norm)));
    let comparable = all.into_iter().filter(|(_, own)| own.iter().map(numbers).sum::<usize>() > 1);
    comparable.map(|(norm, own)| plot(&own, norm, of)).collect()
}

fn plot(needs: &[&Need], norm: Norm, of: &str) -> Plot {
    let what = if of.is_empty() { "Neurons".into() } else { format!("{of}: neurons") };
    let title = format!("{what} against {}", norm_words(norm));
    let mut plot = Plot::new(title, Axis::log(norm_words(norm)), Axis::log("hidden units")).caption(
        "Dashed lines are bounds: so many units suffice, by a theorem. Solid lines are networks that were built. Points \
         are the narrowest towers that training found.",
    );
    for name in names(needs) {
        let own = needs.iter().filter_map(|n| Some((n.error, find(n, name)?.neurons?)));
        let line = sorted(own.collect());
        // A way that never applies has no place in the legend.
        if line.is_empty() {
            continue;
        }
        let series = Series::line(name, line);
        let built = needs.iter().filter_map(|n| find(n, name)).all(|c| c.error.is_some());
        plot = plot.series(if built { series } else { series.dashed() });
    }
    let trained = needs.iter().filter_map(|n| Some((n.error, n.trained.as_ref()?.neurons as f64)));
    plot.series(Series::points(TRAINED, sorted(trained.collect())))
}

fn sorted(mut points: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    points
}

/// The ways to reach an error, in order of appearance.
fn names<'a>(needs: &[&'a Need]) -> Vec<&'a str> {
    let mut names: Vec<&str> = Vec::new();
    for count in needs.iter().flat_map(|n| &n.counts) {
        if !names.contains(&count.name.as_str()) {
            names.push(&count.name);
        }
    }
    names
}

fn find<'a>(need: &'a Need, name: &str) -> Option<&'a Count> {
    need.counts.iter().find(|c| c.name == name)
}

/// A number that counts something, exactly where that can be read.
fn whole(number: f64) -> Cell {
    if (0.0..1e9).contains(&number) { Cell::Count(number.ceil() as u64) } else { Cell::Number(number) }
}

/// Hidden units over targets and ways, for `relation`.
pub(super) fn overview(needs: &[Need], relation: &str) -> Table {
    let all: Vec<&Need> = needs.iter().collect();
    let names = names(&all);
    let mut columns = vec![
        Column::text("target"),
        Column::number("least dimension").basis(Basis::Proven),
        Column::number("dimension by the spectrum").basis(Basis::Estimated),
    ];
    columns.extend(names.iter().map(|name| {
        let mut known = needs.iter().filter_map(|n| find(n, name)).filter(|c| c.neurons.is_some()).map(|c| c.evidence);
        let first = known.next();
        let column = Column::number(*name).unit("units");
        first.filter(|e| known.all(|k| k == *e)).map_or(column.clone(), |e| column.basis(basis(e)))
    }));
    columns.push(Column::number(TRAINED).unit("units").basis(Basis::Measured));
    let mut table = Table::new(format!("{relation}: hidden units that suffice"), columns)
        .note("A dash: the way does not apply, was not tried, or does not reach the target.");
    for need in needs {
        let counts = names.iter().map(|name| find(need, name).and_then(|c| c.neurons).map(whole).into());
        let mut row = vec![unbroken(&need.target).into(), need.least_dim.into(), need.theory_dim.into()];
        row.extend(counts);
        row.push(need.trained.as_ref().map(|t| t.neurons).into());
        table.rows.push(row);
    }
    table
}

/// A short text that stays on one line.
fn unbroken(text: &str) -> String {
    if text.chars().count() > 20 { text.into() } else { text.replace(' ', "\u{a0}") }
}

/// All ways to one target, with what they rest on.
pub(super) fn table(need: &Need) -> Table {
    let columns = vec![
        Column::text("way"),
        Column::number("hidden units"),
        Column::number("dimension"),
        Column::number("error").unit("measured"),
        Column::text("known"),
        Column::text("what it rests on"),
    ];
    let mut table = Table::new(format!("For {}", need.target), columns);
    for count in &need.counts {
        table = table.row([
            count.name.as_str().into(),
            count.neurons.map(whole).into(),
            count.dim.map(whole).into(),
            count.error.into(),
            count.neurons.map(|_| basis(count.evidence)).into(),
            count.words.as_str().into(),
        ]);
    }
    if let Some(t) = &need.trained {
        let words = format!("the narrowest found in {}, {} a tower", counted(t.fits, "fit"), counted(t.units, "unit"));
        table = table.row([
            TRAINED.into(),
            t.neurons.into(),
            t.dim.into(),
            t.error.into(),
            Basis::Measured.into(),
            words.into(),
        ]);
    } else {
        table = table.note("No trained towers up to the widest tried meet it, or none were tried.");
    }
    if let Some(dim) = need.least_dim {
        table = table.note(format!("No inner product of dimension below {dim} can do it: proven."));
    }
    if let Some(dim) = need.theory_dim {
        table = table.note(format!("The truncated spectrum does it from dimension {dim} on: estimated."));
    }
    table
}

/// The numbers that bounds are made of, a column for each target; `None` without bounds.
pub(super) fn parts(needs: &[Need]) -> Option<Table> {
    let mut rows: Vec<(&str, &str, Evidence)> = Vec::new();
    for count in needs.iter().flat_map(|n| &n.counts) {
        for part in &count.parts {
            let row = (count.name.as_str(), part.name.as_str(), part.evidence);
            if !rows.contains(&row) {
                rows.push(row);
            }
        }
    }
    // Parts of one bound stay together, also those that only a later target has.
    let all: Vec<&Need> = needs.iter().collect();
    let order = names(&all);
    rows.sort_by_key(|row| order.iter().position(|name| *name == row.0));
    if rows.is_empty() {
        return None;
    }
    let mut columns = vec![Column::text("bound"), Column::text("quantity"), Column::text("known")];
    columns.extend(needs.iter().map(|n| Column::number(n.target.as_str())));
    let mut table = Table::new("What the bounds are made of", columns);
    for (name, part, evidence) in rows {
        let value = |need: &Need| {
            find(need, name)?.parts.iter().find(|p| p.name == part && p.evidence == evidence).map(|p| p.value)
        };
        let mut row = vec![name.into(), part.into(), basis(evidence).into()];
        row.extend(needs.iter().map(|n| value(n).into()));
        table.rows.push(row);
    }
    Some(table)
}
