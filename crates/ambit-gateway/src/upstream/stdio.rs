//! One task's conversation with a sandboxed process over standard input and output.
//!
//! One JSON-RPC message per line (MCP, "stdio"). The process ends with the conversation.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use ambit_core::json::Value;
use tokio::{
    io::{AsyncBufRead, AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader},
    process::{Child, ChildStdin},
    sync::{Notify, OwnedSemaphorePermit, mpsc, oneshot},
    time::timeout,
};

use super::{Answered, Call, Leave, Notice, UpstreamError, collector};
use crate::{
    limits::{
        STDIO_COMPLAINT_BYTES_MAX, STDIO_KILL_TIMEOUT, STDIO_REQUESTS_WAITING_MAX,
        UPSTREAM_ANSWER_BYTES_MAX, UPSTREAM_NOTIFICATIONS_MAX, UPSTREAM_STRAY_MESSAGES_MAX,
    },
    mcp::wire::{self, Id, Message, RpcError},
};

/// One task's conversation with a process.
#[derive(Debug)]
pub(crate) struct StdioChannel {
    outbox: mpsc::Sender<Letter>,
    shared: Arc<Shared>,
}

/// One message on its way to the process.
#[derive(Debug)]
struct Letter {
    text: String,
    /// The request that it carries: not written once nobody waits for its answer.
    request: Option<i64>,
    /// Until when it may be written.
    leave: Option<Leave>,
}

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<HashMap<i64, Waiting>>,
    complaint: Mutex<Vec<u8>>,
    closed: AtomicBool,
    end: Notify,
    changed: Arc<AtomicBool>,
}

#[derive(Debug)]
struct Waiting {
    answer: oneshot::Sender<Result<Answered, UpstreamError>>,
    notices: Option<mpsc::Sender<Notice>>,
    seen: usize,
}

impl StdioChannel {
    /// Takes over a started process; `slot` is given back when it has ended. Sets `changed` when the server says that
    /// its tools changed.
    ///
    /// # Errors
    /// [`UpstreamError::Start`] when the process was started without pipes.
    pub(crate) fn new(
        mut child: Child,
        slot: OwnedSemaphorePermit,
        changed: Arc<AtomicBool>,
    ) -> Result<Self, UpstreamError> {
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(stdin), Some(stdout), Some(stderr)) = pipes else {
            return Err(UpstreamError::Start("it has no pipes".into()));
        };
        let (outbox, letters) = mpsc::channel(STDIO_REQUESTS_WAITING_MAX);
        let shared = Arc::new(Shared {
            changed,
            ..Shared::default()
        });
        tokio::spawn(listen(stderr, Arc::clone(&shared)));
        let replies = outbox.downgrade();
        let driver = Arc::clone(&shared);
        tokio::spawn(async move {
            let ended = tokio::select! {
                () = write(stdin, letters, &driver) => UpstreamError::Closed,
                error = read(BufReader::new(stdout), &driver, &replies) => error,
                () = driver.end.notified() => UpstreamError::Closed,
            };
            // The slot is free before anybody hears of the end: whoever then asks again finds it.
            let _gone = timeout(STDIO_KILL_TIMEOUT, child.kill()).await;
            drop(slot);
            driver.close(&ended);
        });
        Ok(Self { outbox, shared })
    }

    /// Says whether the process has ended.
    pub(crate) fn is_closed(&self) -> bool {
        self.shared.closed.load(Ordering::Acquire)
    }

    /// Ends the process.
    pub(crate) fn close(&self) {
        self.shared.end.notify_one();
    }

    /// Returns the last words of the process, for its owner; never for an agent.
    pub(crate) fn complaint(&self) -> String {
        let bytes = self
            .shared
            .complaint
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Sends the request `text` named `id` and waits for its answer.
    pub(crate) async fn exchange(
        &self,
        id: i64,
        text: String,
        call: &Call<'_>,
        leave: Option<Leave>,
    ) -> Result<Answered, UpstreamError> {
        let (answer, answered) = oneshot::channel();
        let waiting = Waiting {
            answer,
            notices: call.notices.cloned(),
            seen: 0,
        };
        self.shared.waiting().insert(id, waiting);
        let _gone = Withdrawal { channel: self, id };
        let letter = Letter {
            text,
            request: Some(id),
            leave,
        };
        if self.is_closed() || self.outbox.send(letter).await.is_err() {
            let gone = std::io::ErrorKind::BrokenPipe.into();
            return Err(UpstreamError::Unreachable(gone));
        }
        answered.await.unwrap_or(Err(UpstreamError::Closed))
    }

    /// Sends a message that wants no answer.
    pub(crate) async fn tell(&self, text: String) -> Result<(), UpstreamError> {
        self.outbox
            .send(Letter::plain(text))
            .await
            .map_err(|_| UpstreamError::Closed)
    }
}

impl Drop for StdioChannel {
    fn drop(&mut self) {
        self.close();
    }
}

/// Whether a letter is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Departs {
    Now,
    Never,
}

