//! Where an MCP client gets a token: the protected resource's metadata (RFC 9728).

use lambda_http::Response;
use relay::{
    domain::{error::Error, issuer::Issuer},
    http::{problem, reply},
};
use serde_json::json;

const METADATA: &str = "/.well-known/oauth-protected-resource";
const METADATA_OF_MCP: &str = "/.well-known/oauth-protected-resource/mcp";

pub(crate) struct Discovery {
    public_url: String,
    issuers: Vec<Issuer>,
}

impl Discovery {
    pub(crate) fn new(public_url: &str, issuers: Vec<Issuer>) -> Self {
        Self { public_url: public_url.to_owned(), issuers }
    }

    /// The metadata of the API or of its MCP endpoint; 404 where no tokens are accepted.
    pub(crate) fn serve(&self, route: &str) -> Response<String> {
        let path = match route {
            METADATA => "",
            METADATA_OF_MCP => "/mcp",
            _ => return problem::respond(&Error::NotFound("route")),
        };
        if self.issuers.is_empty() || self.public_url.is_empty() {
            return problem::respond(&Error::NotFound("an OAuth issuer"));
        }
        let issuers: Vec<_> = self.issuers.iter().map(|issuer| &issuer.url).collect();
        reply::reply(
            200,
            &json!({
                "resource": format!("{}{path}", self.public_url),
                "authorization_servers": issuers,
                "bearer_methods_supported": ["header"],
                "resource_name": "agent-relay",
            }),
        )
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn the_metadata_names_the_resource_and_its_issuers() {
        let issuer: Issuer = "example=https://login.example.com".parse().unwrap();
        let discovery = Discovery::new("https://relay.example.com", vec![issuer.clone()]);

        let body: Value = serde_json::from_str(discovery.serve(METADATA_OF_MCP).body()).unwrap();
        assert_eq!(body["resource"], "https://relay.example.com/mcp");
        assert_eq!(body["authorization_servers"], json!(["https://login.example.com"]));
        let body: Value = serde_json::from_str(discovery.serve(METADATA).body()).unwrap();
        assert_eq!(body["resource"], "https://relay.example.com");
        assert_eq!(discovery.serve("/.well-known/other").status(), 404);
        for nothing in
            [Discovery::new("", vec![issuer]), Discovery::new("https://relay.example.com", vec![])]
        {
            assert_eq!(nothing.serve(METADATA).status(), 404);
        }
    }
}
