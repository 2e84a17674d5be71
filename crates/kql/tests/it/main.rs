//! The language end to end: text in, rows out, on an in-memory catalog of all hunting tables.

#![allow(clippy::unwrap_used)] // helpers of tests may unwrap as tests do

mod cases;
mod corpus;
mod estate;
mod graphs;
mod mutations;
mod operators;
mod plans;
mod properties;
mod run;
mod second_engine;
mod sequences;
