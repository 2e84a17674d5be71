//! `garrison-sensor`: the program of the sensor. All of it is in the library.

fn main() -> std::process::ExitCode {
    garrison_sensor::cli::main()
}
