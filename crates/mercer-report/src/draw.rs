//! A plot as HTML: a figure with a legend, two drawings of which the style sheet shows the one that fits, and its data.
//!
//! Legend and labels of axes are HTML, which wraps on narrow pages; the drawing holds what needs coordinates.

use std::fmt::Write;

use crate::frame::{Figure, Frame, ROW, SIZES, figure, px};
use crate::plot::{Data, Mark, Plot, Series};
use crate::scale::Scale;
use crate::text::{count, escape, inline, number};
use crate::thin::{self, MOST};

/// Colours and marker shapes before they repeat.
const COLOURS: usize = 6;
/// Points of a series that tell their values when the pointer rests on them.
const TOLD: usize = 60;
/// Points of a line up to which each has its marker.
const FEW: usize = 24;
/// Points of a cloud from which on they are drawn as dots that add up where they overlap.
const CROWD: usize = 400;

/// `(x, y)`, as values or as pixels.
type Point = (f64, f64);

/// How a name looks: colour and marker by its number, dots in the line from the seventh name on.
#[derive(Clone, Copy)]
struct Look {
    index: usize,
}

impl Look {
    fn class(self, dashed: bool) -> String {
        let again = if self.index >= COLOURS { " again" } else { "" };
        format!("c{}{}{again}", self.index % COLOURS, if dashed { " dashed" } else { "" })
    }

    /// The outline of the marker around a point.
    fn marker(self, x: f64, y: f64, r: f64) -> String {
        let (l, t) = (px(x - r), px(y - r));
        match (self.index + self.index / COLOURS) % COLOURS {
            0 => format!("M{l} {}a{r} {r} 0 1 0 {d} 0a{r} {r} 0 1 0-{d} 0z", px(y), d = 2.0 * r),
            1 => format!("M{} {}h{s}v{s}h-{s}z", px(x - 0.9 * r), px(y - 0.9 * r), s = px(1.8 * r)),
            2 => format!("M{} {t}L{} {b}H{l}z", px(x), px(x + r), b = px(y + 0.8 * r)),
            3 => format!("M{} {t}L{} {}L{} {}L{l} {}z", px(x), px(x + r), px(y), px(x), px(y + r), px(y)),
            4 => format!("M{l} {}H{}L{} {}z", px(y - 0.8 * r), px(x + r), px(x), px(y + r)),
            _ => {
                let (x, y, a) = (px(x - 0.36 * r), px(y - 1.08 * r), px(0.72 * r));
                format!("M{x} {y}h{a}v{a}h{a}v{a}h-{a}v{a}h-{a}v-{a}h-{a}v-{a}h{a}z")
            }
        }
    }
}

