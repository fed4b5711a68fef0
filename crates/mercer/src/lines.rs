//! Numbers that start on a line of the cache: a vector register is then filled from one line, never from two (products of
//! matrices lost a tenth of their speed to the second).

use std::ops::{Deref, DerefMut};

/// Numbers in a line, and in the widest register.
pub(crate) const LINE: usize = 16;

#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Line([f32; LINE]);

/// A slice of numbers in whole lines.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lines(Vec<Line>);

impl Lines {
    /// No numbers yet, with room for `capacity`.
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        Lines(Vec::with_capacity(capacity.div_ceil(LINE)))
    }

    /// Cuts off numbers or adds zeros. `len` is a multiple of [`LINE`].
    pub(crate) fn resize(&mut self, len: usize) {
        assert!(len.is_multiple_of(LINE));
        self.0.resize(len / LINE, Line([0.0; LINE]));
    }
}

#[allow(unsafe_code)]
impl Deref for Lines {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        // SAFETY: lines lie one behind the other without gaps, each of `LINE` numbers.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().cast(), self.0.len() * LINE) }
    }
}

#[allow(unsafe_code)]
impl DerefMut for Lines {
    fn deref_mut(&mut self) -> &mut [f32] {
        // SAFETY: as for `deref`; the lines are borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.0.as_mut_ptr().cast(), self.0.len() * LINE) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_and_start_on_a_line() {
        let mut lines = Lines::with_capacity(40);
        assert!(lines.is_empty());
        lines.resize(32);
        lines.iter_mut().enumerate().for_each(|(i, v)| *v = i as f32);
        lines.resize(48);
        assert_eq!(lines.as_ptr() as usize % 64, 0);
        assert!(lines[..32].iter().enumerate().all(|(i, v)| *v == i as f32) && lines[32..] == [0.0; 16]);
        lines.resize(16);
        assert_eq!((lines.len(), lines[15]), (16, 15.0));
    }
}
