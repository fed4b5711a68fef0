//! Gradients, those of sparse rows included.

use std::ops::Range;

use crate::fit::gradient::net::{BLOCK, Net, Tape};
use crate::gemm::PANEL;
use crate::rows::Rows;
use crate::wide::{add_scaled32, wide};

/// d loss / d parameters, in the layout of [`Net::parameters`].
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Gradient {
    pub(super) values: Vec<f32>,
    /// Rows of the first layer's weights, of `width` numbers.
    table: usize,
    width: usize,
    /// The table's rows that may differ from zero, increasing; `None`: all.
    touched: Option<Vec<u32>>,
}

impl Gradient {
    /// Zero.
    pub(crate) fn new(net: &Net) -> Self {
        let values = vec![0.0; net.parameters.len()];
        Gradient { values, table: net.inputs(), width: net.table_width(), touched: Some(Vec::new()) }
    }

    /// All numbers; what is not [touched](Gradient::touched) is zero.
    pub(crate) fn values(&self) -> &[f32] {
        &self.values
    }

    /// Rows of the first layer's weights that the batch had features for, increasing; `None` after dense rows: all of them.
    pub(crate) fn touched(&self) -> Option<&[u32]> {
        self.touched.as_deref()
    }

    /// The stretches of numbers that may differ from zero, in order.
    pub(crate) fn stretches(&self) -> impl Iterator<Item = Range<usize>> {
        let rest = match self.touched {
            Some(_) => self.table * self.width..self.values.len(),
            None => 0..self.values.len(),
        };
        self.touched.iter().flatten().map(|&row| self.row(row)).chain(std::iter::once(rest))
    }

    fn row(&self, row: u32) -> Range<usize> {
        row as usize * self.width..(row as usize + 1) * self.width
    }

    /// `self += other`, for a tower that serves both sides.
    pub(crate) fn add(&mut self, other: &Gradient) {
        for stretch in other.stretches() {
            add_scaled32(&mut self.values[stretch.clone()], 1.0, &other.values[stretch]);
        }
        self.touched = match (self.touched.take(), &other.touched) {
            (Some(mut own), Some(others)) => {
                own.extend_from_slice(others);
                own.sort_unstable();
                own.dedup();
                Some(own)
            }
            _ => None,
        };
    }

    /// Sum of the squares, in `f64` over fixed blocks.
    pub(crate) fn squared_norm(&self) -> f64 {
        self.stretches().flat_map(|s| self.values[s].chunks(4096)).map(|part| f64::from(sum_of_squares(part))).sum()
    }

    /// Makes the numbers outside `touched` zero, at the cost of those touched before and now.
    pub(super) fn touch(&mut self, touched: Option<Vec<u32>>) {
        match (&self.touched, &touched) {
            (_, None) => {}
            (None, Some(_)) => self.values[..self.table * self.width].fill(0.0),
            (Some(before), Some(_)) => {
                for &row in before {
                    self.values[row as usize * self.width..(row as usize + 1) * self.width].fill(0.0);
                }
            }
        }
        self.touched = touched;
    }
}

/// A batch of sparse rows by columns.
pub(super) struct Columns {
    /// Columns with entries, increasing, and where the entries of each start.
    pub(super) touched: Vec<u32>,
    starts: Vec<usize>,
    /// Row and factored value of each entry, rows increasing within a column.
    entries: Vec<(u32, f32)>,
}

/// Touched columns whose gradient one task gathers.
const TOUCHED: usize = 256;

impl Columns {
    pub(super) fn of(rows: &Rows<'_>, tape: &Tape) -> Self {
        let mut counts = vec![0usize; rows.dim()];
        let mut touched = Vec::new();
        for row in 0..rows.len() {
            rows.for_each(row, |column, _| {
                if counts[column] == 0 {
                    touched.push(column as u32);
                }
                counts[column] += 1;
            });
        }
        touched.sort_unstable();
        let (mut starts, mut total) = (Vec::with_capacity(touched.len() + 1), 0);
        for &column in &touched {
            starts.push(total);
            total += std::mem::replace(&mut counts[column as usize], total);
        }
        starts.push(total);
        let mut entries = vec![(0, 0.0); total];
        for row in 0..rows.len() {
            let factor = tape.factor(row);
            rows.for_each(row, |column, value| {
                entries[counts[column]] = (row as u32, (f64::from(value) * factor) as f32);
                counts[column] += 1;
            });
        }
        Columns { touched, starts, entries }
    }

    /// Tasks that write the touched rows of `weights`.
    pub(super) fn tasks<'a>(
        &'a self,
        tape: &'a Tape,
        width: usize,
        weights: &'a mut [f32],
    ) -> Vec<Box<dyn FnOnce() + Send + 'a>> {
        let (mut tasks, mut left, mut passed) = (Vec::<Box<dyn FnOnce() + Send + 'a>>::new(), weights, 0);
        for (group, columns) in self.touched.chunks(TOUCHED).enumerate() {
            let (first, end) = (columns[0] as usize, columns[columns.len() - 1] as usize + 1);
            let (own, rest) = left.split_at_mut((end - passed) * width);
            let own = &mut own[(first - passed) * width..];
            (left, passed) = (rest, end);
            tasks.push(Box::new(move || {
                for (at, &column) in columns.iter().enumerate() {
                    let out = &mut own[(column as usize - first) * width..][..width];
                    let t = group * TOUCHED + at;
                    for &(row, value) in &self.entries[self.starts[t]..self.starts[t + 1]] {
                        let (delta, row) = (tape.first_delta(row as usize / BLOCK), row as usize % BLOCK);
                        for first in (0..width).step_by(PANEL) {
                            let (stride, own) = (delta.stride(first), PANEL.min(width - first));
                            let slopes = &delta.panel(first)[row * stride..][..own];
                            add_scaled32(&mut out[first..first + own], value, slopes);
                        }
                    }
                }
            }));
        }
        tasks
    }
}

#[inline(always)]
fn sum_of_squares_body<const FMA: bool>(values: &[f32]) -> f32 {
    const LANES: usize = 32;
    let mut sums = [0.0f32; LANES];
    let chunks = values.chunks_exact(LANES);
    let tail: f32 = chunks.remainder().iter().map(|v| v * v).sum();
    for chunk in chunks {
        for i in 0..LANES {
            sums[i] += chunk[i] * chunk[i];
        }
    }
    sums.iter().sum::<f32>() + tail
}
wide!(fn sum_of_squares(values: &[f32]) -> f32 = sum_of_squares_body);
