//! Values over a rectangle, and where they are worst.

use std::fmt::Write;

use serde::{Deserialize, Serialize};

use crate::data::Csv;
use crate::frame::{Figure, Frame, SIZES, figure, px};
use crate::plot::Axis;
use crate::scale::{Scale, labels};
use crate::text::{count, inline, number};

/// Colours of the scale.
const LEVELS: usize = 16;
/// Cells drawn in each direction; of more, each drawn cell shows the largest of a block.
const CELLS: usize = 96;

/// A point to be marked on a heat map.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spot {
    /// Place along the horizontal axis.
    pub x: f64,
    /// Place along the vertical axis.
    pub y: f64,
    /// What is there.
    pub label: String,
}

/// Values on a regular grid over a rectangle, as colours: where an error is large, say.
///
/// `values[i][j]` belongs to the cell in row `i` from below and column `j` from the left; rows may differ in length,
/// missing cells stay empty. More than 96 rows or columns are drawn in blocks that show their largest value; the CSV
/// has all, up to [`CSV_ROWS`](crate::CSV_ROWS).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HeatMap {
    /// What is shown, in a few words.
    pub title: String,
    /// What to see.
    #[serde(default)]
    pub caption: String,
    /// The horizontal axis. Its range is that of the outer edges of the cells; without one, cells are counted from 0.
    pub x: Axis,
    /// The vertical axis, likewise. Both axes are drawn linear.
    pub y: Axis,
    /// What the values are, with their unit.
    pub value: String,
    /// Whether colours follow the logarithm; values that are not positive then have the lowest colour.
    #[serde(default)]
    pub log: bool,
    /// The values, row by row from below.
    pub values: Vec<Vec<f64>>,
    /// Points to mark.
    #[serde(default)]
    pub spots: Vec<Spot>,
}

impl HeatMap {
    /// A map of `values` over the rectangle of two axes with ranges.
    pub fn new(title: impl Into<String>, x: Axis, y: Axis, value: impl Into<String>, values: Vec<Vec<f64>>) -> Self {
        Self { title: title.into(), x, y, value: value.into(), values, ..Self::default() }
    }

    /// Says below the map what to see.
    pub fn caption(self, caption: impl Into<String>) -> Self {
        Self { caption: caption.into(), ..self }
    }

    /// Lets the colours follow the logarithm.
    pub fn log(self) -> Self {
        Self { log: true, ..self }
    }

    /// Marks a point.
    pub fn spot(mut self, x: f64, y: f64, label: impl Into<String>) -> Self {
        self.spots.push(Spot { x, y, label: label.into() });
        self
    }

    fn columns(&self) -> usize {
        self.values.iter().map(Vec::len).max().unwrap_or(0)
    }

    /// The edges of the rectangle.
    fn edges(axis: &Axis, cells: usize) -> (f64, f64) {
        let fine = |(low, high): &(f64, f64)| low.is_finite() && high.is_finite() && low < high;
        axis.range.filter(fine).unwrap_or((0.0, cells.max(1) as f64))
    }

    /// All values: a header `x,y,value`, the middles of the cells, row by row from below.
    pub fn csv(&self) -> Csv {
        let mut csv = Csv::new("x,y,value");
        let (x, y) = (Self::edges(&self.x, self.columns()), Self::edges(&self.y, self.values.len()));
        let middle = |(low, high): (f64, f64), i: usize, n: usize| low + (high - low) * ((i as f64 + 0.5) / n as f64);
        for (i, row) in self.values.iter().enumerate() {
            let at = middle(y, i, self.values.len());
            csv.extend(
                row.iter().enumerate().map(|(j, value)| format!("{:?},{at:?},{value:?}", middle(x, j, self.columns()))),
            );
        }
        csv
    }