impl Plot {
    /// The names in order of appearance.
    fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for series in &self.series {
            if !names.contains(&series.name.as_str()) {
                names.push(&series.name);
            }
        }
        names
    }

    fn look(&self, series: &Series) -> Look {
        Look { index: self.names().iter().position(|n| *n == series.name).unwrap_or(0) }
    }

    /// Whether the axes can show the point.
    fn has_place(&self, x: f64, y: f64) -> bool {
        x.is_finite() && y.is_finite() && (x > 0.0 || !self.x.log) && (y > 0.0 || !self.y.log)
    }

    /// The pixels of a point, if the axes can show it.
    fn place(&self, frame: &Frame, (x, y): Point) -> Option<Point> {
        if self.has_place(x, y) { Some((frame.x.at(x)?, frame.y.at(y)?)) } else { None }
    }

    /// Both axes, over all points that can be shown and over the reference lines.
    fn scales(&self) -> (Scale, Scale) {
        let shown = || self.points().filter(|(x, y)| self.has_place(*x, *y));
        let across = self.marks.iter().filter_map(|m| if let Mark::X(at, _) = m { Some(*at) } else { None });
        let up = self.marks.iter().filter_map(|m| if let Mark::Y(at, _) = m { Some(*at) } else { None });
        let most = self.bars().map(<[Point]>::len).max();
        let mut y = self.y.clone();
        if most.is_some() && !y.log && y.range.is_none() {
            // Bars stand on the frame if none hangs down.
            let (low, high) = shown()
                .map(|p| p.1)
                .chain(up.clone())
                .filter(|y| y.is_finite())
                .fold((0.0, 0.0), |(a, b), y| (f64::min(a, y), f64::max(b, y)));
            let room = 0.05 * (high - low);
            y.range = Some((if low < 0.0 { low - room } else { 0.0 }, if high > 0.0 { high + room } else { 0.0 }));
        }
        // Room for half a bar at both ends.
        let pad = most.map_or(0.03, |bars| (0.6 / bars.max(1) as f64).clamp(0.03, 0.5));
        (
            Scale::new(&self.x, shown().map(|p| p.0).chain(across), pad),
            Scale::new(&y, shown().map(|p| p.1).chain(up), 0.05),
        )
    }

    /// All points; of a band both ends.
    fn points(&self) -> impl Iterator<Item = Point> {
        self.series.iter().flat_map(|series| {
            let (pairs, band): (&[Point], &[_]) = match &series.data {
                Data::Line(p) | Data::Points(p) | Data::Steps(p) | Data::Bars(p) => (p, &[]),
                Data::Band(p) => (&[], p),
            };
            pairs.iter().copied().chain(band.iter().flat_map(|&(x, low, high)| [(x, low), (x, high)]))
        })
    }

    /// The series that are bars.
    fn bars(&self) -> impl Iterator<Item = &[Point]> {
        self.series.iter().filter_map(|s| if let Data::Bars(points) = &s.data { Some(points.as_slice()) } else { None })
    }

    /// The figure.
    pub(crate) fn html(&self) -> String {
        let (x, y) = self.scales();
        let drawings: String = SIZES.iter().map(|size| self.svg(&Frame::new(*size, &x, &y, self.rows()))).collect();
        figure(&Figure {
            title: &self.title,
            caption: &self.caption,
            above: &self.legend(),
            x: &self.x.label,
            y: &self.y.label,
            drawings: &drawings,
            notes: &self.notes(&Frame::new(SIZES[0], &x, &y, self.rows())),
            data: &self.csv().details(&self.title),
        })
    }

    fn svg(&self, frame: &Frame) -> String {
        let width = self.bar_width(frame);
        let mut left = -0.5 * width * self.bars().count() as f64;
        let (mut bands, mut inside) = (String::new(), String::new());
        for series in &self.series {
            match &series.data {
                // Bands lie below everything, so that no curve is hidden.
                Data::Band(_) => bands += &self.series_svg(frame, series, (0.0, 0.0)),
                Data::Bars(_) => {
                    inside += &self.series_svg(frame, series, (left, width));
                    left += width;
                }
                _ => inside += &self.series_svg(frame, series, (0.0, 0.0)),
            }
        }
        inside.insert_str(0, &bands);
        let (lines, mut words) = self.marks_svg(frame);
        if !self.points().any(|(x, y)| self.has_place(x, y)) {
            let ((left, right), (bottom, top)) = (frame.x.ends(), frame.y.ends());
            let (x, y) = (px(0.5 * (left + right)), px(0.5 * (bottom + top)));
            let _ =
                write!(words, "<text class=\"label none\" x=\"{x}\" y=\"{y}\" text-anchor=\"middle\">no data</text>");
        }
        frame.svg(&self.description(), &inside, &(lines + &words))
    }

    /// Width of one bar in pixels: side by side they leave a small gap between the closest places.
    fn bar_width(&self, frame: &Frame) -> f64 {
        let mut places: Vec<f64> = self.bars().flatten().filter_map(|p| frame.x.at(p.0)).collect();
        places.sort_by(f64::total_cmp);
        let (left, right) = frame.x.ends();
        let gaps = places.windows(2).map(|w| w[1] - w[0]).filter(|gap| *gap > 1e-6);
        let gap = gaps.fold(0.25 * (right - left), f64::min);
        (0.86 * gap / self.bars().count().max(1) as f64).max(0.5)
    }

    /// A series; `bar` is where its bars begin, from their place, and their width.
    fn series_svg(&self, frame: &Frame, series: &Series, bar: (f64, f64)) -> String {
        let look = self.look(series);
        let place = |p: &Point| self.place(frame, *p);
        let body = match &series.data {
            Data::Line(points) => {
                let runs: Vec<Vec<Point>> = runs(points.iter().map(place));
                let path: String = runs.iter().map(|run| polyline(&thin::curve(run))).collect();
                format!("<path class=\"line\" d=\"{path}\"/>{}", self.line_markers(look, series, points, frame))
            }
            Data::Steps(points) => {
                let runs = runs(points.iter().map(place));
                let path: String = runs.iter().map(|run| polyline(&thin::curve(&stairs(run)))).collect();
                format!("<path class=\"line\" d=\"{path}\"/>")
            }
            Data::Points(points) => {
                let shown: Vec<Point> = points.iter().filter_map(place).collect();
                if shown.len() > CROWD {
                    crowd(&thin::cloud(&shown))
                } else {
                    self.markers(look, series, points, frame)
                }
            }
            Data::Bars(points) => {
                let foot = frame.y.at(0.0).unwrap_or(frame.y.ends().0);
                let rectangles = points.iter().filter_map(|p| {
                    let (x, y) = place(p)?;
                    let path = format!("M{} {}V{}h{}V{}z", px(x + bar.0), px(foot), px(y), px(bar.1), px(foot));
                    Some(told(series, &path, *p, points.len() <= TOLD))
                });
                format!("<g class=\"bar\">{}</g>", rectangles.collect::<String>())
            }
            Data::Band(points) => band(frame, points),
        };
        format!("<g class=\"{}\">{body}</g>\n", look.class(series.dashed))
    }

    fn markers(&self, look: Look, series: &Series, points: &[Point], frame: &Frame) -> String {
        let r = if points.len() <= TOLD { 4.0 } else { 3.0 };
        let shapes = points.iter().filter_map(|p| self.place(frame, *p).map(|(x, y)| (look.marker(x, y, r), *p)));
        if points.len() <= TOLD {
            let paths: String = shapes.map(|(path, p)| told(series, &path, p, true)).collect();
            format!("<g class=\"dot\">{paths}</g>")
        } else {
            format!("<path class=\"dot\" d=\"{}\"/>", shapes.map(|s| s.0).collect::<String>())
        }
    }

    /// Whether a line has markers.
    fn is_marked(&self, points: &[Point]) -> bool {
        points.len() <= FEW || self.names().len() > 1
    }

    /// Markers on a line: at all points if they are few, at some if the line has to be told from others without its
    /// colour.
    fn line_markers(&self, look: Look, series: &Series, points: &[Point], frame: &Frame) -> String {
        if points.len() <= FEW {
            return self.markers(look, series, points, frame);
        }
        if !self.is_marked(points) {
            return String::new();
        }
        let some = 6;
        // Offsets differ by line, so that markers of close curves do not cover each other.
        let offset = (2 * look.index + 1) % 5;
        let chosen: Vec<Point> =
            (0..some).map(|k| points[(10 * k + 2 * offset + 1) * points.len() / (10 * some + 10)]).collect();
        self.markers(look, series, &chosen, frame)
    }

    /// Rows of labels above the frame: those of neighbouring vertical lines must not meet.
    fn rows(&self) -> usize {
        self.marks.iter().filter(|m| matches!(m, Mark::X(_, label) if !label.is_empty())).count().min(4)
    }

    /// Reference lines, and their labels.
    fn marks_svg(&self, frame: &Frame) -> (String, String) {
        let ((left, right), (bottom, top)) = (frame.x.ends(), frame.y.ends());
        let (mut path, mut words, mut row) = (String::new(), String::new(), 0);
        for mark in &self.marks {
            match mark {
                Mark::X(at, label) => {
                    let Some(x) = frame.x.at(*at).filter(|x| frame.x.shows(*x)) else { continue };
                    // The line goes up to its label, above the frame, where no data are.
                    let up = if label.is_empty() { 0.0 } else { ROW * (1 + row % self.rows()) as f64 };
                    row += usize::from(!label.is_empty());
                    let _ = write!(path, "M{} {}V{}", px(x), px(bottom), px(top - up));
                    words += &frame.label(x, top - up + 11.0, label);
                }
                Mark::Y(at, label) => {
                    let Some(y) = frame.y.at(*at).filter(|y| frame.y.shows(*y)) else { continue };
                    let _ = write!(path, "M{} {}H{}", px(left), px(y), px(right));
                    words += &frame.label(right, if y - top < 18.0 { y + 14.0 } else { y - 5.0 }, label);
                }
            }
        }
        (format!("<path class=\"mark\" d=\"{path}\"/>\n"), words)
    }

    fn legend(&self) -> String {
        let entries = self.names().into_iter().enumerate().filter(|(_, name)| !name.is_empty()).map(|(index, name)| {
            let keys: String =
                self.series.iter().filter(|s| s.name == name).map(|s| self.key(Look { index }, s)).collect();
            format!(
                "<li><svg class=\"key\" viewBox=\"0 0 26 12\" aria-hidden=\"true\">{keys}</svg>{}</li>",
                inline(name)
            )
        });
        let entries: String = entries.collect();
        if entries.is_empty() { entries } else { format!("<ul class=\"legend\">{entries}</ul>\n") }
    }

    /// A series in the legend.
    fn key(&self, look: Look, series: &Series) -> String {
        let dot = || format!("<path class=\"dot\" d=\"{}\"/>", look.marker(13.0, 6.0, 4.0));
        let body = match &series.data {
            Data::Line(points) if self.is_marked(points) => format!("<path class=\"line\" d=\"M0 6H26\"/>{}", dot()),
            Data::Line(_) => "<path class=\"line\" d=\"M0 6H26\"/>".into(),
            Data::Steps(_) => "<path class=\"line\" d=\"M0 10H13V2H26\"/>".into(),
            Data::Points(_) => dot(),
            Data::Bars(_) => "<path class=\"bar\" d=\"M7 0h12v12h-12z\"/>".into(),
            Data::Band(_) => "<path class=\"band\" d=\"M0 0h26v12H0z\"/>".into(),
        };
        format!("<g class=\"{}\">{body}</g>", look.class(series.dashed))
    }

    /// What a reader who cannot see the plot is told.
    fn description(&self) -> String {
        let names: Vec<&str> = self.names().into_iter().filter(|n| !n.is_empty()).collect();
        let labels = self.marks.iter().map(|(Mark::X(_, label) | Mark::Y(_, label))| label.as_str());
        let marks: Vec<&str> = labels.filter(|label| !label.is_empty()).collect();
        let mut text = format!("{}: {} against {}", self.title, self.y.label, self.x.label);
        for (word, words) in [("series", names), ("reference lines", marks)] {
            if !words.is_empty() {
                let _ = write!(text, "; {word}: {}", words.join(", "));
            }
        }
        text
    }

    /// What the drawing leaves out.
    fn notes(&self, frame: &Frame) -> Vec<String> {
        let (mut infinite, mut negative, mut outside, mut thinned) = (0, 0, 0, false);
        let mut note = |x: f64, y: f64| {
            if !(x.is_finite() && y.is_finite()) {
                infinite += 1;
            } else if !self.has_place(x, y) {
                negative += 1;
            } else if !(frame.x.at(x).is_some_and(|p| frame.x.shows(p))
                && frame.y.at(y).is_some_and(|p| frame.y.shows(p)))
            {
                outside += 1;
            }
        };
        for series in &self.series {
            thinned |= series.data.len() > MOST;
            match &series.data {
                Data::Line(points) | Data::Points(points) | Data::Steps(points) | Data::Bars(points) => {
                    points.iter().for_each(|(x, y)| note(*x, *y));
                }
                // Ends of a band may lie anywhere: they reach the frame.
                Data::Band(points) => {
                    points.iter().filter(|p| p.1.is_nan() || p.2.is_nan()).for_each(|p| note(p.0, f64::NAN))
                }
            }
        }
        let mut notes = Vec::new();
        let mut say = |number: u64, one: &str, many: &str| match number {
            0 => {}
            1 => notes.push(format!("1 point is not drawn: {one}")),
            n => notes.push(format!("{} points are not drawn: {many}", count(n))),
        };
        say(infinite, "it is not finite.", "they are not finite.");
        say(negative, "it is not positive, on a logarithmic axis.", "they are not positive, on a logarithmic axis.");
        say(outside, "it lies outside of the range shown.", "they lie outside of the range shown.");
        if thinned {
            notes.push("Drawn with fewer points that keep the outline; the data below have more.".into());
        }
        notes
    }
}

