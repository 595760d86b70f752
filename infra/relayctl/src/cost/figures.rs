//! Prices, and what an invocation was measured to take.

/// A warm invocation, as it was measured.
#[derive(Debug, Clone, Copy)]
pub(super) struct Measured {
    /// Of a whole processor.
    pub(super) cpu_ms: f64,
    pub(super) log_kb: f64,
}

/// List prices of us-east-1 in dollars, as of December 2025, without free tiers and discounts.
pub(super) mod price {
    pub(in crate::cost) const AS_OF: &str = "us-east-1, December 2025";
    /// A million requests to a REST API: <https://aws.amazon.com/api-gateway/pricing/>.
    pub(in crate::cost) const API_REQUESTS: f64 = 3.50;
    /// A million invocations, and a million GB-seconds on arm64:
    /// <https://aws.amazon.com/lambda/pricing/>.
    pub(in crate::cost) const INVOCATIONS: f64 = 0.20;
    pub(in crate::cost) const GB_SECONDS: f64 = 13.3334;
    /// A million request units on demand: <https://aws.amazon.com/dynamodb/pricing/on-demand/>.
    pub(in crate::cost) const WRITE_UNITS: f64 = 0.625;
    pub(in crate::cost) const READ_UNITS: f64 = 0.125;
    /// A million requests to a standard queue: <https://aws.amazon.com/sqs/pricing/>.
    pub(in crate::cost) const QUEUE_REQUESTS: f64 = 0.40;
    /// A million custom events; AWS's own cost nothing: <https://aws.amazon.com/eventbridge/pricing/>.
    pub(in crate::cost) const EVENTS: f64 = 1.00;
    /// A million KB of logs: <https://aws.amazon.com/cloudwatch/pricing/>.
    pub(in crate::cost) const LOG_KB: f64 = 0.50;
    /// A month, the first 10,000; each combination of dimensions is one. Also there: an alarm, a dashboard,
    /// and a million requests that put metrics.
    pub(in crate::cost) const METRIC: f64 = 0.30;
    pub(in crate::cost) const ALARM: f64 = 0.10;
    pub(in crate::cost) const DASHBOARD: f64 = 3.00;
    pub(in crate::cost) const METRIC_REQUESTS: f64 = 10.00;
    /// A month: <https://aws.amazon.com/secrets-manager/pricing/>.
    pub(in crate::cost) const SECRET: f64 = 0.40;
}

/// Ours, by `make bench`.
pub(super) mod ours {
    use super::Measured;

    pub(in crate::cost) const AUTHORIZE: Measured = Measured { cpu_ms: 0.21, log_kb: 0.71 };
    pub(in crate::cost) const POLL: Measured = Measured { cpu_ms: 0.25, log_kb: 0.47 };
    pub(in crate::cost) const START: Measured = Measured { cpu_ms: 0.50, log_kb: 1.12 };
    pub(in crate::cost) const LAUNCH: Measured = Measured { cpu_ms: 0.50, log_kb: 1.09 };
    pub(in crate::cost) const RUNNING: Measured = Measured { cpu_ms: 0.53, log_kb: 0.73 };
    pub(in crate::cost) const END: Measured = Measured { cpu_ms: 0.74, log_kb: 1.16 };
    pub(in crate::cost) const WEBHOOK: Measured = Measured { cpu_ms: 0.64, log_kb: 1.33 };
    pub(in crate::cost) const SWEEP: Measured = Measured { cpu_ms: 3.80, log_kb: 0.70 };
}

/// A server's in Python, which asks Step Functions, and logs nothing.
pub(super) mod theirs {
    use super::Measured;

    pub(in crate::cost) const START: Measured = Measured { cpu_ms: 21.1, log_kb: 0.0 };
    pub(in crate::cost) const POLL: Measured = Measured { cpu_ms: 8.3, log_kb: 0.0 };
    pub(in crate::cost) const RESULTS: Measured = Measured { cpu_ms: 14.9, log_kb: 0.0 };
}
