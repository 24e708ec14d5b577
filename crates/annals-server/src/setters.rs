//! The setters of settings, written once.

/// Gives a struct of settings a consuming setter for each field, with the name of the field. The setter takes the type that the field converts
/// from, so that the setter of an `Option<T>` takes `T`.
macro_rules! setters {
    ($settings:ident { $($field:ident: $type:ty,)+ }) => {
        impl $settings {
            $(
                #[doc = concat!("Sets [`", stringify!($field), "`](#structfield.", stringify!($field), ").")]
                #[must_use]
                pub fn $field(mut self, $field: $type) -> Self {
                    self.$field = $field.into();
                    self
                }
            )+
        }
    };
}

pub(crate) use setters;

/// The literals have all fields and no base, so a new field without a setter does not compile here.
#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::Limits;

    const SECOND: Duration = Duration::from_secs(1);
    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn every_setter_of_limits_sets_its_field() {
        let set = Limits::default()
            .connections(1)
            .header_bytes(2)
            .body_bytes(3)
            .page_events(4);
        let set = set.page_bytes(5).workers(6).writers(7).tails(8).test_namespaces(9);
        let set = set
            .handshake_time(SECOND * 2)
            .header_time(SECOND * 3)
            .body_time(SECOND * 4);
        let set = set
            .request_time(SECOND * 5)
            .write_time(SECOND * 6)
            .worker_wait(SECOND * 7);
        assert_eq!(set.heartbeat(SECOND).wait(HOUR), limits());
    }

    fn limits() -> Limits {
        Limits {
            connections: 1,
            handshake_time: SECOND * 2,
            header_bytes: 2,
            header_time: SECOND * 3,
            body_bytes: 3,
            body_time: SECOND * 4,
            request_time: SECOND * 5,
            write_time: SECOND * 6,
            page_events: 4,
            page_bytes: 5,
            workers: 6,
            writers: 7,
            worker_wait: SECOND * 7,
            tails: 8,
            heartbeat: SECOND,
            test_namespaces: 9,
            wait: HOUR,
        }
    }

    #[cfg(feature = "client")]
    #[test]
    fn every_setter_of_the_client_sets_its_field() {
        use crate::{GroupSettings, GroupStart, MessageOptions};

        let all = MessageOptions {
            correlation_id: Some("a".to_owned()),
            causation_id: Some("b".to_owned()),
            idempotency_key: Some("c".to_owned()),
        };
        let set = MessageOptions::default().correlation_id("a").causation_id("b");
        assert_eq!(set.idempotency_key("c"), all);
        let filter = annals::Filter::is(annals::Field::User, "anna");
        let GroupSettings {
            filter: set_filter,
            lease,
            attempts,
            first_pause,
            longest_pause,
            max_in_flight,
            start,
            skip_gaps,
        } = GroupSettings::default()
            .filter(filter.clone())
            .lease(SECOND)
            .attempts(1)
            .first_pause(SECOND * 2)
            .longest_pause(HOUR)
            .max_in_flight(2)
            .start(GroupStart::End)
            .skip_gaps(true);
        assert_eq!((set_filter, lease, attempts), (Some(filter), SECOND, 1));
        assert_eq!((first_pause, longest_pause, max_in_flight), (SECOND * 2, HOUR, 2));
        assert_eq!((start, skip_gaps), (GroupStart::End, true));
    }
}
