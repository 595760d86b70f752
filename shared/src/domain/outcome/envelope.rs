//! What services wrap around an answer where a machine ends with their call, and does not select
//! from what they return.

use base64::{
    Engine as _,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

use crate::domain::{
    json::{Members, Node, surrogate::mend},
    outcome::{event_stream, form, normalised::Normalised},
};

pub(super) struct Envelope {
    /// The member that holds the answer.
    pub(super) content: &'static str,
    /// Members that it has besides.
    marks: &'static [&'static str],
    /// The content is JSON as text, whatever it is. Elsewhere a text may be just that, and only an
    /// object or a list in it is taken for JSON, unless the type of the content says what it is.
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

    /// The content, also null where nothing was answered.
    fn holds<'a>(&self, members: &Members<'a>) -> Option<Node<'a>> {
        let is_marked = self.marks.iter().all(|mark| members.get(mark).is_some());
        members.find(self.content).filter(|content| {
            // Null may stand beside an answer, but not where all else is the gateway's.
            is_marked && !(self.is_weak && content.is_null() && !is_gateway_s(members))
        })
    }

    /// What is read in place of the content, where that is not the content itself: JSON in a text,
    /// which may be in Base64.
    fn unwrap(&self, content: Node<'_>, members: &Members<'_>) -> Option<String> {
        let text = content.text()?;
        let media_type = media_type(members);
        if media_type.as_deref() == Some("text/event-stream") {
            return event_stream::read(&mend(&text));
        }
        let is_json =
            media_type.is_some_and(|it| it == "application/json" || it.ends_with("+json"));
        let text = decoded(&text, members).unwrap_or(text);
        let text = mend(&text).into_owned();
        let node = Node::parse(&text)?;
        (self.is_json_text || is_json || node.is_object() || node.is_list()).then_some(text)
    }
}

/// The type of the content where a service says it, without its parameters.
fn media_type(members: &Members<'_>) -> Option<String> {
    let written = members.get("ContentType")?.text()?;
    Some(written.split(';').next()?.trim().to_ascii_lowercase())
}

/// Whether an object has no members but those that a function answers API Gateway with.
fn is_gateway_s(members: &Members<'_>) -> bool {
    const ITS: [&str; 7] = [
        "statusCode",
        "statusDescription",
        "headers",
        "multiValueHeaders",
        "cookies",
        "isBase64Encoded",
        "body",
    ];
    members.names().all(|name| ITS.contains(&name))
}

/// The text that a body is in Base64; `None` where it is not said to be, or is something else.
fn decoded(body: &str, members: &Members<'_>) -> Option<String> {
    /// With or without its padding.
    const BASE64: GeneralPurpose = GeneralPurpose::new(
        &STANDARD,
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
    );

    members.get("isBase64Encoded").filter(|it| it.as_str() == "true")?;
    // Some encoders break lines.
    let body: String = body.split_ascii_whitespace().collect();
    String::from_utf8(BASE64.decode(body).ok()?).ok()
}

pub(super) fn read(output: &str) -> Normalised {
    open(output, &[]).normalised
}

/// Opens each kind of envelope once, and so ends.
fn open(output: &str, opened: &[&str]) -> form::Read {
    // Nearly always an object, which is parsed in one go. Nothing else has members.
    let members = Members::parse(output).unwrap_or_else(Members::none);
    let is_ours = ["result"].iter().chain(&form::MESSAGES).any(|name| members.has(name));
    for envelope in ENVELOPES.iter().filter(|it| !is_ours && !opened.contains(&it.content)) {
        let Some(content) = envelope.holds(&members) else { continue };
        let opened = [opened, &[envelope.content]].concat();
        let text = envelope.unwrap(content, &members);
        let read = open(text.as_deref().unwrap_or(content.as_str()), &opened);
        if read.is_known || !envelope.is_weak || content.is_null() {
            return form::Read { is_known: true, ..read };
        }
    }
    form::read(output, &members)
}
