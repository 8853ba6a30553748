//! What shall go wrong, and when.

use std::collections::BTreeMap;

/// The faults that are switched on.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// API calls that fail.
    pub api: BTreeMap<Operation, ApiFault>,
}

impl Faults {
    /// The error that this call must have, if any; counts it.
    pub(super) fn strike(&mut self, operation: Operation) -> Option<String> {
        let fault = self.api.get_mut(&operation)?;
        let Some(times) = &mut fault.times else {
            return Some(fault.code.clone());
        };
        *times = times.checked_sub(1)?;
        Some(fault.code.clone())
    }
}

/// An error in place of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiFault {
    /// The error's code, as `ThrottlingException`.
    pub code: String,
    /// How many calls fail; `None`: all.
    pub times: Option<u32>,
}

/// An operation of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// StartSession.
    StartSession,
    /// ResumeSession.
    ResumeSession,
    /// TerminateSession.
    TerminateSession,
}

impl Operation {
    /// The name as it stands in `X-Amz-Target`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::StartSession => "StartSession",
            Self::ResumeSession => "ResumeSession",
            Self::TerminateSession => "TerminateSession",
        }
    }

    /// Finds an operation by its name.
    pub fn from_name(name: &str) -> Option<Self> {
        let all = [
            Self::StartSession,
            Self::ResumeSession,
            Self::TerminateSession,
        ];
        all.into_iter().find(|operation| operation.as_str() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_api_fault_strikes_as_often_as_it_was_told() {
        let mut faults = Faults::default();
        let throttled = |times| ApiFault {
            code: "ThrottlingException".to_owned(),
            times,
        };
        faults
            .api
            .insert(Operation::StartSession, throttled(Some(2)));
        faults.api.insert(Operation::ResumeSession, throttled(None));

        let strikes = |faults: &mut Faults, operation| {
            (0..5)
                .filter(|_| faults.strike(operation).is_some())
                .count()
        };

        assert_eq!(strikes(&mut faults, Operation::StartSession), 2);
        assert_eq!(strikes(&mut faults, Operation::ResumeSession), 5);
        assert_eq!(strikes(&mut faults, Operation::TerminateSession), 0);
    }
}
