//! The `mercer` command.

use std::io::IsTerminal;

fn main() -> std::process::ExitCode {
    let (mut out, mut err) = (std::io::stdout(), std::io::stderr());
    let terminals = mercer_cli::Terminals { out: out.is_terminal(), err: err.is_terminal() };
    mercer_cli::run_on(terminals, std::env::args_os(), &mut out, &mut err).into()
}
