//! `schema`: JSON Schema of the configuration, for editors. Generated from the settings table.

use serde_json::{Map, Value, json};

use super::exit::Exit;
use super::stdout;
use crate::config::settings::{
    Cardinality, Default, FORWARD, Kind, PROXY, SECTIONS, Section, Setting,
};

/// Prints the JSON Schema of a configuration.
pub(super) fn schema() -> Exit {
    match stdout::print_line(format_args!("{:#}", of_file())) {
        Ok(()) => Exit::Done,
        Err(unheard) => unheard.exit(),
    }
}

fn of_file() -> Value {
    let tables: Map<String, Value> = SECTIONS
        .iter()
        .map(|section| {
            let table = of_section(section);
            let tables = match section.shape {
                Cardinality::Single => table,
                Cardinality::Array => json!({ "type": "array", "minItems": 1, "items": table }),
            };
            (section.name.to_owned(), tables)
        })
        .collect();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "ssm-proxyd",
        "description": "Configuration of ssm-proxyd",
        "type": "object",
        "properties": tables,
        "anyOf": [{ "required": [FORWARD.name] }, { "required": [PROXY.name] }],
        "additionalProperties": false,
    })
}

fn of_section(section: &Section) -> Value {
    let settings = section.settings.iter();
    let properties: Map<String, Value> = settings
        .clone()
        .map(|setting| (setting.key.to_owned(), of_setting(setting)))
        .collect();
    let required: Vec<&str> = settings
        .filter(|setting| setting.is_required())
        .map(|setting| setting.key)
        .collect();
    json!({
        "description": section.doc,
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}

fn of_setting(setting: &Setting) -> Value {
    let mut schema = of_kind(setting.kind);
    schema["description"] = json!(setting.doc);
    match setting.absent {
        Default::Text(text) => schema["default"] = json!(text),
        Default::Number(number) => schema["default"] = json!(number),
        Default::Flag(flag) => schema["default"] = json!(flag),
        Default::Required | Default::Unless(_) | Default::None => {}
    }
    schema
}

/// Ranges of durations and sizes, and dependencies between settings, are checked by `check` only.
fn of_kind(kind: Kind) -> Value {
    let text = |pattern: &str| json!({ "type": "string", "pattern": pattern });
    let many = |item: Value| json!({ "type": "array", "minItems": 1, "items": item });
    match kind {
        Kind::Flag => json!({ "type": "boolean" }),
        Kind::Number(min, max) => json!({ "type": "integer", "minimum": min, "maximum": max }),
        Kind::Duration(..) => text("^( *[0-9]+(\\.[0-9]+)? *[a-zµ]+)+ *$"),
        Kind::Size(..) => text("^[0-9]+(B|KiB|MiB|GiB)$"),
        Kind::Choice(words) => json!({ "enum": words }),
        Kind::Text(pattern, _) => text(pattern),
        Kind::Hosts => many(text("^[A-Za-z0-9_.-]+$")),
        Kind::Target => {
            let target = text(TARGET);
            let targets = many(json!({ "anyOf": [target, by_tags(), by_ecs()] }));
            json!({ "anyOf": [target, by_tags(), by_ecs(), targets] })
        }
        Kind::Parameters => {
            let value = json!({ "type": "string", "minLength": 1 });
            let values = json!({ "anyOf": [value, many(value)] });
            json!({ "type": "object", "additionalProperties": values })
        }
        Kind::Allow => many(text("^.+:([0-9]+(-[0-9]+)?|\\*)$")),
        Kind::Remote => json!({ "anyOf": [port(1), text("^.+$")] }),
        Kind::Listen => {
            let address = text("^(unix:/.+|systemd:.+|hosts|.*[0-9]+)$");
            let addresses = many(json!({ "anyOf": [port(0), address] }));
            json!({ "anyOf": [port(0), address, addresses] })
        }
    }
}

/// An id with an optional region, an ECS target, a tag, or a name that is none of these.
const TARGET: &str = "^((i-([0-9a-f]{8}|[0-9a-f]{17})|mi-[0-9a-f]{17})(\\.[a-z0-9-]+-[0-9]+)?\
                      |ecs:.+|tag:[^=*]+=[^*]+|(?![mM]?[iI]-)([^:=*]*[^:=*. ]))$";

fn by_tags() -> Value {
    let values = json!({ "type": "string", "minLength": 1 });
    let tags = json!({ "type": "object", "minProperties": 1, "additionalProperties": values });
    json!({
        "type": "object",
        "properties": { "tags": tags },
        "required": ["tags"],
        "additionalProperties": false,
    })
}

fn by_ecs() -> Value {
    let name = json!({ "type": "string", "minLength": 1 });
    let tasks = |key: &str| {
        json!({
            "type": "object",
            "properties": { "cluster": name, key: name, "container": name },
            "required": ["cluster", key],
            "additionalProperties": false,
        })
    };
    json!({
        "type": "object",
        "properties": { "ecs": { "anyOf": [tasks("service"), tasks("family")] } },
        "required": ["ecs"],
        "additionalProperties": false,
    })
}

fn port(least: u16) -> Value {
    json!({ "type": "integer", "minimum": least, "maximum": u16::MAX })
}
