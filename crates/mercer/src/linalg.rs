//! Dense matrices and their factorisations; the only file that names the linear-algebra crate.
//!
//! Products are cut into fixed blocks of the result, factorisations run on one thread: the bits do not depend on the
//! number of threads.

use faer::linalg::matmul::matmul as faer_matmul;
use faer::linalg::triangular_solve::{solve_lower_triangular_in_place, solve_upper_triangular_in_place};
use faer::{Accum, MatMut, MatRef, Par, Side};
use rayon::prelude::*;

/// The two dtypes of a [`Matrix`].
pub(crate) trait Scalar: faer::traits::RealField + Copy + Default {}
impl Scalar for f32 {}
impl Scalar for f64 {}

/// `target += a b` or `target = a b`, on the calling thread.
fn matmul<T: Scalar>(target: MatMut<'_, T>, accum: Accum, a: MatRef<'_, T>, b: MatRef<'_, T>) {
    faer_matmul(target, accum, a, b, T::one_impl(), Par::Seq);
    clear_upper_registers();
}

/// Marks the upper halves of the vector registers as unused. The product kernels leave them dirty, and then every scalar
/// floating-point instruction after them waits for the full register: measured, 5 times slower elementary functions.
#[allow(unsafe_code)]
fn clear_upper_registers() {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx") {
        // SAFETY: AVX was just detected; no vector value is live across the call.
        unsafe { std::arch::x86_64::_mm256_zeroupper() };
    }
}

/// Columns of a product's result that one task computes.
const COLUMNS: usize = 64;
/// Rows of a product's result that one task computes, where the result is tall.
const ROWS: usize = 128;

/// Right sides of a triangular solve that one task computes.
const RIGHT_SIDES: usize = 32;

/// A dense column-major matrix.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Matrix<T = f64> {
    data: Vec<T>,
    rows: usize,
    columns: usize,
}

impl<T: Scalar> Matrix<T> {
    pub(crate) fn zeros(rows: usize, columns: usize) -> Self {
        Matrix { data: vec![T::default(); rows * columns], rows, columns }
    }

    pub(crate) fn from_fn(rows: usize, columns: usize, f: impl Fn(usize, usize) -> T) -> Self {
        let data = (0..columns).flat_map(|j| (0..rows).map(move |i| (i, j))).map(|(i, j)| f(i, j)).collect();
        Matrix { data, rows, columns }
    }

    /// From column-major data.
    pub(crate) fn from_columns(data: Vec<T>, rows: usize, columns: usize) -> Self {
        assert_eq!(data.len(), rows * columns);
        Matrix { data, rows, columns }
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    pub(crate) fn columns(&self) -> usize {
        self.columns
    }

    pub(crate) fn data(&self) -> &[T] {
        &self.data
    }

    pub(crate) fn into_data(self) -> Vec<T> {
        self.data
    }

    pub(crate) fn data_mut(&mut self) -> &mut [T] {
        &mut self.data
    }

    pub(crate) fn column(&self, j: usize) -> &[T] {
        &self.data[j * self.rows..(j + 1) * self.rows]
    }

    pub(crate) fn column_mut(&mut self, j: usize) -> &mut [T] {
        &mut self.data[j * self.rows..(j + 1) * self.rows]
    }

    pub(crate) fn transpose(&self) -> Self {
        Matrix::from_fn(self.columns, self.rows, |i, j| self[(j, i)])
    }

    /// The columns named by `indices`, in that order.
    pub(crate) fn select_columns(&self, indices: &[usize]) -> Self {
        let data = indices.iter().flat_map(|&j| self.column(j)).copied().collect();
        Matrix { data, rows: self.rows, columns: indices.len() }
    }

    /// The first `k` columns.
    pub(crate) fn leading_columns(&self, k: usize) -> Self {
        Matrix { data: self.data[..k * self.rows].to_vec(), rows: self.rows, columns: k }
    }

    /// The first `k` rows.
    pub(crate) fn leading_rows(&self, k: usize) -> Self {
        let data = (0..self.columns).flat_map(|j| &self.column(j)[..k]).copied().collect();
        Matrix { data, rows: k, columns: self.columns }
    }

    fn view(&self) -> MatRef<'_, T> {
        MatRef::from_column_major_slice(&self.data, self.rows, self.columns)
    }

    /// `self * other`.
    pub(crate) fn times(&self, other: &Matrix<T>) -> Matrix<T> {
        let mut out = Matrix::zeros(self.rows, other.columns);
        self.times_into(other, &mut out);
        out
    }

    /// `out = self * other`, without allocating.
    pub(crate) fn times_into(&self, other: &Matrix<T>, out: &mut Matrix<T>) {
        product(self.view(), other.view(), out);
    }

