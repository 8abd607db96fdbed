-- Where the spans of a notice belong: the traceparent of its payment and behind a space its tracestate. NULL where the
-- request was not sampled.
ALTER TABLE outbox ADD COLUMN trace text;
