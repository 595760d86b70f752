//! The same for longer: tens of millions of states, for `make test-all`.

use std::{num::NonZeroUsize, thread::available_parallelism};

use model::{
    batch::Batch,
    configs::{large_batches, large_deliveries, large_runs, large_slots},
    delivery::Deliver,
    explore::explore_all,
    run::Run,
    slots::Slots,
};

#[test]
fn nothing_is_found_in_tens_of_millions_of_states() {
    let threads = available_parallelism().map_or(1, NonZeroUsize::get);
    explore_all("run", large_runs().map(|it| Run::new(it, None)), threads);
    explore_all("batch", large_batches().into_iter().map(|it| Batch::new(it, None)), threads);
    explore_all("slots", large_slots().into_iter().map(|it| Slots::new(it, None)), threads);
    explore_all("delivery", large_deliveries().map(|it| Deliver::new(it, None)), threads);
}
