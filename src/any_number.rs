//! Settings with any value in the place of each number, for tests.

use toml::Value;

/// Settings in which one number is another one.
pub struct Case {
    /// Keys and indices to the number.
    pub path: Vec<String>,
    /// What it is now.
    pub value: Value,
    /// All settings.
    pub settings: Value,
}

impl Case {
    /// The key of the number, or of the list that it is in.
    pub fn key(&self) -> &str {
        self.path.iter().rfind(|key| key.parse::<usize>().is_err()).unwrap()
    }
}

/// Each number of the settings, with each of many values.
pub fn cases(settings: &Value) -> Vec<Case> {
    let values = [
        Value::Integer(0),
        Value::Integer(1),
        Value::Integer(-1),
        Value::Integer(100_000),
        Value::Integer(i64::MAX),
        Value::Float(0.0),
        Value::Float(1.0),
        Value::Float(-1.0),
        Value::Float(1e-30),
        Value::Float(1e30),
        Value::Float(1e300),
        Value::Float(f64::INFINITY),
        Value::Float(f64::NAN),
    ];
    let mut paths = Vec::new();
    numbers(settings, &mut Vec::new(), &mut paths);
    let mut cases = Vec::new();
    for path in paths {
        for value in &values {
            let mut settings = settings.clone();
            *at(&mut settings, &path) = value.clone();
            cases.push(Case { path: path.clone(), value: value.clone(), settings });
        }
    }
    cases
}

/// Paths of keys and indices to all numbers.
fn numbers(value: &Value, path: &mut Vec<String>, found: &mut Vec<Vec<String>>) {
    let mut enter = |key: String, value: &Value, found: &mut _| {
        path.push(key);
        numbers(value, path, found);
        path.pop();
    };
    match value {
        Value::Table(table) => table.iter().for_each(|(key, value)| enter(key.clone(), value, found)),
        Value::Array(values) => {
            values.iter().enumerate().for_each(|(index, value)| enter(index.to_string(), value, found));
        }
        Value::Integer(_) | Value::Float(_) => found.push(path.clone()),
        _ => {}
    }
}

fn at<'a>(value: &'a mut Value, path: &[String]) -> &'a mut Value {
    path.iter().fold(value, |value, key| match value {
        Value::Table(table) => &mut table[key.as_str()],
        Value::Array(values) => &mut values[key.parse::<usize>().unwrap()],
        other => panic!("{key} in {other}"),
    })
}