/// Forgets a request when its caller goes away, and tells the server so.
struct Withdrawal<'a> {
    channel: &'a StdioChannel,
    id: i64,
}

impl Drop for Withdrawal<'_> {
    fn drop(&mut self) {
        if self.channel.shared.waiting().remove(&self.id).is_some() {
            let params = [("requestId", self.id.to_string())];
            let params: Vec<_> = params
                .iter()
                .map(|(name, value)| (*name, value.as_str()))
                .collect();
            let text = wire::notification_text("notifications/cancelled", &params);
            let _full = self.channel.outbox.try_send(Letter::plain(text));
        }
    }
}

impl Letter {
    /// Returns a message that may always be written.
    const fn plain(text: String) -> Self {
        Self {
            text,
            request: None,
            leave: None,
        }
    }
}

impl Shared {
    /// Says whether a letter may be written now. A request that comes too late is answered, one that was withdrawn is
    /// forgotten: neither reaches the process.
    fn departs(&self, letter: &Letter) -> Departs {
        let Some(id) = letter.request else {
            return Departs::Now;
        };
        let mut waiting = self.waiting();
        if !waiting.contains_key(&id) {
            return Departs::Never;
        }
        let Some(Err(late)) = letter.leave.as_ref().map(Leave::check) else {
            return Departs::Now;
        };
        if let Some(entry) = waiting.remove(&id) {
            let _gone = entry.answer.send(Err(late));
        }
        Departs::Never
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, HashMap<i64, Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self, why: &UpstreamError) {
        self.closed.store(true, Ordering::Release);
        tracing::debug!(%why, "a stdio server ended");
        // Dropping the senders tells every waiting caller that the connection closed.
        self.waiting().clear();
    }

    /// Takes one line. The answer is what the server wants to hear back.
    fn take(&self, line: &[u8], strays: &mut usize) -> Result<Option<String>, UpstreamError> {
        let message =
            wire::read(line).map_err(|_| UpstreamError::Malformed("a line is no message"))?;
        match message {
            Message::Response(answer) => {
                let waiting = match &answer.id {
                    Some(Id::Integer(id)) => self.waiting().remove(id),
                    _ => None,
                };
                match waiting {
                    Some(waiting) => deliver(waiting, answer.outcome, line.len()),
                    None => *strays += 1,
                }
                Ok(None)
            }
            Message::Request(request) => {
                *strays += 1;
                Ok(Some(collector::reply_to(&request.id, &request.method)))
            }
            Message::Notification { method, params } => {
                if method == collector::TOOLS_CHANGED {
                    self.changed.store(true, Ordering::Release);
                }
                if !self.notify(&method, Value::Object(params)) {
                    *strays += 1;
                }
                Ok(None)
            }
        }
    }

    /// Passes a notification on to the request that it is about; says whether there is one.
    fn notify(&self, method: &str, params: Value) -> bool {
        let mut waiting = self.waiting();
        let about = params.get("progressToken").and_then(Value::as_integer);
        // A log message names no request: it belongs to the only one, or to none.
        let only = (waiting.len() == 1)
            .then(|| waiting.keys().next().copied())
            .flatten();
        let Some(id) = about.or(only) else {
            return false;
        };
        let Some(entry) = waiting.get_mut(&id) else {
            return false;
        };
        entry.seen += 1;
        if entry.seen > UPSTREAM_NOTIFICATIONS_MAX {
            if let Some(entry) = waiting.remove(&id) {
                let _gone = entry.answer.send(Err(UpstreamError::Flood));
            }
            return false;
        }
        if let (Some(notices), Some(notice)) =
            (&entry.notices, collector::notice(id, method, params))
        {
            let _dropped = notices.try_send(notice);
        }
        true
    }
}

fn deliver(waiting: Waiting, outcome: Result<Value, RpcError>, received_bytes: usize) {
    let _gone = waiting.answer.send(Ok(Answered {
        outcome,
        received_bytes,
    }));
}

