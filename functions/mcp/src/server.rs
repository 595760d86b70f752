//! The MCP server: what each method of the protocol means in terms of our services. It holds no
//! state; a task lives in the row of its execution.

use std::sync::Arc;

use lambda_http::http::request::Parts;
use relay::{
    aws::failure,
    domain::{caller::Caller, error::Error, json::Json},
    http::problem::Problem,
    service::{Services, change::Change},
};
use rmcp::{
    ErrorData, RoleServer, ServerHandler,
    model::{
        CacheScope, CallToolRequestParams, CallToolResponse, CancelTaskParams,
        CompleteRequestParams, CompleteResult, CompletionInfo, ErrorCode, GetPromptRequestParams,
        GetPromptResponse, GetTaskParams, GetTaskResult, Implementation, ListPromptsResult,
        ListResourceTemplatesResult, ListResourcesResult, ListToolsResult, PaginatedRequestParams,
        ReadResourceRequestParams, ReadResourceResponse, Reference, ServerCapabilities,
        ServerConfig, Tool, UpdateTaskParams,
    },
    service::RequestContext,
};
use tracing::info;

use crate::{
    catalog,
    message::Written,
    prompts,
    resources::{self, ResourceUri},
    tasks, tools,
};

const INSTRUCTIONS: &str = "\
Runs AI agents that take seconds to hours. list_available_agents lists them. start_agent starts one and \
returns an execution_id immediately. Poll the execution with monitor_agent every few seconds. When its \
status is completed, failed, timeout or cancelled, get the outcome with get_agent_results. When its \
status is input_required, the agent is asking a question: answer it with answer_agent. \
Set a client_token in start_agent, so that a repeated call never starts an agent twice.";

/// How long a client may keep what is the same for everybody, in milliseconds.
const HOUR: u64 = 60 * 60 * 1000;

#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) services: Arc<Services>,
    pub(crate) change: Arc<Change>,
}

impl Server {
    pub(crate) fn new(services: Services, change: Change) -> Self {
        Self { services: Arc::new(services), change: Arc::new(change) }
    }
}

type Context = RequestContext<RoleServer>;

/// Who calls, as the transport put it beside the request.
pub(crate) fn caller(context: &Context) -> Result<Caller, ErrorData> {
    let parts = context.extensions.get::<Parts>();
    let caller = parts.and_then(|parts| parts.extensions.get::<Caller>());
    caller.cloned().ok_or_else(|| ErrorData::invalid_request("no valid key or token", None))
}

/// What the request holds that goes past rmcp, as the transport put it beside the request.
fn written(context: &Context) -> Option<Json> {
    let written = context.extensions.get::<Parts>()?.extensions.get::<Written>();
    written.map(|Written(json)| json.clone())
}

/// A refusal for methods other than `tools/call`. What it says quotes the request, and is not logged.
pub(crate) fn refuse(error: &Error) -> ErrorData {
    let problem = Problem::of(error);
    if problem.status >= 500 {
        failure::log(error);
        return ErrorData::internal_error(problem.detail, None);
    }
    info!(status = problem.status, "refused a method");
    ErrorData::invalid_params(problem.detail, None)
}

