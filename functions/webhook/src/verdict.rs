//! What an answer means for the delivery, and when the next attempt is.

use std::time::Duration;

use aws_sdk_dynamodb::primitives::{DateTime, DateTimeFormat};
use relay::domain::{
    callback_url::CallbackUrl, delivery::Delivery, schedule::Schedule, time::Timestamp, truncated,
};

use crate::answer::{Answer, Unanswered, redirect_target};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Delivered,
    Retry,
    /// The receiver is there, and not ready for it yet.
    RetrySoon,
    /// The receiver will never want it.
    GiveUp,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Judgement {
    pub(crate) outcome: Outcome,
    pub(crate) may_have_arrived: bool,
    /// How long the receiver wants to be left alone, within bounds.
    pub(crate) retry_after: Option<Duration>,
    /// What the answer means where that is not plain, and its start, or why there was none: shown
    /// to the owner of the run.
    pub(crate) detail: String,
}

/// What an answer is judged by besides itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Circumstances<'a> {
    pub(crate) url: &'a CallbackUrl,
    pub(crate) may_have_arrived_before: bool,
    pub(crate) now: Timestamp,
}

/// How much of an answer is kept with the attempt, in characters.
const DETAIL: usize = 200;

/// The longest that a receiver may put off the next attempt.
const MAX_RETRY_AFTER: Duration = Duration::from_hours(12);

pub(crate) fn judge(answer: &Result<Answer, Unanswered>, at: Circumstances<'_>) -> Judgement {
    match answer {
        Ok(answer) => {
            let outcome = outcome(answer, at);
            // A server error tells nothing of what was done before it: n8n answers 500 when the
            // workflow fails that was resumed, a proxy 504 when the receiver was too slow for it.
            // Only 503 says that the request was not handled.
            let failed_within = (500..=599).contains(&answer.status) && answer.status != 503;
            Judgement {
                outcome,
                may_have_arrived: outcome == Outcome::Delivered || failed_within,
                retry_after: answer.retry_after.as_deref().and_then(|it| retry_after(it, at.now)),
                detail: detail(answer, outcome, at),
            }
        }
        Err(unanswered) => {
            let (outcome, may_have_arrived) = match unanswered {
                Unanswered::Forbidden
                | Unanswered::Unresolved
                | Unanswered::Unconnected
                | Unanswered::Tls => (Outcome::Retry, false),
                Unanswered::TimedOut | Unanswered::Broken => (Outcome::Retry, true),
                Unanswered::Unwritable => (Outcome::GiveUp, false),
            };
            let detail = unanswered.to_string();
            Judgement { outcome, may_have_arrived, retry_after: None, detail }
        }
    }
}

/// The table of `n8n`'s answers, for every receiver. What is retried is bounded by the schedule,
/// and that is every refusal but two: a proxy in front of the receiver may give any other, and for
/// a while only.
fn outcome(answer: &Answer, at: Circumstances<'_>) -> Outcome {
    match answer.status {
        200..=299 if is_n8n_starting(answer) => Outcome::Retry,
        200..=299 => Outcome::Delivered,
        // The signature in a resume URL is wrong, and stays so. Elsewhere it is the receiver's
        // credentials, which its owner can put right.
        401 if at.url.resumes_n8n() => Outcome::GiveUp,
        // It asks for no more.
        410 => Outcome::GiveUp,
        // If an earlier attempt may have arrived, it is most likely what resumed the execution,
        // and nothing can be told to it any more; else it ended without our event.
        409 if has_n8n_finished(answer) => {
            if at.may_have_arrived_before {
                Outcome::Delivered
            } else {
                Outcome::GiveUp
            }
        }
        // The Wait node is not reached yet, or another request is under way.
        409 => Outcome::RetrySoon,
        _ => Outcome::Retry,
    }
}

/// What is kept of an answer with the attempt. What it means comes first, where its status alone
/// does not say it.
fn detail(answer: &Answer, outcome: Outcome, at: Circumstances<'_>) -> String {
    let redirect = (300..=399).contains(&answer.status).then_some(answer.location.as_deref());
    if let Some(location) = redirect.flatten() {
        // The page that comes with it repeats the URL, and what is not to be shown of it.
        let target = redirect_target(at.url.url(), location);
        return kept(&format!("redirect not followed: {target}"));
    }
    let meaning = match (answer.status, outcome) {
        (410, _) => "the receiver no longer wants events",
        (401, Outcome::GiveUp) => "n8n rejects the signature of the URL",
        (409, Outcome::Delivered) => "an earlier attempt has arrived",
        (409, Outcome::GiveUp) => "the execution has ended without this",
        _ => "",
    };
    let unread = if answer.has_whole_head { "" } else { "the response headers are cut off" };
    let mut parts = vec![meaning, unread, &answer.body_start];
    parts.retain(|part| !part.is_empty());
    kept(&parts.join(": "))
}

