//! Plots that several pages show.

use std::collections::BTreeSet;

use mercer::Class;
use mercer::spectrum::{Floors, Spectrum};
use mercer_report::{Axis, Mark, Plot, Series, number};

use crate::report::share;

/// Points `(index, value)` as a plot takes them.
pub(super) fn points(values: &[(usize, f64)]) -> Vec<(f64, f64)> {
    values.iter().map(|&(index, value)| (index as f64, value)).collect()
}

/// Errors over dimensions: few dimensions stand evenly, many logarithmically.
fn dimension_axis(largest: usize) -> Axis {
    if largest > 32 { Axis::log("dimension D") } else { Axis::linear("dimension D") }
}

/// A floor at and between the dimensions where it is known: what cannot be reached at one dimension cannot be reached at
/// a smaller one. The steps end where they are known, so that no line from a model to the next crosses them.
fn floor_steps(floor: &[(usize, f64)]) -> Vec<(f64, f64)> {
    let mut floor: Vec<(usize, f64)> = floor.iter().copied().filter(|(_, error)| *error > 0.0).collect();
    floor.sort_by_key(|(dim, _)| *dim);
    let starts = [1].into_iter().chain(floor.iter().map(|(dim, _)| *dim));
    let errors = floor.iter().chain(floor.last()).map(|(_, error)| *error);
    starts.zip(errors).map(|(dim, error)| (dim as f64, error)).collect()
}

/// The area below steps.
fn below(steps: &[(f64, f64)]) -> Vec<(f64, f64, f64)> {
    steps.windows(2).flat_map(|w| [(w[0].0, 0.0, w[0].1), (w[1].0, 0.0, w[0].1)]).collect()
}

/// A floor with the area that it excludes.
fn floor_series(name: &str, floor: &[(usize, f64)], shaded: bool) -> Vec<Series> {
    let steps = floor_steps(floor);
    if steps.is_empty() {
        return Vec::new();
    }
    let area = shaded.then(|| Series::band(name, below(&steps)));
    area.into_iter().chain([Series::steps(name, steps).dashed()]).collect()
}

/// A floor with the classes that it holds for.
struct ClassFloor {
    classes: Vec<Class>,
    floor: Vec<(usize, f64)>,
}

/// The floors of each class up to dimension `largest`; classes with the same floors share one.
fn class_floors(floors: &Floors, largest: usize) -> Vec<ClassFloor> {
    let mut found: Vec<ClassFloor> = Vec::new();
    for class in [Class::Symmetric, Class::Signed, Class::Asymmetric] {
        let own = floors.floors.iter().filter(|f| f.class == class && f.dim <= largest);
        let floor: Vec<(usize, f64)> = own.map(|f| (f.dim, f.rms)).collect();
        match found.iter_mut().find(|known| same(&known.floor, &floor)) {
            _ if floor.is_empty() => {}
            Some(known) => known.classes.push(class),
            None => found.push(ClassFloor { classes: vec![class], floor }),
        }
    }
    found
}

/// Whether two floors cannot be told apart on a page.
fn same(a: &[(usize, f64)], b: &[(usize, f64)]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.0 == b.0 && (a.1 - b.1).abs() <= 5e-3 * a.1.abs())
}

/// What the plot of errors over dimensions shows.
pub(super) struct Errors<'a> {
    pub(super) title: String,
    /// Errors of fitted models on held-out pairs.
    pub(super) attained: &'a [(usize, f64)],
    /// The floors, and the class whose excluded area is shaded.
    pub(super) floors: Option<(&'a Floors, Class)>,
    pub(super) chosen: Option<usize>,
    /// A root mean square error asked for, with its name.
    pub(super) target: Option<(f64, String)>,
}

