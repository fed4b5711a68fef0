//! Pages: what the core found, as HTML with plots, for `--report FILE`.
//!
//! Nothing is computed here but what a plot needs: bins of a histogram, the steps of a floor. Every number says how it is known.

mod calibration;
mod certificate;
mod figures;
mod fit;
mod neurons;
mod plan;
mod preorder;
mod relation;
#[cfg(test)]
mod relation_tests;
#[cfg(test)]
mod tests;
mod verify;

pub(crate) use certificate::certificate_page;
pub(crate) use fit::{FitPage, fit_page};
pub(crate) use plan::plan_page;
pub(crate) use preorder::preorder_page;
pub(crate) use relation::{RelationPage, relation_page};
pub(crate) use verify::verify_page;

use std::path::Path;

use mercer::bounds::{Evidence, Norm};
use mercer_report::{Basis, Page, Section};

use crate::console::Console;
use crate::failure::Failure;

/// Writes a page and says where it went.
pub(crate) fn save(page: &Page, path: &Path, console: &mut Console<'_>) -> Result<(), Failure> {
    page.save(path)?;
    console.note(format!("report: {}", path.display()));
    Ok(())
}

fn basis(evidence: Evidence) -> Basis {
    match evidence {
        Evidence::Proven => Basis::Proven,
        Evidence::Estimated => Basis::Estimated,
        Evidence::Measured => Basis::Measured,
    }
}

/// The norm as it stands on an axis.
fn norm_words(norm: Norm) -> &'static str {
    match norm {
        Norm::Rms => "root mean square error",
        Norm::Sup => "largest error",
    }
}

/// A share that somebody chose, such as a confidence: `95 %`, never broken.
fn share(share: f64) -> String {
    format!("{}\u{a0}%", (1e8 * share).round() / 1e6)
}

/// A number of things.
fn whole(number: usize) -> String {
    mercer_report::count(number as u64)
}

/// The last section of a page.
fn assumptions(items: &[String]) -> Section {
    Section::new("What stands behind these numbers").list(items)
}
