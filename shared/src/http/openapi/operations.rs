//! The operations of the API.

use serde_json::{Value, json};

use crate::{
    domain::{
        batch_id::BatchId,
        id::AgentName,
        request::{RerunBody, StartBody},
        status::Status,
        subscription::{SubscribeBody, SubscriptionView},
    },
    http::{
        answer::{
            lists::{
                AgentList, DeliveryList, DeliveryView, ExecutionList, Identity, SubscriptionList,
            },
            monitor::{Monitor, Receipt},
            results::Results,
        },
        body::{
            Cancelling, ListRequest, RecoverBody, Recovered, Redriving, SecretView, Subscribed,
            TestView,
        },
        openapi::{
            builder::{Document, Refuses},
            examples::{EXECUTION_ID, monitor, results},
        },
    },
};

const WAIT: &str = "`wait=N`: wait up to N seconds, at most 25, until the run ends or the agent asks a question, then respond.";
const ROTATED: &str = "The new secret. The old one signs as well for seven days.";

impl Document {
    pub(super) fn executions(&mut self) {
        use Refuses::{Body, Id, Parameter, Permission, State};

        let receipt = json!({
            "execution_id": EXECUTION_ID, "status": "started", "agent_name": "echo",
            "estimated_time": 2.05, "poll_interval": 5,
        });
        self.operation("post", "/v1/executions", "startExecution", "Start an agent.")
            .idempotency_key()
            .header("Prefer", WAIT, &json!({"type": "string"}))
            .body::<StartBody>(&json!({
                "agent_name": "echo", "input_message": "Hello", "parameters": {"wait_seconds": 1},
                "callback_url": "https://example.com/webhook-waiting/1", "tags": {"order": "4711"},
            }))
            .answers::<Receipt>(
                202,
                "The start is accepted, and the run will be launched.",
                &receipt,
            )
            .tells(202, "Location", "The URL of the run.", &json!({"type": "string"}))
            .answers::<Results>(200, "The run ended within the `wait` of `Prefer`.", &results())
            .tells(200, "Location", "The URL of the run.", &json!({"type": "string"}))
            .refuses(&[Body, Permission, Id, State]);
        self.list();
        self.operation(
            "get",
            "/v1/executions/{execution_id}",
            "getExecution",
            "Get the status of a run.",
        )
        .header("Prefer", WAIT, &json!({"type": "string"}))
        .answers::<Monitor>(200, "The status of the run.", &monitor())
        .refuses(&[Permission, Id]);
        self.operation(
            "get",
            "/v1/executions/{execution_id}/results",
            "getResults",
            "Get the results of a run.",
        )
        .query(
            "include_metadata",
            "Whether to include the input, the tags and the raw output.",
            &json!({"type": "boolean"}),
        )
        .answers::<Results>(
            200,
            "The results, or only the status if the run has not ended.",
            &results(),
        )
        .refuses(&[Permission, Id, Parameter]);
        self.operation(
            "post",
            "/v1/executions/{execution_id}/rerun",
            "rerunExecution",
            "Start a run again: a new run with the same input, tags and timeouts, on the agent as it is now.",
        )
        .idempotency_key()
        .header("Prefer", WAIT, &json!({"type": "string"}))
        .optional_body::<RerunBody>(&json!({"callback_url": "https://example.com/webhook-waiting/1"}))
        .answers::<Receipt>(202, "The start is accepted, and the run will be launched.", &receipt)
        .tells(202, "Location", "The URL of the new run.", &json!({"type": "string"}))
        .answers::<Results>(200, "The new run ended within the `wait` of `Prefer`.", &results())
        .tells(200, "Location", "The URL of the new run.", &json!({"type": "string"}))
        .refuses(&[Body, Permission, Id, State]);
        self.operation(
            "post",
            "/v1/executions/{execution_id}/redrive",
            "redriveExecution",
            "Continue a run that failed, timed out or was cancelled from where it did, by Step Functions' redrive.",
        )
        .answers::<Redriving>(
            202,
            "The redrive is accepted. The run continues within seconds, or when it has a slot.",
            &json!({"execution_id": EXECUTION_ID, "status": "redriving"}),
        )
        .refuses(&[Body, Permission, Id, State]);
        self.operation(
            "post",
            "/v1/executions/{execution_id}/cancel",
            "cancelExecution",
            "Cancel a run.",
        )
        .answers::<Cancelling>(
            202,
            "The cancellation is accepted. The run ends within seconds.",
            &json!({"execution_id": EXECUTION_ID, "status": "cancelling"}),
        )
        .refuses(&[Permission, Id, State]);
    }

