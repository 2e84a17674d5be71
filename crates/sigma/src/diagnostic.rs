//! Numbered remarks on rules. Every reason for which a rule is refused, or is used otherwise than its author may
//! think, has a number here and nowhere else; `docs/reference/sigma-diagnostics.md` is this table, and a test holds the
//! two together. Numbers are never reused.

use serde::Serialize;
use std::fmt;

/// How much a diagnostic matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Good to know.
    Note,
    /// The rule is used, but perhaps not as meant.
    Warning,
    /// The rule is not used.
    Error,
}

impl Severity {
    /// `note`, `warning` or `error`.
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Error => "error",
        }
    }
}

macro_rules! codes {
    ($($name:ident = $number:literal $severity:ident $summary:literal, $hint:literal;)+) => {
        /// A diagnostic's number.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code { $(#[doc = $summary] $name),+ }

        impl Code {
            /// Every code, by number.
            pub const ALL: &'static [Code] = &[$(Code::$name),+];

            /// The number as users see it, such as `SG0102`.
            pub fn as_str(self) -> &'static str {
                match self { $(Code::$name => $number),+ }
            }

            /// How much it matters.
            pub fn severity(self) -> Severity {
                match self { $(Code::$name => Severity::$severity),+ }
            }

            /// What it means, in one line.
            pub fn summary(self) -> &'static str {
                match self { $(Code::$name => $summary),+ }
            }

            /// What to do about it.
            pub fn hint(self) -> &'static str {
                match self { $(Code::$name => $hint),+ }
            }
        }
    };
}

