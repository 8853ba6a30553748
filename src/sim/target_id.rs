//! The form of target ids.

/// Returns true for valid target ids: `i-…`, `mi-…` or `ecs:<cluster>_<task>_<runtime>`.
pub fn is_target(target: &str) -> bool {
    let is_word = |id: &str| {
        id.bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    let node = |prefix, lengths: &[usize]| {
        let id = target.strip_prefix(prefix);
        id.is_some_and(|id| is_word(id) && lengths.contains(&id.len()))
    };
    let container = target.strip_prefix("ecs:");
    node("i-", &[8, 17])
        || node("mi-", &[17])
        || container.is_some_and(|parts| parts.split('_').filter(|p| !p.is_empty()).count() >= 3)
}
