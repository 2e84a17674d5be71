//! The course of an order, as a pure function: which step comes after which, on success and on failure.
//!
//! Every step is written to the journal before it is done, and every step may be done twice with the same end, so a
//! connector that is killed anywhere goes on where it was. What cannot go on is walked back: the version before runs
//! again, and what was new is gone.

use garrison_model::ExtensionCode;
use garrison_wire::connect::order::Deed;
use serde::{Deserialize, Serialize};

/// What a step failed with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{code}: {detail}")]
pub struct Failure {
    /// Code.
    pub code: ExtensionCode,
    /// What exactly.
    pub detail: String,
}

impl Failure {
    /// With a sentence; cut to what a report carries.
    pub fn new(code: ExtensionCode, detail: impl Into<String>) -> Self {
        let detail: String = detail.into();
        Self { code, detail: detail.chars().filter(|c| !c.is_control()).take(500).collect() }
    }

    /// Of an input or output error on a path: no space and no permission have codes of their own.
    pub fn io(otherwise: ExtensionCode, what: &str, path: &std::path::Path, error: &std::io::Error) -> Self {
        let code = match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => ExtensionCode::NoSpace,
            std::io::ErrorKind::PermissionDenied => ExtensionCode::InsufficientPrivileges,
            _ => otherwise,
        };
        Self::new(code, format!("cannot {what} `{}`: {error}", path.display()))
    }
}

/// Steps of an install.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Step {
    /// Room, folder, a sensor that is there already.
    Check,
    /// The package, whole and verified.
    Fetch,
    /// Its files, in a folder of their own.
    Unpack,
    /// The sensor's identity.
    Enrol,
    /// The version before ends.
    Stop,
    /// The link names the new version.
    Switch,
    /// The new version runs.
    Start,
    /// It is healthy.
    Health,
    /// What is not needed any more is gone.
    Clean,
}

/// Steps back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Back {
    /// The new version ends.
    Stop,
    /// The link names the version before, or is gone.
    Switch,
    /// The version before runs again.
    Start,
    /// The new files are gone.
    Remove,
}

/// Steps of off-boarding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Leave {
    /// The sensor ends.
    Stop,
    /// Identity, queue and content of the sensor are gone.
    Forget,
    /// Its files are gone.
    Files,
}

/// Where an order stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Course {
    /// Installing.
    Forward(Step),
    /// Undoing.
    Back(Back, Failure),
    /// Off-boarding.
    Leave(Leave),
    /// Obeyed.
    Done,
    /// Not obeyed; what was there before is there again, unless the code says otherwise.
    Failed(Failure),
}

/// How a step went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Done.
    Well,
    /// Done, and everything after it is as wanted already.
    Finished,
    /// Failed.
    Ill(Failure),
}

impl Course {
    /// The course of an order. The removal of an extension leaves the sensor where it is.
    pub fn begin(deed: Deed) -> Self {
        match deed {
            Deed::Install => Self::Forward(Step::Check),
            Deed::Remove => Self::Done,
            Deed::Offboard => Self::Leave(Leave::Stop),
        }
    }

    /// Whether there is nothing more to do.
    pub fn is_over(&self) -> bool {
        matches!(self, Self::Done | Self::Failed(_))
    }

    /// After a restart: what ran as our child runs no more.
    #[must_use]
    pub fn resumed(self) -> Self {
        match self {
            Self::Forward(Step::Health) => Self::Forward(Step::Start),
            other => other,
        }
    }

    /// The next step.
    #[must_use]
    pub fn next(self, outcome: Outcome) -> Self {
        match (self, outcome) {
            (over @ (Self::Done | Self::Failed(_)), _) => over,
            (Self::Forward(_) | Self::Leave(_), Outcome::Finished) => Self::Done,
            (Self::Forward(step), Outcome::Well) => match step {
                Step::Check => Self::Forward(Step::Fetch),
                Step::Fetch => Self::Forward(Step::Unpack),
                Step::Unpack => Self::Forward(Step::Enrol),
                Step::Enrol => Self::Forward(Step::Stop),
                Step::Stop => Self::Forward(Step::Switch),
                Step::Switch => Self::Forward(Step::Start),
                Step::Start => Self::Forward(Step::Health),
                Step::Health => Self::Forward(Step::Clean),
                Step::Clean => Self::Done,
            },
            (Self::Forward(step), Outcome::Ill(failure)) => match step {
                // Nothing was put in place yet.
                Step::Check | Step::Fetch => Self::Failed(failure),
                Step::Unpack | Step::Enrol => Self::Back(Back::Remove, failure),
                Step::Stop | Step::Switch | Step::Start | Step::Health => Self::Back(Back::Stop, failure),
                // The sensor runs and is healthy; what is left over is taken at the next order.
                Step::Clean => Self::Done,
            },
            (Self::Back(step, failure), Outcome::Well | Outcome::Finished) => match step {
                Back::Stop => Self::Back(Back::Switch, failure),
                Back::Switch => Self::Back(Back::Start, failure),
                Back::Start => Self::Back(Back::Remove, failure),
                Back::Remove => Self::Failed(failure),
            },
            (Self::Back(step, failure), Outcome::Ill(second)) => match step {
                // Files that cannot be removed are in nobody's way.
                Back::Remove => Self::Failed(failure),
                Back::Stop | Back::Switch | Back::Start => {
                    let detail = format!("{failure}; and on the way back: {second}");
                    Self::Failed(Failure::new(ExtensionCode::RollBackFailed, detail))
                }
            },
            (Self::Leave(step), Outcome::Well) => match step {
                Leave::Stop => Self::Leave(Leave::Forget),
                Leave::Forget => Self::Leave(Leave::Files),
                Leave::Files => Self::Done,
            },
            (Self::Leave(step), Outcome::Ill(failure)) => {
                let code = match step {
                    Leave::Stop | Leave::Forget => ExtensionCode::OffboardingFailed,
                    Leave::Files => ExtensionCode::UninstallFailed,
                };
                Self::Failed(Failure { code, ..failure })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ill() -> Outcome {
        Outcome::Ill(Failure::new(ExtensionCode::Internal, "x"))
    }

    proptest! {
        #[test]
        fn every_course_ends_and_says_how(deed in 0_usize..3, outcomes in proptest::collection::vec(0_u8..8, 40)) {
            let mut course = Course::begin(Deed::ALL[deed].0);
            let (mut switched, mut steps) = (false, 0);
            for outcome in outcomes {
                if course.is_over() { break; }
                steps += 1;
                let well = outcome > 0;
                if well && matches!(course, Course::Forward(Step::Switch)) { switched = true; }
                if well && matches!(course, Course::Back(Back::Switch, _)) { switched = false; }
                // A restart at any point changes no more than that the sensor is started again.
                if outcome == 1 { course = course.resumed(); }
                course = course.next(if well { Outcome::Well } else { ill() });
            }
            prop_assert!(course.is_over() || steps == 40, "{course:?}");
            if let Course::Failed(failure) = &course {
                prop_assert!(!switched || failure.code == ExtensionCode::RollBackFailed, "{failure}");
            }
        }
    }

    #[test]
    fn a_failure_before_anything_is_in_place_ends_at_once() {
        let course = Course::begin(Deed::Install).next(ill());
        assert!(matches!(course, Course::Failed(_)));
        assert_eq!(Course::begin(Deed::Remove), Course::Done);
    }
}
