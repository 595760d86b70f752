//! `POST /mcp`: the MCP server. `POST /`: the envelope `{"tool", "params"}`. Both on the same
//! services as REST.

mod accept;
mod answer;
mod arguments;
mod catalog;
#[cfg(feature = "conformance")]
mod conformance;
mod discovery;
mod envelope;
mod message;
mod prompts;
mod resources;
mod server;
mod tasks;
mod tools;
mod transport;
mod verbatim;

use std::convert::Infallible;

use lambda_http::{Error, Request, service_fn};
use relay::{
    aws::{
        connection::{self, Aws},
        env, telemetry,
    },
    http::gateway::{self, TextResponse},
    service::{Services, change::Change},
};

use crate::{discovery::Discovery, server::Server, transport::Transport};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    telemetry::attach_logs();
    let _metrics = telemetry::attach_metrics();

    let aws = Aws::from_env()?;
    let public_url = env::required("PUBLIC_URL")?;
    let server = Server::new(Services::from_env(&aws)?, Change::from_env(&aws)?);
    let handler = server.clone();
    #[cfg(feature = "conformance")]
    let handler = conformance::Fixtures::beside(handler);
    let home = &env::home()?;
    let (hosts, origins) = (env::list("MCP_HOSTS")?, env::list("MCP_ORIGINS")?);
    let transport = &Transport::new(handler, hosts, origins, &public_url, home.clone());
    let discovery = &Discovery::new(&public_url, env::parsed_list("OAUTH_ISSUERS")?);
    let services = &server.services;
    connection::warm_up(services.start.warm_up()).await;

    gateway::run(service_fn(async |request: Request| {
        Ok::<_, Infallible>(TextResponse(match gateway::route(&request) {
            "/" => envelope::serve(services, home, &request).await,
            "/mcp" => transport.serve(request).await,
            route => discovery.serve(route),
        }))
    }))
    .await
}
