//! The page of `mercer plan`.

use mercer::bounds::Norm;
use mercer::plan::{Plan, Recommendation};
use mercer::spectrum::{Energy, Spectrum};
use mercer_report::{Basis, Cell, Column, Fact, Page, Section, Table, number};

use crate::describe::{counted, percent};
use crate::report::figures::{Errors, error_plot, ridge_plot, sampled_plot};
use crate::report::{assumptions, neurons};

/// A plan as a page.
pub(crate) fn plan_page(plan: &Plan, command: &str) -> Page {
    let r = &plan.recommended;
    let units = r.units.map_or_else(String::new, |units| format!(", {}", counted(units, "hidden unit")));
    let mut page = Page::new(format!("Plan: {}", plan.relation))
        .subtitle(format!("{}, dimension {}{units}: RMS error {} on held-out pairs", r.class, r.dim, number(r.rmse)))
        .command(command)
        .section(recommendation(plan))
        .section(dimensions(plan));
    if plan.energy.is_some() || plan.spectrum.is_some() {
        page = page.section(made_of(plan));
    }
    if !plan.needs.is_empty() {
        page = page.section(needed(plan));
    }
    page.section(assumptions(&plan.assumptions))
}

fn recommendation(plan: &Plan) -> Section {
    let r = &plan.recommended;
    let mut facts = vec![
        Fact::new("RMS error at this size", number(r.rmse)).basis(Basis::Measured),
        Fact::new("relative to the values' RMS", percent(r.relative)).basis(Basis::Measured),
        Fact::new("RMS of the values", number(plan.scale)).basis(Basis::Estimated),
    ];
    if let Some(met) = r.target_met {
        facts.push(
            Fact::new("first target met on held-out pairs", if met { "yes" } else { "no" }).basis(Basis::Measured),
        );
    }
    Section::new("Recommendation")
        .facts(facts)
        .table(choices(r))
        .text(format!("Held-out errors are measured on {}.", plan.held_out_pairs))
}

fn choices(r: &Recommendation) -> Table {
    let columns = vec![Column::text(""), Column::text("recommended"), Column::text("why")];
    let units = r.units.map_or(Cell::Empty, |units| units.to_string().into());
    Table::new("Choices", columns)
        .row(["class".into(), r.class.to_string().into(), r.class_reason.as_str().into()])
        .row(["dimension".into(), r.dim.to_string().into(), r.dim_reason.as_str().into()])
        .row(["hidden units".into(), units, r.units_reason.as_str().into()])
}

fn dimensions(plan: &Plan) -> Section {
    // The first target chooses; the labels of more would cover each other.
    let first = plan.needs.first().filter(|n| n.norm == Norm::Rms);
    let plot = error_plot(Errors {
        title: "Error against dimension".into(),
        attained: &plan.curve,
        floors: plan.floors.as_ref().map(|f| (f, plan.recommended.class)),
        chosen: Some(plan.recommended.dim),
        target: first.map(|n| (n.error, n.target.clone())),
    });
    let mut section = Section::new("Dimension").plot(plot);
    // Independent items give a confidence band, spread ones better values.
    if let Some(spectrum) = plan.independent.as_ref().or(plan.spectrum.as_ref()) {
        section = section.plot(sampled_plot(spectrum));
    }
    if !plan.sizes.is_empty() {
        let sizes: Vec<_> = plan.sizes.iter().map(|s| (s.dim, s.ridge, s.rmse)).collect();
        section = section.plot(ridge_plot(&sizes));
    }
    section.table(rows(plan))
}

fn rows(plan: &Plan) -> Table {
    let floor = Column::number(format!("floor of {}", plan.recommended.class)).unit("RMS").basis(Basis::Proven);
    let has_floors = plan.rows.iter().any(|row| row.floor.is_some());
    let mut columns = vec![Column::number("dimension")];
    columns.extend(has_floors.then_some(floor));
    columns.extend([
        Column::number("attained, held out").unit("RMS").basis(Basis::Measured),
        Column::number("an item and side").unit("bytes"),
        Column::number("a similarity").unit("multiplications"),
        Column::text(""),
    ]);
    let mut table = Table::new("Dimensions", columns);
    for row in &plan.rows {
        let mark = if row.dim == plan.recommended.dim { "recommended" } else { " " };
        let mut cells = vec![row.dim.into()];
        cells.extend(has_floors.then(|| Cell::from(row.floor)));
        cells.extend([row.attainable.into(), row.bytes_per_item.into(), row.multiplications.into(), mark.into()]);
        table.rows.push(cells);
    }
    if has_floors { table } else { table.note("No floor is certified: why is said below.") }
}

fn made_of(plan: &Plan) -> Section {
    let mut section = Section::new("What the relation is made of");
    if let Some(energy) = &plan.energy {
        let exact = plan.floors.as_ref().is_some_and(|f| f.exact);
        section = section.facts(shares(energy, if exact { Basis::Proven } else { Basis::Estimated }));
    }
    if let Some(spectrum) = &plan.spectrum {
        section = section.facts(sample(spectrum));
    }
    section
}

fn shares(energy: &Energy, basis: Basis) -> Vec<Fact> {
    let share = |name: &str, share: f64| Fact::new(name, percent(share)).basis(basis);
    vec![
        share("symmetric energy", energy.symmetric),
        share("antisymmetric energy", energy.antisymmetric),
        share("energy of negative eigenvalues", energy.negative),
        share("energy beyond the leading values", energy.tail),
    ]
}

fn sample(spectrum: &Spectrum) -> Vec<Fact> {
    let (queries, keys) = spectrum.items;
    let mut facts = vec![Fact::new("sampled items", format!("{queries} × {keys}"))];
    if let Some(trace) = spectrum.trace {
        facts.push(Fact::new("sum of all eigenvalues", number(trace)).basis(Basis::Estimated));
    }
    if let Some(kappa) = spectrum.kappa_squared {
        facts.push(Fact::new("largest k(x, x) seen", number(kappa)).basis(Basis::Measured));
    }
    facts
}

fn needed(plan: &Plan) -> Section {
    let mut section = Section::new("Neurons for a target error");
    for plot in neurons::plots(&plan.needs, "") {
        section = section.plot(plot);
    }
    for need in &plan.needs {
        section = section.table(neurons::table(need));
    }
    match neurons::parts(&plan.needs) {
        Some(table) => section.table(table),
        None => section,
    }
}
