//! `garrison-connect`: the program of the connector. All of it is in the library.

fn main() -> std::process::ExitCode {
    garrison_connect::cli::main()
}