    /// The colour scale: its least and largest value.
    fn span(&self) -> Option<(f64, f64)> {
        let shown = self.values.iter().flatten().copied().filter(|v| v.is_finite() && (*v > 0.0 || !self.log));
        let (low, high) = shown.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), v| (a.min(v), b.max(v)));
        (low <= high).then_some((low, high))
    }

    /// The colour of a value; `None` for what is not finite.
    fn level(&self, value: f64, (low, high): (f64, f64)) -> Option<usize> {
        if !value.is_finite() {
            return None;
        }
        let on = |v: f64| if self.log { v.max(low).log10() } else { 0.5 * v };
        let share = (on(value) - on(low)) / (on(high) - on(low));
        Some(if share.is_nan() { LEVELS - 1 } else { ((share * LEVELS as f64) as usize).min(LEVELS - 1) })
    }

    /// The figure.
    pub(crate) fn html(&self) -> String {
        let across = |axis: &Axis, cells| {
            let (low, high) = Self::edges(axis, cells);
            Scale::new(&Axis { log: false, range: Some((low, high)), ..axis.clone() }, [].into_iter(), 0.0)
        };
        let (x, y) = (across(&self.x, self.columns()), across(&self.y, self.values.len()));
        let cells = self.blocks();
        let drawings: String = SIZES.iter().map(|size| self.svg(&Frame::new(*size, &x, &y, 0), &cells)).collect();
        figure(&Figure {
            title: &self.title,
            caption: &self.caption,
            above: &self.key(),
            x: &self.x.label,
            y: &self.y.label,
            drawings: &drawings,
            notes: &self.notes(),
            data: &self.csv().details(&self.title),
        })
    }

    /// At most [`CELLS`] rows and columns: the largest value of each block, not a number where the whole block is not
    /// finite.
    fn blocks(&self) -> Vec<Vec<f64>> {
        let (rows, columns) = (self.values.len(), self.columns());
        let (height, width) = (rows.min(CELLS), columns.min(CELLS));
        let mut blocks = vec![vec![f64::NAN; width]; height];
        for (i, row) in self.values.iter().enumerate() {
            for (j, value) in row.iter().enumerate().filter(|(_, v)| v.is_finite()) {
                let block = &mut blocks[i * height / rows][j * width / columns];
                *block = value.max(*block); // the maximum with not-a-number is the value
            }
        }
        blocks
    }

    fn svg(&self, frame: &Frame, cells: &[Vec<f64>]) -> String {
        let ((left, right), (bottom, top)) = (frame.x.ends(), frame.y.ends());
        let mut paths = vec![String::new(); LEVELS + 1];
        let span = self.span().unwrap_or((0.0, 0.0));
        for (i, row) in cells.iter().enumerate() {
            let y = |i: usize| bottom + (top - bottom) * i as f64 / cells.len() as f64;
            let x = |j: usize| left + (right - left) * j as f64 / row.len() as f64;
            let levels: Vec<usize> = row.iter().map(|v| self.level(*v, span).unwrap_or(LEVELS)).collect();
            let mut j = 0;
            // Neighbours of one colour are one rectangle.
            for run in levels.chunk_by(|a, b| a == b) {
                let (from, to) = (x(j), x(j + run.len()));
                let _ = write!(paths[run[0]], "M{} {}H{}V{}H{}z", px(from), px(y(i)), px(to), px(y(i + 1)), px(from));
                j += run.len();
            }
        }
        let paths = paths.iter().enumerate().filter(|(_, path)| !path.is_empty());
        let class = |level| if level == LEVELS { "hole".to_string() } else { format!("h{level}") };
        let mut inside: String =
            paths.map(|(k, path)| format!("<path class=\"{}\" d=\"{path}\"/>", class(k))).collect();
        let mut over = String::new();
        for spot in &self.spots {
            let (Some(x), Some(y)) = (frame.x.at(spot.x), frame.y.at(spot.y)) else { continue };
            if frame.x.shows(x) && frame.y.shows(y) {
                let ring = format!("<circle class=\"CLASS\" cx=\"{}\" cy=\"{}\" r=\"6\"/>", px(x), px(y));
                over += &ring.replace("CLASS", "ring-halo");
                over += &ring.replace("CLASS", "ring");
                let towards = if x > 0.5 * (left + right) { -6.0 } else { 6.0 };
                over += &frame.label(x + towards, if y - top < 18.0 { y + 16.0 } else { y - 6.0 }, &spot.label);
            }
        }
        if self.span().is_none() {
            let (x, y) = (px(0.5 * (left + right)), px(0.5 * (bottom + top)));
            let _ =
                write!(over, "<text class=\"label none\" x=\"{x}\" y=\"{y}\" text-anchor=\"middle\">no data</text>");
        }
        inside.push('\n');
        frame.svg(&self.description(), &format!("<g class=\"heat\">{inside}</g>"), &over)
    }

    /// The colours with the values at their ends and in the middle.
    fn key(&self) -> String {
        let Some((low, high)) = self.span() else { return String::new() };
        let middle = if self.log { low.sqrt() * high.sqrt() } else { 0.5 * low + 0.5 * high };
        // Two digits are enough to read colours by; the exact ends are in the description and in the data.
        let rough = |v: f64| format!("{v:.1e}").parse().unwrap_or(v);
        let ends = labels(&[low, middle, high].map(rough), self.log);
        let swatches: String = (0..LEVELS).map(|k| format!("<path class=\"h{k}\" d=\"M{k} 0h1v1h-1z\"/>")).collect();
        format!(
            "<div class=\"scale\"><p class=\"soft\">{}</p>\
             <div><svg viewBox=\"0 0 {LEVELS} 1\" preserveAspectRatio=\"none\" \
             aria-hidden=\"true\"><g class=\"heat\">{swatches}</g></svg>\
             <p><span>{}</span><span>{}</span><span>{}</span></p></div></div>\n",
            inline(&self.value),
            ends[0],
            ends[1],
            ends[2],
        )
    }

    fn description(&self) -> String {
        let mut text = format!("{}: {} over {} and {}", self.title, self.value, self.x.label, self.y.label);
        if let Some((low, high)) = self.span() {
            let _ = write!(text, ", from {} to {}", number(low), number(high));
        }
        for spot in &self.spots {
            let _ = write!(text, "; at ({}, {}): {}", number(spot.x), number(spot.y), spot.label);
        }
        text
    }

    fn notes(&self) -> Vec<String> {
        let all = || self.values.iter().flatten();
        let infinite = all().filter(|v| !v.is_finite()).count();
        let negative = all().filter(|v| self.log && v.is_finite() && **v <= 0.0).count();
        let mut notes = Vec::new();
        let mut say = |cells: usize, what: &str| {
            if cells > 0 {
                notes.push(format!("Values {what}: {}.", count(cells as u64)));
            }
        };
        say(infinite, "that are not finite, drawn empty");
        say(negative, "that are not positive, drawn in the lowest colour of the logarithmic scale");
        let (rows, columns) = (self.values.len(), self.columns());
        if rows > CELLS || columns > CELLS {
            let (height, width) = (rows.min(CELLS), columns.min(CELLS));
            notes.push(format!(
                "Drawn in {height} x {width} blocks of {rows} x {columns} cells, each with its largest value."
            ));
        }
        notes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(values: Vec<Vec<f64>>) -> HeatMap {
        HeatMap::new("t", Axis::linear("x").within(-1.0, 1.0), Axis::linear("y").within(0.0, 2.0), "v", values)
    }

    #[test]
    fn levels_cover_the_span() {
        let linear = map(vec![vec![-2.0, 0.0, 2.0]]);
        assert_eq!(linear.span(), Some((-2.0, 2.0)));
        assert_eq!([-2.0, -0.01, 0.0, 1.99, 2.0].map(|v| linear.level(v, (-2.0, 2.0))), [0, 7, 8, 15, 15].map(Some));
        assert_eq!(linear.level(f64::NAN, (-2.0, 2.0)), None);
        let log = map(vec![vec![1e-8, 0.0, 1.0]]).log();
        assert_eq!(log.span(), Some((1e-8, 1.0)));
        assert_eq!([0.0, 1e-8, 1.1e-4, 1.0].map(|v| log.level(v, (1e-8, 1.0))), [0, 0, 8, 15].map(Some));
        assert_eq!(map(vec![vec![3.0; 4]]).level(3.0, (3.0, 3.0)), Some(15));
        assert_eq!(map(vec![vec![f64::MAX, f64::MIN]]).level(f64::MAX, (f64::MIN, f64::MAX)), Some(15));
    }

    #[test]
    fn blocks_keep_the_worst_value() {
        let mut values = vec![vec![0.5; 301]; 203];
        values[202][300] = 9.0;
        values[17][250] = 7.0;
        values[40][3] = f64::NAN;
        let blocks = map(values).blocks();
        assert_eq!((blocks.len(), blocks[0].len()), (96, 96));
        assert_eq!(blocks[95][95], 9.0);
        assert_eq!(blocks[17 * 96 / 203][250 * 96 / 301], 7.0);
        assert!(blocks.iter().flatten().all(|v| v.is_finite()));
    }

    #[test]
    fn csv_has_the_middles_of_cells() {
        assert_eq!(
            map(vec![vec![1.0, 2.0], vec![3.0, f64::NAN]]).csv().to_string(),
            "x,y,value\n-0.5,0.5,1.0\n0.5,0.5,2.0\n-0.5,1.5,3.0\n0.5,1.5,NaN\n"
        );
    }
}
