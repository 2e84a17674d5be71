//! One table turns errors into status, code and words for outsiders. Internal text never leaves: what is not listed is
//! `internal` and goes to the log.

use crate::detection::RuleError;
use crate::incidents::CaseError;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use garrison_model::Problem;

macro_rules! problems {
    ($($name:ident = $code:literal $status:literal $title:literal, $hint:literal;)+) => {
        /// What can be wrong with a request.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Kind { $(#[doc = $title] $name),+ }

        impl Kind {
            /// Every kind.
            pub const ALL: &'static [Kind] = &[$(Kind::$name),+];

            /// Stable code, HTTP status, sentence, hint.
            pub fn words(self) -> (&'static str, u16, &'static str, &'static str) {
                match self { $(Kind::$name => ($code, $status, $title, $hint)),+ }
            }
        }
    };
}

problems! {
    BadRequest = "bad_request" 400 "The request cannot be read.", "check the path, the query and the body against /api/openapi.json";
    BadQuery = "bad_query" 400 "A query parameter is not valid.", "check its spelling and its values";
    BadCursor = "bad_cursor" 400 "The cursor is not one of this list.", "start again without a cursor";
    BadBody = "bad_body" 400 "The body is not the JSON that is expected.", "check it against /api/openapi.json";
    BadStatus = "status_not_valid" 400 "The status cannot be set here.", "use New, InProgress or Resolved for alerts, Active, InProgress or Resolved for incidents";
    Determination = "determination_does_not_fit" 400 "The determination does not go with the classification.", "send a classification with one of its own determinations";
    Text = "text_not_valid" 400 "A text is empty or too long.", "shorten it";
    IncidentOnly = "incident_only" 400 "Only incidents have a title and tags.", "change the incident instead";
    Scope = "scope_not_valid" 400 "The scope of the suppression cannot be used.", "name a rule, a device or a column condition";
    SearchTooWide = "search_too_wide" 400 "The search would look at too many rows.", "narrow it with `since`, `status`, `severity` or `device`";
    Expiry = "expiry_not_valid" 400 "The end must lie in the future.", "give a later time, or none";
    TestRow = "test_row_not_valid" 400 "A row of the test is not a row of its table.", "see GET /api/v1/schema";
    PasswordRefused = "password_refused" 400 "The password is refused.", "use 10 to 256 characters, and give the current one";
    Invalid = "not_valid" 400 "A value is not usable.", "check names and numbers";
    NotSignedIn = "not_signed_in" 401 "Nobody is signed in.", "sign in, or send `Authorization: Bearer gat_…`";
    SignInFailed = "sign_in_failed" 401 "Name, password or link is wrong or no longer valid.", "try again, or ask an administrator for a link (`garrison user link NAME`)";
    Forbidden = "not_allowed" 403 "This role may not do that.", "ask an administrator";
    TokenScope = "token_scope" 403 "The token's scope does not hold this action.", "make a token whose scope holds it";
    Escalation = "access_escalation" 403 "Nobody gives away what he does not have.", "ask an owner";
    HeaderMissing = "request_header_missing" 403 "A change with a session cookie needs the header `X-Garrison-Request: 1`.", "send the header, or use an API token";
    NotFound = "not_found" 404 "There is nothing here.", "check the id; what belongs to another tenant is not found either";
    TenantNotMade = "tenant_not_made" 404 "The tenant is not made yet: that happens with its first plan or machine.", "switch a plan on with `garrison plan set`, or connect a machine; `garrison tenant geographies` lists where its data may rest";
    MethodNotAllowed = "method_not_allowed" 405 "This address does not take that method.", "see /api/openapi.json";
    QueryNotValid = "query_not_valid" 400 "The query has errors.", "diagnostics name each one and its place";
    Timespan = "timespan_not_valid" 400 "The time span cannot be read.", "use ISO 8601: P7D, PT12H, start/end, start/duration or duration/end";
    QueryFailed = "query_failed" 400 "The query failed while it ran.", "the title says on what; guard the value, or leave those rows out";
    QueryUnreachable = "query_unreachable" 503 "What holds the data does not answer.", "nothing is wrong with the query: ask again in a minute; the server's log names what does not answer";
    QueryMemory = "query_memory" 400 "The query needs more memory than it may have.", "filter earlier, take fewer columns, or group by fewer keys";
    ResultTooLarge = "result_too_large" 400 "The answer is too large to send.", "take fewer rows or columns";
    QueryCancelled = "query_cancelled" 409 "The query was cancelled.", "run it again";
    Quota = "hunting_quota" 429 "A limit of hunting is reached.", "wait as Retry-After says, or ask an administrator about the limits";
    QueryTimeout = "query_timeout" 504 "The query took too long.", "ask for a shorter time, or filter earlier";
    StepOpen = "step_open" 409 "A step that comes first is open.", "do what the words say, then try again";
    SourceResting = "source_resting" 409 "The source is switched off.", "switch it on first: `garrison connect source enable NAME`";
    Conflict = "exists" 409 "It is there already.", "choose another name";
    Redirected = "incident_redirected" 409 "The incident was merged into another one.", "work on the incident named in redirectIncidentId";
    MergeRefused = "merge_refused" 409 "The incidents cannot be merged.", "both must be open, not assigned to different people, classified alike, and small enough together";
    ShippedRule = "rule_is_shipped" 409 "The rule comes with the program.", "disable it instead";
    TooLarge = "too_large" 413 "The request is too large.", "send less at once";
    MediaType = "media_type" 415 "The body has another type than expected.", "send `Content-Type: application/json`";
    TooMany = "too_many_requests" 429 "Too many failed sign-ins.", "wait a few minutes";
    DetectionRefused = "detection_not_valid" 400 "The detection cannot be used.", "see docs/guides/custom-detections.md";
    IndicatorRefused = "indicator_not_valid" 400 "The indicator cannot be used.", "give a hash, an address or range, a domain or a URL, and the action audit";
    RetroRefused = "retro_hunt_not_valid" 400 "This cannot be hunted for.", "see docs/guides/hunting.md";
    LinkRefused = "link_not_valid" 400 "These rows cannot be put into an incident.", "see docs/guides/hunting.md";
    RetroEnded = "retro_hunt_ended" 409 "The retro-hunt has ended.", "start another one";
    GeographyFixed = "geography_fixed" 409 "The geography of a tenant cannot be changed.", "leave it as it is, or connect the machines to another tenant that was made in the other geography; the operator's way to move is `garrison tenant reset`, which destroys all data of the tenant";
    GeographyApart = "geography_apart" 409 "Control data of this geography must lie in a database of its own.", "give it one in the configuration: `database` of `[geographies.…]`, see docs/reference/data-protection.md";
    GeographyUnknown = "geography_unknown" 400 "There is no such geography, or the location lies in none.", "choose one of those named, or configure it in [geographies]";
    PlanScope = "plan_scope" 400 "This plan cannot be set here.", "set Servers Plan 2 on the subscription; a single machine takes Off or P1, and DELETE lets it inherit again";
    PlanLacks = "plan_lacks_feature" 403 "The plan in force does not hold this feature.", "switch on a plan that does; GET /api/v1/plans has the table";
    NotEmpty = "not_empty" 409 "It holds machines still.", "move or remove the machines first";
    RolloutOpen = "rollout_open" 409 "A roll-out has not ended.", "wait for its end, or end it with `garrison rollout stop ID`";
    RolloutOver = "rollout_over" 409 "The roll-out has ended.", "begin another one with `garrison rollout create VERSION`";
    PreviewStale = "preview_stale" 409 "The machines have changed since the preview.", "look at a new preview";
    FleetFileRefused = "fleet_file_not_valid" 400 "The fleet file cannot be applied.", "see docs/reference/plane.md; nothing was changed";
    PriceRefused = "price_not_valid" 400 "The price sheet cannot be used.", "see docs/reference/money.md";
    PriceOverlap = "price_overlap" 409 "The hours have a price already.", "begin in a later hour: prices of hours that have begun never change";
    PriceSettled = "price_settled" 409 "The sheet has priced hours that are settled.", "leave it, and add one that begins in a later hour: it ends this one, and what was priced stays as it was told";
    PriceMissing = "price_missing" 409 "Hours of the span have no price.", "add a price sheet for them with `garrison price-sheet add --from`, or ask for less time";
    SeatsRefused = "seats_not_valid" 400 "The seats cannot be used.", "see docs/reference/money.md";
    ExportRefused = "export_not_valid" 400 "The export cannot be used.", "see docs/reference/exports.md";
    LastOwner = "last_owner" 409 "Nobody would own the tenant.", "make somebody else an owner first";
    OidcOff = "oidc_off" 404 "Sign-in through a provider is not configured.", "set the section [oidc] of the configuration";
    OidcRefused = "oidc_refused" 403 "The provider's account may not sign in here.", "ask an administrator; docs/guides/access.md has the rules";
    OidcFailed = "oidc_failed" 502 "Sign-in through the provider failed.", "try again; the server's log has the cause";
    AuditDown = "audit_unavailable" 503 "The audit log cannot be written, so nothing is answered.", "try again; the server's log has the cause";
    Internal = "internal" 500 "The server failed.", "try again; the server's log has the cause";
    Busy = "busy" 503 "The server is busy.", "try again in a moment";
    Timeout = "timeout" 504 "The request took too long.", "ask for less, such as a shorter time";
}

