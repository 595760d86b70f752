//! The operations on batches.

use serde_json::json;

use crate::{
    domain::batch::BatchBody,
    http::{
        answer::batch::{BatchCancelling, BatchReceipt, BatchResults, BatchView},
        openapi::{
            builder::{Document, Refuses},
            examples::{BATCH_ID, EXECUTION_ID, results},
        },
    },
};

impl Document {
    pub(super) fn batches(&mut self) {
        use Refuses::{Body, Id, Parameter, Permission, State};

        let item = json!({"execution_id": EXECUTION_ID});
        let refused = json!({"error": {
            "type": "urn:problem-type:agent-relay:not-found", "status": 404, "detail": "agent not found",
        }});
        let receipt = json!({
            "batch_id": BATCH_ID, "status": "started", "items": [item, refused], "poll_interval": 5,
        });
        self.operation("post", "/v1/batches", "startBatch", "Start up to 100 agents at once.")
            .idempotency_key()
            .body::<BatchBody>(&json!({
                "agent_name": "echo", "callback_url": "https://example.com/webhook-waiting/1",
                "items": [
                    {"input_message": "Hello", "parameters": {"wait_seconds": 1}},
                    {"input_message": "Hello", "agent_name": "nobody"},
                ],
            }))
            .answers::<BatchReceipt>(
                202,
                "The batch is accepted: the run of each item, or why it was refused.",
                &receipt,
            )
            .tells(202, "Location", "The URL of the batch.", &json!({"type": "string"}))
            .refuses(&[Body, Permission]);
        let view = json!({
            "batch_id": BATCH_ID, "status": "completed", "size": 2, "counts": {"completed": 1},
            "created_at": "2026-01-31T09:00:00.000Z", "completed_at": "2026-01-31T09:00:04.100Z",
            "items": [item, refused],
        });
        self.operation("get", "/v1/batches/{batch_id}", "getBatch", "Get the status of a batch.")
            .answers::<BatchView>(200, "The batch.", &view)
            .refuses(&[Permission, Id]);
        let mut first = results();
        first["index"] = json!(0);
        self.operation(
            "get",
            "/v1/batches/{batch_id}/results",
            "getBatchResults",
            "Get the results of a batch, in the order of its items.",
        )
        .query(
            "limit",
            "The maximum number of results. The default is 20.",
            &json!({"type": "integer", "minimum": 1, "maximum": 20}),
        )
        .query("cursor", "The `next_cursor` of the previous page.", &json!({"type": "string"}))
        .answers::<BatchResults>(200, "A page of results.", &json!({"results": [first]}))
        .refuses(&[Permission, Id, Parameter]);
        self.operation(
            "post",
            "/v1/batches/{batch_id}/cancel",
            "cancelBatch",
            "Cancel the runs of a batch that have not ended.",
        )
        .answers::<BatchCancelling>(
            202,
            "The cancellation is accepted. The runs end within seconds.",
            &json!({"batch_id": BATCH_ID, "status": "cancelling", "runs": 1}),
        )
        .refuses(&[Permission, Id, State]);
    }
}
