//! A stand: an engine with a live task, a gateway, and a scripted upstream.

use std::{sync::Arc, time::Duration};

use ambit_broker::Secret;
use ambit_core::{
    TaskId,
    estate::{CredentialPlacement, CredentialUse, Endpoint, Estate, Transport},
    json::{self, Value},
    record::{Body as RecordBody, Record},
};
use ambit_gateway::{Body, Gateway, GatewayConfig, Hosts, SandboxPolicy};
use ambit_identity::InstanceCaller;
use ambit_testkit::{World, office};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};

use crate::{mint::Mint, upstream::Upstream};

/// The credential that is injected and must never come back.
pub const CREDENTIAL: &str = "s3cret-canary-credential";

pub struct Stand {
    pub world: World,
    pub gateway: Gateway,
    pub caller: InstanceCaller,
    /// Another task's instance.
    pub other: InstanceCaller,
    pub task: TaskId,
    pub upstream: Upstream,
    /// Issues the access tokens that the gateway takes.
    pub mint: Mint,
}

/// Answers at the control API's routes: who asks, and by what.
async fn says_who(caller: InstanceCaller) -> Response<Body> {
    let by = caller.token().map_or("its certificate", |_| "a token");
    let text = format!("{} by {by}", caller.spiffe_id());
    Response::new(Full::from(text).boxed())
}

/// Answers where the authorization server would, whoever is nobody.
async fn says_nobody() -> Response<Body> {
    let text = Full::from("nobody of the authorization server's");
    let mut response = Response::new(text.boxed());
    *response.status_mut() = http::StatusCode::UNAUTHORIZED;
    response
}

/// What came back from a door.
#[derive(Debug)]
pub struct Came {
    pub status: u16,
    pub text: String,
}

impl Stand {
    pub async fn new(modern: bool) -> Self {
        Self::with(modern, |_| {}).await
    }

    /// Returns a stand whose estate was changed by `change`.
    pub async fn with(modern: bool, change: impl FnOnce(&mut Estate)) -> Self {
        Self::configured(modern, change, |_| {}).await
    }

    /// Returns a stand whose estate was changed by `change`, and its gateway by `configure`.
    pub async fn configured(
        modern: bool,
        change: impl FnOnce(&mut Estate),
        configure: impl FnOnce(&mut GatewayConfig),
    ) -> Self {
        let mut estate = office(&[]);
        let tools = definitions(&estate);
        let upstream = Upstream::start(modern, tools).await;
        if let Some(server) = estate.servers.get_mut("tickets") {
            let credential = CredentialUse {
                reference: "tickets".into(),
                placement: CredentialPlacement::Bearer,
            };
            server.transport = Transport::Http {
                url: upstream.url.clone(),
                credential: Some(credential),
            };
        }
        change(&mut estate);
        let mut world = World::new(estate, 1);
        let (started, caller) = world.start();
        let (_, other) = world.start();
        let sequencer = world.take_sequencer();
        std::thread::spawn(move || sequencer.run());
        let sandbox = SandboxPolicy::Bubblewrap {
            program: "/usr/bin/bwrap".into(),
            estate: "/".into(),
            protected: Vec::new(),
        };
        let mut config = GatewayConfig::new(sandbox);
        config.upstream_answer_timeout = Duration::from_secs(2);
        config.stdio_processes_max = 1;
        let mint = Mint::new(1);
        config.tokens = Some(mint.config());
        config.fallback = Some(Arc::new(|_, caller| Box::pin(says_who(caller))));
        config.unknown = Some(Arc::new(|_| Box::pin(says_nobody())));
        config.hosts = Hosts::new(["gate.example".to_owned()]);
        config.strangers_refused = Arc::clone(&mint.strangers);
        configure(&mut config);
        let secrets = Arc::new(|name: &str| {
            (name == "tickets").then(|| Secret::new(CREDENTIAL.as_bytes()).unwrap())
        });
        let gateway = Gateway::new(
            config,
            world.handle.clone(),
            world.clock.to_clock(),
            secrets,
        );
        Self {
            world,
            gateway,
            caller,
            other,
            task: started.task.id,
            upstream,
            mint,
        }
    }

    /// Sends `message` as a legacy client does.
    pub async fn post(&self, path: &str, message: &str) -> Came {
        self.send(path, &[], message).await
    }