    /// `self^T * other`.
    pub(crate) fn transpose_times(&self, other: &Matrix<T>) -> Matrix<T> {
        let mut out = Matrix::zeros(self.columns, other.columns);
        product(self.view().transpose(), other.view(), &mut out);
        out
    }

    /// `self * other^T`.
    pub(crate) fn times_transpose(&self, other: &Matrix<T>) -> Matrix<T> {
        let mut out = Matrix::zeros(self.rows, other.rows);
        self.times_transpose_into(other, &mut out);
        out
    }

    /// `out = self * other^T`, without allocating.
    pub(crate) fn times_transpose_into(&self, other: &Matrix<T>, out: &mut Matrix<T>) {
        product(self.view(), other.view().transpose(), out);
    }

    /// `self^T * self`, full and exactly symmetric.
    pub(crate) fn gram(&self) -> Matrix<T> {
        let (n, m) = (self.rows, self.columns);
        let mut out = Matrix::zeros(m, m);
        out.data.par_chunks_mut(COLUMNS * m.max(1)).enumerate().for_each(|(block, chunk)| {
            let first = block * COLUMNS;
            let width = chunk.len() / m;
            let left = self.view().subcols(first, m - first);
            let target = MatMut::from_column_major_slice_mut(chunk, m, width).subrows_mut(first, m - first);
            let right = self.view().get(0..n, first..first + width);
            matmul(target, Accum::Replace, left.transpose(), right);
        });
        for j in 0..m {
            for i in 0..j {
                out.data[j * m + i] = out.data[i * m + j];
            }
        }
        out
    }

    /// `factor * self`.
    pub(crate) fn scaled(mut self, factor: T) -> Self {
        self.data.iter_mut().for_each(|v| *v *= factor);
        self
    }

    /// Matrices of equal height side by side.
    pub(crate) fn beside<'a>(parts: impl Iterator<Item = &'a Matrix<T>>) -> Self
    where
        T: 'a,
    {
        let mut out = Matrix { data: Vec::new(), rows: 0, columns: 0 };
        for part in parts {
            out.data.extend_from_slice(&part.data);
            (out.rows, out.columns) = (part.rows, out.columns + part.columns);
        }
        out
    }

    pub(crate) fn add_to_diagonal(&mut self, value: T) {
        for i in 0..self.rows.min(self.columns) {
            self.data[i * self.rows + i] += value;
        }
    }
}

fn product<T: Scalar>(a: MatRef<'_, T>, b: MatRef<'_, T>, out: &mut Matrix<T>) {
    let (rows, columns) = (a.nrows(), b.ncols());
    assert_eq!((out.rows, out.columns), (rows, columns));
    if rows == 0 || columns == 0 {
        return;
    }
    // Tall results are cut into row blocks, wide ones into column blocks.
    if rows >= 2 * columns {
        by_rows(MatMut::from_column_major_slice_mut(&mut out.data, rows, columns), a, b);
    } else {
        out.data.par_chunks_mut(COLUMNS * rows).enumerate().for_each(|(j, chunk)| {
            let width = chunk.len() / rows;
            let target = MatMut::from_column_major_slice_mut(chunk, rows, width);
            matmul(target, Accum::Replace, a, b.subcols(j * COLUMNS, width));
        });
    }
}

fn by_rows<T: Scalar>(target: MatMut<'_, T>, a: MatRef<'_, T>, b: MatRef<'_, T>) {
    let blocks = target.nrows().div_ceil(ROWS);
    if blocks <= 1 {
        return matmul(target, Accum::Replace, a, b);
    }
    let middle = blocks / 2 * ROWS;
    let (above, below) = target.split_at_row_mut(middle);
    let (a_above, a_below) = a.split_at_row(middle);
    rayon::join(|| by_rows(above, a_above, b), || by_rows(below, a_below, b));
}

impl<T> std::ops::Index<(usize, usize)> for Matrix<T> {
    type Output = T;
    fn index(&self, (i, j): (usize, usize)) -> &T {
        &self.data[j * self.rows + i]
    }
}

impl<T> std::ops::IndexMut<(usize, usize)> for Matrix<T> {
    fn index_mut(&mut self, (i, j): (usize, usize)) -> &mut T {
        &mut self.data[j * self.rows + i]
    }
}

/// Lower Cholesky factor of a symmetric positive definite matrix; `None` if a pivot is not positive.
pub(crate) fn cholesky<T: Scalar>(a: &Matrix<T>) -> Option<Cholesky<T>> {
    let factor = a.view().llt(Side::Lower).ok()?;
    clear_upper_registers();
    let l = factor.L();
    Some(Cholesky { lower: Matrix::from_fn(a.rows, a.rows, |i, j| if i >= j { l[(i, j)] } else { T::default() }) })
}

/// `L` with `L L^T = A`.
pub(crate) struct Cholesky<T = f64> {
    lower: Matrix<T>,
}

