//! What a sweep found, as CloudWatch metrics.

use aws_sdk_cloudwatch::{
    Client,
    types::{Dimension, MetricDatum, StandardUnit},
};
use relay::domain::error::Error;

const NAMESPACE: &str = "MCPServer/Agents";

/// What was done, or hinted at again, for an item whose message or event did not do it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repair {
    Launch,
    Event,
    Stop,
    Answer,
    Delivery,
}

impl Repair {
    pub(crate) const ALL: [Self; 5] =
        [Self::Launch, Self::Event, Self::Stop, Self::Answer, Self::Delivery];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Launch => "launch",
            // So dashboards and alarms know it.
            Self::Event => "news",
            Self::Stop => "stop",
            Self::Answer => "answer",
            Self::Delivery => "delivery",
        }
    }
}

/// What came of processing an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reconciled {
    /// Somebody else has, or there is no need.
    Elsewhere,
    /// All was as it should be.
    Checked,
    /// The budget leaves it out.
    PutOff,
    /// It was attempted in vain too often.
    GivenUp,
    /// The hint for a queued run was sent again.
    Queued {
        age_ms: u64,
    },
    Repaired(Repair),
}

#[derive(Debug, Default)]
pub(crate) struct Report {
    /// Runs that have not ended.
    pub(crate) open_runs: u64,
    /// Items that were processed.
    pub(crate) overdue: u64,
    /// Items, or whole pages, that could not be processed.
    pub(crate) failed: u64,
    /// Items that were attempted in vain too often.
    pub(crate) given_up: u64,
    /// All dead letters that no operator has replayed.
    pub(crate) dead: u64,
    /// Runs that the budget has left out, to be asked about later.
    pub(crate) put_off: u64,
    /// What was overdue, and for which the time has not sufficed.
    pub(crate) backlog: u64,
    oldest_queued_ms: u64,
    repaired: [u64; Repair::ALL.len()],
}

impl Report {
    /// All but the figures that are counted once.
    pub(crate) fn add(&mut self, more: &Self) {
        self.overdue += more.overdue;
        self.failed += more.failed;
        self.given_up += more.given_up;
        self.put_off += more.put_off;
        self.backlog += more.backlog;
        self.oldest_queued_ms = self.oldest_queued_ms.max(more.oldest_queued_ms);
        for (sum, more) in self.repaired.iter_mut().zip(more.repaired) {
            *sum += more;
        }
    }

    pub(crate) fn count(&mut self, reconciled: Reconciled) {
        let repair = match reconciled {
            Reconciled::Elsewhere => return,
            Reconciled::PutOff => {
                self.put_off += 1;
                return;
            }
            Reconciled::GivenUp => {
                self.given_up += 1;
                None
            }
            Reconciled::Checked => None,
            Reconciled::Queued { age_ms } => {
                self.oldest_queued_ms = self.oldest_queued_ms.max(age_ms);
                Some(Repair::Launch)
            }
            Reconciled::Repaired(repair) => Some(repair),
        };
        self.overdue += 1;
        if let Some(count) = repair.and_then(|repair| self.repaired.get_mut(repair as usize)) {
            *count += 1;
        }
    }

    pub(crate) fn repaired(&self, kind: Repair) -> u64 {
        self.repaired.get(kind as usize).copied().unwrap_or_default()
    }
}

#[derive(Debug)]
pub(crate) struct Reporter {
    client: Client,
    stack: String,
}

impl Reporter {
    pub(crate) fn new(client: Client, stack: String) -> Self {
        Self { client, stack }
    }

    pub(crate) async fn publish(&self, report: &Report) -> Result<(), Error> {
        let mut data = vec![
            self.datum("OpenRuns", report.open_runs, StandardUnit::Count, None),
            self.datum("OverdueItems", report.overdue, StandardUnit::Count, None),
            self.datum("SweepFailures", report.failed, StandardUnit::Count, None),
            self.datum("Backlog", report.backlog, StandardUnit::Count, None),
            self.datum("PutOff", report.put_off, StandardUnit::Count, None),
            self.datum("DeadItems", report.dead, StandardUnit::Count, None),
            self.datum(
                "OldestQueuedAge",
                report.oldest_queued_ms,
                StandardUnit::Milliseconds,
                None,
            ),
        ];
        for kind in Repair::ALL {
            data.push(self.datum(
                "Repaired",
                report.repaired(kind),
                StandardUnit::Count,
                Some(kind),
            ));
        }
        self.client
            .put_metric_data()
            .namespace(NAMESPACE)
            .set_metric_data(Some(data))
            .send()
            .await
            .map_err(Error::aws("publish metrics"))?;
        Ok(())
    }

    #[expect(clippy::cast_precision_loss, reason = "CloudWatch takes floating point numbers")]
    fn datum(
        &self,
        name: &str,
        value: u64,
        unit: StandardUnit,
        kind: Option<Repair>,
    ) -> MetricDatum {
        let dimension =
            |name: &str, value: &str| Dimension::builder().name(name).value(value).build();
        MetricDatum::builder()
            .metric_name(name)
            .value(value as f64)
            .unit(unit)
            .set_dimensions(Some(
                [
                    Some(dimension("Stack", &self.stack)),
                    kind.map(|kind| dimension("Kind", kind.as_str())),
                ]
                .into_iter()
                .flatten()
                .collect(),
            ))
            .build()
    }
}