    /// Sends a call as a client of the modern era does.
    pub async fn post_modern(
        &self,
        path: &str,
        method: &str,
        name: Option<&str>,
        params: &str,
    ) -> Came {
        let meta = r#""_meta":{"io.modelcontextprotocol/clientCapabilities":{},"io.modelcontextprotocol/protocolVersion":"2026-07-28"}"#;
        let separator = if params.is_empty() { "" } else { "," };
        let message = format!(
            r#"{{"jsonrpc":"2.0","id":"m","method":"{method}","params":{{{meta}{separator}{params}}}}}"#
        );
        let mut headers = vec![
            ("mcp-protocol-version", "2026-07-28"),
            ("mcp-method", method),
        ];
        headers.extend(name.map(|it| ("mcp-name", it)));
        self.send(path, &headers, &message).await
    }

    pub async fn send(&self, path: &str, headers: &[(&str, &str)], message: &str) -> Came {
        let mut request = Request::builder()
            .method("POST")
            .uri(path)
            .header("host", "localhost");
        if !headers.iter().any(|it| it.0 == "content-type") {
            request = request.header("content-type", "application/json");
        }
        if !headers.iter().any(|it| it.0 == "accept") {
            request = request.header("accept", "application/json, text/event-stream");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request
            .body(Full::new(Bytes::from(message.to_owned())))
            .unwrap();
        read(self.gateway.answer(request, &self.caller).await).await
    }

    /// Calls `tool` at the server's own door as a legacy client does.
    pub async fn call(&self, tool: &str, arguments: &str) -> Came {
        let message = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"{tool}","arguments":{arguments}}}}}"#
        );
        self.post("/s/tickets/mcp", &message).await
    }

    /// Returns the records that `pick` picks, once there are `count`: outcomes are written a moment after the answer.
    pub fn records<T>(&self, count: usize, pick: impl Fn(&RecordBody) -> Option<T>) -> Vec<T> {
        loop {
            let records: Vec<Record> = self.world.records();
            let picked: Vec<_> = records.iter().filter_map(|it| pick(&it.body)).collect();
            if picked.len() >= count {
                return picked;
            }
            std::thread::yield_now();
        }
    }

    /// Returns how the acts ended, once there are `count`.
    pub fn outcomes(&self, count: usize) -> Vec<&'static str> {
        self.records(count, |it| match it {
            RecordBody::Performed(performed) => Some(performed.status.as_str()),
            _ => None,
        })
    }
}

impl Came {
    pub fn value(&self) -> Value {
        json::parse(self.text.as_bytes()).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    /// Returns the result's stable code, or what the result's first text says, or the error's code.
    pub fn gist(&self) -> String {
        let value = self.value();
        if let Some(error) = value.get("error") {
            let code = error
                .get("data")
                .and_then(|it| it.get("code"))
                .and_then(Value::as_str);
            return code.map_or_else(|| error.get("code").unwrap().to_canonical(), str::to_owned);
        }
        let result = value.get("result").unwrap();
        let refusal = result
            .get("_meta")
            .and_then(|it| it.get("ambit/refusal"))
            .and_then(|it| it.get("code"));
        if let Some(code) = refusal.and_then(Value::as_str) {
            assert_eq!(result.get("isError"), Some(&true.into()), "{self:?}");
            return code.to_owned();
        }
        let content = result
            .get("content")
            .and_then(Value::as_array)
            .and_then(|it| it.first());
        content
            .and_then(|it| it.get("text"))
            .and_then(Value::as_str)
            .unwrap_or("no text")
            .to_owned()
    }
}

pub async fn read(response: Response<Body>) -> Came {
    let status = response.status().as_u16();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    Came {
        status,
        text: String::from_utf8(bytes.to_vec()).unwrap(),
    }
}

/// Returns the definitions that the estate's one server was registered with.
pub fn definitions(estate: &Estate) -> Vec<Value> {
    estate.servers["tickets"]
        .tools
        .values()
        .map(|it| it.definition.clone())
        .collect()
}

/// Lets the agent `clerk` reach `port` of the loopback for its model.
pub fn allow_endpoint(estate: &mut Estate, port: u16) {
    if let Some(agent) = estate.agents.get_mut("clerk") {
        agent.model_endpoints.insert(Endpoint {
            host: "127.0.0.1".into(),
            port,
        });
    }
}