/// A path that tells its value where the pointer rests on it, if `told`.
fn told(series: &Series, path: &str, point: Point, told: bool) -> String {
    if !told {
        return format!("<path d=\"{path}\"/>");
    }
    let name = if series.name.is_empty() { String::new() } else { format!("{}: ", series.name) };
    let text = format!("{name}({}, {})", number(point.0), number(point.1));
    format!("<path d=\"{path}\"><title>{}</title></path>", escape(&text))
}

/// Runs of neighbouring points that have a place.
fn runs(points: impl Iterator<Item = Option<Point>>) -> Vec<Vec<Point>> {
    let mut runs = vec![Vec::new()];
    for point in points {
        match (point, runs.last_mut()) {
            (Some(point), Some(run)) => run.push(point),
            _ => runs.push(Vec::new()),
        }
    }
    runs.retain(|run| !run.is_empty());
    runs
}

/// A path through points.
fn polyline(points: &[Point]) -> String {
    let mut path = String::new();
    for (i, (x, y)) in points.iter().enumerate() {
        let _ = write!(path, "{}{} {}", if i == 0 { "M" } else { "L" }, px(*x), px(*y));
    }
    if points.len() == 1 {
        path.push_str("h0");
    }
    path
}

/// The corners of a step function.
fn stairs(points: &[Point]) -> Vec<Point> {
    let corners = points.windows(2).flat_map(|w| [w[0], (w[1].0, w[0].1)]);
    corners.chain(points.last().copied()).collect()
}

