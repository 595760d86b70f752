//! What services wrap around an answer where a machine ends with their call, and does not select
//! from what they return.

use crate::{
    json::{Members, Node, mend},
    outcome::{Normalised, form},
};

pub(super) struct Envelope {
    /// The member that holds the answer.
    pub(super) content: &'static str,
    /// Members that it has besides.
    marks: &'static [&'static str],
    /// The content is JSON as text, whatever it is. Elsewhere a text may be just that, and only an
    /// object or a list in it is taken for JSON.
    is_json_text: bool,
    /// It says too little to be told from an answer of the same form: it is opened for what we know.
    is_weak: bool,
}

pub(super) const ENVELOPES: [Envelope; 8] = [
    // lambda:invoke.
    Envelope::new("Payload", &["StatusCode", "ExecutedVersion"]),
    Envelope::new("Payload", &["StatusCode", "SdkHttpMetadata"]),
    // states:startExecution.sync, and .sync:2, whose output is no text.
    Envelope { is_json_text: true, ..Envelope::new("Output", &["ExecutionArn", "Status"]) },
    // http:invoke.
    Envelope::new("ResponseBody", &["StatusCode", "StatusText"]),
    Envelope::new("ResponseBody", &["StatusCode", "Headers"]),
    // bedrock:invokeModel.
    Envelope::new("Body", &["ContentType"]),
    // bedrockagentcore:invokeAgentRuntime.
    Envelope::new("Response", &["RuntimeSessionId"]),
    // A function that answers as API Gateway wants it.
    Envelope { is_weak: true, ..Envelope::new("body", &["statusCode"]) },
];

impl Envelope {
    const fn new(content: &'static str, marks: &'static [&'static str]) -> Self {
        Self { content, marks, is_json_text: false, is_weak: false }
    }

    fn holds<'a>(&self, members: &Members<'a>) -> Option<Node<'a>> {
        let is_marked = self.marks.iter().all(|mark| members.get(mark).is_some());
        members.get(self.content).filter(|_| is_marked)
    }

    /// What a text in it says, if that is JSON.
    fn unwrap(&self, content: Node<'_>) -> Option<String> {
        let text = mend(&content.text()?).into_owned();
        let node = Node::parse(&text)?;
        (self.is_json_text || node.is_object() || node.is_list()).then_some(text)
    }
}

pub(super) fn read(output: &str) -> Normalised {
    open(output, &[]).normalised
}

/// Opens each kind of envelope once, and so ends.
fn open(output: &str, opened: &[&str]) -> form::Read {
    // Nearly always an object, which is parsed in one go. Nothing else has members.
    let members = Members::parse(output).unwrap_or_else(Members::none);
    let is_ours = ["result", "messages"].into_iter().any(|name| members.has(name));
    for envelope in ENVELOPES.iter().filter(|it| !is_ours && !opened.contains(&it.content)) {
        let Some(content) = envelope.holds(&members) else { continue };
        let opened = [opened, &[envelope.content]].concat();
        let text = envelope.unwrap(content);
        let read = open(text.as_deref().unwrap_or(content.as_str()), &opened);
        if read.is_known || !envelope.is_weak {
            return form::Read { is_known: true, ..read };
        }
    }
    form::read(output, &members)
}
