//! Plots and self-contained HTML pages from plain data: numbers and words in, one `String` of HTML out.
//!
//! A [`Page`] has sections of [`Block`]s: text, facts, tables, verdicts, plots and heat maps. The page needs no
//! network, no script and no font; it reads well in light and dark, at 400 and 1400 pixels of width, and on paper. Each
//! plot carries its data as CSV.
//!
//! ```
//! use mercer_report::{Axis, Mark, Page, Plot, Section, Series};
//!
//! let errors = vec![(1.0, 0.3), (2.0, 0.04), (4.0, 0.002), (8.0, 3e-6)];
//! let plot = Plot::new("Error against dimension", Axis::log("dimension D"), Axis::log("RMS error"))
//!     .caption("Below the line the target is met.")
//!     .series(Series::line("measured", errors))
//!     .mark(Mark::y(1e-3, "target 1e-3"));
//! let page = Page::new("A Gaussian kernel").command("mercer fit pairs.csv").section(Section::new("Error").plot(plot));
//! assert!(page.render().starts_with("<!DOCTYPE html>"));
//! ```
//!
//! All types read and write JSON by `serde` (which has no infinite numbers), so that another language can hand over a
//! page.
//!
//! # Bad numbers
//!
//! No number breaks a page. What an axis cannot show (not a number, infinite, not positive on a logarithmic axis) is
//! left out of the drawing, counted below it and kept in the CSV. A plot without any point says "no data".
//!
//! # Why no plotting library?
//!
//! `plotters` 0.3.7 was tried first. On a logarithmic axis it labels 1 to 64 with "10.0" twice, writes
//! "9.999999999999999e-5" and sets no tick at all between 0.02 and 0.07; points are rounded to whole pixels; a dashed
//! line becomes a hundred elements, as colours and dashes cannot be left to a style sheet. `poloto` can, but has
//! neither logarithmic axes nor a second, narrow drawing. A drawing that is scaled down to a phone has illegible text,
//! so every plot is laid out twice and the style sheet shows the one that fits.

mod data;
mod draw;
mod frame;
mod heat;
mod page;
mod plot;
mod scale;
mod table;
mod text;
mod thin;

pub use data::{CSV_ROWS, Csv};
pub use heat::{HeatMap, Spot};
pub use page::{Block, Page, Section};
pub use plot::{Axis, Data, Mark, Plot, Series};
pub use table::{Basis, Cell, Column, Fact, Table, Verdict};
pub use text::{count, number};
