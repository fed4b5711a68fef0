//! Symmetric relations: universality and neuron bound.

use crate::error::Result;
use crate::fit::Progress;
use crate::plan::plan_relation;
use crate::relation::{Kernel, Law};
use crate::seed::Seed;
use crate::spectrum::Norm;
use crate::verify::{Verification, wish};

pub(crate) fn verify(found: &mut Verification, seed: Seed, progress: &dyn Progress) -> Result<()> {
    let cases = [(Kernel::gaussian(0.5)?, 1), (Kernel::gaussian(0.5)?, 2), (Kernel::matern12(1.0)?, 1)];
    for (kernel, dim) in cases {
        let name = format!("{kernel} on [-1, 1]^{dim}");
        let wish = wish(seed, &[Norm::Rms, Norm::Sup]);
        let plan = plan_relation(&kernel, Some(&kernel), Law::Cube { dim }, None, &wish, progress)?;
        found.check_needs(["symmetric universality", "symmetric neuron bound"], &plan, &name);
        found.check_floors("floors", &plan, &name);
        found.take(&plan, &name);
    }
    Ok(())
}
