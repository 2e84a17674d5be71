//! Tokens: every byte of a text belongs to exactly one, white space and comments included.

use crate::Span;

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TokenKind {
    /// White space.
    Space,
    /// `// …` up to the end of the line.
    Comment,
    /// A word: name, keyword, operator in letters (`has`, `!in~`).
    Word,
    /// A whole number.
    Integer,
    /// A number with a fraction or an exponent.
    Real,
    /// A number with a unit of time.
    Timespan,
    /// Text in quotes.
    Text,
    /// Text in quotes that does not end.
    OpenText,
    /// Punctuation and operators in signs.
    Sign,
    /// Anything else.
    Bad,
}

/// A token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token {
    /// What it is.
    pub kind: TokenKind,
    /// Where.
    pub span: Span,
}

impl Token {
    /// Whether a parser passes over it.
    #[must_use]
    pub const fn is_trivia(&self) -> bool {
        matches!(self.kind, TokenKind::Space | TokenKind::Comment)
    }
}