/// Dots in a few layers: within a layer they do not add up, between layers they do, so that density is seen.
fn crowd(points: &[Point]) -> String {
    const LAYERS: usize = 8;
    let layer = |k: usize| -> String {
        points.iter().skip(k).step_by(LAYERS).map(|(x, y)| format!("M{} {}h0", px(*x), px(*y))).collect()
    };
    (0..LAYERS).map(|k| format!("<path class=\"crowd\" d=\"{}\"/>", layer(k))).collect()
}

/// The area between two curves.
fn band(frame: &Frame, points: &[(f64, f64, f64)]) -> String {
    let (bottom, top) = frame.y.ends();
    let end = |y: f64| frame.y.at(y).unwrap_or(if y == f64::INFINITY { top } else { bottom });
    let place = |&(x, low, high): &(f64, f64, f64)| {
        let x = frame.x.at(x)?;
        (!low.is_nan() && !high.is_nan()).then(|| ((x, end(low)), (x, end(high))))
    };
    let mut path = String::new();
    for run in points.iter().map(place).collect::<Vec<_>>().split(Option::is_none) {
        let (low, high): (Vec<Point>, Vec<Point>) = run.iter().flatten().copied().unzip();
        if low.is_empty() {
            continue;
        }
        let mut outline = thin::curve(&high);
        outline.extend(thin::curve(&low).into_iter().rev());
        path += &polyline(&outline);
        path.push('z');
    }
    format!("<path class=\"band\" d=\"{path}\"/>")
}
