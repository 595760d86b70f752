//! Rules that are broken on purpose, one at a time, to see that the models find it.

/// One broken rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Flaw {
    /// A run is started under another name by each attempt.
    NamelessStart,
    /// A run is claimed again however long ago its first claim was.
    ClaimForEver,
    /// A run is claimed first although its caller has cancelled it.
    ClaimOfCancelled,
    /// An end because nobody has claimed the run ignores that somebody has.
    UnclaimedEndOfClaimed,
    /// A refused start ends the run at once, whatever became of earlier attempts.
    RefusedEndsAtOnce,
    /// The same of a denied one.
    DeniedEndsAtOnce,
    /// A run is lost so long after its claim, whoever may still start it.
    LostSinceClaim,
    /// A presumed end is final.
    PresumedIsFinal,
    /// A presumed end owes nothing.
    PresumedOwesNothing,
    /// A run that is known to run owes nothing.
    RunningOwesNothing,
    /// Any event moves the run.
    AnyMoveFollows,
    /// A stop is marked whatever the redrive.
    StopOfAnyRedrive,
    /// Who stops a run gives its own reason, whichever was written first.
    StopByItsOwnReason,
    /// The run is stopped before it is written why.
    StopBeforeReason,
    /// An outcome replaces any other.
    OutcomeReplacesAny,
    /// What is owed for an end is stored after the end.
    OwedAfterEnd,
    /// A presumed end is taken for the end without another poll.
    ConfirmWithoutLook,
    /// A run whose time is up is not stopped.
    NoDeadline,
    /// An agent does not say in which redrive it asks.
    UnsaidRedrive,
    /// An end ignores that a question was opened or closed since the row was read.
    EndIgnoresSequence,
    /// A question is opened or closed whatever was opened or closed since the row was read.
    TurnIgnoresSequence,
    /// An answer that nobody waits for any more came too late, however often it was attempted.
    GoneIsLapsed,
    /// A delivery is leased although another holds it.
    LeaseOfHeld,
    /// A delivery is leased although it is over.
    LeaseOfDone,
    /// A lease is shorter than its holder lives.
    ShortLease,
    /// A failed attempt owes nothing.
    FailureOwesNothing,
    /// A repeated request of a batch starts its runs anew.
    StartWithoutKey,
    /// That a start of a batch is refused is not written under its key.
    RefuseUnwritten,
    /// A batch without a marker is complete, whether it was closed before that was seen or after.
    CompleteByOneLook,
    /// A batch is completed although it is complete.
    CompleteTwice,
    /// A run is claimed with a slot that another holds.
    ClaimOfTaken,
    /// A run that has waited is claimed, and due as late as one that waits.
    ClaimStaysFar,
    /// The same of one that has joined a line since its row was read.
    ClaimOfJoined,
    /// A run that has nothing to take is claimed with an empty list of slots.
    EmptySlots,
    /// A run that has ended keeps its slots.
    EndKeeps,
    /// An end frees the slots that its run held when the row was read, whoever holds them by now.
    EndOfAnySlots,
    /// A run that held slots when its row was read is moved whatever it holds by now.
    HeldSlotsUnseen,
    /// A presumed end frees the slots.
    PresumedFrees,
    /// A line is looked after once somebody has joined it.
    JoinUnopened,
    /// A line is closed although somebody is about to join it.
    CloseOfJoined,
    /// A run joins a line although it is claimed.
    WaitOfClaimed,
    /// A repeated write owes a delivery again that was delivered meanwhile.
    OwedByRepetition,
}
