//! What `cargo xtask` is made of; a library, so that the benchmarks can use the same stage as demo and browser test.

pub mod attack;
pub mod bench;
pub mod booted;
pub mod checks;
pub mod demo;
pub mod dist;
pub mod fuzz;
pub mod packages;
pub mod stage;
pub mod tidy;
pub mod tools;
