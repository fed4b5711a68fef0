//! `mercer verify`.

use std::fmt::Write;

use mercer::verify::{Verification, verify};
use mercer::{Seed, with_threads};

use crate::Exit;
use crate::args::VerifyArgs;
use crate::console::Console;
use crate::failure::Failure;
use crate::output;
use crate::report;

pub(crate) fn run(arguments: &VerifyArgs, console: &mut Console<'_>) -> Result<Exit, Failure> {
    if let Some(report) = &arguments.report {
        output::check_page(report, [])?;
    }
    let progress = console.progress();
    let found = with_threads(arguments.threads, || verify(Seed(arguments.seed), &progress))??;
    drop(progress);
    if let Some(path) = &arguments.report {
        report::save(&report::verify_page(&found, console.command()), path, console)?;
    }
    if console.json() {
        for claim in &found.claims {
            console.result(claim, "")?;
        }
    } else {
        console.raw(text(&found).as_bytes())?;
    }
    Ok(if found.holds() { Exit::Done } else { Exit::TargetMissed })
}

fn text(found: &Verification) -> String {
    let mut text = String::new();
    let mut theorem = "";
    for claim in &found.claims {
        if claim.theorem != theorem {
            theorem = &claim.theorem;
            let _ = writeln!(text, "{theorem}");
        }
        let verdict = if claim.holds { "holds" } else { "FAILS" };
        let _ = writeln!(text, "  {verdict}  {}", claim.claim);
        let _ = writeln!(text, "         predicted: {}", claim.predicted);
        let _ = writeln!(text, "         measured:  {}", claim.measured);
    }
    let held = found.claims.iter().filter(|c| c.holds).count();
    let _ = writeln!(text, "{held} of {} claims hold", found.claims.len());
    text
}
