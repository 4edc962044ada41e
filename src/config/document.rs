//! Reading `config.yml` key by key.

use serde_json::{Map, Value as Node};

use super::error::ConfigError;
use super::keys::{self, Key};
use super::values::Value;

/// The parsed file. All its keys are known.
pub(super) struct Document<'e> {
    sections: Map<String, Node>,
    environment: &'e dyn Fn(&str) -> Option<String>,
}

impl<'e> Document<'e> {
    pub(super) fn parse(
        text: &str,
        environment: &'e dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        // No snippets: the surrounding lines in an error message could show a secret.
        let options = serde_saphyr::options! { with_snippet: false };
        let root = serde_saphyr::from_str_with_options::<Option<Node>>(text, options)
            .map_err(|error| ConfigError::Syntax(Box::new(error)))?;
        let sections = match root.unwrap_or(Node::Null) {
            Node::Null => Map::new(),
            Node::Object(sections) => sections.into_iter().map(flattened).collect(),
            other @ (Node::Bool(_) | Node::Number(_) | Node::String(_) | Node::Array(_)) => {
                return Err(ConfigError::NoSections { found: kind(&other) });
            }
        };
        for (section, content) in &sections {
            check_section(section, content)?;
        }
        Ok(Self { sections, environment })
    }

    /// The value of `key`: from the flag, else from the file, else the default.
    pub(super) fn value<V: Value>(&self, key: &Key, flag: Option<&V>) -> Result<V, ConfigError> {
        if let Some(value) = flag {
            return Ok(value.clone());
        }
        match self.node(key) {
            Some(node) => self.scalar(key, node),
            None => self.text(key, key.default),
        }
    }

    /// The value of an optional key. `null` in the file means that it has none.
    pub(super) fn optional<V: Value>(&self, key: &Key, flag: Option<&V>) -> Result<Option<V>, ConfigError> {
        match (flag, self.node(key)) {
            (Some(value), _) => Ok(Some(value.clone())),
            (None, None | Some(Node::Null)) => Ok(None),
            (None, Some(node)) => self.scalar(key, node).map(Some),
        }
    }

    /// The values of a key whose value is a list.
    pub(super) fn list<V: Value>(&self, key: &Key, flag: Option<&Vec<V>>) -> Result<Vec<V>, ConfigError> {
        match (flag, self.node(key)) {
            (Some(values), _) => Ok(values.clone()),
            (None, None) => Ok(Vec::new()),
            (None, Some(Node::Array(nodes))) => nodes.iter().map(|node| self.scalar(key, node)).collect(),
            (None, Some(node)) => Err(ConfigError::Invalid {
                key: *key,
                value: shown(node),
                expected: "a list such as [\"a\", \"b\"]",
            }),
        }
    }

    fn node(&self, key: &Key) -> Option<&Node> {
        self.sections.get(key.section)?.get(key.name)
    }

    fn scalar<V: Value>(&self, key: &Key, node: &Node) -> Result<V, ConfigError> {
        match node {
            Node::String(text) => self.text(key, text),
            Node::Bool(value) if !V::IS_TEXT => self.text(key, &value.to_string()),
            Node::Number(number) if !V::IS_TEXT => self.text(key, &number.to_string()),
            Node::Null | Node::Bool(_) | Node::Number(_) | Node::Array(_) | Node::Object(_) => {
                Err(invalid::<V>(key, shown(node)))
            }
        }
    }

    fn text<V: Value>(&self, key: &Key, written: &str) -> Result<V, ConfigError> {
        V::parse(&self.expanded(key, written)?).ok_or_else(|| invalid::<V>(key, format!("{written:?}")))
    }

    /// Replaces every `${VARIABLE}` in `written`. It does this once, after YAML is parsed, so the content of a
    /// variable is never parsed as YAML or as another variable.
    fn expanded(&self, key: &Key, written: &str) -> Result<String, ConfigError> {
        let mut text = String::with_capacity(written.len());
        let mut rest = written;
        while let Some(start) = rest.find("${") {
            if let Some(before) = rest[..start].strip_suffix('$') {
                text.push_str(before);
                text.push_str("${");
                rest = &rest[start + 2..];
                continue;
            }
            text.push_str(&rest[..start]);
            let (variable, behind) = rest[start + 2..]
                .split_once('}')
                .filter(|(variable, _)| is_variable(variable))
                .ok_or(ConfigError::MalformedVariable { key: *key })?;
            let value = (self.environment)(variable)
                .ok_or_else(|| ConfigError::UnsetVariable { key: *key, variable: variable.to_owned() })?;
            text.push_str(&value);
            rest = behind;
        }
        text.push_str(rest);
        Ok(text)
    }
}

/// Flattens the groups of a section: `tls: { cert: a }` becomes `tls.cert: a`.
fn flattened((section, content): (String, Node)) -> (String, Node) {
    let Node::Object(values) = content else { return (section, content) };
    let mut open = Map::new();
    for (name, value) in values {
        let is_group = keys::is_group(&section, &name);
        if is_group && value.is_null() {
            continue;
        }
        if is_group && let Node::Object(group) = value {
            open.extend(group.into_iter().map(|(key, value)| (format!("{name}.{key}"), value)));
        } else {
            open.insert(name, value);
        }
    }
    (section, Node::Object(open))
}

fn check_section(section: &str, content: &Node) -> Result<(), ConfigError> {
    if !keys::is_section(section) {
        return Err(ConfigError::UnknownSection {
            section: section.to_owned(),
            nearest: keys::nearest_at_top(section),
        });
    }
    let values = match content {
        // All keys of the section are commented out.
        Node::Null => return Ok(()),
        Node::Object(values) => values,
        Node::Bool(_) | Node::Number(_) | Node::String(_) | Node::Array(_) => {
            let example =
                keys::ALL.iter().find(|key| key.section == section).map_or("listen", |key| key.name);
            return Err(ConfigError::NotASection {
                section: section.to_owned(),
                found: kind(content),
                example,
            });
        }
    };
    match values.keys().find(|name| !keys::is_known(section, name)) {
        None => Ok(()),
        Some(name) => Err(ConfigError::UnknownKey {
            section: section.to_owned(),
            name: name.clone(),
            nearest: keys::nearest(Some(section), name),
        }),
    }
}

fn is_variable(name: &str) -> bool {
    !name.is_empty()
        && !name.as_bytes()[0].is_ascii_digit()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn invalid<V: Value>(key: &Key, value: String) -> ConfigError {
    // The part before an '@' in a URL is a user name and a password.
    let hidden = V::IS_SECRET || value.contains('@');
    let value = if hidden { "a value that is not shown".to_owned() } else { value };
    ConfigError::Invalid { key: *key, value, expected: V::EXPECTED }
}

/// A value as an error message quotes it.
fn shown(node: &Node) -> String {
    match node {
        Node::Null => "empty".to_owned(),
        Node::Bool(value) => format!("{value} (not in quotes)"),
        Node::Number(number) => format!("{number} (not in quotes)"),
        Node::String(text) => format!("{text:?}"),
        Node::Array(_) | Node::Object(_) => kind(node).to_owned(),
    }
}

fn kind(node: &Node) -> &'static str {
    match node {
        Node::Null => "empty",
        Node::Bool(_) => "a boolean",
        Node::Number(_) => "a number",
        Node::String(_) => "a text",
        Node::Array(_) => "a list",
        Node::Object(_) => "a mapping",
    }
}
