//! Traces for those who run Ambit: one span per call, sent to an OpenTelemetry collector (OTLP over HTTP, protobuf).
//!
//! They are a copy and never the record: what can't be sent is dropped. No argument and no result stands in them.

use std::{fmt, time::Duration};

use bytes::Bytes;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_proto::{
    tonic::collector::trace::v1::ExportTraceServiceRequest,
    transform::{
        common::tonic::ResourceAttributesWithSchema,
        trace::tonic::group_spans_by_resource_and_scope,
    },
};
use opentelemetry_sdk::{
    Resource,
    error::{OTelSdkError, OTelSdkResult},
    trace::{
        BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracer, SdkTracerProvider, SpanData,
        SpanExporter,
    },
};
use prost::Message;
use tokio::runtime::Handle;

use super::fetch::{Fetcher, told};
use crate::config::TelemetryConfig;

/// How many spans may wait to be sent; beyond it they are dropped.
const SPANS_WAITING_MAX: usize = 4096;
/// How many spans are sent at once.
const SPANS_SENT_MAX: usize = 512;
/// How long spans wait for others.
const SEND_EVERY: Duration = Duration::from_secs(1);
/// How long the spans that wait may take to be sent at the end.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// What makes spans, and sends them.
#[derive(Debug)]
pub(crate) struct Telemetry(SdkTracerProvider);

/// Posts spans.
struct Exporter {
    fetcher: Fetcher,
    url: String,
    runtime: Handle,
    resource: ResourceAttributesWithSchema,
}

impl Telemetry {
    /// Begins to send to the collector of `config`. Needs the asynchronous runtime.
    pub(crate) fn new(config: &TelemetryConfig, fetcher: Fetcher) -> Self {
        let exporter = Exporter {
            fetcher,
            url: config.traces(),
            runtime: Handle::current(),
            resource: ResourceAttributesWithSchema::default(),
        };
        Self(provider(exporter))
    }

    /// Returns what makes the spans.
    pub(crate) fn tracer(&self) -> SdkTracer {
        self.0.tracer("ambit")
    }

    /// Sends what waits, for a moment.
    pub(crate) async fn stop(self) {
        let stopping =
            tokio::task::spawn_blocking(move || self.0.shutdown_with_timeout(STOP_TIMEOUT));
        if let Ok(Err(error)) = stopping.await {
            tracing::warn!(%error, "the last spans were not sent");
        }
    }
}

/// Returns what makes spans and hands them to `exporter`, within bounds: what the environment says of them is not asked.
fn provider(exporter: impl SpanExporter + 'static) -> SdkTracerProvider {
    let bounds = BatchConfigBuilder::default()
        .with_max_queue_size(SPANS_WAITING_MAX)
        .with_max_export_batch_size(SPANS_SENT_MAX)
        .with_scheduled_delay(SEND_EVERY)
        .build();
    let processor = BatchSpanProcessor::builder(exporter);
    let resource = Resource::builder_empty().with_service_name("ambit");
    let version = opentelemetry::KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    SdkTracerProvider::builder()
        .with_sampler(Sampler::AlwaysOn)
        .with_resource(resource.with_attribute(version).build())
        .with_span_processor(processor.with_batch_config(bounds).build())
        .build()
}

impl SpanExporter for Exporter {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let request = ExportTraceServiceRequest {
            resource_spans: group_spans_by_resource_and_scope(batch, &self.resource),
        };
        let (fetcher, url) = (self.fetcher.clone(), self.url.clone());
        let body = Bytes::from(request.encode_to_vec());
        // Whoever calls this is no thread of the runtime, which the connection needs.
        let posting = self
            .runtime
            .spawn(async move { fetcher.post(&url, PROTOBUF, body).await });
        let failed = |why: String| {
            tracing::warn!(%why, "spans were not sent");
            Err(OTelSdkError::InternalFailure(why))
        };
        match posting.await {
            Ok(Ok(answer)) if answer.status.is_success() => Ok(()),
            Ok(Ok(answer)) => failed(format!("the collector answered {}", answer.status)),
            Ok(Err(error)) => failed(told(&error)),
            Err(error) => failed(error.to_string()),
        }
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.resource = resource.into();
    }
}

impl fmt::Debug for Exporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Exporter({})", self.url)
    }
}

/// The media type of what is sent.
const PROTOBUF: &str = "application/x-protobuf";

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use opentelemetry::trace::{Span, Tracer};

    use super::*;

    /// Takes spans, and counts them by the batch.
    #[derive(Clone, Debug, Default)]
    struct Counted(Arc<Mutex<Vec<usize>>>);

    impl SpanExporter for Counted {
        async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
            self.0.lock().unwrap().push(batch.len());
            Ok(())
        }
    }

    #[test]
    fn spans_are_sent_up_to_so_many_at_once() {
        let counted = Counted::default();
        let provider = provider(counted.clone());
        let tracer = provider.tracer("ambit");
        for _ in 0..=SPANS_SENT_MAX {
            tracer.start("call").end();
        }
        provider.shutdown().unwrap();
        let batches = counted.0.lock().unwrap();
        assert_eq!(batches.iter().sum::<usize>(), SPANS_SENT_MAX + 1);
        assert!(
            batches.iter().all(|it| *it <= SPANS_SENT_MAX),
            "{batches:?}"
        );
    }
}