/// Error against dimension.
pub(super) fn error_plot(errors: Errors<'_>) -> Plot {
    let largest = errors.attained.iter().map(|p| p.0).max().unwrap_or(usize::MAX);
    let mut plot = Plot::new(errors.title, dimension_axis(largest), Axis::log("root mean square error"));
    let mut caption = String::from("The line is measured: the error of a fitted model on held-out pairs.");
    if let Some((floors, shaded)) = errors.floors {
        let groups = class_floors(floors, largest);
        for ClassFloor { classes, floor } in &groups {
            let names: Vec<String> = classes.iter().map(ToString::to_string).collect();
            let name = if groups.len() == 1 && names.len() > 1 { "every class".into() } else { names.join(", ") };
            let series = floor_series(&format!("floor of {name}"), floor, classes.contains(&shaded));
            plot.series.extend(series);
        }
        let known = if floors.exact {
            "exact, over all pairs".into()
        } else {
            format!("with confidence {}", share(floors.confidence))
        };
        caption += &format!(" No {shaded} model can lie in the shaded area, however wide its towers: proven, {known}.");
        if groups.iter().any(|group| group.floor.iter().any(|(_, error)| *error <= 0.0)) {
            caption += " A floor of 0 excludes nothing and is not drawn.";
        }
    }
    plot = plot.series(Series::line("attained, held out", points(errors.attained)));
    if let Some((error, name)) = errors.target {
        plot = plot.mark(Mark::y(error, name));
    }
    if let Some(dim) = errors.chosen {
        plot = plot.mark(Mark::x(dim as f64, format!("chosen D = {dim}")));
    }
    plot.caption(caption)
}

/// Error against dimension with one floor and the tail of a spectrum.
pub(super) fn floor_plot(
    title: &str,
    attained: &[(usize, f64)],
    floor: &[(usize, f64)],
    tail: &[(usize, f64)],
) -> Plot {
    let largest = attained.iter().chain(floor).chain(tail).map(|p| p.0).max().unwrap_or(0);
    let mut plot = Plot::new(title, dimension_axis(largest), Axis::log("root mean square error")).caption(
        "No model can lie in the shaded area, however wide its towers (proven). The tail of the spectrum is what the best \
         functions would reach (estimated), the solid line what fitted models reach on held-out pairs (measured).",
    );
    plot.series = floor_series("certified floor", floor, true);
    // Where the sampled values end there is no tail to speak of.
    let tail: Vec<(usize, f64)> = tail.iter().copied().filter(|(_, error)| *error > 0.0).collect();
    if !tail.is_empty() {
        plot = plot.series(Series::line("tail of the spectrum", points(&tail)).dashed());
    }
    plot.series(Series::line("fitted models", points(attained)))
}

/// A sampled spectrum, its confidence band, and what theory says.
pub(super) struct Values<'a> {
    pub(super) title: String,
    /// Signed eigenvalues or singular values with their index from 1.
    pub(super) sampled: Vec<(usize, f64)>,
    /// Half the width of the band, and its confidence.
    pub(super) band: Option<(f64, f64)>,
    pub(super) exact: &'a [(usize, f64)],
}

/// A spectrum as it was sampled.
pub(super) fn sampled_plot(spectrum: &Spectrum) -> Plot {
    spectrum_plot(Values {
        title: if spectrum.symmetric { "Eigenvalues" } else { "Singular values" }.into(),
        sampled: (1..).zip(spectrum.values.iter().copied()).collect(),
        band: spectrum.radius.map(|r| (r.each.min(r.together), r.confidence)),
        exact: &[],
    })
}

/// Sizes of eigenvalues or singular values against their index.
pub(super) fn spectrum_plot(values: Values<'_>) -> Plot {
    let sign = |wanted: bool| -> Vec<(f64, f64)> {
        let own = values.sampled.iter().filter(|(_, v)| (*v < 0.0) == wanted);
        own.map(|&(index, value)| (index as f64, value.abs())).collect()
    };
    let negative = sign(true);
    let mut plot = Plot::new(values.title, Axis::log("index"), Axis::log("size"));
    let mut caption = String::from("Estimated from a sample: the faster they fall, the fewer dimensions are needed.");
    if let Some((radius, confidence)) = values.band {
        let around = |&(index, value): &(usize, f64)| (index as f64, value.abs() - radius, value.abs() + radius);
        plot = plot.series(Series::band("sampled", values.sampled.iter().map(around).collect()));
        caption += &format!(
            " With confidence {} the true values lie in the band of ± {} around them (proven); below that size the \
             sample alone says nothing for sure.",
            share(confidence),
            number(radius)
        );
    }
    // With signs the positive values have gaps, where a line would lead astray.
    plot = match negative.is_empty() {
        true => plot.series(Series::line("sampled", sign(false))),
        false => {
            caption += " Negative eigenvalues are shown by their size.";
            plot.series(Series::points("sampled", sign(false))).series(Series::points("sampled, negative", negative))
        }
    };
    if !values.exact.is_empty() {
        let exact = values.exact.iter().map(|&(index, value)| (index as f64, value.abs())).collect();
        plot = plot.series(Series::line("by the formula", exact).dashed());
    }
    plot.caption(caption)
}