impl ServerHandler for Server {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder()
            .enable_tools()
            .enable_resources()
            .enable_prompts()
            .enable_completions()
            .enable_tasks()
            .build();
        let implementation = Implementation::new("agent-relay", env!("CARGO_PKG_VERSION"))
            .with_title("Agent Relay")
            .with_description("Runs AI agents on AWS Step Functions.");
        ServerConfig::new(capabilities)
            .with_server_info(implementation)
            .with_instructions(INSTRUCTIONS)
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: Context,
    ) -> Result<ListToolsResult, ErrorData> {
        let mut list = ListToolsResult::with_all_items(catalog::all().to_vec());
        (list.ttl_ms, list.cache_scope) = (Some(HOUR), Some(CacheScope::Public));
        Ok(list)
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        catalog::find(name).cloned()
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: Context,
    ) -> Result<CallToolResponse, ErrorData> {
        let caller = caller(&context)?;
        let as_task =
            context.client_capabilities().is_some_and(|capabilities| capabilities.supports_tasks());
        let arguments =
            written(&context).unwrap_or_else(|| Json::of(&request.arguments.unwrap_or_default()));
        let answer =
            tools::call(&self.services, &self.change, &caller, &request.name, &arguments, as_task)
                .await;
        answer.ok_or_else(|| {
            info!("refused a call of an unknown tool");
            ErrorData::invalid_params(format!("unknown tool: {}", request.name), None)
        })
    }

    async fn list_resources(
        &self,
        _: Option<PaginatedRequestParams>,
        _: Context,
    ) -> Result<ListResourcesResult, ErrorData> {
        let mut list = ListResourcesResult::with_all_items(resources::list());
        (list.ttl_ms, list.cache_scope) = (Some(HOUR), Some(CacheScope::Public));
        Ok(list)
    }

    async fn list_resource_templates(
        &self,
        _: Option<PaginatedRequestParams>,
        _: Context,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        let mut list = ListResourceTemplatesResult::with_all_items(resources::templates());
        (list.ttl_ms, list.cache_scope) = (Some(HOUR), Some(CacheScope::Public));
        Ok(list)
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        context: Context,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let caller = caller(&context)?;
        let unknown = || {
            let data = serde_json::json!({"uri": request.uri});
            ErrorData::resource_not_found("no such resource", Some(data))
        };
        let place = ResourceUri::parse(&request.uri).ok_or_else(unknown)?;
        match resources::read(&self.services, &caller, &place, &request.uri).await {
            Ok(contents) => Ok(contents.into()),
            Err(Error::NotFound(_)) => Err(unknown()),
            Err(error) => Err(refuse(&error)),
        }
    }

    async fn list_prompts(
        &self,
        _: Option<PaginatedRequestParams>,
        _: Context,
    ) -> Result<ListPromptsResult, ErrorData> {
        let mut list = ListPromptsResult::with_all_items(prompts::list());
        (list.ttl_ms, list.cache_scope) = (Some(HOUR), Some(CacheScope::Public));
        Ok(list)
    }

    async fn get_prompt(
        &self,
        request: GetPromptRequestParams,
        _: Context,
    ) -> Result<GetPromptResponse, ErrorData> {
        let prompt = prompts::get(&request);
        prompt.map(Into::into).map_err(|reason| ErrorData::invalid_params(reason, None))
    }

    async fn complete(
        &self,
        request: CompleteRequestParams,
        context: Context,
    ) -> Result<CompleteResult, ErrorData> {
        let caller = caller(&context)?;
        let values = match &request.r#ref {
            reference if is_agent_name(reference, &request.argument.name) => {
                resources::complete_agent(&self.services, &caller, &request.argument.value)
                    .await
                    .map_err(|error| refuse(&error))?
            }
            _ => Vec::new(),
        };
        let (total, has_more) = (values.len(), values.len() > CompletionInfo::MAX_VALUES);
        let shown = values.into_iter().take(CompletionInfo::MAX_VALUES).collect();
        let mut completion = CompletionInfo::new(shown)
            .map_err(|reason| ErrorData::new(ErrorCode::INTERNAL_ERROR, reason, None))?;
        completion.total = u32::try_from(total).ok();
        completion.has_more = Some(has_more);
        Ok(CompleteResult::new(completion))
    }

    async fn get_task(
        &self,
        request: GetTaskParams,
        context: Context,
    ) -> Result<GetTaskResult, ErrorData> {
        let caller = caller(&context)?;
        let task = tasks::get(&self.services.reader, &caller, &request.task_id).await;
        task.map(GetTaskResult::new).map_err(|error| refuse(&error))
    }

    async fn update_task(
        &self,
        request: UpdateTaskParams,
        context: Context,
    ) -> Result<(), ErrorData> {
        let caller = caller(&context)?;
        let UpdateTaskParams { task_id, input_responses, .. } = request;
        let responses = written(&context).unwrap_or_else(|| Json::of(&input_responses));
        tasks::update(&self.services, &self.change, &caller, &task_id, &responses)
            .await
            .map_err(|error| refuse(&error))
    }

    async fn cancel_task(
        &self,
        request: CancelTaskParams,
        context: Context,
    ) -> Result<(), ErrorData> {
        let caller = caller(&context)?;
        tasks::cancel(&self.change, &caller, &request.task_id).await.map_err(|error| refuse(&error))
    }
}

/// Whether a value is completed that names an agent.
fn is_agent_name(reference: &Reference, argument: &str) -> bool {
    let knows_it = match reference {
        Reference::Resource(resource) => resource.uri == resources::AGENT_TEMPLATE,
        Reference::Prompt(prompt) => prompt.name == prompts::DELEGATE,
        _ => false,
    };
    knows_it && argument == "agent_name"
}
