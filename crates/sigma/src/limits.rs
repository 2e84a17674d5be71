//! The bounds within which rules are read, compiled and run, each with its reason.

/// What one rule, and all of them together, may use. The defaults let every public rule through with room to spare and
/// keep the worst rule harmless.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes of one document. The largest public rule, a list of vulnerable drivers, has about 60 kB.
    pub rule_bytes_max: usize,
    /// YAML nodes of one document, aliases counted at each use: stops documents that grow by aliases of aliases.
    pub yaml_nodes_max: usize,
    /// YAML nesting. Real rules stay below 8; readers of the tree recurse this deep.
    pub yaml_depth_max: usize,
    /// Documents in one set; a document costs memory even if it is refused.
    pub rules_max: usize,
    /// Searches in one rule. Conditions over `1 of x*` walk them.
    pub searches_max: usize,
    /// Values in one rule, after placeholders, dashes and encodings are expanded.
    pub values_max: usize,
    /// Bytes of one value.
    pub value_bytes_max: usize,
    /// Bytes of one regular expression.
    pub regex_bytes_max: usize,
    /// Bytes one regular expression may compile to; a repetition of a repetition grows fast. A public rule
    /// with `\w{1,64}` needs 3 MB.
    pub regex_compiled_bytes_max: usize,
    /// Bytes of one condition.
    pub condition_bytes_max: usize,
    /// Nesting of one condition; evaluation recurses this deep.
    pub condition_depth_max: usize,
    /// Dashes in one `windash` value: each multiplies the variants by five.
    pub dashes_max: usize,
    /// Rules and group-by fields that one correlation may name.
    pub correlation_rules_max: usize,
    /// Length of a correlation's window, in seconds: state lives that long.
    pub timespan_seconds_max: u64,
    /// Correlations upon correlations.
    pub correlation_depth_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            rule_bytes_max: 512 * 1024,
            yaml_nodes_max: 50_000,
            yaml_depth_max: 32,
            rules_max: 50_000,
            searches_max: 500,
            values_max: 20_000,
            value_bytes_max: 8 * 1024,
            regex_bytes_max: 4 * 1024,
            regex_compiled_bytes_max: 8 * 1024 * 1024,
            condition_bytes_max: 16 * 1024,
            condition_depth_max: 32,
            dashes_max: 4,
            correlation_rules_max: 64,
            timespan_seconds_max: 30 * 24 * 3_600,
            correlation_depth_max: 8,
        }
    }
}
