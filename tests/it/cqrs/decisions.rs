//! Decisions over a query: what they depend on is any set of events.

use annals::cqrs::{CommandError, Context, Decided, Decision, Decisions, LoadError, Retry};
use annals::{EventRef, Expected, NewEvent, Position, Query, Store, StreamId};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::support::TempFolder;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Course {
    Opened { seats: u32 },
    Joined,
}

/// Joins a course, if it has a seat left.
#[derive(Clone, Serialize)]
struct Join {
    course: String,
    student: String,
}

fn join(course: &str, student: &str) -> Join {
    Join {
        course: course.to_owned(),
        student: student.to_owned(),
    }
}

impl Decision for Join {
    /// Seats left.
    type State = i64;
    type Event = Course;
    type Rejection = String;

    fn query(&self) -> Query {
        Query::all().tag(format!("course:{}", self.course))
    }

    fn initial(&self) -> i64 {
        0
    }

    fn evolve(&self, left: &mut i64, event: Course, _: EventRef<'_>) {
        match event {
            Course::Opened { seats } => *left += i64::from(seats),
            Course::Joined => *left -= 1,
        }
    }

    fn decide(&self, left: &i64) -> Result<Vec<Decided<Course>>, String> {
        if *left <= 0 {
            return Err(format!("{left} seats are left"));
        }
        let joined = |stream| Decided::new(stream, Course::Joined);
        Ok(vec![
            joined(StreamId::new("Student", self.student.as_str())).tag(format!("course:{}", self.course)),
        ])
    }
}

fn open(store: &Store, course: &str, seats: u32) {
    let opened = NewEvent::new("Opened")
        .data(format!("{{\"seats\":{seats}}}"))
        .tag(format!("course:{course}"));
    store
        .append(&StreamId::new("Course", course), Expected::NoStream, opened)
        .expect("a course");
}

#[test]
fn a_course_was_overbooked_by_many_threads() {
    let store = Store::in_memory();
    open(&store, "a", 20);
    let retry = Retry::default().attempts(1_000);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let decisions = Decisions::new(&store).retry(retry);
            scope.spawn(move || {
                for number in 0..10 {
                    let joined = decisions.execute(&join("a", &format!("student-{thread}-{number}")));
                    assert!(matches!(joined, Ok(_) | Err(CommandError::Rejected(_))), "{joined:?}");
                }
            });
        }
    });
    assert_eq!(store.query(Query::all().event_type("Joined")).count(), Ok(20));
}

#[test]
fn a_decision_that_comes_again_is_taken_once() {
    let folder = TempFolder::new();
    let url = format!("file:{}", folder.path().display());
    let id = Uuid::from_u128(1);
    {
        let store = Store::open_url(&url).expect("a store");
        open(&store, "a", 1);
        Decisions::new(&store)
            .execute_once(id, &join("a", "anna"))
            .expect("a seat");
        store.close().expect("it is written");
    }
    let store = Store::open_url(&url).expect("a store");
    let decisions = Decisions::new(&store);
    // The last seat is taken: a new decision would be rejected.
    let again = decisions.execute_once(id, &join("a", "anna")).expect("it is known");
    assert!(again.iter().all(|part| part.repeated) && again.len() == 1, "{again:?}");
    let other = decisions.execute_once(id, &join("a", "bert"));
    assert!(matches!(other, Err(CommandError::Reused { .. })), "{other:?}");
    let rejected = decisions.execute(&join("a", "bert"));
    assert_eq!(rejected, Err(CommandError::Rejected("0 seats are left".to_owned())));
    assert_eq!(store.visible(), Position(2));
}

#[test]
fn events_carry_the_context_of_their_decision() {
    let store = Store::in_memory();
    open(&store, "a", 1);
    let context = Context::new().user("anna").correlation("enrolment-7");
    let decisions = Decisions::new(&store).with_context(context);
    decisions.execute(&join("a", "anna")).expect("a seat");
    let event = store.event_at(Position(2)).expect("an event");
    assert_eq!(
        (event.user_id(), event.correlation_id()),
        (Some("anna"), Some("enrolment-7"))
    );
}

#[test]
fn an_event_that_does_not_decode_stops_the_decision() {
    let store = Store::in_memory();
    open(&store, "a", 1);
    let strange = NewEvent::new("Painted").tag("course:a");
    store
        .append(&StreamId::new("Course", "a"), Expected::Any, strange)
        .expect("an event");
    let decided = Decisions::new(&store).execute(&join("a", "anna"));
    assert!(
        matches!(&decided, Err(CommandError::Load(LoadError::Undecodable(error))) if error.position == Position(2)),
        "{decided:?}"
    );
    let skipping = Decisions::new(&store).unknown_events(annals::cqrs::UnknownEvents::Skip);
    assert!(skipping.execute(&join("a", "anna")).is_ok());
}

/// Closes courses: events of several aggregates, two of them of one.
#[derive(Serialize)]
struct OpenTwice;

impl Decision for OpenTwice {
    type State = ();
    type Event = Course;
    type Rejection = String;

    fn query(&self) -> Query {
        Query::all().event_type("Opened")
    }

    fn initial(&self) {}

    fn evolve(&self, (): &mut (), _: Course, _: EventRef<'_>) {}

    fn decide(&self, (): &()) -> Result<Vec<Decided<Course>>, String> {
        let opened = |id, seats| Decided::new(StreamId::new("Course", id), Course::Opened { seats });
        Ok(vec![opened("a", 1), opened("b", 2), opened("a", 3)])
    }
}

#[test]
fn events_of_one_aggregate_are_appended_together() {
    let store = Store::in_memory();
    let decisions = Decisions::new(&store);
    let id = Uuid::from_u128(5);
    for repeated in [false, true] {
        let appended = decisions.execute_once(id, &OpenTwice).expect("events");
        assert_eq!(appended.len(), 2);
        assert!(appended.iter().all(|part| part.repeated == repeated), "{appended:?}");
    }
    let seats = |id: &str| {
        let events = store.read_stream(id).events();
        events
            .iter()
            .map(|event| String::from_utf8_lossy(event.data()).into_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(seats("a"), [r#"{"seats":1}"#, r#"{"seats":3}"#]);
    assert_eq!(seats("b"), [r#"{"seats":2}"#]);
}
