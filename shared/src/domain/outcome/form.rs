//! The forms of an answer: the one that agent-relay documents, those of the agents of
//! <https://github.com/guyernest/step-functions-agent>, conversations, and raw answers of models.

use crate::domain::{
    json::{Json, Members, Node},
    outcome::{
        conversation::{self, Conversation, DIALECTS, Tools, flat},
        dialect::{TOKENS, is_around, name},
        normalised::{Normalised, raw},
        strands,
    },
};

/// What messages are called. SDK integrations write all names in `PascalCase`.
pub(super) const MESSAGES: [&str; 2] = ["messages", "Messages"];

/// What an output says, and whether that is a form that we know.
pub(super) struct Read {
    pub(super) normalised: Normalised,
    pub(super) is_known: bool,
}

/// Reads an output with the members that it has if it is an object.
pub(super) fn read(output: &str, members: &Members<'_>) -> Read {
    let given = given(members);
    let conversation = conversation(members, given.is_some());
    if let Some((result, said)) = given {
        let tokens_used = tokens(members).or_else(|| said.as_ref()?.usage());
        return Read::known(result, used(members, conversation.or(said)), tokens_used);
    }
    if let Some(conversation) = conversation {
        return with_messages(output, members, conversation);
    }
    let Some((conversation, tokens_used)) = answered(members).or_else(|| listed(output, members))
    else {
        let known = Read::known(raw(output), Tools::default(), None);
        return Read { is_known: false, ..known };
    };
    let result = conversation.result().unwrap_or_else(|| raw(output));
    Read::known(result, conversation.tools, tokens_used)
}

impl Read {
    fn known(result: Json, tools: Tools, tokens_used: Option<Json>) -> Self {
        let normalised = Normalised { result, tools_used: tools.into_names(), tokens_used };
        Self { normalised, is_known: true }
    }
}

/// What an output says that holds a conversation.
fn with_messages<'a>(
    output: &str,
    members: &Members<'a>,
    mut conversation: Conversation<'a>,
) -> Read {
    let (mut answer, mut usage) = (None, None);
    // A model's raw answer may have been put beside what led to it.
    if let Some((last, used)) = conversation::answer(members, false) {
        answer = last.result();
        conversation.tools.extend(last.tools.into_names());
        usage = used;
    }
    let tokens_used = tokens(members).or(usage).or_else(|| conversation.usage());
    let answer = beside(members, answer).or_else(|| conversation.result());
    let is_known = answer.is_some();
    let result = answer.unwrap_or_else(|| raw(output));
    Read { is_known, ..Read::known(result, conversation.tools, tokens_used) }
}

/// A conversation, and what it says of its tokens, if there is one.
type Transcript<'a> = Option<(Conversation<'a>, Option<Json>)>;

/// What a model says whose raw answer is the output.
fn answered<'a>(members: &Members<'a>) -> Transcript<'a> {
    let (said, usage) = conversation::answer(members, true)
        .filter(|(said, _)| said.has_assistant() || !said.tools.is_empty())?;
    let tokens_used = usage.or_else(|| tokens(members)).or_else(|| said.usage());
    Some((said, tokens_used))
}

/// The messages of a conversation that is the whole output. A message alone is a conversation of
/// one.
fn listed<'a>(output: &'a str, members: &Members<'a>) -> Transcript<'a> {
    let conversation = if members.names().next().is_some() {
        Conversation::read_whole([members])
    } else {
        let messages = Node::parse(output).filter(|output| output.is_list())?;
        Conversation::read_whole(messages.items().into_iter().map(Node::members))
    }?;
    let tokens_used = tokens(members).or_else(|| conversation.usage());
    Some((conversation, tokens_used))
}

/// The messages that an output holds, and whether it holds any. `messages` is taken for them as it
/// is, whatever the state of a graph or a machine has besides. The other names mean other things,
/// too: an output that says more than we read is none, unless it names its result itself.
fn conversation<'a>(members: &Members<'a>, is_result_given: bool) -> Option<Conversation<'a>> {
    const OTHERS: [&str; 4] = ["conversation", "message", "Message", "contents"];
    let mut messages = MESSAGES.into_iter().filter_map(|name| members.get(name));
    if let Some(messages) = messages.find(|it| it.as_str() != "[]") {
        return Some(Conversation::read(messages));
    }
    if !is_result_given && !is_around(&DIALECTS, members, |name| READ.contains(&name)) {
        return None;
    }
    OTHERS.into_iter().filter_map(|name| members.get(name)).find_map(|messages| {
        // One message may be something else in itself.
        let conversation = if messages.is_object() && !is_result_given {
            Conversation::read_whole([messages.members()])?
        } else {
            Conversation::read(messages)
        };
        conversation.has_assistant().then_some(conversation)
    })
}

/// What an output may have beside a conversation, besides what the dialects have: what is read, and
/// what comes from the input, or from the agents that we know.
const READ: [&str; 12] = [
    "conversation",
    "message",
    "messages",
    "Messages",
    "output",
    "answer",
    "structured_output",
    "structured_response",
    "tools_used",
    "function_calls",
    "parameters",
    "success",
];

/// The result that an output names as such, and the message that it was, if it was one.
fn given<'a>(members: &Members<'a>) -> Option<(Json, Option<Conversation<'a>>)> {
    if !members.has("result") {
        return members.get("final_answer").map(|answer| (flat(answer), None));
    }
    let Some(result) = members.get("result") else { return Some((Json::null(), None)) };
    let said = strands::result(result).map(|answer| Conversation::read_answer(&answer));
    let answer = said.as_ref().and_then(Conversation::result);
    Some((answer.unwrap_or_else(|| result.to_json()), said))
}

/// The tools that were used by the word of the output, or else by that of what was said.
fn used(members: &Members<'_>, said: Option<Conversation<'_>>) -> Tools {
    if members.has("tools_used") {
        return names(members.get("tools_used"));
    }
    said.map(|said| said.tools).unwrap_or_default()
}

/// The result that stands beside a conversation, or what a model has answered last.
fn beside(members: &Members<'_>, answer: Option<Json>) -> Option<Json> {
    let structured =
        members.get("structured_output").or_else(|| members.get("structured_response"));
    if let Some(structured) = structured {
        return Some(structured.to_json());
    }
    if answer.is_some() {
        return answer;
    }
    let output = members.get("output").filter(|output| !is_empty(*output));
    if let Some(output) = output {
        return Some(output.members().get("answer").map_or_else(|| output.to_json(), flat));
    }
    members.get("answer").map(flat)
}

/// Whether it is an object of which JSONata has left nothing.
fn is_empty(output: Node<'_>) -> bool {
    output.is_object() && output.members().names().next().is_none()
}

/// How many tokens were used, wherever an output says so.
fn tokens(members: &Members<'_>) -> Option<Json> {
    let first = |members: &Members<'_>| {
        TOKENS.into_iter().find_map(|name| members.get(name)).map(Node::to_json)
    };
    first(members).or_else(|| first(&members.get("metadata")?.members()))
}

/// Tools are listed as names, or as objects that have one: that of a registry is `tool_name`.
fn names(list: Option<Node<'_>>) -> Tools {
    let mut tools = Tools::default();
    for entry in list.map(Node::items).unwrap_or_default() {
        let of_object = || {
            let members = entry.members();
            ["name", "tool_name", "tool_id"].into_iter().find_map(|it| name(&members, it))
        };
        tools.extend(entry.text().or_else(of_object).filter(|name| !name.is_empty()));
    }
    tools
}
