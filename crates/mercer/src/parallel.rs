//! Threads that never change a bit of the result.
//!
//! Work is always cut into the same blocks, whatever the number of threads, each block's result goes to its own place,
//! and reductions run over the blocks in order. The pool is rayon's current one; [`with_threads`] sets its size.

use rayon::prelude::*;

use crate::error::{Error, Result};

/// Runs `work` on a pool of `threads` threads (`None`: as many as the machine has).
///
/// # Errors
/// [`crate::ErrorKind::Parameter`] if the threads cannot be started.
pub fn with_threads<T: Send>(threads: Option<usize>, work: impl FnOnce() -> T + Send) -> Result<T> {
    let Some(threads) = threads else { return Ok(work()) };
    if !(1..=1024).contains(&threads) {
        return Err(Error::parameter("threads", "from 1 to 1024", threads));
    }
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().map_err(|e| {
        Error::parameter("threads", format!("a number of threads that this machine can start ({e})"), threads)
    })?;
    Ok(pool.install(work))
}

/// Calls `work(first_row, rows)` on consecutive blocks of `block` rows of the row-major `data` with `width` columns.
pub(crate) fn row_blocks<T: Send>(data: &mut [T], width: usize, block: usize, work: impl Fn(usize, &mut [T]) + Sync) {
    if data.is_empty() {
        return;
    }
    data.par_chunks_mut(block * width).enumerate().for_each(|(i, rows)| work(i * block, rows));
}

/// Both results, computed at the same time if a thread is free.
pub(crate) fn both<A: Send, B: Send>(a: impl FnOnce() -> A + Send, b: impl FnOnce() -> B + Send) -> (A, B) {
    rayon::join(a, b)
}