    fn list(&mut self) {
        use Refuses::{Id, Parameter, Permission};

        let agent_name = self.requests.subschema_for::<AgentName>();
        let batch_id = self.requests.subschema_for::<BatchId>();
        let list = self.operation(
            "get",
            "/v1/executions",
            "listExecutions",
            "List your runs, newest first.",
        );
        let list = list
            .query("agent_name", "Only runs of this agent.", &json!(agent_name))
            .query(
                "limit",
                "The maximum number of runs. The default is 20.",
                &json!({"type": "integer", "minimum": 1, "maximum": ListRequest::MAX_LIMIT}),
            )
            .query("cursor", "The `next_cursor` of the previous page.", &json!({"type": "string"}))
            .query(
                "batch_id",
                "Only the runs of this batch, in the order of its items.",
                &json!(batch_id),
            )
            .query("tag", "Only runs with this tag, as `key=value`.", &json!({"type": "string"}))
            .query(
                "created_after",
                "Only runs that were created at this time or later.",
                &json!({"type": "string", "format": "date-time"}),
            )
            .query(
                "created_before",
                "Only runs that were created before this time.",
                &json!({"type": "string", "format": "date-time"}),
            )
            .query(
                "owner",
                "List another user's runs. Only for administrators.",
                &json!({"type": "string", "minLength": 1, "maxLength": ListRequest::MAX_OWNER}),
            )
            .query(
                "open",
                "Only runs that have not ended. For an administrator: those of all users, unless `owner` is \
                 given, ordered by time on each page only.",
                &json!({"type": "boolean"}),
            )
            .query(
                "trouble",
                "Only runs that failed or timed out, or that have an event that could not be delivered, ordered \
                 by the time of the problem. For an administrator: those of all users, unless `owner` is given.",
                &json!({"type": "boolean"}),
            );
        let statuses: Vec<_> = Status::ALL.iter().map(|status| status.as_str()).collect();
        list.query(
            "status",
            "Only runs with this status.",
            &json!({"type": "string", "enum": statuses}),
        )
        .answers::<ExecutionList>(200, "A page of runs.", &json!({"executions": [monitor()]}))
        .refuses(&[Permission, Id, Parameter]);
    }

    pub(super) fn deliveries(&mut self) {
        use Refuses::{Id, Parameter, Permission, State};

        let delivery = json!({
            "id": "msg_c5f17ca7697d2e688b69fcc7f268afd6", "type": "execution.completed",
            "state": "delivered", "target": "callback", "attempt_count": 1, "put_off": 0, "attempts": [{
                "at": "2026-01-31T09:00:02.400Z", "duration_ms": 31, "status": 200, "detail": "",
            }],
        });
        self.operation(
            "get",
            "/v1/executions/{execution_id}/deliveries",
            "listDeliveries",
            "List the deliveries of a run.",
        )
        .query(
            "limit",
            "The maximum number of deliveries. The default is 100.",
            &json!({"type": "integer", "minimum": 1, "maximum": ListRequest::MAX_LIMIT}),
        )
        .query("cursor", "The `next_cursor` of the previous page.", &json!({"type": "string"}))
        .answers::<DeliveryList>(
            200,
            "A page of deliveries, each with its attempts.",
            &json!({"deliveries": [delivery]}),
        )
        .refuses(&[Permission, Id, Parameter]);
        self.operation(
            "post",
            "/v1/executions/{execution_id}/deliveries/{delivery_id}/redeliver",
            "redeliver",
            "Redeliver a webhook.",
        )
        .answers::<DeliveryView>(202, "The delivery is scheduled again.", &delivery)
        .refuses(&[Permission, Id, State, Parameter]);
    }

