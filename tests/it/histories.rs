//! The checker of histories accepts what a correct store may return, and reports what it may not, with the operation.

use annals::testing::history::{Call, History, Note, Operation, Outcome, Part, Recovered, Seen, Watched, What};
use annals::testing::history_check::check;
use annals::{Appended, Conflict, Durability, Expected, Name, Position, StreamId, Version};

fn operation(invoked: u64, call: Call, outcome: Outcome) -> Operation {
    Operation {
        thread: 7,
        invoked,
        returned: invoked + 1,
        call,
        outcome,
    }
}

/// A call that appends events with these labels, whose tags are 10 times as high.
fn appending(aggregate: &str, expected: Expected, labels: &[u64]) -> Call {
    let note = |label: &u64| Note {
        label: *label,
        tag: 10 * label,
    };
    Call::Append {
        parts: vec![Part {
            aggregate: aggregate.into(),
            expected,
            events: labels.iter().map(note).collect(),
        }],
        condition: None,
        durability: Durability::Synced,
    }
}

fn acknowledged(count: u64, version: u64, position: u64) -> Outcome {
    let first = (Version(version), Position(position));
    let last = (Version(version + count - 1), Position(position + count - 1));
    Outcome::Appended(vec![Appended::new(first, last, Durability::Synced)])
}

fn append(invoked: u64, aggregate: &str, labels: &[u64], version: u64, position: u64) -> Operation {
    let call = appending(aggregate, Expected::Any, labels);
    operation(invoked, call, acknowledged(labels.len() as u64, version, position))
}

fn conflict(invoked: u64, expected: u64, actual: u64) -> Operation {
    let expected = Expected::exactly(expected);
    let conflict = Conflict::Version {
        stream: StreamId::new("Counter", "a"),
        expected,
        actual: Version(actual),
        position: Position(actual),
    };
    operation(invoked, appending("a", expected, &[9]), Outcome::Conflict(conflict))
}

fn delete(invoked: u64, outcome: Outcome) -> Operation {
    let call = Call::Drop {
        aggregate: "a".into(),
        expected: Expected::Any,
        before: None,
        durability: Durability::Synced,
    };
    operation(invoked, call, outcome)
}

/// The events of the correct history: `a` has 1 and 2, `b` has 3.
fn log() -> Vec<Seen> {
    [("a", 1, 1), ("a", 2, 2), ("b", 1, 3)]
        .map(|(aggregate, version, position)| seen(aggregate, version, position))
        .to_vec()
}

fn seen(aggregate: &str, version: u64, position: u64) -> Seen {
    Seen {
        position,
        aggregate: aggregate.into(),
        version,
        what: What::Note(position),
    }
}

fn deletion(position: u64) -> Seen {
    Seen {
        what: What::Deleted,
        ..seen("a", 1, position)
    }
}

/// A read of the whole log that saw these of its positions.
fn read(invoked: u64, positions: &[u64]) -> Operation {
    let there = log().into_iter().filter(|seen| positions.contains(&seen.position));
    operation(invoked, Call::ReadAll, Outcome::Read(there.collect()))
}

fn history(operations: Vec<Operation>) -> History {
    History {
        operations,
        visibility: Durability::Volatile,
        recovered: None,
    }
}

/// Two appends, one after the other, and what came after them.
fn with(more: impl IntoIterator<Item = Operation>) -> History {
    let mut operations = vec![append(0, "a", &[1, 2], 1, 1), append(10, "b", &[3], 1, 3)];
    operations.extend(more);
    history(operations)
}

fn recovered(mut history: History, end: u64, log: Vec<Seen>) -> History {
    history.recovered = Some(Recovered {
        survives: Durability::Synced,
        end,
        log,
        versions: Vec::<(Name, u64)>::new(),
    });
    history
}

/// An append to `a` under the condition that there is no event with the tag of the first event.
fn conditional(invoked: u64, after: u64, outcome: Outcome) -> Operation {
    let Call::Append { parts, durability, .. } = appending("a", Expected::Any, &[4]) else {
        panic!("it appends");
    };
    let condition = Some(Watched { tag: 10, after });
    let call = Call::Append {
        parts,
        condition,
        durability,
    };
    operation(invoked, call, outcome)
}

