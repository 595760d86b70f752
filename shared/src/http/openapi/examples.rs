//! Examples that more than one operation or webhook shows.

use serde_json::{Value, json};

pub(super) const BATCH_ID: &str = "mcp-batch-01k6m82fnbk6he8p6hq9b40e0c";
pub(super) const EXECUTION_ID: &str = "mcp-echo-01m82fnbk6he8p6hq9b40e0c0s";

pub(super) fn monitor() -> Value {
    json!({
        "execution_id": EXECUTION_ID, "agent_name": "echo", "status": "running", "progress": 50,
        "message": "Agent is running", "created_at": "2026-01-31T09:00:00.000Z",
        "started_at": "2026-01-31T09:00:00.120Z", "updated_at": "2026-01-31T09:00:00.300Z",
    })
}

pub(super) fn results() -> Value {
    json!({
        "execution_id": EXECUTION_ID, "status": "completed", "agent_name": "echo",
        "started_at": "2026-01-31T09:00:00.120Z", "completed_at": "2026-01-31T09:00:02.200Z",
        "execution_time_ms": 2080, "result": "Hello", "tools_used": ["echo"],
        "tokens_used": {"input": 1, "output": 1, "total": 2},
    })
}
