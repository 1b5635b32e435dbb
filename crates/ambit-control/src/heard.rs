//! For tests: what the log of the program says.

use std::{
    fmt,
    sync::{Arc, Mutex},
};

use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span,
    subscriber::DefaultGuard,
};

/// What was logged on this thread while it is held, one event after another.
pub(crate) struct Heard {
    text: Arc<Mutex<String>>,
    _guard: DefaultGuard,
}

struct Listener(Arc<Mutex<String>>);

struct Line<'a>(&'a mut String);

impl Heard {
    pub(crate) fn begin() -> Self {
        let text = Arc::default();
        let guard = tracing::subscriber::set_default(Listener(Arc::clone(&text)));
        Self {
            text,
            _guard: guard,
        }
    }

    /// Returns what was said since the last time.
    pub(crate) fn take(&self) -> String {
        std::mem::take(&mut *self.text.lock().unwrap())
    }
}

impl Subscriber for Listener {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut text = self.0.lock().unwrap();
        event.record(&mut Line(&mut text));
        text.push('\n');
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

impl Visit for Line<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.push_str(&format!("{field}={value:?} "));
    }
}
