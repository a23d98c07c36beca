//! A name a line.

/// The name in a line, without blanks around it; none in a blank line. A line that is a string of JSON, in
/// double quotes, is taken for what that means, so that a name may have any character.
pub(super) fn read_name(line: &str) -> Option<String> {
    let line = line.trim();
    let quoted = line.starts_with('"').then(|| serde_json::from_str(line).ok()).flatten();
    Some(quoted.unwrap_or_else(|| line.to_string())).filter(|name| !name.is_empty())
}

/// The line that [`read_name`] reads as `name`, with its end.
pub(super) fn name_line(name: &str) -> String {
    let is_plain = read_name(name).as_deref() == Some(name) && !name.contains(['\n', '\r']);
    let line = if is_plain { name.to_string() } else { serde_json::Value::from(name).to_string() };
    line + "\n"
}
