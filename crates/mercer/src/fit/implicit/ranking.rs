//! x
use crate::fit::implicit::lists::Lists;
use crate::fit::implicit::solve::Factors;
use crate::seed::Seed;
pub(crate) fn refine(_s: &[Lists; 2], _u: &mut Factors, _v: &mut Factors, _dim: usize, _epochs: usize, _seed: Seed) {}
