//! Functions of the language that are known and not built: refused by name, with the reason.

/// Families by the start of their names, and single names, each with why.
const REFUSED: &[(&str, &str)] = &[
    ("geo_info_from_ip_address", ""),
    ("geo_", "functions of geometry are not built"),
    ("hll", "sketches of distinct values cannot be stored or merged; `dcount` counts distinct values"),
    ("dcount_hll", "sketches of distinct values cannot be stored or merged; `dcount` counts distinct values"),
    ("tdigest", "sketches of percentiles cannot be stored or merged; `percentile` ranks values"),
    ("merge_tdigest", "sketches of percentiles cannot be stored or merged; `percentile` ranks values"),
    ("percentile_tdigest", "sketches of percentiles cannot be stored or merged; `percentile` ranks values"),
    ("percentiles_array_tdigest", "sketches of percentiles cannot be stored or merged; `percentile` ranks values"),
    ("percentrank_tdigest", "sketches of percentiles cannot be stored or merged; `percentile` ranks values"),
    ("rank_tdigest", "sketches of percentiles cannot be stored or merged; `percentile` ranks values"),
    ("parse_user_agent", "there is no list of user agents to parse by"),
    ("cursor_", "there are no database cursors"),
    ("current_", "there is no principal or cluster that a query could read"),
    ("welch_test", "statistical tests are not built"),
    ("beta_pdf", "the density of the beta distribution is not built"),
    ("convert_force", "conversions of this unit are not built"),
    ("series_fft", "transforms of series are not built"),
    ("series_ifft", "transforms of series are not built"),
    ("gzip_", "compressed text is not unpacked"),
    ("zlib_", "compressed text is not unpacked"),
    ("extent_", "there are no extents"),
    ("rowstore_", "there is no row store"),
    ("estimate_data_size", "the size of a row in memory means nothing to a query here"),
];

/// Why a function of the language is not supported, if it is one that is known and not built.
#[must_use]
pub fn refused(name: &str) -> Option<&'static str> {
    if super::scalar(name).is_some() || super::aggregate(name).is_some() || super::window(name).is_some() {
        return None;
    }
    REFUSED.iter().find(|(start, _)| name.starts_with(start)).map(|(_, why)| *why).filter(|why| !why.is_empty())
}