fn kept(detail: &str) -> String {
    truncated::chars(detail, DETAIL).to_owned()
}

/// Whether `n8n` says that the execution is over: "has finished already" if it ended well, "has
/// finished with error" if not. Its words count on any path, since its operator may name that of
/// resume URLs (`N8N_ENDPOINT_WEBHOOK_WAIT`).
fn has_n8n_finished(answer: &Answer) -> bool {
    let words = answer.body_start.split_once("The execution ").map(|(_, words)| words);
    words.is_some_and(|words| {
        ["has finished already", "has finished with error"].iter().any(|it| words.contains(it))
    })
}

/// While it starts, `n8n` answers every URL with 200 and this text. Any other page is the answer
/// of a receiver that has taken the event and speaks HTML.
fn is_n8n_starting(answer: &Answer) -> bool {
    let content_type = answer.content_type.as_deref().unwrap_or_default();
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    media_type.eq_ignore_ascii_case("text/html") && answer.body_start.contains("n8n is starting up")
}

/// `Retry-After` (RFC 9110, 10.2.3), in seconds or as a date; the two obsolete forms of a date
/// are not read, and then the schedule alone counts.
fn retry_after(text: &str, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    let pause = if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than fit are more than the bound, too.
        text.parse().map_or(MAX_RETRY_AFTER, Duration::from_secs)
    } else {
        let date = DateTime::from_str(text, DateTimeFormat::HttpDate).ok()?;
        Duration::from_millis(Timestamp::from(date).millis_since(now))
    };
    Some(pause.min(MAX_RETRY_AFTER))
}

