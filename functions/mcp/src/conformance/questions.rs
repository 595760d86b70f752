//! Fixtures that ask the client before they answer: the call is repeated with what was answered, and
//! with the state that the client was given to keep.

use rmcp::{
    ErrorData,
    model::{InputRequiredResult, InputResponses, RequestStateCodec, SealOptions},
};
use serde_json::{Value, json};

use super::protocol::{Context, typed};

/// It signs nothing but the fixtures' state.
const KEY: &[u8] = b"a key of the conformance fixtures";

pub(super) enum Step {
    Ask(InputRequiredResult),
    Answered,
}

/// What a fixture asks in a round.
struct Round {
    questions: Value,
    /// Whether the client is given state to keep.
    keeps_state: bool,
}

/// The next step of a fixture, by what the client sent along.
pub(super) fn next(
    name: &str,
    responses: Option<&InputResponses>,
    state: Option<&str>,
    context: &Context,
) -> Result<Step, ErrorData> {
    let codec = RequestStateCodec::try_new(KEY)
        .map_err(|error| ErrorData::internal_error(error.to_string(), None))?;
    let round = match state {
        None => 0,
        Some(state) => {
            let opened = codec.open_with(state, name.as_bytes());
            let round =
                opened.map_err(|error| ErrorData::invalid_params(error.to_string(), None))?;
            usize::from(round.first().copied().unwrap_or_default())
        }
    };
    let rounds = rounds(name, context)
        .ok_or_else(|| ErrorData::invalid_params(format!("unknown fixture: {name}"), None))?;
    let is_answered = |round: &Round| {
        let asked = round.questions.as_object();
        asked.is_some_and(|asked| {
            asked.keys().all(|key| {
                responses.and_then(|responses| responses.get(key)).is_some_and(Value::is_object)
            })
        })
    };
    let answered = rounds.get(round).is_some_and(is_answered);
    let round = if answered { round + 1 } else { round };
    let Some(Round { questions, keeps_state }) = rounds.get(round) else {
        return Ok(Step::Answered);
    };
    let mut result = json!({"resultType": "input_required", "inputRequests": questions});
    if *keeps_state {
        let round = [u8::try_from(round).unwrap_or_default()];
        let options = SealOptions::new().associated_data(name.as_bytes());
        result["requestState"] = json!(codec.seal_with(&round, &options));
    }
    typed(result).map(Step::Ask)
}

fn rounds(name: &str, context: &Context) -> Option<Vec<Round>> {
    let stateless = |questions| vec![Round { questions, keeps_state: false }];
    let with_state = |questions| Round { questions, keeps_state: true };
    let rounds = match name {
        "test_input_required_result_elicitation"
        | "test_streaming_elicitation"
        | "test_tool_with_task" => {
            stateless(json!({"user_name": elicit("What is your name?", "name")}))
        }
        "test_input_required_result_prompt" => {
            stateless(json!({"user_context": elicit("In which context?", "context")}))
        }
        "test_input_required_result_sampling" => {
            stateless(json!({"capital_question": sample("What is the capital of France?")}))
        }
        "test_input_required_result_list_roots" => {
            stateless(json!({"client_roots": {"method": "roots/list"}}))
        }
        "test_input_required_result_capabilities" => stateless(of_what_the_client_can(context)),
        "test_input_required_result_request_state"
        | "test_input_required_result_tampered_state" => {
            vec![with_state(json!({"confirm": elicit("Please confirm.", "ok")}))]
        }
        "test_input_required_result_multiple_inputs" => vec![with_state(json!({
            "user_name": elicit("What is your name?", "name"),
            "greeting": sample("Say hello."),
            "client_roots": {"method": "roots/list"},
        }))],
        "test_input_required_result_multi_round" => vec![
            with_state(json!({"step1": elicit("What is your name?", "name")})),
            with_state(json!({"step2": elicit("What is your favourite colour?", "color")})),
        ],
        _ => return None,
    };
    Some(rounds)
}

fn of_what_the_client_can(context: &Context) -> Value {
    let capabilities = context.client_capabilities().unwrap_or_default();
    let mut questions = json!({});
    if capabilities.elicitation.is_some() {
        questions["user_name"] = elicit("What is your name?", "name");
    }
    if capabilities.sampling.is_some() {
        questions["greeting"] = sample("Say hello.");
    }
    questions
}

fn elicit(message: &str, property: &str) -> Value {
    let kind = if property == "ok" { "boolean" } else { "string" };
    json!({"method": "elicitation/create", "params": {
        "mode": "form",
        "message": message,
        "requestedSchema": {
            "type": "object",
            "properties": {property: {"type": kind}},
            "required": [property],
        },
    }})
}

fn sample(prompt: &str) -> Value {
    json!({"method": "sampling/createMessage", "params": {
        "messages": [{"role": "user", "content": {"type": "text", "text": prompt}}],
        "maxTokens": 100,
    }})
}
