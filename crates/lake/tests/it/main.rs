//! Integration tests of this crate, in one program.

#![allow(clippy::unwrap_used)] // helpers of tests may unwrap as tests do

mod crash;
mod durability;
mod fixture;
mod mirrored;
mod outside;
mod querying;
mod reading;
mod sealed;
