//! Text to tree: tokens that cover every byte, and a tree that exists for broken text too.
//!
//! The parser is written by hand: recursive descent, precedence by one function a level, recovery at bars and
//! semicolons, and a bound on nesting, so that hostile text costs no more than its length.

pub mod ast;
mod block;
mod format;
mod lexer;
mod literal;
mod parser;
mod token;

pub use block::{queries, query_at};
pub use format::format;
pub use lexer::lex;
pub use literal::{datetime_value, guid_value, text_value, timespan_value};
pub use parser::{DEPTH_MAX, Parsed, parse};
pub use token::{Token, TokenKind};

#[cfg(test)]
mod tests;