codes! {
    // 00xx: the text
    YamlSyntax = "SG0001" Error "The document is not YAML.", "correct the syntax at the line named";
    RuleTooLong = "SG0002" Error "The document is longer than the limit.", "split the rule, or move long lists into a placeholder table";
    YamlTooDeep = "SG0003" Error "The document is nested deeper than the limit.", "flatten the rule";
    YamlTooBig = "SG0004" Error "The document has more nodes than the limit, aliases counted each time they are used.", "split the rule";
    DuplicateKey = "SG0005" Error "A key appears twice in one map.", "merge the two entries, or use two selections";
    NotAMap = "SG0006" Error "The document is not a map.", "a rule is a map with `title`, `logsource` and `detection`";
    EmptyDocument = "SG0007" Note "The document is empty and was passed over.", "remove it";
    UnknownAction = "SG0008" Error "`action` is none of `global`, `reset` and `repeat`.", "use one of the three, or separate documents";
    TooManyRules = "SG0009" Error "More documents than the limit were given.", "load fewer rules, or raise the limit";

    // 01xx: attributes
    MissingTitle = "SG0101" Error "The rule has no `title`.", "give it a title";
    MissingDetection = "SG0102" Error "The document has none of `detection`, `correlation` and `filter`.", "add what the rule looks for";
    MissingLogsource = "SG0103" Error "The rule has no `logsource`.", "name category, product or service";
    WrongType = "SG0104" Error "An attribute has the wrong type.", "see the specification of the attribute";
    DuplicateId = "SG0105" Error "Another rule has the same `id`; the first one is used.", "give the rule an id of its own";
    DerivedId = "SG0106" Note "The rule has no usable `id`; one was derived from its text.", "give the rule an id";
    UnknownLevel = "SG0107" Warning "`level` is not one of the five; `medium` is used.", "use informational, low, medium, high or critical";
    UnknownStatus = "SG0108" Warning "`status` is not one of the five.", "use stable, test, experimental, deprecated or unsupported";
    StatusUnsupported = "SG0109" Error "The rule's own `status` is `unsupported`.", "rewrite it and change the status";
    DuplicateName = "SG0110" Warning "Another rule has the same `name`; references mean the first one.", "give the rule a name of its own";
    Taxonomy = "SG0111" Warning "The rule says that its field names follow another taxonomy; they are read as Sigma's.", "translate the field names";
    LongTitle = "SG0112" Warning "`title` is longer than 256 characters and was cut.", "shorten it";

    // 02xx: detection
    MissingCondition = "SG0201" Error "`detection` has no `condition`.", "add the condition";
    NoSelection = "SG0202" Error "`detection` has no search.", "add a selection";
    EmptySearch = "SG0203" Error "A search is empty.", "give it a field or a keyword";
    BadSearch = "SG0204" Error "A search has a shape that the specification does not know.", "a search is a map, a list of maps, or a list of keywords";
    NestedValue = "SG0205" Error "A field's value is a map or a list in a list.", "values are text, numbers, true, false or null";
    TooManySearches = "SG0206" Error "More searches than the limit.", "split the rule";
    TooManyValues = "SG0207" Error "More values than the limit, counted after expansion.", "use a placeholder table or a shorter list";
    EmptyField = "SG0208" Error "A field has an empty list of values.", "remove the field or give it a value";
    NullInList = "SG0209" Note "`null` stands in a list of values, which the specification forbids; it is read as one more alternative.", "use a search of its own";
    SingleAll = "SG0210" Note "`all` is given with a single value, which changes nothing.", "remove `all`";

    // 03xx: modifiers and values
    UnknownModifier = "SG0301" Error "The modifier does not exist.", "see the list of modifiers";
    ModifierConflict = "SG0302" Error "Two modifiers cannot be used together.", "remove one of them";
    ModifierValue = "SG0303" Error "The modifier cannot be used with this value.", "see the modifier's description";
    BadRegex = "SG0304" Error "The regular expression is not valid, or uses what cannot be matched in linear time (look-around, back references).", "rewrite it without these";
    RegexTooBig = "SG0305" Error "The regular expression is longer, or compiles to more, than the limit.", "bound its repetitions or split it";
    BadCidr = "SG0306" Error "The value is not a network.", "write it as `10.0.0.0/8` or `fd00::/8`";
    Base64Wildcard = "SG0307" Error "A value to be encoded holds a wildcard.", "escape the wildcard, or put `contains` after the encoding";
    BadNumber = "SG0308" Error "The value is not a number.", "give a number";
    TooManyDashes = "SG0309" Error "`windash` on a value with more dashes than the limit.", "split the value";
    MissingPlaceholder = "SG0310" Error "A placeholder of the rule has no values here.", "supply the placeholder's values in the table";
    BadExists = "SG0311" Error "`exists` needs true or false.", "write `true` or `false`";
    NeverText = "SG0312" Note "The encoded value is not valid UTF-8, so no text column can hold it.", "add `base64` or `base64offset`";
    PatternTooLong = "SG0313" Error "A value is longer than the limit.", "shorten it";
    BadTimePart = "SG0314" Error "A time modifier needs a number in its range.", "minute 0-59, hour 0-23, day 1-31, week 1-53, month 1-12";
    SubModifier = "SG0315" Error "`i`, `m` and `s` may only follow `re`.", "put `re` before";
    FieldlessModifier = "SG0316" Error "The modifier needs a field.", "name the field";

    // 04xx: condition
    ConditionSyntax = "SG0401" Error "The condition cannot be read.", "see the specification of conditions";
    UnknownSearch = "SG0402" Error "The condition names a search that does not exist.", "define it, or correct the name";
    NoSuchPattern = "SG0403" Error "No search fits the pattern in the condition.", "define one, or correct the pattern";
    ConditionTooDeep = "SG0404" Error "The condition is nested deeper, or is longer, than the limit.", "simplify it";
    PipeAggregation = "SG0405" Error "The condition uses the old `|` aggregation, which version 2 of the specification dropped.", "write a correlation rule";
    UnusedSearch = "SG0406" Note "The condition does not use this search.", "use it or remove it";
    QuantifierTooBig = "SG0407" Warning "The condition asks for more searches than there are; it can never hold.", "lower the number";

    // 05xx: correlation
    UnknownCorrelation = "SG0501" Error "The correlation's `type` does not exist.", "use one of the eight types";
    CorrelationRules = "SG0502" Error "The correlation names no rules.", "list the rules' ids or names";
    UnknownRule = "SG0503" Error "The correlation names a rule that is not loaded or not usable.", "load it, or correct the name";
    BadTimespan = "SG0504" Error "`timespan` is not a number with `s`, `m`, `h` or `d`, or is zero.", "write it as `10m`";
    TimespanTooLong = "SG0505" Error "`timespan` is longer than the limit.", "shorten it";
    CorrelationCondition = "SG0506" Error "The correlation's `condition` is missing or cannot be read.", "give `gt`, `gte`, `lt`, `lte`, `eq` or `neq` with a number";
    CorrelationField = "SG0507" Error "This correlation type needs `field` in its condition.", "name the field";
    CorrelationCycle = "SG0508" Error "Correlations refer to each other in a circle, or deeper than the limit.", "break the circle";
    BadAlias = "SG0509" Error "An alias is not a map from rule to field, or names a rule that the correlation does not use.", "see the specification of aliases";
    GroupUnmapped = "SG0510" Error "A field to group by, or to count, has no column for one of the rules.", "use a field that the tables hold";
    CorrelationTooBig = "SG0511" Error "The correlation names more rules or fields than the limit.", "split it";
    BelowZero = "SG0512" Warning "The condition would hold when nothing happened; it is looked at only when an event arrives.", "use a lower bound too";

    // 06xx: filters
    FilterRules = "SG0601" Error "The filter names no rules.", "list the rules' ids or names, or `any`";
    FilterTarget = "SG0602" Warning "The filter names a rule that is not loaded or has another log source.", "correct the name or the log source";
    FilterUnused = "SG0603" Warning "The filter applies to no loaded rule.", "load the rules it names";

    // 07xx: mapping
    NoTable = "SG0701" Error "No table here holds this log source.", "nothing to do; the rule costs nothing";
    FieldUnmapped = "SG0702" Warning "A field has no column in a table; there it reads as absent.", "nothing to do if the rest of the rule is enough";
    NeverMatches = "SG0703" Error "In every table of its log source the rule cannot hold, for lack of columns.", "nothing to do; the rule costs nothing";
    AlwaysMatches = "SG0704" Error "The rule would hold on every row of its table.", "add a test that is not negated";
    ProductUnknown = "SG0705" Note "The rule names no product; it is applied to all of them.", "name the product";
    TooComplex = "SG0706" Error "The rule compiles to more tests than the limit.", "split the rule";
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Serialize for Code {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// A numbered remark on one rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// The number.
    pub code: Code,
    /// How much it matters.
    pub severity: Severity,
    /// The source it was loaded from, such as a file name.
    pub source: String,
    /// The rule's id, once known.
    pub rule: String,
    /// Where in the rule, such as `detection.selection.CommandLine|re`.
    pub place: String,
    /// Line in the source, from 1; 0 if none applies.
    pub line: u32,
    /// What is wrong with what; names the thing in backquotes.
    pub message: String,
}

impl Diagnostic {
    pub(crate) fn new(code: Code, place: impl Into<String>, line: u32, message: impl Into<String>) -> Self {
        Self {
            code,
            severity: code.severity(),
            source: String::new(),
            rule: String::new(),
            place: place.into(),
            line,
            message: message.into(),
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        self.code.hint()
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.code, self.severity.as_str(), self.message)?;
        if !self.place.is_empty() {
            write!(f, " (at {})", self.place)?;
        }
        if !self.source.is_empty() {
            write!(f, " in `{}`", self.source)?;
            if self.line > 0 {
                write!(f, " line {}", self.line)?;
            }
        }
        Ok(())
    }
}

/// Cuts text from a rule for a message: long values say nothing more than their beginning.
pub(crate) fn shown(text: &str) -> String {
    const CHARACTERS_MAX: usize = 80;
    let mut cut: String = text.chars().take(CHARACTERS_MAX).collect();
    if cut.len() < text.len() {
        cut.push('…');
    }
    cut
}
