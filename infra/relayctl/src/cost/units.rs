//! The write units that each step of a run consumes, which is called back and has an
//! `Idempotency-Key`, at most a kilobyte of input and of output: as DynamoDB counts them, by the sizes
//! of the items, twice in a transaction, and once for each entry of an index that changes.
//!
//! `tests/tests/faults/counts.rs` holds them against what DynamoDB says that it was.

/// Function and operation; of the table itself, of its index of owners, and of that of debts.
pub(crate) const OF_A_RUN: [(&str, [f64; 3]); 7] = [
    // The starts counter.
    ("start UpdateItem", [1.0, 0.0, 0.0]),
    // The state, the input, the callback, the idempotency key.
    ("start TransactWriteItems", [8.0, 1.0, 1.0]),
    // The claim, and that it is launched.
    ("launch UpdateItem", [2.0, 2.0, 2.0]),
    // That it runs.
    ("status UpdateItem", [1.0, 1.0, 0.0]),
    // The output.
    ("status PutItem", [1.0, 0.0, 0.0]),
    // The end, the expiry of the other parts, the delivery.
    ("status TransactWriteItems", [10.0, 1.0, 2.0]),
    // The lease, and the record.
    ("webhook UpdateItem", [2.0, 0.0, 3.0]),
];