impl<T: Scalar> Cholesky<T> {
    /// `L^-1 b`, in place.
    pub(crate) fn solve_lower(&self, b: &mut Matrix<T>) {
        b.data.par_chunks_mut(RIGHT_SIDES * b.rows).for_each(|chunk| {
            let width = chunk.len() / b.rows;
            let target = MatMut::from_column_major_slice_mut(chunk, b.rows, width);
            solve_lower_triangular_in_place(self.lower.view(), target, Par::Seq);
            clear_upper_registers();
        });
    }

    /// `L^-T b`, in place.
    pub(crate) fn solve_upper(&self, b: &mut Matrix<T>) {
        b.data.par_chunks_mut(RIGHT_SIDES * b.rows).for_each(|chunk| {
            let width = chunk.len() / b.rows;
            let target = MatMut::from_column_major_slice_mut(chunk, b.rows, width);
            solve_upper_triangular_in_place(self.lower.view().transpose(), target, Par::Seq);
            clear_upper_registers();
        });
    }

    /// `A^-1 b`, in place.
    pub(crate) fn solve(&self, b: &mut Matrix<T>) {
        self.solve_lower(b);
        self.solve_upper(b);
    }
}

/// Eigenvalues in decreasing order and the eigenvectors as columns, of a symmetric matrix.
///
/// `None` if the iteration does not converge (which needs a NaN in the matrix).
pub(crate) fn eigen(a: &Matrix) -> Option<(Vec<f64>, Matrix)> {
    let n = a.rows;
    let found = a.view().self_adjoint_eigen(Side::Lower).ok()?;
    clear_upper_registers();
    let (values, vectors) = (found.S(), found.U());
    let order: Vec<usize> = (0..n).rev().collect();
    Some((order.iter().map(|&i| values[i]).collect(), Matrix::from_fn(n, n, |i, j| vectors[(i, order[j])])))
}

/// Thin singular value decomposition: left vectors, singular values in decreasing order, right vectors.
///
/// `None` if the iteration does not converge (which needs a NaN in the matrix).
pub(crate) fn svd(a: &Matrix) -> Option<(Matrix, Vec<f64>, Matrix)> {
    let k = a.rows.min(a.columns);
    let found = a.view().thin_svd().ok()?;
    clear_upper_registers();
    let (u, s, v) = (found.U(), found.S(), found.V());
    Some((
        Matrix::from_fn(a.rows, k, |i, j| u[(i, j)]),
        (0..k).map(|i| s[i]).collect(),
        Matrix::from_fn(a.columns, k, |i, j| v[(i, j)]),
    ))
}

/// Eigenvalues of a symmetric matrix in decreasing order, without the vectors.
///
/// `None` if the iteration does not converge (which needs a NaN in the matrix).
pub(crate) fn eigenvalues(a: &Matrix) -> Option<Vec<f64>> {
    let mut values = a.view().self_adjoint_eigenvalues(Side::Lower).ok()?;
    clear_upper_registers();
    values.sort_by(|a, b| b.total_cmp(a));
    Some(values)
}

/// Singular values in decreasing order, without the vectors.
///
/// `None` if the iteration does not converge (which needs a NaN in the matrix).
pub(crate) fn singular_values(a: &Matrix) -> Option<Vec<f64>> {
    let mut values = a.view().singular_values().ok()?;
    clear_upper_registers();
    values.sort_by(|a, b| b.total_cmp(a));
    Some(values)
}

/// Thin QR factorisation: `Q` with orthonormal columns and upper triangular `R`.
pub(crate) fn qr(a: &Matrix) -> (Matrix, Matrix) {
    let k = a.rows.min(a.columns);
    let found = a.view().qr();
    let (q, r) = (found.compute_thin_Q(), found.thin_R());
    clear_upper_registers();
    (Matrix::from_fn(a.rows, k, |i, j| q[(i, j)]), Matrix::from_fn(k, a.columns, |i, j| r[(i, j)]))
}

/// `out += a * b` for row-major `a` (n, inner), `b` (inner, m), `out` (n, m), on the calling thread.
pub(crate) fn multiply_rows(a: &[f32], b: &[f32], inner: usize, out: &mut [f32]) {
    let (n, m) = (a.len() / inner, b.len() / inner);
    let target = MatMut::from_row_major_slice_mut(out, n, m);
    let (a, b) = (MatRef::from_row_major_slice(a, n, inner), MatRef::from_row_major_slice(b, inner, m));
    matmul(target, Accum::Add, a, b);
}

/// `out += a^T a` for row-major `a` (n, width), on the calling thread.
pub(crate) fn gram_rows(a: &[f32], width: usize, out: &mut [f32]) {
    let target = MatMut::from_row_major_slice_mut(out, width, width);
    let a = MatRef::from_row_major_slice(a, a.len() / width, width);
    matmul(target, Accum::Add, a.transpose(), a);
}
