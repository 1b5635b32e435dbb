//! The Rust SDK of MCP.

use rmcp::{
    RoleClient, ServiceExt,
    model::CallToolRequestParams,
    service::RunningService,
    transport::{
        AuthClient, AuthorizationManager, AuthorizationRequest, ClientCredentialsConfig,
        JwtSigningAlgorithm, StreamableHttpClientTransport, auth::OAuthState,
        streamable_http_client::StreamableHttpClientTransportConfig,
    },
};
use serde_json::Value;

use crate::{Asked, Failure, chain, line};

/// Comes with a person's consent: discovery, its document, a code, a bearer token, another by the refresh token.
pub async fn person(asked: &Asked) -> Result<(), Failure> {
    let mut state = OAuthState::new(asked.resource.as_str(), None).await?;
    let request = AuthorizationRequest::new(&asked.redirect)
        .with_client_name("ignored")
        .with_client_metadata_url(&asked.document);
    state.start_authorization(request).await?;
    println!("GO {}", state.get_authorization_url().await?);
    state.handle_callback_url(&line().await?).await?;
    state.refresh_token().await?;
    let service = connect(state, &asked.resource).await?;
    println!(
        "CALLED {}",
        call(&service, &asked.tool, &asked.arguments).await?
    );
    line().await?;
    let late = call(&service, &asked.tool, &asked.arguments).await;
    println!(
        "LATE {}",
        late.unwrap_or_else(|error| format!("Error {}", chain(&*error)))
    );
    Ok(())
}

/// Comes by itself, proved by its key (`private_key_jwt`).
pub async fn credentials(
    resource: &str,
    (client, pem): (&str, &str),
    (tool, arguments): (&str, &str),
) -> Result<(), Failure> {
    let mut state = OAuthState::new(resource, None).await?;
    let config = ClientCredentialsConfig::PrivateKeyJwt {
        client_id: client.to_owned(),
        signing_key: std::fs::read(pem)?,
        signing_algorithm: JwtSigningAlgorithm::ES256,
        token_endpoint_audience: None,
        scopes: Vec::new(),
        resource: Some(resource.to_owned()),
    };
    state.authenticate_client_credentials(config).await?;
    let service = connect(state, resource).await?;
    println!("CALLED {}", call(&service, tool, arguments).await?);
    Ok(())
}

/// Says which kind of token came, and opens the connection on which it is used.
async fn connect(
    state: OAuthState,
    resource: &str,
) -> Result<RunningService<RoleClient, ()>, Failure> {
    let manager: AuthorizationManager = state
        .into_authorization_manager()
        .ok_or("the SDK has no token")?;
    let (_, tokens) = manager.get_credentials().await?;
    let tokens = serde_json::to_value(tokens.ok_or("the SDK kept no token")?)?;
    println!("TOKEN {}", tokens["token_type"].as_str().unwrap_or("none"));
    let client = AuthClient::new(reqwest::Client::new(), manager);
    let config = StreamableHttpClientTransportConfig::with_uri(resource);
    let transport = StreamableHttpClientTransport::with_client(client, config);
    Ok(().serve(transport).await?)
}

async fn call(
    service: &RunningService<RoleClient, ()>,
    tool: &str,
    arguments: &str,
) -> Result<String, Failure> {
    let Value::Object(arguments) = serde_json::from_str(arguments)? else {
        return Err("arguments are an object".into());
    };
    let asked = CallToolRequestParams::new(tool.to_owned()).with_arguments(arguments);
    let result = serde_json::to_value(service.call_tool(asked).await?)?;
    let parts = result["content"].as_array().cloned().unwrap_or_default();
    let texts: Vec<_> = parts.iter().filter_map(|it| it["text"].as_str()).collect();
    Ok(texts.join(" ").replace('\n', " "))
}
