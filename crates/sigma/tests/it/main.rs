//! Integration tests of this crate, in one program.

#![allow(clippy::unwrap_used)] // helpers of tests may unwrap as tests do

mod cases;
mod content;
mod corpus;
mod correlation;
mod door;
mod property;
mod reference;
