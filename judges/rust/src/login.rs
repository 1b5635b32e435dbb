//! `openidconnect`: discovery and keys as that library reads them, a code, a bearer token, refresh, revocation.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use openidconnect::{
    AccessToken, AuthorizationCode, ClientId, CsrfToken, HttpRequest, HttpResponse, IssuerUrl,
    JsonWebKey, Nonce, OAuth2TokenResponse, PkceCodeChallenge, RedirectUrl, RequestTokenError,
    core::{
        CoreAuthenticationFlow, CoreClient, CoreJsonWebKeySet, CoreJwsSigningAlgorithm,
        CoreProviderMetadata,
    },
};
use reqwest::{Url, redirect::Policy};
use serde_json::{Value, json};

use crate::{Asked, Failure, chain, line};

/// Comes with a person's consent.
pub async fn person(asked: &Asked) -> Result<(), Failure> {
    let browserless = reqwest::Client::builder()
        .redirect(Policy::none())
        .build()?;
    let http = |request: HttpRequest| fetch(browserless.clone(), request);
    let issuer = IssuerUrl::new(asked.issuer.clone())?;
    let metadata = CoreProviderMetadata::discover_async(issuer, &http).await?;
    let keys = metadata.jwks().clone();
    let client =
        CoreClient::from_provider_metadata(metadata, ClientId::new(asked.document.clone()), None)
            .set_redirect_uri(RedirectUrl::new(asked.redirect.clone())?)
            .disable_openid_scope();
    let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
    let flow = CoreAuthenticationFlow::AuthorizationCode;
    let (url, state, _) = client
        .authorize_url(flow, CsrfToken::new_random, Nonce::new_random)
        .set_pkce_challenge(challenge)
        .add_extra_param("resource", &asked.resource)
        .url();
    println!("GO {url}");
    let arrived = Url::parse(&line().await?)?;
    let found = |name: &str| {
        arrived
            .query_pairs()
            .find(|it| it.0 == name)
            .map(|it| it.1.into_owned())
    };
    if found("state").as_ref() != Some(state.secret())
        || found("iss").as_ref() != Some(&asked.issuer)
    {
        return Err(format!("another answer came: {arrived}").into());
    }
    let code = AuthorizationCode::new(found("code").ok_or("there is no code")?);
    let tokens = client
        .exchange_code(code)?
        .set_pkce_verifier(verifier)
        .request_async(&http)
        .await;
    let tokens = tokens.map_err(|error| chain(&error))?;
    println!(
        "TOKEN {}",
        serde_json::to_value(tokens.token_type())?
            .as_str()
            .unwrap_or("none")
    );
    verify(&keys, tokens.access_token())?;
    let first = tokens.refresh_token().ok_or("no refresh token")?;
    let renewed = client
        .exchange_refresh_token(first)?
        .request_async(&http)
        .await;
    let renewed = renewed.map_err(|error| chain(&error))?;
    println!(
        "CALLED {}",
        call(&browserless, asked, renewed.access_token()).await?
    );
    line().await?;
    let second = renewed.refresh_token().ok_or("no second refresh token")?;
    match client
        .exchange_refresh_token(second)?
        .request_async(&http)
        .await
    {
        Ok(_) => println!("LATE refreshed"),
        Err(RequestTokenError::ServerResponse(refused)) => println!("LATE {}", refused.error()),
        Err(error) => println!("LATE {}", chain(&error)),
    }
    Ok(())
}

/// Does a request for the library, which brings no client of its own here.
async fn fetch(
    client: reqwest::Client,
    request: HttpRequest,
) -> Result<HttpResponse, reqwest::Error> {
    let response = client.execute(request.try_into()?).await?;
    let mut answer = HttpResponse::new(Vec::new());
    *answer.status_mut() = response.status();
    *answer.headers_mut() = response.headers().clone();
    *answer.body_mut() = response.bytes().await?.into();
    Ok(answer)
}

/// The access token is signed by a published key, as the library sees both.
fn verify(keys: &CoreJsonWebKeySet, token: &AccessToken) -> Result<(), Failure> {
    let (signed, signature) = token.secret().rsplit_once('.').ok_or("it is no JWS")?;
    let head = signed.split('.').next().unwrap_or_default();
    let head: Value = serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(head)?)?;
    let named = |it: &&_| JsonWebKey::key_id(*it).is_some_and(|it| head["kid"] == it.as_str());
    let key = keys
        .keys()
        .iter()
        .find(named)
        .ok_or("its key is not published")?;
    let signature = BASE64_URL_SAFE_NO_PAD.decode(signature)?;
    let algorithm = CoreJwsSigningAlgorithm::EcdsaP256Sha256;
    Ok(key.verify_signature(&algorithm, signed.as_bytes(), &signature)?)
}

/// Calls the tool as an MCP client of 2025-11-25 does.
async fn call(
    client: &reqwest::Client,
    asked: &Asked,
    token: &AccessToken,
) -> Result<String, Failure> {
    let arguments: Value = serde_json::from_str(&asked.arguments)?;
    let params = json!({ "name": asked.tool, "arguments": arguments });
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params });
    let request = client
        .post(&asked.resource)
        .header("accept", "application/json, text/event-stream")
        .header("mcp-protocol-version", "2025-11-25")
        .bearer_auth(token.secret())
        .json(&body);
    Ok(request.send().await?.text().await?.replace('\n', " "))
}
