//! The operations on what agents ask.

use serde_json::json;

use crate::http::{
    answer::lists::{AnswerLinkList, LinkedQuestion},
    body::{AnswerBody, Answered, LinkAnswerBody},
    openapi::{
        builder::{Document, Refuses},
        examples::EXECUTION_ID,
    },
};

impl Document {
    pub(super) fn questions(&mut self) {
        use Refuses::{Body, Id, Permission, State};

        let question = "96dc4dc0a96f980b54b807b053cf8825";
        self.operation(
            "post",
            "/v1/executions/{execution_id}/input",
            "answerExecution",
            "Answer an agent's question.",
        )
        .body::<AnswerBody>(&json!({"answer": {"approved": true}, "question_id": question}))
        .answers::<Answered>(
            202,
            "The answer is stored and will be given to the agent.",
            &json!({
                "execution_id": EXECUTION_ID, "question_id": question, "status": "answered",
            }),
        )
        .refuses(&[Body, Permission, Id, State]);
        self.answer_links();
    }

    fn answer_links(&mut self) {
        use Refuses::{Body, Id, Permission, State};

        let question = "5f0c1a2b3c4d5e6f708192a3b4c5d6e7";
        let (expires, token) =
            ("2026-03-02T09:00:02Z", format!("{EXECUTION_ID}.{question}.1772442002.…"));
        self.operation(
            "get",
            "/v1/executions/{execution_id}/answer-links",
            "listAnswerLinks",
            "Get the links by which the open questions of a run can be answered.",
        )
        .answers::<AnswerLinkList>(
            200,
            "A link for each open question. Anybody who has it can answer, without a key.",
            &json!({"answer_links": [{
                "question_id": question, "url": format!("https://api.example.com/answer#{token}"),
                "expires_at": expires,
            }]}),
        )
        .refuses(&[Permission, Id, State]);
        let mut open = self
            .operation("get", "/v1/answers", "getLinkedQuestion", "Get the question of an answer link.")
            .header("answer-token", "The part of the link after `#`.", &json!({"type": "string"}))
            .answers::<LinkedQuestion>(200, "The question.", &json!({
                "agent_name": "approval", "id": question, "question": "May I?", "schema": {"type": "boolean"},
                "asked_at": "2026-01-31T09:00:02Z", "link_expires_at": expires, "is_open": true,
            }))
            .refuses(&[Id, State]);
        open.value["security"] = json!([]);
        drop(open);
        let mut open = self
            .operation("post", "/v1/answers", "answerByLink", "Answer a question by its link.")
            .body::<LinkAnswerBody>(&json!({"token": token, "answer": true, "name": "Ana"}))
            .answers::<Answered>(
                202,
                "The answer is stored and will be given to the agent.",
                &json!({
                    "execution_id": EXECUTION_ID, "question_id": question, "status": "answered",
                }),
            )
            .refuses(&[Body, Id, State]);
        open.value["security"] = json!([]);
    }
}
