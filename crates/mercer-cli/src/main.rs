//! The `mercer` command.

fn main() -> std::process::ExitCode {
    mercer_cli::run(std::env::args_os(), &mut std::io::stdout(), &mut std::io::stderr()).into()
}