    pub(super) fn subscriptions(&mut self) {
        use Refuses::{Body, Id, Parameter, Permission, State};

        let subscription = json!({
            "id": "sub_01m82fnbk6he8p6hq9b40e0c0s", "url": "https://example.com/hook",
            "events": ["execution.failed"], "agent_name": null, "created_at": "2026-01-31T09:00:00.000Z",
            "key_id": "ba7816bf8f01cfea", "last_success_at": "2026-01-31T09:00:02.400Z", "failures": 0,
        });
        let mut subscribed = subscription.clone();
        subscribed["secret"] = json!("whsec_…");
        self.operation(
            "post",
            "/v1/subscriptions",
            "subscribe",
            "Create a subscription: the events of all your runs are sent to a URL.",
        )
        .body::<SubscribeBody>(
            &json!({"url": "https://example.com/hook", "events": ["execution.failed"]}),
        )
        .answers::<Subscribed>(201, "The subscription was created.", &subscribed)
        .refuses(&[Body, Permission, State]);
        self.operation(
            "get",
            "/v1/subscriptions",
            "listSubscriptions",
            "List your subscriptions, oldest first.",
        )
        .answers::<SubscriptionList>(
            200,
            "The subscriptions of your key; with `manage:*`, of all keys of its user.",
            &json!({"subscriptions": [subscription]}),
        );
        self.operation(
            "get",
            "/v1/subscriptions/{subscription_id}",
            "getSubscription",
            "Get a subscription.",
        )
        .answers::<SubscriptionView>(200, "The subscription.", &subscription)
        .refuses(&[Id]);
        self.operation(
            "delete",
            "/v1/subscriptions/{subscription_id}",
            "unsubscribe",
            "Delete a subscription.",
        )
        .nothing("The subscription was deleted.")
        .refuses(&[Id]);
        self.operation(
            "post",
            "/v1/subscriptions/{subscription_id}/test",
            "testSubscription",
            "Send one test event to a subscription.",
        )
        .answers::<TestView>(
            202,
            "The test event is scheduled.",
            &json!({"delivery_id": "msg_c5f17ca7697d2e688b69fcc7f268afd6"}),
        )
        .refuses(&[Id, State, Parameter]);
        self.health(&subscription);
        self.secrets();
    }

    fn health(&mut self, subscription: &Value) {
        use Refuses::{Body, Id, Permission, State};

        self.operation(
            "post",
            "/v1/subscriptions/{subscription_id}/enable",
            "enableSubscription",
            "Enable a disabled subscription.",
        )
        .answers::<SubscriptionView>(
            200,
            "The subscription is enabled. It may have been enabled before.",
            subscription,
        )
        .refuses(&[Permission, Id]);
        self.operation(
            "post",
            "/v1/subscriptions/{subscription_id}/recover",
            "recoverSubscription",
            "Redeliver a subscription's undelivered events.",
        )
        .body::<RecoverBody>(&json!({"since": "2026-01-31T09:00:00Z"}))
        .answers::<Recovered>(
            202,
            "How many deliveries are scheduled again, at most 100. They keep their ids.",
            &json!({"recovered": 2}),
        )
        .refuses(&[Body, Permission, Id, State]);
    }

    fn secrets(&mut self) {
        use Refuses::{Id, Permission, State};

        let secret = json!({"secret": "whsec_…", "generation": 0});
        self.operation(
            "get",
            "/v1/subscriptions/{subscription_id}/secret",
            "getSubscriptionSecret",
            "Get the signing secret of a subscription.",
        )
        .answers::<SecretView>(200, "The signing secret.", &secret)
        .refuses(&[Permission, Id]);
        self.operation(
            "post",
            "/v1/subscriptions/{subscription_id}/secret/rotate",
            "rotateSubscriptionSecret",
            "Rotate the signing secret of a subscription.",
        )
        .answers::<SecretView>(200, ROTATED, &secret)
        .refuses(&[Permission, Id, State]);
        self.operation(
            "get",
            "/v1/webhook-secret",
            "getWebhookSecret",
            "Get the signing secret of your callbacks.",
        )
        .answers::<SecretView>(200, "The signing secret.", &secret)
        .refuses(&[Permission]);
        self.operation(
            "post",
            "/v1/webhook-secret/rotate",
            "rotateWebhookSecret",
            "Rotate the signing secret of your callbacks.",
        )
        .answers::<SecretView>(200, ROTATED, &secret)
        .refuses(&[Permission]);
    }

    pub(super) fn others(&mut self) {
        self.operation("get", "/v1/me", "getMe", "Get who you are and what your key may do.")
            .answers::<Identity>(200, "The user, and the permissions of the key or token.", &json!({
                "user_id": "ana", "key_id": "ba7816bf8f01cfea", "permissions": ["execute:*", "view:*"],
                "is_admin": false, "rate_limit": 60,
            }));
        self.operation("get", "/v1/agents", "listAgents", "List the agents that you may view.")
            .answers::<AgentList>(200, "The active agents that you may view.", &json!({"agents": [{
                "name": "echo", "description": "Waits two seconds and repeats the last message.",
                "version": "1.0.0", "tools": ["echo"], "llm_provider": "example", "llm_model": "none",
                "average_execution_time": 2.05, "cost_estimate": 0.0001,
                "parameters_schema": {"type": "object", "properties": {"times": {"type": "integer"}}},
            }]}));
        let mut own =
            self.operation("get", "/openapi.json", "getDescription", "Get this document.");
        own.value["security"] = json!([]);
        own.value["responses"] = json!({"200": {
            "description": "This document.", "content": {"application/json": {"schema": {"type": "object"}}},
        }});
    }
}
