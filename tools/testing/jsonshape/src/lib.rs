// SPDX-License-Identifier: GPL-2.0

//! Checks JSON against a JSON schema.
//!
//! It knows those keywords of JSON Schema 2020-12 that our schemas have, and refuses a schema with
//! any other, so that nothing goes unchecked. The crates that know all of them bring sixty others.

use std::str::FromStr;

use anyhow::{bail, Context, Result};
use regex_lite::Regex;
use serde_json::{Map, Value};

/// Keywords that say something of a value.
const ASSERTIONS: &[&str] = &[
    "$ref",
    "additionalProperties",
    "anyOf",
    "const",
    "else",
    "enum",
    "if",
    "items",
    "maximum",
    "minItems",
    "minLength",
    "minimum",
    "pattern",
    "properties",
    "required",
    "then",
    "type",
];

/// Keywords that are for people, and where definitions are.
const OTHERS: &[&str] = &["$defs", "$schema", "description", "title"];

/// A schema all of whose keywords are known.
pub struct Schema(Value);

impl FromStr for Schema {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let schema = Self(serde_json::from_str(text)?);
        schema.know(&schema.0)?;
        Ok(schema)
    }
}

impl Schema {
    /// Checks a value against the definition `name`. Returns what is wrong, each with its place.
    ///
    /// # Errors
    ///
    /// When the schema is at fault.
    pub fn check(&self, name: &str, value: &Value) -> Result<Vec<String>> {
        let mut problems = Vec::new();
        self.apply(self.definition(name)?, value, name, &mut problems)?;
        Ok(problems)
    }

    fn definition(&self, name: &str) -> Result<&Value> {
        self.0
            .get("$defs")
            .and_then(|definitions| definitions.get(name))
            .with_context(|| format!("the schema has no definition \"{name}\""))
    }

    /// Makes sure that all keywords are known, and that what is referred to is there.
    fn know(&self, schema: &Value) -> Result<()> {
        let Some(keywords) = schema.as_object() else {
            return match schema {
                Value::Bool(_) => Ok(()),
                _ => bail!("no schema: {schema}"),
            };
        };
        for (keyword, value) in keywords {
            match keyword.as_str() {
                "$ref" => drop(self.referred(value)?),
                "$defs" | "properties" => {
                    let members = value.as_object().context("no object")?;
                    members.values().try_for_each(|schema| self.know(schema))?;
                }
                "anyOf" => {
                    let choices = value.as_array().context("no array")?;
                    choices.iter().try_for_each(|schema| self.know(schema))?;
                }
                "additionalProperties" | "else" | "if" | "items" | "then" => self.know(value)?,
                "pattern" => drop(Regex::new(value.as_str().context("no text")?)?),
                other if ASSERTIONS.contains(&other) || OTHERS.contains(&other) => {}
                other => bail!("the keyword \"{other}\" is not known"),
            }
        }
        Ok(())
    }

    fn referred(&self, reference: &Value) -> Result<&Value> {
        let reference = reference.as_str().context("$ref is no text")?;
        let name = reference
            .strip_prefix("#/$defs/")
            .with_context(|| format!("$ref \"{reference}\" is not of the form #/$defs/NAME"))?;
        self.definition(name)
    }

    fn apply(
        &self,
        schema: &Value,
        value: &Value,
        at: &str,
        problems: &mut Vec<String>,
    ) -> Result<()> {
        let keywords = match schema {
            Value::Object(keywords) => keywords,
            Value::Bool(true) => return Ok(()),
            _ => {
                problems.push(format!("{at}: must not be there"));
                return Ok(());
            }
        };
        for (keyword, expected) in keywords {
            match keyword.as_str() {
                "$ref" => self.apply(self.referred(expected)?, value, at, problems)?,
                "anyOf" => {
                    let choices = expected.as_array().context("anyOf is no array")?;
                    let fits = |schema| Ok(self.problems(schema, value, at)?.is_empty());
                    let fitting: Result<Vec<bool>> = choices.iter().map(fits).collect();
                    if !fitting?.contains(&true) {
                        problems.push(format!("{at}: {value} is none of what it can be"));
                    }
                }
                "if" => {
                    let branch = match self.problems(expected, value, at)?.is_empty() {
                        true => "then",
                        false => "else",
                    };
                    if let Some(schema) = keywords.get(branch) {
                        self.apply(schema, value, at, problems)?;
                    }
                }
                "items" => {
                    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                        self.apply(expected, item, &format!("{at}[{index}]"), problems)?;
                    }
                }
                "properties" => self.apply_properties(keywords, value, at, problems)?,
                "additionalProperties" if !keywords.contains_key("properties") => {
                    self.apply_properties(keywords, value, at, problems)?;
                }
                keyword => {
                    if !holds(keyword, expected, value)? {
                        problems.push(format!("{at}: {value} breaks {keyword} {expected}"));
                    }
                }
            }
        }
        Ok(())
    }

    fn problems(&self, schema: &Value, value: &Value, at: &str) -> Result<Vec<String>> {
        let mut problems = Vec::new();
        self.apply(schema, value, at, &mut problems)?;
        Ok(problems)
    }

    fn apply_properties(
        &self,
        keywords: &Map<String, Value>,
        value: &Value,
        at: &str,
        problems: &mut Vec<String>,
    ) -> Result<()> {
        let properties = keywords.get("properties");
        let others = keywords.get("additionalProperties");
        for (name, member) in value.as_object().into_iter().flatten() {
            let schema = properties
                .and_then(|properties| properties.get(name))
                .or(others);
            if let Some(schema) = schema {
                self.apply(schema, member, &format!("{at}.{name}"), problems)?;
            }
        }
        Ok(())
    }
}

