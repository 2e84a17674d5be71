//! Text to tree: tokens that cover every byte, and a tree that exists for broken text too.

pub mod ast;
