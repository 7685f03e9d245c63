//! What several processes were asked, who said nothing, and what follows: the one rule for all verbs.
//!
//! What the others say is shown: at a bad moment half an answer is worth more than none. It goes to standard output and
//! nothing else does, so that `-o json` stays JSON; each silence is told on standard error. The status is 1 as soon as
//! something of the answer is missing, so that a script does not take a part for the whole.

use crate::ask::{self, AskError};
use crate::places::Place;
use crate::words::chain;
use serde_json::Value;
use std::process::ExitCode;
use tokio::task::JoinSet;

/// What was said, and by whom nothing was.
#[derive(Debug)]
pub struct Answers {
    /// What the others say; `None` if nobody says anything.
    pub value: Option<Value>,
    /// Why each of the rest does not answer.
    pub silent: Vec<AskError>,
    /// Whether something is missing.
    pub extent: Extent,
}

/// How much of the answer there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// All of it.
    Whole,
    /// Less.
    Part,
}

impl Extent {
    /// What the command ends with.
    pub fn code(self) -> ExitCode {
        match self {
            Self::Whole => ExitCode::SUCCESS,
            Self::Part => ExitCode::FAILURE,
        }
    }
}

/// What the first proxy says that answers: about the mesh all say the same, so that one answer is the whole.
pub async fn first(places: &[Place], path: &str) -> Answers {
    let mut silent = Vec::new();
    for place in places {
        match ask::get(&place.proxy, path).await {
            Ok(value) => return Answers { value: Some(value), silent, extent: Extent::Whole },
            Err(error) => silent.push(error),
        }
    }
    Answers { value: None, silent, extent: Extent::Part }
}

/// What each proxy says of itself, in one list; every row says of which node it is.
pub async fn of_each(places: &[Place], path: &'static str) -> Answers {
    // All at once: one that hangs takes its time only once.
    let mut asked = JoinSet::new();
    for (number, place) in places.iter().cloned().enumerate() {
        asked.spawn(async move { (number, rows_of(&place, path).await) });
    }
    let mut answers = asked.join_all().await;
    answers.sort_by_key(|(number, _)| *number);
    let (mut rows, mut silent) = (Vec::new(), Vec::new());
    for (_, answer) in answers {
        match answer {
            Ok(own) => rows.extend(own),
            Err(error) => silent.push(error),
        }
    }
    let value = (silent.len() < places.len()).then_some(Value::Array(rows));
    let extent = if silent.is_empty() { Extent::Whole } else { Extent::Part };
    Answers { value, silent, extent }
}

async fn rows_of(place: &Place, path: &str) -> Result<Vec<Value>, AskError> {
    let answer = ask::get(&place.proxy, path).await?;
    // Who does not say its name is named by where it is.
    let node = place.node().await.unwrap_or_else(|_silent| place.proxy.display().to_string());
    let Value::Array(rows) = answer else { return Ok(Vec::new()) };
    Ok(rows.into_iter().map(|row| of_node(&node, row)).collect())
}

fn of_node(node: &str, mut row: Value) -> Value {
    if let Value::Object(fields) = &mut row {
        fields.insert("node".to_owned(), node.into());
    }
    row
}

/// One silence for people: where, why, and what to do.
pub fn tell(error: &AskError) -> String {
    format!("weft: no answer: {}\n  {}\n", chain(error), error.advice())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn rows_say_of_which_node_they_are() {
        assert_eq!(of_node("n1", json!({"identity": "a"})), json!({"identity": "a", "node": "n1"}));
    }
}
