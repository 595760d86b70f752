//! The write units that each step of a run consumes, which is called back and has an
//! `Idempotency-Key`, at most a kilobyte of input and of output: as DynamoDB counts them, by the sizes
//! of the items, twice in a transaction, and once for each entry of an index that changes.
//!
//! `tests/tests/faults/counts.rs` holds them against what DynamoDB says that it was.

/// Function and operation; of the table itself, of its index by user, and of that of debts.
pub(crate) const OF_A_RUN: [(&str, [f64; 3]); 7] = [
    // The starts counter.
    ("start UpdateItem", [1.0, 0.0, 0.0]),
    // The state, the input, the callback, the idempotency key.
    ("start TransactWriteItems", [8.0, 1.0, 1.0]),
    // The claim; neither index has it.
    ("launch UpdateItem", [1.0, 0.0, 0.0]),
    // That it runs, which leaves what it owes as it was.
    ("status UpdateItem", [1.0, 0.0, 0.0]),
    // The output.
    ("status PutItem", [1.0, 0.0, 0.0]),
    // The end, which leaves the index of debts, and the delivery, which enters it.
    ("status TransactWriteItems", [4.0, 0.0, 2.0]),
    // The lease, the budget of the host, and the record, which leaves the index.
    ("webhook UpdateItem", [3.0, 0.0, 1.0]),
];
