//! What a plot shows: axes, series, reference lines.

use serde::{Deserialize, Serialize};

use crate::data::{Csv, field};

/// An axis: its label, its kind, and the range to show if it is not that of the data.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Axis {
    /// What is measured, with its unit.
    pub label: String,
    /// Logarithmic: values that are not positive are left out of the drawing, and counted below it.
    #[serde(default)]
    pub log: bool,
    /// Least and largest value shown. A range that the axis cannot have is ignored.
    #[serde(default)]
    pub range: Option<(f64, f64)>,
}

impl Axis {
    /// A linear axis.
    pub fn linear(label: impl Into<String>) -> Self {
        Self { label: label.into(), log: false, range: None }
    }

    /// A logarithmic axis.
    pub fn log(label: impl Into<String>) -> Self {
        Self { log: true, ..Self::linear(label) }
    }

    /// Shows `low` to `high`; what lies outside is cut off in the drawing and kept in the CSV.
    pub fn within(self, low: f64, high: f64) -> Self {
        Self { range: Some((low, high)), ..self }
    }
}

/// How the numbers of a series are drawn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Data {
    /// A line through the points `(x, y)`, in their order; a point that cannot be shown leaves a gap.
    Line(Vec<(f64, f64)>),
    /// Points `(x, y)` alone.
    Points(Vec<(f64, f64)>),
    /// A step function: `y` holds from `x` to the next `x`.
    Steps(Vec<(f64, f64)>),
    /// Bars of height `y` at `x`; bars of several series stand side by side.
    Bars(Vec<(f64, f64)>),
    /// The area between two curves: `(x, low, high)`. An infinite end, or one at most 0 on a logarithmic axis, reaches
    /// the frame.
    Band(Vec<(f64, f64, f64)>),
}

impl Data {
    /// Number of points.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Line(p) | Self::Points(p) | Self::Steps(p) | Self::Bars(p) => p.len(),
            Self::Band(p) => p.len(),
        }
    }
}

/// A named set of numbers. Series of the same name share a colour and a place in the legend, as a curve and its band
/// should.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// The name in the legend and in the CSV.
    pub name: String,
    /// The numbers and how they are drawn.
    pub data: Data,
    /// Dashed lines: the usual sign for a bound or a theory beside what was measured.
    #[serde(default)]
    pub dashed: bool,
}

impl Series {
    fn new(name: impl Into<String>, data: Data) -> Self {
        Self { name: name.into(), data, dashed: false }
    }

    /// See [`Data::Line`].
    pub fn line(name: impl Into<String>, points: Vec<(f64, f64)>) -> Self {
        Self::new(name, Data::Line(points))
    }

    /// See [`Data::Points`].
    pub fn points(name: impl Into<String>, points: Vec<(f64, f64)>) -> Self {
        Self::new(name, Data::Points(points))
    }

    /// See [`Data::Steps`].
    pub fn steps(name: impl Into<String>, points: Vec<(f64, f64)>) -> Self {
        Self::new(name, Data::Steps(points))
    }

    /// See [`Data::Bars`].
    pub fn bars(name: impl Into<String>, points: Vec<(f64, f64)>) -> Self {
        Self::new(name, Data::Bars(points))
    }

    /// See [`Data::Band`].
    pub fn band(name: impl Into<String>, points: Vec<(f64, f64, f64)>) -> Self {
        Self::new(name, Data::Band(points))
    }

    /// The same series with dashed lines.
    pub fn dashed(self) -> Self {
        Self { dashed: true, ..self }
    }
}

/// A labelled reference line across the plot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mark {
    /// A vertical line at this `x`.
    X(f64, String),
    /// A horizontal line at this `y`.
    Y(f64, String),
}

impl Mark {
    /// A vertical line at `at`.
    pub fn x(at: f64, label: impl Into<String>) -> Self {
        Self::X(at, label.into())
    }

    /// A horizontal line at `at`.
    pub fn y(at: f64, label: impl Into<String>) -> Self {
        Self::Y(at, label.into())
    }
}

/// A plot of series over two axes.
///
/// More than about 3000 points are thinned for drawing: a curve keeps its least and largest value in each column of
/// pixels, a cloud keeps its extremes and an even choice of the rest. The CSV keeps [`CSV_ROWS`](crate::CSV_ROWS) rows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Plot {
    /// What is plotted, in a few words.
    pub title: String,
    /// What to see.
    #[serde(default)]
    pub caption: String,
    /// The horizontal axis.
    pub x: Axis,
    /// The vertical axis.
    pub y: Axis,
    /// What is drawn, first below.
    pub series: Vec<Series>,
    /// Reference lines.
    #[serde(default)]
    pub marks: Vec<Mark>,
}

impl Plot {
    /// An empty plot.
    pub fn new(title: impl Into<String>, x: Axis, y: Axis) -> Self {
        Self { title: title.into(), x, y, ..Self::default() }
    }

    /// Says below the plot what to see.
    pub fn caption(self, caption: impl Into<String>) -> Self {
        Self { caption: caption.into(), ..self }
    }

    /// Adds a series.
    pub fn series(mut self, series: Series) -> Self {
        self.series.push(series);
        self
    }

    /// Adds a reference line.
    pub fn mark(mut self, mark: Mark) -> Self {
        self.marks.push(mark);
        self
    }

    /// All numbers: a header `series,x,y` (with bands `series,x,y,low,high`) and one line per point, to the last bit.
    pub fn csv(&self) -> Csv {
        let bands = self.series.iter().any(|s| matches!(s.data, Data::Band(_)));
        let mut csv = Csv::new(if bands { "series,x,y,low,high" } else { "series,x,y" });
        for series in &self.series {
            let name = field(&series.name);
            match &series.data {
                Data::Line(points) | Data::Points(points) | Data::Steps(points) | Data::Bars(points) => {
                    let rest = if bands { ",," } else { "" };
                    csv.extend(points.iter().map(|(x, y)| format!("{name},{x:?},{y:?}{rest}")));
                }
                Data::Band(points) => {
                    csv.extend(points.iter().map(|(x, low, high)| format!("{name},{x:?},,{low:?},{high:?}")));
                }
            }
        }
        csv
    }
}
