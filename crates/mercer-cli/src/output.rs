//! Where results go: refused before the work what could not be written after it.

use std::fs::canonicalize;
use std::path::Path;

use crate::failure::Failure;

/// Refuses an output in a folder that does not exist, onto a folder, or onto one of the command's own inputs.
pub(crate) fn check<'a>(output: &Path, inputs: impl IntoIterator<Item = &'a Path>) -> Result<(), Failure> {
    check_flag("--output", output, inputs)
}

/// As [`check`], for the file that `flag` names.
fn check_flag<'a>(flag: &str, output: &Path, inputs: impl IntoIterator<Item = &'a Path>) -> Result<(), Failure> {
    let shown = output.display();
    let folder = output.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !folder.is_dir() {
        return Err(Failure::usage(format!("{flag} {shown}: the folder {} does not exist", folder.display())));
    }
    if output.is_dir() {
        return Err(Failure::usage(format!("{flag} {shown}: is a folder; name a file")));
    }
    if let Ok(own) = canonicalize(output)
        && inputs.into_iter().any(|input| canonicalize(input).is_ok_and(|i| i == own))
    {
        return Err(Failure::usage(format!("{flag} {shown}: would overwrite an input; name another file")));
    }
    Ok(())
}

/// As [`check`], for a table of results.
pub(crate) fn check_table<'a>(output: &Path, inputs: impl IntoIterator<Item = &'a Path>) -> Result<(), Failure> {
    match output.extension().and_then(|e| e.to_str()) {
        Some("parquet" | "csv") => check(output, inputs),
        _ => Err(Failure::usage(format!("--output {}: name a .parquet or .csv file", output.display()))),
    }
}

/// As [`check`], for a page.
pub(crate) fn check_page<'a>(output: &Path, inputs: impl IntoIterator<Item = &'a Path>) -> Result<(), Failure> {
    match output.extension().and_then(|e| e.to_str()) {
        Some("html" | "htm") => check_flag("--report", output, inputs),
        _ => Err(Failure::usage(format!("--report {}: name a .html file", output.display()))),
    }
}
