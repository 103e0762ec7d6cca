//! The program `trimtab-bench`: hands over to the library and returns its exit code. No logic of its own.

use std::process::ExitCode;

fn main() -> ExitCode {
    trimtab_bench::cli::main()
}
