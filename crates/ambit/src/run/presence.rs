//! The runner's presence: by it the server knows that the runner is there.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use ambit_core::json::Value;
use http::{Method, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::sleep;

use super::{
    Voice,
    uplink::{Uplink, UplinkError},
};
use crate::{client::Client, output::complain};

/// How often a runner looks for a server that went away: much more often than a server that was started waits for it.
const RETURN_EVERY: Duration = Duration::from_millis(500);

/// What holds the presence, and who is told of its end.
pub(super) struct Watched {
    pub(super) uplink: Uplink,
    pub(super) client: Client,
    pub(super) voice: Voice,
    /// The command has ended: from then on nothing here is news.
    pub(super) over: Arc<AtomicBool>,
}

/// What one more try to be present came to.
enum Return {
    Present(Incoming),
    /// The server is there, and the task is not.
    TaskOver,
    /// The server does not answer yet.
    Away,
}

impl Watched {
    /// Holds the presence. Its end is the task's end, unless the server itself went away: then the runner comes back as
    /// soon as the server does.
    pub(super) async fn watch(self, mut presence: Incoming) {
        loop {
            while let Some(Ok(_)) = presence.frame().await {}
            if self.over.load(Ordering::Relaxed) {
                return;
            }
            let mut away = self.come_back().await;
            if matches!(away, Return::Away) {
                self.say(
                    "the server is away; what the command asks for now is refused until it is back",
                );
            }
            while matches!(away, Return::Away) {
                sleep(RETURN_EVERY).await;
                away = self.come_back().await;
            }
            let Return::Present(back) = away else {
                return self.say("the task has ended; what the command asks for now is refused");
            };
            self.say("the server is back, and the task goes on");
            presence = back;
        }
    }

    async fn come_back(&self) -> Return {
        match self.uplink.ask(Method::GET, "/v1/presence").await {
            Ok(response) => Return::Present(response.into_body()),
            // It still takes the presence that ended for this one, or it is busy.
            Err(UplinkError::Refused(StatusCode::CONFLICT | StatusCode::SERVICE_UNAVAILABLE)) => {
                Return::Away
            }
            Err(UplinkError::Refused(_)) => Return::TaskOver,
            Err(UplinkError::Connect { .. } | UplinkError::Broken(_) | UplinkError::Form(_)) => {
                self.look_up().await;
                Return::Away
            }
        }
    }

    /// Asks where the gateway is now. Whoever may not ask keeps the address that was.
    async fn look_up(&self) {
        let Ok(status) = self.client.get("/v1/status").await else {
            return;
        };
        let gateway = status.get("gateway").and_then(Value::as_str);
        let gateway = gateway.map(|it| it.strip_prefix("https://").unwrap_or(it));
        if let Some(address) = gateway.and_then(|it| it.parse().ok()) {
            self.uplink.move_to(address);
        }
    }

    fn say(&self, text: &str) {
        if self.voice == Voice::Spoken && !self.over.load(Ordering::Relaxed) {
            complain(&format!("ambit: {text}"));
        }
    }
}