fn refused_by_condition(invoked: u64, after: u64, position: u64) -> Operation {
    let position = Position(position);
    conditional(invoked, after, Outcome::Conflict(Conflict::Condition { position }))
}

fn long(mut operation: Operation, returned: u64) -> Operation {
    operation.returned = returned;
    operation
}

fn in_doubt() -> Outcome {
    Outcome::InDoubt("the power is off".to_owned())
}

/// A conflict with the part of an append in doubt of which a deletion in doubt leaves the other part.
fn conflict_with_half_seen() -> History {
    let mut both = appending("a", Expected::Any, &[4]);
    if let (Call::Append { parts, .. }, Call::Append { parts: more, .. }) =
        (&mut both, appending("b", Expected::Any, &[5]))
    {
        parts.extend(more);
    }
    let label_5 = Seen {
        what: What::Note(5),
        ..seen("b", 1, 4)
    };
    let operations = vec![
        append(0, "a", &[1, 2], 1, 1),
        long(operation(10, both, in_doubt()), 30),
        conflict(20, 1, 3),
        long(delete(22, in_doubt()), 31),
    ];
    recovered(history(operations), 5, vec![label_5, deletion(5)])
}

#[test]
fn correct_histories_pass() {
    let doubtful = |invoked| operation(invoked, appending("b", Expected::Any, &[3]), in_doubt());
    let first = || append(0, "a", &[1, 2], 1, 1);
    let cases = [
        ("reads", with([read(20, &[1, 2, 3])])),
        ("a read beside an append", with([long(read(5, &[1, 2]), 30)])),
        (
            "a read beside a deletion",
            with([delete(20, Outcome::Dropped(Position(4))), long(read(19, &[3]), 30)]),
        ),
        ("a conflict", with([conflict(20, 1, 2)])),
        (
            "a conflict with a version that was overtaken",
            with([long(conflict(0, 2, 0), 30)]),
        ),
        ("a condition that fails", with([refused_by_condition(20, 0, 1)])),
        (
            "a condition that holds",
            with([conditional(20, 1, acknowledged(1, 3, 4))]),
        ),
        (
            "an append in doubt that was read",
            history(vec![first(), doubtful(2), read(20, &[1, 2, 3])]),
        ),
        (
            "an append in doubt that was not",
            history(vec![first(), doubtful(2), read(20, &[1, 2])]),
        ),
        (
            "a conflict with an append in doubt of which half was deleted",
            conflict_with_half_seen(),
        ),
        ("a recovery", recovered(with([]), 3, log())),
        (
            "an append in doubt that survived",
            recovered(history(vec![first(), doubtful(2)]), 3, log()),
        ),
        (
            "an append in doubt that did not",
            recovered(history(vec![first(), doubtful(2)]), 2, log()[..2].to_vec()),
        ),
        ("a deletion in doubt that survived", {
            let log = vec![seen("b", 1, 3), deletion(4)];
            recovered(with([delete(20, in_doubt())]), 4, log)
        }),
        (
            "a deletion in doubt that did not",
            recovered(with([delete(20, in_doubt())]), 3, log()),
        ),
    ];
    for (what, history) in cases {
        assert_eq!(check(&history), Ok(()), "{what}\n{history}");
    }
}

/// Checks that each history is reported with this fault, and the message names the operation by this part of it.
fn assert_reported(cases: impl IntoIterator<Item = (History, &'static str, &'static str)>) {
    for (history, fault, operation) in cases {
        let found = check(&history).expect_err(fault);
        assert!(found.contains(fault), "'{found}' instead of '{fault}'\n{history}");
        let names_it = found.contains("thread 7") || found.contains("by the recovery");
        assert!(names_it && found.contains(operation), "'{found}' has no {operation}");
    }
}

fn first() -> Operation {
    append(0, "a", &[1, 2], 1, 1)
}

/// The first append, acknowledged as volatile.
fn volatile() -> Operation {
    let mut append = first();
    if let Outcome::Appended(parts) = &mut append.outcome {
        parts[0].durability = Durability::Volatile;
    }
    if let Call::Append { durability, .. } = &mut append.call {
        *durability = Durability::Volatile;
    }
    append
}