/// Whether a keyword that needs no other schema holds. It does for values of a type that it does
/// not speak of.
fn holds(keyword: &str, expected: &Value, value: &Value) -> Result<bool> {
    let limit = || {
        expected
            .as_f64()
            .with_context(|| format!("{keyword} is no number"))
    };
    Ok(match keyword {
        "const" => value == expected,
        "enum" => expected
            .as_array()
            .context("enum is no array")?
            .contains(value),
        "type" => match expected {
            Value::Array(types) => types.iter().any(|name| is_of_type(name, value)),
            name => is_of_type(name, value),
        },
        "minimum" => {
            let limit = limit()?;
            value.as_f64().is_none_or(|number| number >= limit)
        }
        "maximum" => {
            let limit = limit()?;
            value.as_f64().is_none_or(|number| number <= limit)
        }
        "minItems" => {
            let limit = limit()?;
            value
                .as_array()
                .is_none_or(|items| items.len() as f64 >= limit)
        }
        "minLength" => {
            let limit = limit()?;
            value
                .as_str()
                .is_none_or(|text| text.chars().count() as f64 >= limit)
        }
        "pattern" => {
            let pattern = Regex::new(expected.as_str().context("pattern is no text")?)?;
            value.as_str().is_none_or(|text| pattern.is_match(text))
        }
        "required" => {
            let names = expected.as_array().context("required is no array")?;
            let names: Vec<_> = names.iter().filter_map(Value::as_str).collect();
            let members = value.as_object();
            members.is_none_or(|members| names.iter().all(|&name| members.contains_key(name)))
        }
        // Those that apply() looks at together with another one, and those for people.
        _ => true,
    })
}

fn is_of_type(name: &Value, value: &Value) -> bool {
    match name.as_str() {
        Some("null") => value.is_null(),
        Some("boolean") => value.is_boolean(),
        Some("integer") => value.is_i64() || value.is_u64(),
        Some("number") => value.is_number(),
        Some("string") => value.is_string(),
        Some("array") => value.is_array(),
        Some("object") => value.is_object(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn schema(definition: Value) -> Schema {
        let definitions = json!({ "$defs": { "it": definition, "small": { "maximum": 9 } } });
        definitions.to_string().parse().unwrap()
    }

    /// Each keyword with a value that it lets pass, and one that it does not.
    #[test]
    fn each_keyword_decides() {
        for (definition, good, bad) in [
            (json!({ "type": "integer" }), json!(1), json!(1.5)),
            (json!({ "type": "boolean" }), json!(true), json!("true")),
            (json!({ "type": "array" }), json!([]), json!({})),
            (json!({ "type": ["string", "null"] }), json!(null), json!(1)),
            (json!({ "enum": ["a", null] }), json!("a"), json!("b")),
            (json!({ "const": "a" }), json!("a"), json!("b")),
            (json!({ "minimum": 1 }), json!(1), json!(0)),
            (json!({ "maximum": 1 }), json!(1), json!(2)),
            (json!({ "minItems": 1 }), json!([0]), json!([])),
            (json!({ "minLength": 1 }), json!("a"), json!("")),
            (json!({ "pattern": "^[0-9]+$" }), json!("10"), json!("1x")),
            (
                json!({ "required": ["a"] }),
                json!({ "a": 1 }),
                json!({ "b": 1 }),
            ),
            (json!({ "$ref": "#/$defs/small" }), json!(9), json!(10)),
            (
                json!({ "items": { "type": "null" } }),
                json!([null]),
                json!([null, 0]),
            ),
            (
                json!({ "anyOf": [{ "type": "null" }, { "$ref": "#/$defs/small" }] }),
                json!(3),
                json!(30),
            ),
            (
                json!({ "properties": { "a": { "type": "null" } }, "additionalProperties": false }),
                json!({ "a": null }),
                json!({ "b": null }),
            ),
            (
                json!({ "properties": { "a": { "type": "null" } } }),
                json!({ "a": null, "b": 1 }),
                json!({ "a": 1 }),
            ),
            (
                json!({ "additionalProperties": { "type": "string" } }),
                json!({ "a": "" }),
                json!({ "a": 0 }),
            ),
            (
                json!({ "if": { "minimum": 5 }, "then": { "maximum": 6 } }),
                json!(1),
                json!(7),
            ),
            (
                json!({ "if": { "minimum": 5 }, "else": { "maximum": 2 } }),
                json!(7),
                json!(3),
            ),
        ] {
            let schema = schema(definition.clone());
            assert_eq!(schema.check("it", &good).unwrap(), [""; 0], "{definition}");
            assert_eq!(schema.check("it", &bad).unwrap().len(), 1, "{definition}");
        }
    }

    #[test]
    fn all_problems_are_named_with_their_place() {
        let schema = schema(json!({
            "properties": { "list": { "items": { "properties": { "n": { "minimum": 1 } } } } }
        }));
        let value = json!({ "list": [{ "n": 1 }, { "n": 0 }, { "n": -1 }] });
        let problems = schema.check("it", &value).unwrap();
        assert_eq!(
            problems,
            [
                "it.list[1].n: 0 breaks minimum 1",
                "it.list[2].n: -1 breaks minimum 1"
            ]
        );
    }

    #[test]
    fn a_schema_that_is_not_understood_is_refused() {
        for definition in [
            json!({ "maxLength": 1 }),
            json!({ "properties": { "a": { "oneOf": [] } } }),
            json!({ "$ref": "#/$defs/nothing" }),
            json!({ "$ref": "other.json" }),
            json!({ "pattern": "(" }),
            json!(1),
        ] {
            let text = json!({ "$defs": { "it": definition } }).to_string();
            assert!(text.parse::<Schema>().is_err(), "{text}");
        }
        assert!(schema(json!({})).check("other", &json!(1)).is_err());
    }
}
