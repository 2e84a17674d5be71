//! Filled in the next slice.

use super::signature::Function;

pub(super) const FUNCTIONS: &[Function] = &[];
