//! Which form of answer a client takes: JSON, or an event stream with one event.

use lambda_http::{
    Response,
    http::{HeaderMap, HeaderValue, StatusCode, header},
};

const JSON: &str = "application/json";
const EVENTS: &str = "text/event-stream";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Json,
    Event,
}

/// JSON wherever it is accepted, which is also where nothing is said; `None` where neither form is.
pub(crate) fn form(headers: &HeaderMap) -> Option<Form> {
    let lines = headers.get_all(header::ACCEPT).iter();
    let ranges: Vec<(String, bool)> = lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .filter_map(range)
        .collect();
    let accepts = |wanted: &str| {
        let (kind, _) = wanted.split_once('/')?;
        // The most exact range counts (RFC 9110 §12.5.1).
        [wanted, &format!("{kind}/*"), "*/*"]
            .iter()
            .find_map(|name| ranges.iter().find(|(range, _)| range == name))
            .map(|(_, accepted)| *accepted)
    };
    if ranges.is_empty() || accepts(JSON) == Some(true) {
        return Some(Form::Json);
    }
    (accepts(EVENTS) == Some(true)).then_some(Form::Event)
}

/// A media range, and whether it is accepted. What is no range says nothing.
fn range(text: &str) -> Option<(String, bool)> {
    let mut parts = text.split(';').map(str::trim);
    let name = parts.next()?.to_ascii_lowercase();
    if !name.contains('/') {
        return None;
    }
    let quality = parts.find_map(|part| {
        let (name, value) = part.split_once('=')?;
        name.trim().eq_ignore_ascii_case("q").then(|| value.trim().parse::<f32>().ok())?
    });
    Some((name, quality.is_none_or(|quality| quality > 0.0)))
}

/// The same answer as the only event of a stream. Refusals stay JSON, and so does what is empty.
pub(crate) fn as_event(mut response: Response<String>) -> Response<String> {
    let is_json = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|it| it.as_bytes() == JSON.as_bytes());
    if response.status() != StatusCode::OK || !is_json {
        return response;
    }
    let mut event = "event: message\n".to_owned();
    for line in response.body().lines() {
        event.push_str("data: ");
        event.push_str(line);
        event.push('\n');
    }
    event.push('\n');
    *response.body_mut() = event;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(EVENTS));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepted(lines: &[&'static str]) -> Option<Form> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::ACCEPT, HeaderValue::from_static(line));
        }
        form(&headers)
    }

    #[test]
    fn json_is_answered_wherever_it_is_accepted() {
        for lines in [
            &[][..],
            &[""],
            &["*/*"],
            &["application/json"],
            &["Application/JSON; charset=utf-8"],
            &["application/*"],
            &["application/json, text/event-stream"],
            &["text/event-stream, application/json"],
            &["application/json", "text/event-stream"],
            &["text/event-stream", "application/json"],
            &["text/event-stream;q=1.0, application/json;q=0.1"],
            &["text/html, */*;q=0.8"],
            &["application/json;q=0.5, text/event-stream;q=0"],
            &["application/json ; Q=1"],
            &["json"],
        ] {
            assert_eq!(accepted(lines), Some(Form::Json), "{lines:?}");
        }
    }

    #[test]
    fn an_event_is_answered_where_nothing_else_is_accepted_and_nothing_where_neither_is() {
        for lines in [
            &["text/event-stream"][..],
            &["text/*"],
            &["text/event-stream;q=0.3"],
            &["text/html", "text/event-stream"],
            &["*/*, application/json;q=0"],
            &["application/json;q=0.0, text/event-stream"],
        ] {
            assert_eq!(accepted(lines), Some(Form::Event), "{lines:?}");
        }
        for lines in [
            &["text/html"][..],
            &["application/xml, image/*"],
            &["*/*;q=0"],
            &["application/json;q=0"],
            &["application/json;q=0, text/event-stream;q=0, */*"],
        ] {
            assert_eq!(accepted(lines), None, "{lines:?}");
        }
    }

    #[test]
    fn an_event_has_one_field_for_each_line() {
        let answer = |status: u16, body: &str| {
            let response = Response::builder().status(status).header("content-type", JSON);
            as_event(response.body(body.to_owned()).unwrap())
        };

        let event = answer(200, "{\"a\":\n1}");
        assert_eq!(event.body(), "event: message\ndata: {\"a\":\ndata: 1}\n\n");
        assert_eq!(event.headers()["content-type"], EVENTS);
        assert_eq!(answer(400, "{}").body(), "{}");
    }
}