async fn write(mut stdin: ChildStdin, mut letters: mpsc::Receiver<Letter>, shared: &Shared) {
    while let Some(mut letter) = letters.recv().await {
        if shared.departs(&letter) == Departs::Never {
            continue;
        }
        letter.text.push('\n');
        if stdin.write_all(letter.text.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// Reads lines until the stream ends, breaks the protocol or strays too often.
async fn read(
    mut stdout: impl AsyncBufRead + Unpin,
    shared: &Shared,
    replies: &mpsc::WeakSender<Letter>,
) -> UpstreamError {
    let (mut line, mut strays) = (Vec::new(), 0);
    loop {
        line.clear();
        match next_line(&mut stdout, &mut line, UPSTREAM_ANSWER_BYTES_MAX).await {
            Ok(true) => {}
            Ok(false) => return UpstreamError::Closed,
            Err(error) => return error,
        }
        if line.is_empty() {
            continue;
        }
        match shared.take(&line, &mut strays) {
            Ok(None) => {}
            Ok(Some(reply)) => {
                let _full = replies
                    .upgrade()
                    .map(|it| it.try_send(Letter::plain(reply)));
            }
            Err(error) => return error,
        }
        if strays > UPSTREAM_STRAY_MESSAGES_MAX {
            return UpstreamError::Flood;
        }
    }
}

/// Appends the next line without its end; says whether there was one.
async fn next_line(
    from: &mut (impl AsyncBufRead + Unpin),
    line: &mut Vec<u8>,
    bytes_max: usize,
) -> Result<bool, UpstreamError> {
    loop {
        let piece = from.fill_buf().await.map_err(|_| UpstreamError::Closed)?;
        if piece.is_empty() {
            return Ok(false);
        }
        let mut halves = piece.splitn(2, |it| *it == b'\n');
        let head = halves.next().unwrap_or_default();
        let whole = halves.next().is_some();
        line.extend_from_slice(head);
        let used = head.len() + usize::from(whole);
        from.consume(used);
        if line.len() > bytes_max {
            return Err(UpstreamError::TooLong);
        }
        if whole {
            if line.last() == Some(&b'\r') {
                line.pop();
            }
            return Ok(true);
        }
    }
}

/// Keeps the newest part of what the process complains about.
async fn listen(mut stderr: impl AsyncRead + Unpin, shared: Arc<Shared>) {
    let mut piece = [0; 1024];
    while let Ok(length) = stderr.read(&mut piece).await {
        if length == 0 {
            return;
        }
        let mut complaint = shared
            .complaint
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        complaint.extend(piece.iter().take(length));
        let excess = complaint.len().saturating_sub(STDIO_COMPLAINT_BYTES_MAX);
        complaint.drain(..excess);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn check(text: &[u8], bytes_max: usize) -> Vec<String> {
        let (mut reader, mut lines) = (BufReader::with_capacity(3, text), Vec::new());
        loop {
            let mut line = Vec::new();
            match next_line(&mut reader, &mut line, bytes_max).await {
                Ok(true) => lines.push(String::from_utf8(line).unwrap()),
                Ok(false) => return lines,
                Err(error) => {
                    lines.push(error.code().to_owned());
                    return lines;
                }
            }
        }
    }

    #[tokio::test]
    async fn lines_are_read_whole_up_to_their_maximum() {
        assert_eq!(check(b"abcd\nef\r\n\nrest", 4).await, ["abcd", "ef", ""]);
        assert_eq!(check(b"abcde\n", 4).await, ["answer_too_long"]);
    }

    #[tokio::test]
    async fn a_server_strays_only_so_often() {
        let check = async |count: usize| {
            let stray = "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\"}\n";
            let text = stray.repeat(count);
            let (outbox, _letters) = mpsc::channel(1);
            let shared = Shared::default();
            read(text.as_bytes(), &shared, &outbox.downgrade())
                .await
                .code()
        };
        assert_eq!(check(UPSTREAM_STRAY_MESSAGES_MAX).await, "server_closed");
        assert_eq!(
            check(UPSTREAM_STRAY_MESSAGES_MAX + 1).await,
            "server_flooded"
        );
    }

    #[tokio::test]
    async fn the_last_words_are_kept_up_to_their_maximum() {
        for more in [0, 1] {
            let text = "a".repeat(more) + &"b".repeat(STDIO_COMPLAINT_BYTES_MAX);
            let shared = Arc::new(Shared::default());
            listen(text.as_bytes(), Arc::clone(&shared)).await;
            let kept = shared.complaint.lock().unwrap().clone();
            assert_eq!(kept, vec![b'b'; STDIO_COMPLAINT_BYTES_MAX], "{more}");
        }
    }

    #[test]
    fn a_letter_that_is_late_or_withdrawn_is_not_written() {
        let check = |now: u64, is_waiting: bool| {
            let shared = Shared::default();
            let (answer, mut answered) = oneshot::channel();
            if is_waiting {
                let (notices, seen) = (None, 0);
                let entry = Waiting {
                    answer,
                    notices,
                    seen,
                };
                shared.waiting().insert(1, entry);
            }
            let moment = move || ambit_engine::Moment {
                now: ambit_core::Timestamp::from_millis(now),
                wall: ambit_core::Timestamp::from_millis(now),
                chance: [0; 32],
            };
            let leave = Leave {
                act_by: ambit_core::Timestamp::from_millis(10),
                clock: Arc::new(moment),
                departed: crate::upstream::Departed::default(),
            };
            let letter = Letter {
                text: String::new(),
                request: Some(1),
                leave: Some(leave),
            };
            let departs = shared.departs(&letter);
            let code = answered
                .try_recv()
                .ok()
                .and_then(Result::err)
                .map(|it| it.code());
            (departs, code)
        };
        assert_eq!(check(9, true), (Departs::Now, None));
        assert_eq!(check(10, true), (Departs::Never, Some("permit_stale")));
        assert_eq!(check(9, false), (Departs::Never, None));
    }
}