/// The pause before the next attempt, or `None` if there is none.
///
/// A failure takes the next step of the schedule. "Not yet" takes no step, since the receiver is
/// well: how much longer it takes is guessed from how long it has said so, and the pause is half
/// of that, so that a workflow never waits for its event much longer than it made us wait. It ends
/// when that has lasted as long as the whole schedule. `Retry-After` makes a pause longer, never
/// shorter.
pub(crate) fn pause(
    schedule: &Schedule,
    delivery: &Delivery,
    judgement: &Judgement,
    now: Timestamp,
) -> Option<Duration> {
    let step = |failures| schedule.pause_after(failures, &delivery.webhook_id);
    let pause = match judgement.outcome {
        Outcome::Delivered | Outcome::GiveUp => return None,
        Outcome::Retry => step(delivery.failures())?,
        Outcome::RetrySoon => {
            // Those before the delivery was owed again do not count.
            let earlier = usize::try_from(delivery.attempt_count.saturating_sub(1));
            let since_owed = delivery.attempts.iter().rev().take(earlier.unwrap_or(usize::MAX));
            let not_yet = since_owed.take_while(|attempt| attempt.is_not_yet());
            let since = not_yet.last().map_or(now, |attempt| attempt.at);
            let lasted = Duration::from_millis(now.millis_since(since));
            let whole: Duration = (1..).map_while(step).sum();
            step(1).filter(|_| lasted < whole)?.max(lasted / 2)
        }
    };
    let pause = pause.max(judgement.retry_after.unwrap_or_default());
    // After its `ttl` the item is gone, and with it the debt: that must be seen before.
    (now.plus(pause).seconds() < delivery.ttl).then_some(pause)
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use relay::domain::attempt::Attempt;
    use serde_json::json;

    use super::*;

    /// 2026-01-01T00:00:00Z.
    const NOW: Timestamp = Timestamp::from_millis(1_767_225_600_000);

    /// To a URL of n8n's or to another, for the first time or not.
    static PLAIN_URL: LazyLock<CallbackUrl> = LazyLock::new(|| url("https://example.com/hook?a=b"));
    static RESUME_URL: LazyLock<CallbackUrl> =
        LazyLock::new(|| url("https://n8n.example.com/webhook-waiting/1"));

    fn url(text: &str) -> CallbackUrl {
        serde_json::from_value(json!(text)).unwrap()
    }

    fn at(url: &CallbackUrl, may_have_arrived_before: bool) -> Circumstances<'_> {
        Circumstances { url, may_have_arrived_before, now: NOW }
    }

    fn plain() -> Circumstances<'static> {
        at(&PLAIN_URL, false)
    }

    fn everywhere() -> [Circumstances<'static>; 4] {
        [plain(), at(&PLAIN_URL, true), at(&RESUME_URL, false), at(&RESUME_URL, true)]
    }

    const HTML: &str = "text/html; charset=utf-8";
    const STARTING: &str = "n8n is starting up. Please wait";
    const RUNNING: &str = r#"{"code":409,"message":"The execution \"1 is running already."}"#;
    const FINISHED: &str = r#"{"code":409,"message":"The execution \"1 has finished already."}"#;
    const FAILED: &str = r#"{"code":409,"message":"The execution \"1\" has finished with error."}"#;

    fn answer(status: u16, content_type: &str, body: &str) -> Answer {
        let content_type = (!content_type.is_empty()).then(|| content_type.to_owned());
        let body_start = body.to_owned();
        Answer { status, content_type, has_whole_head: true, body_start, ..Answer::default() }
    }

    #[test]
    fn the_table_of_answers() {
        use Outcome::{Delivered, GiveUp, Retry, RetrySoon};
        let json = "application/json";
        for (status, content_type, body, [plain, plain_again, resume, resume_again]) in [
            (200, json, "{}", [Delivered; 4]),
            (200, "", "", [Delivered; 4]),
            (201, json, "{}", [Delivered; 4]),
            (202, "text/plain", "queued", [Delivered; 4]),
            (204, "", "", [Delivered; 4]),
            (299, json, "{}", [Delivered; 4]),
            // Only the starting-up page is no success, whatever the case of its type.
            (200, HTML, "<html><body>Thank you</body></html>", [Delivered; 4]),
            (200, HTML, "", [Delivered; 4]),
            (200, json, STARTING, [Delivered; 4]),
            (200, "text/htmlx", STARTING, [Delivered; 4]),
            (200, "", STARTING, [Delivered; 4]),
            (200, HTML, STARTING, [Retry; 4]),
            (200, "Text/HTML", STARTING, [Retry; 4]),
            (202, " text/html ;charset=utf-8", STARTING, [Retry; 4]),
            (200, HTML, "<html><p>n8n is starting up. Please wait</p></html>", [Retry; 4]),
            // What is under way is waited for, what is over is not.
            (409, json, RUNNING, [RetrySoon; 4]),
            (409, json, "", [RetrySoon; 4]),
            (409, json, FINISHED, [GiveUp, Delivered, GiveUp, Delivered]),
            (409, json, FAILED, [GiveUp, Delivered, GiveUp, Delivered]),
            (
                409,
                "",
                r#"The execution "7" has finished with error."#,
                [GiveUp, Delivered, GiveUp, Delivered],
            ),
            (409, json, "the payment has finished already", [RetrySoon; 4]),
            (409, json, "The execution of Order 66", [RetrySoon; 4]),
            // A wrong signature stays wrong.
            (401, json, r#"{"error":"Invalid token"}"#, [Retry, Retry, GiveUp, GiveUp]),
            // A firewall may have refused it, and for a while only.
            (403, json, "Authorization data is wrong!", [Retry; 4]),
            (403, HTML, "Just a moment...", [Retry; 4]),
            (407, "", "", [Retry; 4]),
            (429, "", "", [Retry; 4]),
            (451, "", "", [Retry; 4]),
            (410, "", "", [GiveUp; 4]),
            (410, json, RUNNING, [GiveUp; 4]),
            // Elsewhere the text means nothing.
            (404, json, FINISHED, [Retry; 4]),
            (404, HTML, "Cannot POST /webhook/1", [Retry; 4]),
            (503, HTML, STARTING, [Retry; 4]),
        ] {
            let expected = [plain, plain_again, resume, resume_again];
            for (at, expected) in everywhere().into_iter().zip(expected) {
                let judged = judge(&Ok(answer(status, content_type, body)), at).outcome;
                assert_eq!(judged, expected, "{status} {content_type} {body:?} {at:?}");
            }
        }
    }

    #[test]
    fn every_other_status_is_retried() {
        for status in (100..1000).filter(|it| !(200..=299).contains(it)) {
            if [401, 409, 410].contains(&status) {
                continue;
            }
            for at in everywhere() {
                assert_eq!(
                    judge(&Ok(answer(status, "", "")), at).outcome,
                    Outcome::Retry,
                    "{status}"
                );
            }
        }
    }

    #[test]
    fn no_answer_is_retried_and_may_have_arrived_once_it_was_sent() {
        use Outcome::{GiveUp, Retry};
        for (unanswered, outcome, may_have_arrived) in [
            (Unanswered::Forbidden, Retry, false),
            (Unanswered::Unresolved, Retry, false),
            (Unanswered::Unconnected, Retry, false),
            (Unanswered::Tls, Retry, false),
            (Unanswered::TimedOut, Retry, true),
            (Unanswered::Broken, Retry, true),
            (Unanswered::Unwritable, GiveUp, false),
        ] {
            let detail = unanswered.to_string();
            let expected = Judgement { outcome, may_have_arrived, retry_after: None, detail };
            assert_eq!(judge(&Err(unanswered), plain()), expected);
        }
    }

    #[test]
    fn a_success_or_a_server_error_may_have_arrived() {
        for (status, expected) in
            [(200, true), (307, false), (404, false), (409, false), (429, false), (500, true)]
                .into_iter()
                .chain([(502, true), (503, false), (504, true), (524, true), (600, false)])
        {
            let judged = judge(&Ok(answer(status, "", "")), at(&RESUME_URL, false));
            assert_eq!(judged.may_have_arrived, expected, "{status}");
        }
        assert!(!judge(&Ok(answer(200, HTML, STARTING)), at(&RESUME_URL, false)).may_have_arrived);
    }

    #[test]
    fn a_short_start_of_the_answer_is_kept() {
        let judged = judge(&Ok(answer(500, "", &"é".repeat(1000))), plain());

        assert_eq!(judged.detail, "é".repeat(DETAIL));
    }

    #[test]
    fn the_detail_says_what_an_answer_means_where_its_status_does_not() {
        let redirect = |status, location: Option<&str>| Answer {
            location: location.map(str::to_owned),
            ..answer(status, HTML, "Moved")
        };
        let long = format!("/{}", "a".repeat(1_000_000));
        let cut = |status| Answer { has_whole_head: false, ..answer(status, "", "") };
        for (answer, again, detail) in [
            (answer(200, "", "ok"), false, "ok"),
            (answer(500, "", ""), false, ""),
            (answer(410, "", ""), false, "the receiver no longer wants events"),
            (answer(410, "", "gone"), true, "the receiver no longer wants events: gone"),
            (answer(401, "", "no"), false, "n8n rejects the signature of the URL: no"),
            (answer(409, "", RUNNING), true, RUNNING),
            (
                answer(409, "", FINISHED),
                false,
                &format!("the execution has ended without this: {FINISHED}"),
            ),
            (answer(409, "", FAILED), true, &format!("an earlier attempt has arrived: {FAILED}")),
            (
                redirect(308, Some("/hook/")),
                false,
                "redirect not followed: https://n8n.example.com/hook/",
            ),
            (
                redirect(302, Some("https://me:word@sso.example.com/in?to=x#y")),
                false,
                "redirect not followed: https://sso.example.com/in?…",
            ),
            (redirect(302, None), false, "Moved"),
            (redirect(201, Some("/made/1")), false, "Moved"),
            (
                redirect(301, Some(&long)),
                false,
                &format!(
                    "redirect not followed: https://n8n.example.com/{long}",
                    long = &long[1..=DETAIL - 47]
                ),
            ),
            (cut(200), false, "the response headers are cut off"),
            (
                cut(410),
                false,
                "the receiver no longer wants events: the response headers are cut off",
            ),
        ] {
            assert_eq!(judge(&Ok(answer), at(&RESUME_URL, again)).detail, detail);
        }
    }

    #[test]
    fn retry_after_is_read_as_seconds_or_as_a_date_within_bounds() {
        for (text, seconds) in [
            ("0", Some(0)),
            ("120", Some(120)),
            (" 7 ", Some(7)),
            ("007", Some(7)),
            ("43200", Some(43200)),
            ("43201", Some(43200)),
            ("99999999999999999999999999", Some(43200)),
            ("Thu, 01 Jan 2026 00:02:00 GMT", Some(120)),
            ("Thu, 01 Jan 2026 00:00:00 GMT", Some(0)),
            ("Wed, 31 Dec 2025 23:59:59 GMT", Some(0)),
            ("Thu, 01 Jan 1970 00:00:00 GMT", Some(0)),
            ("Fri, 02 Jan 2026 00:00:00 GMT", Some(43200)),
            ("Fri, 31 Dec 9999 23:59:59 GMT", Some(43200)),
            ("", None),
            ("-1", None),
            ("+1", None),
            ("1.5", None),
            ("1e3", None),
            ("1 2", None),
            ("soon", None),
            ("1, 2", None),
            ("٣", None),
            ("2026-01-01T00:02:00Z", None),
            ("Thu, 01 Jan 2026 00:02:00 CET", None),
            ("Thu, 32 Jan 2026 00:02:00 GMT", None),
            ("Thu, 01 Jan 2026 24:00:00. GMT", None),
            ("Thursday, 01-Jan-26 00:02:00 GMT", None),
            ("Thu Jan  1 00:02:00 2026", None),
        ] {
            let retry_after = Some(text.to_owned());
            let answer = Answer { status: 429, retry_after, ..Answer::default() };
            let judged = judge(&Ok(answer), plain());
            assert_eq!(judged.retry_after, seconds.map(Duration::from_secs), "{text:?}");
        }
    }

    /// A delivery under its next attempt, after these: milliseconds before now, and status.
    fn delivery(earlier: &[(i64, Option<u16>)]) -> Delivery {
        let attempts: Vec<_> = earlier
            .iter()
            .map(|(ago, status)| Attempt {
                at: Timestamp::from_millis(NOW.millis() - ago),
                duration_ms: 1,
                status: *status,
                may_have_arrived: false,
                detail: String::new(),
            })
            .collect();
        serde_json::from_value(json!({
            "execution_id": "mcp-echo-1",
            "part": "delivery#completed#0#callback",
            "user_id": "alice",
            "agent_name": "echo",
            "news": "execution.completed",
            "redrive_count": 0, "rank": 90,
            "occurred_at": NOW,
            "webhook_id": "msg_1",
            "state": "pending",
            "attempts": attempts,
            "attempt_count": earlier.len() + 1,
            "next_attempt_at": NOW,
            "ttl": NOW.plus(relay::domain::owed::MIN_RETENTION).seconds(),
        }))
        .unwrap()
    }

    fn next(delivery: &Delivery, outcome: Outcome, retry_after: Option<u64>) -> Option<Duration> {
        let schedule = default_schedule();
        let retry_after = retry_after.map(Duration::from_secs);
        let judgement =
            Judgement { outcome, may_have_arrived: false, retry_after, detail: String::new() };
        pause(&schedule, delivery, &judgement, NOW)
    }

    /// Within the tenth by which the schedule spreads its steps.
    fn about(pause: Option<Duration>, seconds: f64) -> bool {
        pause.is_some_and(|pause| {
            (seconds * 0.9 - 0.001..=seconds * 1.1 + 0.001).contains(&pause.as_secs_f64())
        })
    }

    #[test]
    fn failures_take_the_steps_of_the_schedule_until_it_is_exhausted() {
        let minutes = [1.0, 2.0, 4.0, 8.0, 15.0, 60.0, 300.0, 900.0];
        let hours = [3_600.0, 10_800.0, 21_600.0, 43_200.0, 86_400.0, 86_400.0];
        let steps = [&minutes[..], &hours].concat();
        let mut earlier = Vec::new();
        for step in steps {
            let pause = next(&delivery(&earlier), Outcome::Retry, None);
            assert!(about(pause, step), "{step}: {pause:?}");
            earlier.push((1000, Some(500)));
        }
        assert_eq!(next(&delivery(&earlier), Outcome::Retry, None), None);
        assert_eq!(next(&delivery(&[]), Outcome::GiveUp, None), None);
        assert_eq!(next(&delivery(&[]), Outcome::Delivered, None), None);
    }

    /// The schedule of a stack whose operator has not named another.
    fn default_schedule() -> Schedule {
        let template = include_str!("../../../infra/template.yaml");
        let (_, parameter) = template.split_once("  RetrySchedule:\n").unwrap();
        let (_, default) = parameter.split_once("Default: \"").unwrap();
        default.split_once('"').unwrap().0.parse().unwrap()
    }

    #[test]
    fn the_default_schedule_outlasts_a_weekend_and_ends_before_the_delivery_is_deleted() {
        for webhook_id in (0..100).map(|number| format!("msg_{number}")) {
            // Each attempt takes as long as it may, and the sweep is minutes late for the next.
            let lateness = Duration::from_mins(5);
            let pauses: Vec<_> = (1..)
                .map_while(|failures| default_schedule().pause_after(failures, &webhook_id))
                .map(|pause| pause + lateness)
                .collect();
            let whole: Duration = pauses.iter().sum();
            assert_eq!(pauses.len(), 14);
            assert!(whole > Duration::from_hours(63), "{whole:?}");
            assert!(whole < relay::domain::owed::MIN_RETENTION, "{whole:?}");
        }
    }

    #[test]
    fn not_yet_is_asked_again_soon_and_takes_no_step() {
        let not_yet = Some(409);
        for (earlier, seconds) in [
            (vec![], 1.0),
            (vec![(1000, not_yet)], 1.0),
            (vec![(10_000, not_yet), (5000, not_yet)], 5.0),
            (vec![(600_000, not_yet), (200_000, not_yet)], 300.0),
            // What was before a failure does not count as being asked to wait.
            (vec![(600_000, not_yet), (4000, None), (3000, not_yet)], 1.5),
            (vec![(600_000, Some(503))], 1.0),
        ] {
            let pause = next(&delivery(&earlier), Outcome::RetrySoon, None);
            assert!(about(pause, seconds), "{earlier:?}: {pause:?}");
        }
        let between = [(9000, not_yet), (8000, Some(500)), (7000, not_yet), (6000, not_yet)];
        assert!(about(next(&delivery(&between), Outcome::Retry, None), 2.0));
    }

    #[test]
    fn not_yet_ends_with_the_time_of_the_schedule_after_few_attempts() {
        let mut ago = 0;
        let mut earlier: Vec<(i64, Option<u16>)> = Vec::new();
        while let Some(pause) = next(&delivery(&earlier), Outcome::RetrySoon, None) {
            let pause = i64::try_from(pause.as_millis()).unwrap();
            earlier.push((0, Some(409)));
            for attempt in &mut earlier {
                attempt.0 += pause;
            }
            ago += pause;
        }
        assert!((20..40).contains(&earlier.len()), "{}", earlier.len());
        assert!((225_000_000..420_000_000).contains(&ago), "{ago}");
    }

    #[test]
    fn retry_after_makes_a_pause_longer_and_never_shorter() {
        let late = delivery(&[(1000, Some(503)); 6]);
        assert!(about(next(&late, Outcome::Retry, Some(10)), 300.0));
        assert_eq!(next(&late, Outcome::Retry, Some(1000)), Some(Duration::from_secs(1000)));
        assert_eq!(
            next(&delivery(&[]), Outcome::RetrySoon, Some(1000)),
            Some(Duration::from_secs(1000))
        );
        // It adds no attempt to those of the schedule.
        assert_eq!(next(&delivery(&[(1000, Some(503)); 14]), Outcome::Retry, Some(10)), None);
    }

    #[test]
    fn no_attempt_is_put_off_beyond_the_life_of_the_delivery() {
        let mut delivery = delivery(&[]);
        delivery.ttl = NOW.plus(Duration::from_secs(100)).seconds();

        assert!(next(&delivery, Outcome::Retry, Some(99)).is_some());
        assert_eq!(next(&delivery, Outcome::Retry, Some(100)), None);
        assert_eq!(next(&delivery, Outcome::RetrySoon, Some(100)), None);
    }

    #[test]
    fn attempts_from_before_it_was_owed_again_do_not_count() {
        let mut again = delivery(&[(90_000_000, Some(409)); 14]);
        again.attempt_count = 1;

        assert!(about(next(&again, Outcome::Retry, None), 1.0));
        assert!(about(next(&again, Outcome::RetrySoon, None), 1.0));
    }

    #[test]
    fn an_attempt_may_have_arrived_if_it_says_so_or_was_never_recorded() {
        let mut delivery = delivery(&[(2000, None), (1000, Some(409))]);
        assert!(!delivery.may_have_arrived());
        delivery.attempt_count += 1;
        assert!(delivery.may_have_arrived());
        delivery.attempt_count = 1;
        assert!(!delivery.may_have_arrived());
        delivery.attempts[0].may_have_arrived = true;
        assert!(delivery.may_have_arrived());
    }
}