#[test]
fn wrong_recoveries_are_reported() {
    let deleted = || with([delete(20, Outcome::Dropped(Position(4)))]);
    let lost = "an acknowledged event is lost";
    let mut without_2 = log();
    without_2.remove(1);
    let of_nobody = [log(), vec![seen("a", 3, 4)]].concat();
    let deletion_of_nobody = recovered(with([]), 4, [log(), vec![deletion(4)]].concat());
    let found = check(&deletion_of_nobody).expect_err("no thread deleted it");
    assert_eq!(found, "no thread dropped what position 4 says: a Deleted");
    let undeleted = [log(), vec![deletion(4)]].concat();
    let half = recovered(history(vec![volatile()]), 1, log()[..1].to_vec());
    assert_reported([
        (recovered(with([]), 2, log()[..2].to_vec()), lost, "#3"),
        (recovered(with([]), 3, without_2), "an event is lost: position 2", "#2"),
        (half, "half of an append: the recovered log ends at 1", "#1"),
        (recovered(with([]), 4, of_nobody), "no thread appended", "#4"),
        (
            recovered(deleted(), 4, undeleted),
            "a dropped event was recovered",
            "#1",
        ),
        (recovered(deleted(), 3, log()), lost, "delete synced a"),
    ]);
}

#[test]
fn wrong_acknowledgements_are_reported() {
    let after_first = |second| history(vec![first(), second]);
    let twice = after_first(append(10, "a", &[3], 2, 3));
    let gap = after_first(append(10, "a", &[3], 4, 3));
    let overlap = after_first(append(10, "b", &[3], 1, 2));
    let hole = after_first(append(10, "b", &[3], 1, 5));
    let back = history(vec![append(0, "a", &[1], 1, 2), append(10, "b", &[3], 1, 1)]);
    let unexpected = operation(20, appending("b", Expected::exactly(0), &[4]), acknowledged(1, 2, 4));
    let unmet = conditional(20, 0, acknowledged(1, 3, 4));
    assert_reported([
        (twice, "version 2 of a comes after version 2", "#3"),
        (gap, "versions of a have a hole after 2", "#3"),
        (overlap, "position 2 has two events", "#3"),
        (hole, "position 3 is a hole", "#3"),
        (back, "position 1 is not after 2", "#3"),
        (with([unexpected]), "a conflict was not found", "#4"),
        (with([unmet]), "the condition did not hold at 1", "#4"),
    ]);
}

#[test]
fn unjustified_conflicts_are_reported() {
    let wrong = [
        conflict(20, 1, 5),
        conflict(20, 2, 2),
        conflict(20, 1, 0),
        conflict(20, 3, 1),
    ];
    assert_reported(wrong.map(|conflict| (with([conflict]), "an unjustified conflict", "#9")));
    let wrong = [refused_by_condition(20, 1, 1), refused_by_condition(20, 0, 3)];
    assert_reported(wrong.map(|refused| (with([refused]), "an unjustified conflict", "#4")));
}

#[test]
fn wrong_reads_are_reported() {
    let deleted = delete(20, Outcome::Dropped(Position(4)));
    let back = [long(read(5, &[1, 2, 3]), 30), read(40, &[])];
    let doubtful = operation(10, appending("b", Expected::Any, &[3]), in_doubt());
    let early = history(vec![first(), read(5, &[1, 2, 3]), doubtful]);
    let half = history(vec![first(), read(1, &[1])]);
    assert_reported([
        (with([read(20, &[3])]), "a hole: position 1", "read_all"),
        (with([read(20, &[1, 2])]), "a stale read: position 3", "read_all"),
        (with(back), "a stale read: position 1", "read_all -> 0 events"),
        (with([read(20, &[1, 3])]), "half of an append: position 2", "read_all"),
        (half, "half of an append: position 2", "read_all"),
        (early, "an event was read before it was appended", "read_all"),
        (with([read(5, &[1, 2, 3])]), "position 3 is not after 3", "#3"),
        (
            with([deleted, read(30, &[1, 2, 3])]),
            "a dropped event was read",
            "read_all",
        ),
    ]);
}