/// A failed request.
#[derive(Debug, Clone)]
pub struct ApiError {
    kind: Kind,
    detail: Option<String>,
    diagnostics: Vec<garrison_model::QueryDiagnostic>,
    retry_after_seconds: Option<u64>,
}

impl ApiError {
    /// With the table's words.
    pub fn new(kind: Kind) -> Self {
        Self { kind, detail: None, diagnostics: Vec::new(), retry_after_seconds: None }
    }

    /// With a sentence of its own, made of our own words and the caller's values only.
    pub fn with(kind: Kind, detail: impl Into<String>) -> Self {
        Self { detail: Some(detail.into()), ..Self::new(kind) }
    }

    /// The same with findings about a query's text.
    #[must_use]
    pub fn diagnostics(mut self, diagnostics: Vec<garrison_model::QueryDiagnostic>) -> Self {
        self.diagnostics = diagnostics;
        self
    }

    /// The same with the time after which to try again.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after_seconds = Some(seconds);
        self
    }

    /// When to try again.
    pub fn retry_after_seconds(&self) -> Option<u64> {
        self.retry_after_seconds.or((self.kind == Kind::TooMany).then_some(300))
    }

    /// What is wrong.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Logs the cause and tells nothing of it.
    pub fn internal(error: &(dyn std::error::Error + 'static)) -> Self {
        tracing::error!(error, "a request failed");
        Self::new(Kind::Internal)
    }

    /// The body.
    pub fn problem(&self) -> Problem {
        let (code, status, title, hint) = self.kind.words();
        Problem {
            code: code.to_owned(),
            title: self.detail.clone().unwrap_or_else(|| title.to_owned()),
            status,
            hint: Some(hint.to_owned()),
            diagnostics: self.diagnostics.clone(),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let problem = self.problem();
        let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&problem).unwrap_or_default();
        let mut response = (status, body).into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.retry_after_seconds() {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

impl From<crate::detection::linked::LinkError> for ApiError {
    fn from(error: crate::detection::linked::LinkError) -> Self {
        use crate::detection::linked::LinkError as E;
        match error {
            E::Case(case) => case.into(),
            E::Lake(_) | E::Task => Self::internal(&error),
            _ => Self::with(Kind::LinkRefused, error.to_string()),
        }
    }
}

impl From<CaseError> for ApiError {
    fn from(error: CaseError) -> Self {
        let text = error.to_string();
        match error {
            CaseError::AlertUnknown | CaseError::IncidentUnknown(_) | CaseError::SuppressionUnknown => {
                Self::with(Kind::NotFound, text)
            }
            CaseError::Status(_) => Self::with(Kind::BadStatus, text),
            CaseError::Determination { .. } => Self::with(Kind::Determination, text),
            CaseError::Text { .. } | CaseError::TooManyTags(_) => Self::with(Kind::Text, text),
            CaseError::IncidentOnly(_) => Self::with(Kind::IncidentOnly, text),
            CaseError::Redirected(..) => Self::with(Kind::Redirected, text),
            CaseError::Merge { .. } | CaseError::Full(..) => Self::with(Kind::MergeRefused, text),
            CaseError::Scope(_) => Self::with(Kind::Scope, text),
            CaseError::Expiry => Self::with(Kind::Expiry, text),
            CaseError::SearchTooWide => Self::with(Kind::SearchTooWide, text),
            CaseError::Stored { .. } | CaseError::Db(_) | CaseError::Write(_) => Self::internal(&error),
        }
    }
}

impl From<RuleError> for ApiError {
    fn from(error: RuleError) -> Self {
        let text = error.to_string();
        match error {
            RuleError::Unknown => Self::with(Kind::NotFound, text),
            RuleError::Shipped(_) => Self::with(Kind::ShippedRule, text),
            RuleError::TooLarge => Self::with(Kind::TooLarge, text),
            RuleError::TestRow { .. } => Self::with(Kind::TestRow, text),
            RuleError::Db(_) | RuleError::Write(_) | RuleError::Lake(_) | RuleError::Content(_) | RuleError::Task => {
                Self::internal(&error)
            }
        }
    }
}

impl From<crate::detection::custom::CustomError> for ApiError {
    fn from(error: crate::detection::custom::CustomError) -> Self {
        use crate::detection::custom::CustomError as E;
        let text = error.to_string();
        match error {
            E::Unknown => Self::with(Kind::NotFound, text),
            E::NameTaken | E::TitleTaken => Self::with(Kind::Conflict, text),
            E::Definition(_) | E::TooMany(_) | E::TooManyContinuous | E::Query(_) => {
                Self::with(Kind::DetectionRefused, text)
            }
            other => Self::internal(&other),
        }
    }
}

impl From<crate::detection::indicator::IndicatorError> for ApiError {
    fn from(error: crate::detection::indicator::IndicatorError) -> Self {
        use crate::detection::indicator::IndicatorError as E;
        let text = error.to_string();
        match error {
            E::Unknown => Self::with(Kind::NotFound, text),
            E::Exists(_) => Self::with(Kind::Conflict, text),
            E::Value { .. } | E::Text { .. } | E::Action(_) | E::TooMany => Self::with(Kind::IndicatorRefused, text),
            E::Expiry => Self::with(Kind::Expiry, text),
            other => Self::internal(&other),
        }
    }
}

impl From<crate::detection::retro::RetroError> for ApiError {
    fn from(error: crate::detection::retro::RetroError) -> Self {
        use crate::detection::retro::RetroError as E;
        let text = error.to_string();
        match error {
            E::Unknown => Self::with(Kind::NotFound, text),
            E::Ended => Self::with(Kind::RetroEnded, text),
            E::Target { .. } | E::NoFilter { .. } | E::Days | E::TooMany => Self::with(Kind::RetroRefused, text),
            E::Custom(error) => error.into(),
            E::Indicator(error) => error.into(),
            other => Self::internal(&other),
        }
    }
}

impl From<crate::connect::ConnectError> for ApiError {
    fn from(error: crate::connect::ConnectError) -> Self {
        use crate::connect::ConnectError as E;
        let text = error.to_string();
        match error {
            E::Unknown(_) => Self::with(Kind::NotFound, text),
            E::Value(_) | E::Scope(_) => Self::with(Kind::Invalid, text),
            E::Plane(error) => error.into(),
            E::Identity(error) => error.into(),
            E::Busy => Self::new(Kind::Busy),
            E::Open(_) => Self::with(Kind::RolloutOpen, text),
            E::Over(_) => Self::with(Kind::RolloutOver, text),
            other => Self::internal(&other),
        }
    }
}

impl From<crate::recommend::RecommendError> for ApiError {
    fn from(error: crate::recommend::RecommendError) -> Self {
        use crate::recommend::RecommendError as E;
        let text = error.to_string();
        match error {
            E::Unknown(_) => Self::with(Kind::NotFound, text),
            E::Value(_) => Self::with(Kind::Invalid, text),
            E::Plane(error) => error.into(),
            E::Connect(error) => error.into(),
            other => Self::internal(&other),
        }
    }
}

impl From<crate::health::HealthError> for ApiError {
    fn from(error: crate::health::HealthError) -> Self {
        match error {
            crate::health::HealthError::Plane(error) => error.into(),
            other => Self::internal(&other),
        }
    }
}

impl From<crate::plane::PlaneError> for ApiError {
    fn from(error: crate::plane::PlaneError) -> Self {
        use crate::plane::PlaneError as E;
        let text = error.to_string();
        match error {
            E::Unknown(_) | E::GroupUnknown(_) => Self::with(Kind::NotFound, text),
            E::GeographyFixed { .. } => Self::with(Kind::GeographyFixed, text),
            E::TwoGeographies { .. } | E::Database { .. } => Self::with(Kind::GeographyApart, text),
            E::GeographyUnknown { .. } | E::Location { .. } => Self::with(Kind::GeographyUnknown, text),
            E::PlanScope(_) | E::PlanOnGroup => Self::with(Kind::PlanScope, text),
            E::NameTaken(_) | E::Exists(_) | E::SubscriptionNamed(_) => Self::with(Kind::Conflict, text),
            E::NotEmpty { .. } => Self::with(Kind::NotEmpty, text),
            E::Value(_) | E::TooMany { .. } => Self::with(Kind::Invalid, text),
            E::PreviewStale => Self::with(Kind::PreviewStale, text),
            E::FleetFile(_) => Self::with(Kind::FleetFileRefused, text),
            other => Self::internal(&other),
        }
    }
}

impl From<crate::metering::MeteringError> for ApiError {
    fn from(error: crate::metering::MeteringError) -> Self {
        use crate::metering::MeteringError as E;
        let text = error.to_string();
        match error {
            E::Span | E::TooLong | E::Hours => Self::with(Kind::BadQuery, text),
            E::Moment(_) => Self::with(Kind::Invalid, text),
            E::Price(_) => Self::with(Kind::PriceRefused, text),
            E::PriceOverlap { .. } => Self::with(Kind::PriceOverlap, text),
            E::PriceSettled { .. } => Self::with(Kind::PriceSettled, text),
            E::SheetUnknown => Self::with(Kind::NotFound, text),
            E::PriceMissing { .. } => Self::with(Kind::PriceMissing, text),
            E::Seats(_) => Self::with(Kind::SeatsRefused, text),
            E::Plane(error) => error.into(),
            other => Self::internal(&other),
        }
    }
}

impl From<crate::exports::ExportError> for ApiError {
    fn from(error: crate::exports::ExportError) -> Self {
        use crate::exports::ExportError as E;
        let text = error.to_string();
        match error {
            E::Unknown => Self::with(Kind::NotFound, text),
            E::Value(_) | E::Refused(_) => Self::with(Kind::ExportRefused, text),
            E::Case(error) => error.into(),
            E::Plane(error) => error.into(),
            other => Self::internal(&other),
        }
    }
}

impl From<garrison_model::PlanLacks> for ApiError {
    fn from(error: garrison_model::PlanLacks) -> Self {
        Self::with(Kind::PlanLacks, error.to_string())
    }
}

impl From<crate::identity::Error> for ApiError {
    fn from(error: crate::identity::Error) -> Self {
        use crate::identity::Error;
        let text = error.to_string();
        match error {
            Error::UserExists(_) => Self::with(Kind::Conflict, text),
            Error::NotFound { .. } => Self::with(Kind::NotFound, text),
            Error::Invalid(_) => Self::with(Kind::Invalid, text),
            other => Self::internal(&other),
        }
    }
}

impl From<crate::access::AccessError> for ApiError {
    fn from(error: crate::access::AccessError) -> Self {
        use crate::access::AccessError as E;
        let text = error.to_string();
        match error {
            E::Unknown(_) => Self::with(Kind::NotFound, text),
            E::Exists(_) => Self::with(Kind::Conflict, text),
            E::Value(_) => Self::with(Kind::Invalid, text),
            E::Escalation(_) => Self::with(Kind::Escalation, text),
            E::LastOwner => Self::with(Kind::LastOwner, text),
            E::Plane(error) => error.into(),
            other => Self::internal(&other),
        }
    }
}

impl From<crate::db::DbError> for ApiError {
    fn from(error: crate::db::DbError) -> Self {
        Self::internal(&error)
    }
}

impl From<garrison_lake::LakeError> for ApiError {
    fn from(error: garrison_lake::LakeError) -> Self {
        Self::internal(&error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_there_once_and_has_a_client_or_server_status() {
        let mut codes: Vec<_> = Kind::ALL.iter().map(|k| k.words().0).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), Kind::ALL.len());
        assert!(Kind::ALL.iter().all(|k| (400..600).contains(&k.words().1)));
    }

    #[test]
    fn the_reference_page_lists_every_code() {
        let page = include_str!("../../../../docs/reference/errors.md");
        for kind in Kind::ALL {
            let (code, status, title, hint) = kind.words();
            assert!(page.contains(&format!("| `{code}` | {status} | {title} | {hint} |")), "errors.md lacks {code}");
        }
    }
}
