//! Sorting what an upstream sends while a request is under way.

use std::sync::atomic::{AtomicBool, Ordering};

use ambit_core::json::Value;
use tokio::sync::mpsc;

use super::{Notice, UpstreamError};
use crate::{
    limits::UPSTREAM_NOTIFICATIONS_MAX,
    mcp::{
        era::Era,
        wire::{self, Id, METHOD_NOT_FOUND, Message, RpcError},
    },
};

/// Sorts the messages of one request.
#[derive(Debug)]
pub(crate) struct Collector<'a> {
    id: i64,
    era: Era,
    notices: Option<&'a mpsc::Sender<Notice>>,
    changed: &'a AtomicBool,
    seen: usize,
}

/// What became of a message.
#[derive(Debug)]
pub(crate) enum Taken {
    /// It was passed on or dropped.
    Nothing,
    /// The upstream wants this answer.
    Reply(String),
    /// It answers the request.
    Answer(Result<Value, RpcError>),
}

impl<'a> Collector<'a> {
    /// Returns a sorter for the request `id`. Sets `changed` when the server says that its tools changed.
    pub(crate) fn new(
        id: i64,
        era: Era,
        notices: Option<&'a mpsc::Sender<Notice>>,
        changed: &'a AtomicBool,
    ) -> Self {
        Self {
            id,
            era,
            notices,
            changed,
            seen: 0,
        }
    }

    /// Takes one message.
    ///
    /// # Errors
    /// [`UpstreamError::Flood`] beyond [`UPSTREAM_NOTIFICATIONS_MAX`] messages; [`UpstreamError::Malformed`] for an
    /// answer to another request and for requests in the modern era.
    pub(crate) fn take(&mut self, message: Message) -> Result<Taken, UpstreamError> {
        match message {
            Message::Response(answer) if answer.id == Some(Id::Integer(self.id)) => {
                Ok(Taken::Answer(answer.outcome))
            }
            Message::Response(_) => Err(UpstreamError::Malformed("it answers another request")),
            Message::Request(_) if self.era == Era::Modern => {
                Err(UpstreamError::Malformed("it sends requests"))
            }
            Message::Request(request) => {
                self.count()?;
                Ok(Taken::Reply(reply_to(&request.id, &request.method)))
            }
            Message::Notification { method, params } => {
                self.count()?;
                if method == TOOLS_CHANGED {
                    self.changed.store(true, Ordering::Release);
                }
                if let (Some(notices), Some(notice)) = (
                    self.notices,
                    notice(self.id, &method, Value::Object(params)),
                ) {
                    // A slow agent misses progress; it never slows the upstream down.
                    let _dropped = notices.try_send(notice);
                }
                Ok(Taken::Nothing)
            }
        }
    }

    fn count(&mut self) -> Result<(), UpstreamError> {
        self.seen += 1;
        if self.seen > UPSTREAM_NOTIFICATIONS_MAX {
            Err(UpstreamError::Flood)
        } else {
            Ok(())
        }
    }
}

/// Returns the answer to a server's request: a ping is answered, everything else is not offered.
pub(super) fn reply_to(id: &Id, method: &str) -> String {
    if method == "ping" {
        return wire::result_text(id, &Value::object([]));
    }
    let error = RpcError::new(
        METHOD_NOT_FOUND,
        "this client answers no requests of servers",
    );
    wire::error_text(Some(id), &error)
}

/// Returns what of a notification is passed on: progress of the request `id`, and log messages.
pub(super) fn notice(id: i64, method: &str, params: Value) -> Option<Notice> {
    let method = match method {
        "notifications/progress" if params.get("progressToken") == Some(&Value::Integer(id)) => {
            "notifications/progress"
        }
        "notifications/message" => "notifications/message",
        _ => return None,
    };
    Some(Notice { method, params })
}

/// What a server says when its tools changed.
pub(super) const TOOLS_CHANGED: &str = "notifications/tools/list_changed";

#[cfg(test)]
mod tests {
    use super::*;

    fn check(era: Era, text: &str, expected: &str) {
        let (sender, mut receiver) = mpsc::channel(4);
        let changed = AtomicBool::new(false);
        let taken = Collector::new(7, era, Some(&sender), &changed)
            .take(wire::read(text.as_bytes()).unwrap());
        let got = match taken {
            Ok(Taken::Nothing) => format!("{:?}", receiver.try_recv().ok().map(|it| it.method)),
            Ok(Taken::Reply(text)) => text,
            Ok(Taken::Answer(outcome)) => format!("answer {}", outcome.is_ok()),
            Err(error) => error.code().to_owned(),
        };
        assert_eq!(got, expected, "{text}");
    }

    #[test]
    fn each_message_goes_where_it_belongs() {
        check(
            Era::Modern,
            r#"{"jsonrpc":"2.0","id":7,"result":{}}"#,
            "answer true",
        );
        check(
            Era::Modern,
            r#"{"jsonrpc":"2.0","id":"7","result":{}}"#,
            "answer_malformed",
        );
        check(
            Era::Modern,
            r#"{"jsonrpc":"2.0","id":8,"result":{}}"#,
            "answer_malformed",
        );
        check(
            Era::Modern,
            r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#,
            "answer_malformed",
        );
        check(
            Era::Legacy,
            r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#,
            r#"{"id":1,"jsonrpc":"2.0","result":{}}"#,
        );
        check(
            Era::Legacy,
            r#"{"jsonrpc":"2.0","id":"s","method":"sampling/createMessage"}"#,
            r#"{"error":{"code":-32601,"message":"this client answers no requests of servers"},"id":"s","jsonrpc":"2.0"}"#,
        );
        let progress = |token: i64| {
            format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token}}}}}"#
            )
        };
        check(
            Era::Legacy,
            &progress(7),
            "Some(\"notifications/progress\")",
        );
        check(Era::Legacy, &progress(8), "None");
        check(
            Era::Legacy,
            r#"{"jsonrpc":"2.0","method":"notifications/x"}"#,
            "None",
        );
    }

    #[test]
    fn a_flood_ends_the_request() {
        let changed = AtomicBool::new(false);
        let mut collector = Collector::new(1, Era::Legacy, None, &changed);
        let notification =
            || wire::read(br#"{"jsonrpc":"2.0","method":"notifications/message"}"#).unwrap();
        for _ in 0..UPSTREAM_NOTIFICATIONS_MAX {
            assert!(collector.take(notification()).is_ok());
        }
        assert!(matches!(
            collector.take(notification()),
            Err(UpstreamError::Flood)
        ));
    }

    #[test]
    fn a_slow_agent_misses_what_is_too_much() {
        use crate::limits::NOTIFICATIONS_WAITING_MAX;
        let check = |count: usize| {
            let (sender, mut receiver) = mpsc::channel(NOTIFICATIONS_WAITING_MAX);
            let changed = AtomicBool::new(false);
            let mut collector = Collector::new(7, Era::Legacy, Some(&sender), &changed);
            let text = r#"{"jsonrpc":"2.0","method":"notifications/message","params":{}}"#;
            for _ in 0..count {
                collector
                    .take(wire::read(text.as_bytes()).unwrap())
                    .unwrap();
            }
            std::iter::from_fn(|| receiver.try_recv().ok()).count()
        };
        assert_eq!(check(NOTIFICATIONS_WAITING_MAX), NOTIFICATIONS_WAITING_MAX);
        assert_eq!(
            check(NOTIFICATIONS_WAITING_MAX + 1),
            NOTIFICATIONS_WAITING_MAX
        );
    }
}
