//! The forms of an answer: the one that agent-relay documents, those of the agents of
//! <https://github.com/guyernest/step-functions-agent>, conversations, and raw answers of models.

use crate::domain::{
    json::{Json, Members, Node},
    outcome::{
        bedrock,
        conversation::{self, Conversation, Tools, flat},
        dialect::name,
        normalised::{Normalised, raw},
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
    let conversation = conversation(members);
    if let Some(result) = given(members) {
        return Read::known(result, used(members, conversation), tokens(members));
    }
    if let Some(conversation) = conversation {
        return with_messages(output, members, conversation);
    }
    let Some((conversation, tokens_used)) = listed(output).or_else(|| answered(members)) else {
        let known = Read::known(raw(output), Tools::default(), None);
        return Read { is_known: false, ..known };
    };
    let result = conversation.answer.join().unwrap_or_else(|| raw(output));
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
    if let Some((last, used)) = conversation::answer(members) {
        answer = last.answer.join();
        conversation.tools.extend(last.tools.into_names());
        usage = used;
    }
    let tokens_used = tokens(members).or(usage).or_else(|| conversation.usage());
    let answer = beside(members, answer).or_else(|| conversation.answer.join());
    let is_known = answer.is_some();
    let result = answer.unwrap_or_else(|| raw(output));
    Read { is_known, ..Read::known(result, conversation.tools, tokens_used) }
}

/// A conversation, and what it says of its tokens, if there is one.
type Transcript<'a> = Option<(Conversation<'a>, Option<Json>)>;

/// What a model says whose raw answer is the output. A message alone is a conversation of one.
fn answered<'a>(members: &Members<'a>) -> Transcript<'a> {
    let says_something =
        |(said, _): &(Conversation<'_>, _)| said.has_assistant() || !said.tools.is_empty();
    let (said, usage) = conversation::answer(members)
        .filter(says_something)
        .or_else(|| Some((Conversation::of(members), None)).filter(says_something))?;
    let tokens_used = usage.or_else(|| tokens(members)).or_else(|| said.usage());
    Some((said, tokens_used))
}

/// The messages of a conversation that is the whole output.
fn listed(output: &str) -> Transcript<'_> {
    let messages = Node::parse(output).filter(|output| output.is_list())?;
    let conversation = Conversation::read_whole(&messages.items())?;
    let tokens_used = conversation.usage();
    Some((conversation, tokens_used))
}

/// The messages that an output holds, and whether it holds any. `messages` is taken for them as it
/// is; the other names mean other things, too.
fn conversation<'a>(members: &Members<'a>) -> Option<Conversation<'a>> {
    let mut messages = MESSAGES.into_iter().filter_map(|name| members.get(name));
    if let Some(messages) = messages.find(|it| it.as_str() != "[]") {
        return Some(Conversation::read(messages));
    }
    let others = ["conversation", "message", "Message", "contents"];
    others.into_iter().filter_map(|name| members.get(name)).find_map(|messages| {
        let conversation = Conversation::read(messages);
        conversation.has_assistant().then_some(conversation)
    })
}

/// The result that an output names as such.
fn given(members: &Members<'_>) -> Option<Json> {
    if !members.has("result") {
        return members.get("final_answer").map(flat);
    }
    let Some(result) = members.get("result") else { return Some(Json::null()) };
    // An agent on AgentCore gives its last message.
    Some(if bedrock::is_message(result) { flat(result) } else { result.to_json() })
}

/// The tools that were used by the word of the output, or else by that of what was said.
fn used(members: &Members<'_>, conversation: Option<Conversation<'_>>) -> Tools {
    if members.has("tools_used") {
        return names(members.get("tools_used"));
    }
    let said = conversation.or_else(|| {
        let result = members.get("result").filter(|result| bedrock::is_message(*result))?;
        Some(Conversation::of(&result.members()))
    });
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
    const NAMES: [&str; 6] =
        ["tokens", "tokens_used", "usage", "Usage", "usage_metadata", "usageMetadata"];
    let first = |members: &Members<'_>| {
        NAMES.into_iter().find_map(|name| members.get(name)).map(Node::to_json)
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