/// A number without zeros that say nothing.
fn short(value: f64) -> String {
    let text = number(value);
    let plain = text.contains('.') && !text.contains('e');
    if plain { text.trim_end_matches('0').trim_end_matches('.').into() } else { text }
}

/// Held-out error `(dimension, ridge, error)` over dimensions, a line for each ridge, or the other way round: whichever
/// has fewer lines.
pub(super) fn ridge_plot(sizes: &[(usize, f64, f64)]) -> Plot {
    let ridges: BTreeSet<u64> = sizes.iter().map(|s| s.1.to_bits()).collect();
    let dims: BTreeSet<usize> = sizes.iter().map(|s| s.0).collect();
    let by_ridge = ridges.len() <= dims.len();
    let largest = dims.last().copied().unwrap_or(0);
    let x = if by_ridge { dimension_axis(largest) } else { Axis::log("ridge, in the fit's own units") };
    let mut plot = Plot::new("Ridge together with dimension", x, Axis::log("RMS error on held-out pairs"));
    let mut add = |name: String, mut line: Vec<(f64, f64)>| {
        line.sort_by(|a, b| a.0.total_cmp(&b.0));
        plot.series.push(Series::line(name, line));
    };
    if by_ridge {
        for ridge in &ridges {
            let own = sizes.iter().filter(|s| s.1.to_bits() == *ridge).map(|s| (s.0 as f64, s.2));
            add(format!("ridge {}", short(f64::from_bits(*ridge))), own.collect());
        }
    } else {
        for dim in &dims {
            add(format!("D = {dim}"), sizes.iter().filter(|s| s.0 == *dim).map(|s| (s.1, s.2)).collect());
        }
    }
    let best = sizes.iter().filter(|s| s.2.is_finite()).min_by(|a, b| a.2.total_cmp(&b.2));
    let found = best.map_or(String::new(), |(dim, ridge, error)| {
        format!(" The least, {}, is at dimension {dim} with ridge {}.", number(*error), short(*ridge))
    });
    plot.caption(format!("Measured on held-out pairs: comparing sizes without their ridges misleads.{found}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_floor_between_known_dimensions_is_that_of_the_next() {
        let steps = floor_steps(&[(4, 0.2), (1, 0.8), (2, 0.5), (8, 0.0)]);
        // At 3 only the floor at 4 is known to hold.
        assert_eq!(steps, [(1.0, 0.8), (1.0, 0.5), (2.0, 0.2), (4.0, 0.2)]);
        assert_eq!(floor_steps(&[(3, 0.5)]), [(1.0, 0.5), (3.0, 0.5)]);
        assert_eq!(floor_steps(&[]), []);
        assert_eq!(below(&steps)[2..4], [(1.0, 0.0, 0.5), (2.0, 0.0, 0.5)]);
    }

    #[test]
    fn ridges_or_dimensions_whichever_are_fewer() {
        let sizes = [(1, 0.1, 0.5), (2, 0.1, 0.4), (4, 0.1, f64::NAN), (1, 1.0, 0.6)];
        let plot = ridge_plot(&sizes);
        assert_eq!(plot.series[0].name, "ridge 0.1");
        assert!(plot.caption.contains("0.4000, is at dimension 2"), "{}", plot.caption);
        let plot = ridge_plot(&[(1, 0.1, 0.5), (1, 1.0, 0.6)]);
        assert_eq!(plot.series.len(), 1);
        assert_eq!(plot.series[0].name, "D = 1");
    }
}
