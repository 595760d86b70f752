//! What brings messages to a function.

use aws_sdk_lambda::Client;
use e2e::{Stack, eventually};

/// The event source mapping of a queue's function.
pub(crate) struct Mapping {
    client: Client,
    uuid: String,
}

impl Mapping {
    pub(crate) async fn of(stack: &Stack, function_output: &str) -> Self {
        let client = Client::new(&stack.aws);
        let list = client.list_event_source_mappings();
        let list = list.function_name(stack.output(function_output)).send().await.unwrap();
        let [mapping] = &list.event_source_mappings.unwrap_or_default()[..] else {
            panic!("{function_output} has one queue")
        };
        Self { client, uuid: mapping.uuid.clone().unwrap() }
    }

    pub(crate) async fn set_batch_size(&self, size: i32) {
        let update = self.client.update_event_source_mapping().uuid(&self.uuid);
        update.batch_size(size).send().await.unwrap();
    }

    pub(crate) async fn enable(&self, is_enabled: bool) {
        let update = self.client.update_event_source_mapping().uuid(&self.uuid);
        update.enabled(is_enabled).send().await.unwrap();
    }
}

/// Has a function begin anew with its next event: its configuration is written as it is.
pub(crate) async fn recycle(stack: &Stack, function_output: &str) {
    let (client, name) = (Client::new(&stack.aws), stack.output(function_output));
    client
        .update_function_configuration()
        .function_name(name)
        .memory_size(128)
        .send()
        .await
        .unwrap();
    eventually("the function to be ready", async || {
        let found = client.get_function_configuration().function_name(name).send().await.unwrap();
        found.last_update_status.is_some_and(|it| it.as_str() == "Successful").then_some(())
    })
    .await;
}
