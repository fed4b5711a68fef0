//! The page of `mercer verify`.

use mercer::verify::{Claim, Verification, WeightFigure, WeightsOver, WorstFigure};
use mercer_report::{Axis, HeatMap, Page, Plot, Section, Series, Verdict, number};

use crate::report::figures::{Values, floor_plot, spectrum_plot};
use crate::report::{certificate, neurons};

/// A verification as a page: the verdicts first, then what they rest on.
pub(crate) fn verify_page(v: &Verification, command: &str) -> Page {
    let held = v.claims.iter().filter(|c| c.holds).count();
    let page = Page::new("Theory, verified")
        .subtitle(format!("{held} of {} claims hold", v.claims.len()))
        .command(command)
        .section(Section::new("Claims").verdicts(v.claims.iter().map(verdict)));
    [spectra(v), errors(v), needed(v), worst(v), weights(v)].into_iter().flatten().fold(page, Page::section)
}

fn verdict(claim: &Claim) -> Verdict {
    Verdict {
        claim: format!("{}: {}", claim.theorem, claim.claim),
        predicted: claim.predicted.clone(),
        measured: claim.measured.clone(),
        holds: claim.holds,
    }
}

fn spectra(v: &Verification) -> Option<Section> {
    let text = "Values sampled from random items, beside those that are known in closed form.";
    let section = v.spectra.iter().fold(Section::new("Spectra").text(text), |section, figure| {
        section.plot(spectrum_plot(Values {
            title: format!("Spectrum of {}", figure.relation),
            sampled: figure.sampled.clone(),
            band: Some((figure.radius, figure.confidence)),
            exact: &figure.exact,
        }))
    });
    (!v.spectra.is_empty()).then_some(section)
}

fn errors(v: &Verification) -> Option<Section> {
    let section = v.errors.iter().fold(Section::new("Error against dimension"), |section, figure| {
        section.plot(floor_plot(&figure.relation, &figure.attained, &figure.floors, &figure.tails))
    });
    (!v.errors.is_empty()).then_some(section)
}

fn needed(v: &Verification) -> Option<Section> {
    let mut section = Section::new("Neurons against error");
    for plot in v.neurons.iter().flat_map(|figure| neurons::plots(&figure.needs, &figure.relation)) {
        section = section.plot(plot);
    }
    for figure in &v.neurons {
        section = section.table(neurons::overview(&figure.needs, &figure.relation));
    }
    (!v.neurons.is_empty()).then_some(section)
}

fn worst(v: &Verification) -> Option<Section> {
    let section = v
        .worst
        .iter()
        .fold(Section::new("Where the worst point lies"), |section, figure| section.heat_map(heat_map(figure)));
    (!v.worst.is_empty()).then_some(section)
}

fn weights(v: &Verification) -> Option<Section> {
    let text = "The weight that attention gives the best key, and the least that its margin guarantees (dashed).";
    let section = v
        .weights
        .iter()
        .fold(Section::new("Weight of the best key").text(text), |s, figure| s.plot(weight_plot(figure)));
    (!v.weights.is_empty()).then_some(section)
}

fn weight_plot(figure: &WeightFigure) -> Plot {
    let (over, x, caption) = match figure.over {
        WeightsOver::Keys => ("keys", "number of keys", "Each query at the temperature that its own gap needs."),
        WeightsOver::InverseTemperature => (
            "inverse temperature",
            "inverse temperature",
            "From a finite one on, sparsemax and entmax give the best key all weight; softmax never does.",
        ),
    };
    let plot = Plot::new(format!("Weight against {over}: {}", figure.relation), Axis::log(x), Axis::linear("weight"))
        .caption(caption);
    figure.curves.iter().fold(plot, |plot, curve| {
        plot.series(Series::line(format!("{}, guaranteed", curve.map), curve.guaranteed.clone()).dashed())
            .series(Series::line(curve.map.clone(), curve.measured.clone()))
    })
}

/// Errors over queries (to the right) and keys (upwards).
fn heat_map(figure: &WorstFigure) -> HeatMap {
    let n = figure.nodes.len();
    let error = |query: usize, key: usize| figure.errors.get(query * n + key).copied().unwrap_or(f64::NAN);
    let values = (0..n).map(|key| (0..n).map(|query| error(query, key)).collect()).collect();
    let map =
        HeatMap::new(&figure.relation, axis("query x", &figure.nodes), axis("key y", &figure.nodes), "|error|", values)
            .log()
            .caption(format!("{} The ring marks where.", certificate::bracket(&figure.certificate)));
    match (figure.certificate.worst.0.as_slice(), figure.certificate.worst.1.as_slice()) {
        (&[x], &[y]) => map.spot(x, y, format!("worst, {}", number(figure.certificate.lower))),
        _ => map,
    }
}

/// An axis on which cells have the nodes in their middle.
fn axis(label: &str, nodes: &[f64]) -> Axis {
    let axis = Axis::linear(label);
    match nodes {
        [first, .., last] => {
            let half = 0.5 * (last - first) / (nodes.len() - 1) as f64;
            axis.within(first - half, last + half)
        }
        _ => axis,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_have_nodes_in_their_middle() {
        assert_eq!(axis("x", &[-1.0, 0.0, 1.0]).range, Some((-1.5, 1.5)));
        assert_eq!(axis("x", &[2.0]).range, None);
    }
}
