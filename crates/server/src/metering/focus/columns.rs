//! The columns of FOCUS 1.0, and rows of them.
//!
//! Source: FinOps Open Cost and Usage Specification 1.0, section "Columns" (focus.finops.org). Text is frozen here: a
//! later version of the specification is another table.

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Text.
    Text,
    /// A number with decimal places, in the specification's numeric format.
    Decimal,
    /// A moment, `2026-11-25T00:00:00Z`.
    Time,
    /// A currency's code.
    Currency,
    /// A JSON object of plain values.
    Json,
}

/// Whether the column must be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Always.
    Mandatory,
    /// Where the provider has such a thing.
    Conditional,
    /// Better so.
    Recommended,
}

/// A line of the table of columns.
#[derive(Debug, Clone, Copy)]
pub struct Info {
    /// Column id.
    pub name: &'static str,
    /// What its values are.
    pub kind: Kind,
    /// Whether it must be there.
    pub level: Level,
    /// Whether it may be null.
    pub nullable: bool,
    /// The only values it may have; empty for any.
    pub allowed: &'static [&'static str],
}

macro_rules! columns {
    ($($name:ident $kind:ident $level:ident $nullable:literal [$($allowed:literal),*];)+) => {
        /// A column.
        #[allow(missing_docs)]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Column { $($name),+ }

        /// The table, in the order in which files are written.
        pub const COLUMNS: &[Info] = &[$(Info {
            name: stringify!($name),
            kind: Kind::$kind,
            level: Level::$level,
            nullable: $nullable,
            allowed: &[$($allowed),*],
        }),+];

        impl Column {
            /// All of them, in the same order.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];
        }
    };
}

columns! {
    AvailabilityZone Text Recommended true [];
    BilledCost Decimal Mandatory false [];
    BillingAccountId Text Mandatory false [];
    BillingAccountName Text Mandatory true [];
    BillingCurrency Currency Mandatory false [];
    BillingPeriodEnd Time Mandatory false [];
    BillingPeriodStart Time Mandatory false [];
    ChargeCategory Text Mandatory false ["Usage", "Purchase", "Tax", "Credit", "Adjustment"];
    ChargeClass Text Mandatory true ["Correction"];
    ChargeDescription Text Mandatory true [];
    ChargeFrequency Text Recommended false ["One-Time", "Recurring", "Usage-Based"];
    ChargePeriodEnd Time Mandatory false [];
    ChargePeriodStart Time Mandatory false [];
    CommitmentDiscountCategory Text Conditional true ["Spend", "Usage"];
    CommitmentDiscountId Text Conditional true [];
    CommitmentDiscountName Text Conditional true [];
    CommitmentDiscountStatus Text Conditional true ["Used", "Unused"];
    CommitmentDiscountType Text Conditional true [];
    ConsumedQuantity Decimal Conditional true [];
    ConsumedUnit Text Conditional true [];
    ContractedCost Decimal Mandatory false [];
    ContractedUnitPrice Decimal Conditional true [];
    EffectiveCost Decimal Mandatory false [];
    InvoiceIssuerName Text Mandatory false [];
    ListCost Decimal Mandatory false [];
    ListUnitPrice Decimal Conditional true [];
    PricingCategory Text Conditional true ["Standard", "Dynamic", "Committed", "Other"];
    PricingQuantity Decimal Mandatory true [];
    PricingUnit Text Mandatory true [];
    ProviderName Text Mandatory false [];
    PublisherName Text Mandatory false [];
    RegionId Text Conditional true [];
    RegionName Text Conditional true [];
    ResourceId Text Conditional true [];
    ResourceName Text Conditional true [];
    ResourceType Text Conditional true [];
    ServiceCategory Text Mandatory false ["AI and Machine Learning", "Analytics", "Business Applications", "Compute",
        "Databases", "Developer Tools", "Multicloud", "Identity", "Integration", "Internet of Things",
        "Management and Governance", "Media", "Migration", "Mobile", "Networking", "Security", "Storage", "Web",
        "Other"];
    ServiceName Text Mandatory false [];
    SkuId Text Conditional true [];
    SkuPriceId Text Conditional true [];
    SubAccountId Text Conditional true [];
    SubAccountName Text Conditional true [];
    Tags Json Conditional true [];
}

/// A row: one value a column, `None` for null.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row(pub [Option<String>; COLUMNS.len()]);

impl Default for Row {
    fn default() -> Self {
        Self([const { None }; COLUMNS.len()])
    }
}

impl Row {
    /// Sets a value.
    pub fn set(&mut self, column: Column, value: impl Into<String>) -> &mut Self {
        if let Some(place) = self.0.get_mut(column as usize) {
            *place = Some(value.into());
        }
        self
    }
}
