//! YAML by another hand than the one that wrote it, as the JSON it stands for.

use anyhow::{Context as _, Result, bail, ensure};
use saphyr_parser::{Event, Parser, ScalarStyle, StrInput};
use serde_json::{Map, Value};

type Events<'a> = Parser<'a, StrInput<'a>>;

/// The one document of a text.
pub(crate) fn read(text: &str) -> Result<Value> {
    let mut events = Parser::new_from_str(text);
    let mut documents = Vec::new();
    while let Some((event, _)) = events.next_event().transpose()? {
        match event {
            Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) | Event::DocumentEnd => {}
            event => documents.push(value(&event, &mut events)?),
        }
    }
    ensure!(documents.len() == 1, "{} documents:\n{text}", documents.len());
    documents.pop().context("just counted")
}

/// The value that begins with this event.
fn value<'a>(event: &Event<'a>, events: &mut Events<'a>) -> Result<Value> {
    match event {
        Event::Scalar(text, ScalarStyle::Plain, ..) => Ok(plain(text)),
        Event::Scalar(text, ..) => Ok(text.as_ref().into()),
        Event::SequenceStart(..) => {
            let mut list = Vec::new();
            while let Some(event) = next(events, &Event::SequenceEnd)? {
                list.push(value(&event, events)?);
            }
            Ok(list.into())
        }
        Event::MappingStart(..) => {
            let mut map = Map::new();
            while let Some(event) = next(events, &Event::MappingEnd)? {
                let Value::String(key) = value(&event, events)? else { bail!("a key that is no text") };
                let (event, _) = events.next_event().context("a key without a value")??;
                let known = map.insert(key.clone(), value(&event, events)?);
                ensure!(known.is_none(), "{key} stands there twice");
            }
            Ok(map.into())
        }
        other => bail!("{other:?} begins nothing"),
    }
}

fn next<'a>(events: &mut Events<'a>, end: &Event<'_>) -> Result<Option<Event<'a>>> {
    let (event, _) = events.next_event().context("the text ends too early")??;
    Ok((event != *end).then_some(event))
}

/// What a scalar without quotes means in the core schema: what JSON has words for, or else a text.
fn plain(text: &str) -> Value {
    match serde_json::from_str(text) {
        Ok(value @ (Value::Null | Value::Bool(_) | Value::Number(_))) => value,
        _ => text.into(),
    }
}
