//! DescribeSessions: the open and the ended sessions of the account.

use serde::Deserialize;
use serde_json::{Value, json};

use super::paging::{ListError, Page};
use super::records::SessionRecord;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct SessionsRequest {
    state: SessionState,
    #[serde(default)]
    filters: Vec<Filter>,
    max_results: Option<usize>,
    next_token: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
enum SessionState {
    Active,
    History,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
struct Filter {
    key: String,
    value: String,
}

/// Returns one page of sessions, in order of their start.
pub(super) fn describe(
    records: &[SessionRecord],
    request: &SessionsRequest,
) -> Result<Value, ListError> {
    if let Some(Filter { key, .. }) = request.filters.iter().find(|filter| !filter.is_known()) {
        let what =
            format!("the simulator does not support the filter {key:?}, only Target and SessionId");
        return Err(("InvalidFilterKey", what));
    }
    let token = request.next_token.as_deref();
    let page = Page::new(request.max_results, token, 1..=MAX_PAGE)?;
    let fitting = records.iter().filter(|record| {
        let is_active = request.state == SessionState::Active;
        record.is_open() == is_active && request.filters.iter().all(|filter| filter.fits(record))
    });
    let all: Vec<_> = fitting.collect();
    let count = all.len();
    let sessions: Vec<_> = page.of(all.into_iter()).map(described).collect();
    let mut answer = json!({ "Sessions": sessions });
    page.add_next_token(&mut answer, count);
    Ok(answer)
}

impl Filter {
    fn is_known(&self) -> bool {
        ["Target", "SessionId"].contains(&self.key.as_str())
    }

    fn fits(&self, record: &SessionRecord) -> bool {
        match self.key.as_str() {
            "Target" => record.target == self.value,
            _ => record.session_id == self.value,
        }
    }
}

fn described(record: &SessionRecord) -> Value {
    let status = match record.is_open() {
        true => "Connected",
        false => "Terminated",
    };
    let mut session = json!({
        "SessionId": record.session_id,
        "Target": record.target,
        "Status": status,
        "DocumentName": record.document,
    });
    if !record.reason.is_empty() {
        session["Reason"] = json!(record.reason);
    }
    session
}

/// Maximum number of sessions per page.
const MAX_PAGE: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(request: Value) -> Result<Value, ListError> {
        let records: Vec<_> = (0..5_u64)
            .map(|n| SessionRecord {
                session_id: format!("s-{n}"),
                target: format!("i-{}", n % 2),
                reason: format!("for {n}"),
                ended_us: (n == 4).then_some(n),
                ..SessionRecord::default()
            })
            .collect();
        describe(&records, &serde_json::from_value(request).unwrap())
    }

    fn ids(answer: &Value) -> Vec<&str> {
        let sessions = answer["Sessions"].as_array().unwrap().iter();
        sessions
            .filter_map(|session| session["SessionId"].as_str())
            .collect()
    }

    #[test]
    fn sessions_are_found_by_state_and_target() {
        let active = ask(json!({ "State": "Active" })).unwrap();
        assert_eq!(ids(&active), ["s-0", "s-1", "s-2", "s-3"]);
        assert_eq!(active["Sessions"][0]["Reason"], "for 0");
        assert_eq!(ids(&ask(json!({ "State": "History" })).unwrap()), ["s-4"]);
        let filter = json!([{ "key": "Target", "value": "i-1" }]);
        let of_target = ask(json!({ "State": "Active", "Filters": filter })).unwrap();
        assert_eq!(ids(&of_target), ["s-1", "s-3"]);
        let unknown = json!([{ "key": "Owner", "value": "x" }]);
        let refused = ask(json!({ "State": "Active", "Filters": unknown }));
        assert_eq!(refused.unwrap_err().0, "InvalidFilterKey");
    }

    #[test]
    fn pages_of_sessions_follow_each_other() {
        let first = ask(json!({ "State": "Active", "MaxResults": 3 })).unwrap();
        let token = &first["NextToken"];
        let second = ask(json!({ "State": "Active", "MaxResults": 3, "NextToken": token }));
        let second = second.unwrap();

        assert_eq!(ids(&first), ["s-0", "s-1", "s-2"]);
        assert_eq!(ids(&second), ["s-3"]);
        assert!(second["NextToken"].is_null());
        let beyond = json!({ "State": "Active", "NextToken": usize::MAX.to_string() });
        assert_eq!(ids(&ask(beyond).unwrap()), [""; 0]);
        let refused = ask(json!({ "State": "Active", "NextToken": "x" }));
        assert_eq!(refused.unwrap_err().0, "InvalidNextToken");
    }
}
