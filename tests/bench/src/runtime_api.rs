//! A minimal Lambda Runtime API for one process
//! (<https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>): it hands out the next event,
//! and takes the answer.

use std::{
    sync::{Arc, mpsc},
    time::{Duration, Instant, SystemTime},
};

use http_body_util::{BodyExt, Full};
use hyper::{
    Request, Response,
    body::{Bytes, Incoming},
};
use tokio::{
    runtime::Handle,
    sync::{Mutex, mpsc::UnboundedReceiver, mpsc::UnboundedSender, mpsc::unbounded_channel},
};

use crate::server::{self, Server};

/// How long anything may take: at 7 % of a processor, too.
const LIMIT: Duration = Duration::from_secs(30);

pub(crate) struct RuntimeApi {
    pub(crate) server: Server,
    events: UnboundedSender<Bytes>,
    reports: mpsc::Receiver<Report>,
}

enum Report {
    /// The function asks for the next event.
    Ready(Instant),
    Answered(Answer),
}

/// What the function has made of an event.
pub(crate) struct Answer {
    /// From when the event was handed out.
    pub(crate) took: Duration,
    /// It is no report of an error.
    pub(crate) is_response: bool,
    pub(crate) body: Bytes,
}

impl RuntimeApi {
    /// On the thread of `handle`.
    pub(crate) fn start(handle: &Handle) -> Self {
        let (events, to_hand_out) = unbounded_channel();
        let (tell, reports) = mpsc::channel();
        let api = Arc::new(Api { events: Mutex::new(to_hand_out), tell, sent: Mutex::default() });
        let server = Server::start(handle, move |stream| {
            let api = Arc::clone(&api);
            server::serve(stream, move |request| {
                let api = Arc::clone(&api);
                async move { api.answer(request).await }
            })
        });
        Self { server, events, reports }
    }

    /// When the function has asked for its first event.
    pub(crate) fn ready(&self) -> Instant {
        match self.reports.recv_timeout(LIMIT).expect("it does not start; see its log") {
            Report::Ready(at) => at,
            Report::Answered(answer) => panic!("it does not start: {:?}", answer.body),
        }
    }

    /// Hands out an event to a function that waits for one, and waits until it asks for the next.
    pub(crate) fn invoke(&self, event: &Bytes) -> Answer {
        self.events.send(event.clone()).unwrap();
        let mut answered = None;
        loop {
            match self.reports.recv_timeout(LIMIT).expect("it does not answer; see its log") {
                Report::Answered(answer) => answered = Some(answer),
                Report::Ready(_) => return answered.expect("an answer before the next event"),
            }
        }
    }
}

struct Api {
    events: Mutex<UnboundedReceiver<Bytes>>,
    tell: mpsc::Sender<Report>,
    /// When the last event was handed out.
    sent: Mutex<Option<Instant>>,
}

impl Api {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let path = request.uri().path().to_owned();
        if path.ends_with("/invocation/next") {
            self.report(Report::Ready(Instant::now()));
            let event = self.events.lock().await.recv().await.unwrap_or_default();
            let deadline = SystemTime::now() + LIMIT;
            let deadline = deadline.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis();
            *self.sent.lock().await = Some(Instant::now());
            return Response::builder()
                .header("lambda-runtime-aws-request-id", "8476a536-e9f4-11e8-9739-2dfe598c3fcd")
                .header("lambda-runtime-deadline-ms", deadline.to_string())
                .header(
                    "lambda-runtime-invoked-function-arn",
                    "arn:aws:lambda:eu-west-1:111122223333:function:f",
                )
                .header(
                    "lambda-runtime-trace-id",
                    "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Sampled=0",
                )
                .header("content-type", "application/json")
                .body(Full::new(event))
                .unwrap();
        }
        let body = request.into_body().collect().await.unwrap_or_default().to_bytes();
        let took = self.sent.lock().await.map(|sent| sent.elapsed()).unwrap_or_default();
        let is_response = path.ends_with("/response");
        self.report(Report::Answered(Answer { took, is_response, body }));
        Response::builder().status(202).body(Full::default()).unwrap()
    }

    /// Nobody listens any more to a process that is being ended.
    fn report(&self, report: Report) {
        drop(self.tell.send(report));
    }
}
