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
    use std::collections::BTreeMap;
    use std::time::Duration;

    use crate::{
        Budget, CacheSettings, Durability, FlushSettings, Limits, Name, Settings, StreamLimits, WhenBehind, WhenFull,
    };

    const SECOND: Duration = Duration::from_secs(1);
    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn every_setter_of_a_store_sets_its_field() {
        let all = Settings {
            shards: 8,
            limits: limits(),
            budget: budget(),
            cache: cache(),
            durability: Durability::Synced,
            flush: flush(),
        };
        let set = Settings::default()
            .shards(8)
            .limits(limits())
            .budget(budget())
            .cache(cache())
            .durability(Durability::Synced)
            .flush(flush());
        assert_eq!(set, all);
    }

    fn limits() -> Limits {
        let all = Limits {
            name_bytes_max: 1,
            tags_max: 2,
            payload_bytes_max: 3,
            batch_events_max: 4,
            batch_bytes_max: 5,
        };
        let set = Limits::default().name_bytes_max(1).tags_max(2).payload_bytes_max(3);
        let set = set.batch_events_max(4).batch_bytes_max(5);
        assert_eq!(set, all);
        all
    }

    fn budget() -> Budget {
        let aggregate_types = BTreeMap::from([(Name::from("Metric"), 7)]);
        let all = Budget {
            bytes: Some(1),
            events: Some(2),
            age: Some(SECOND),
            aggregate_types: aggregate_types.clone(),
            when_full: WhenFull::DropOldest,
        };
        let set = Budget::default().bytes(1).events(2).age(SECOND);
        let set = set.aggregate_types(aggregate_types).when_full(WhenFull::DropOldest);
        assert_eq!(set, all);
        all
    }

    fn cache() -> CacheSettings {
        let all = CacheSettings {
            bytes: 1,
            time_to_live: SECOND,
        };
        assert_eq!(CacheSettings::default().bytes(1).time_to_live(SECOND), all);
        all
    }

    fn flush() -> FlushSettings {
        let all = FlushSettings {
            bytes: 1,
            events: 2,
            write_within: SECOND,
            enforce_write_within: true,
            sync_within: HOUR,
            backlog_bytes: 3,
            when_behind: WhenBehind::Refuse,
            retry_for: Duration::ZERO,
        };
        let set = FlushSettings::default().bytes(1).events(2).backlog_bytes(3);
        let set = set.write_within(SECOND).enforce_write_within(true).sync_within(HOUR);
        assert_eq!(set.when_behind(WhenBehind::Refuse).retry_for(Duration::ZERO), all);
        all
    }

    #[test]
    fn every_setter_of_a_stream_sets_its_field() {
        let all = StreamLimits {
            max_count: Some(1),
            max_age: Some(HOUR),
        };
        assert_eq!(StreamLimits::default().max_count(1).max_age(HOUR), all);
    }

    #[cfg(feature = "file")]
    #[test]
    fn every_setter_of_files_sets_its_field() {
        use crate::journal::file::FileSettings;

        let all = FileSettings {
            segment_bytes: 1,
            preallocate_bytes: 2,
            compress: true,
        };
        let set = FileSettings::default().segment_bytes(1).preallocate_bytes(2);
        assert_eq!(set.compress(true), all);
    }

    #[cfg(feature = "postgres")]
    #[test]
    fn every_setter_of_postgres_sets_its_field() {
        use crate::journal::postgres::cdc::CaptureSettings;
        use crate::journal::postgres::{Partition, PostgresSettings};

        let all = PostgresSettings {
            schema: "a".to_owned(),
            lease: SECOND,
            lease_wait: HOUR,
            timeout: Duration::ZERO,
            partition: Partition::ByMonth,
        };
        let set = PostgresSettings::default().schema("a").lease(SECOND).lease_wait(HOUR);
        assert_eq!(set.timeout(Duration::ZERO).partition(Partition::ByMonth), all);
        let all = CaptureSettings {
            slot: "b".to_owned(),
            from_the_first: false,
        };
        assert_eq!(CaptureSettings::default().slot("b").from_the_first(false), all);
    }

    #[cfg(feature = "cqrs")]
    #[test]
    fn every_setter_of_failures_sets_its_field() {
        use crate::cqrs::{AfterFailure, OnFailure, Retry};

        let retry = Retry {
            attempts: 1,
            first_pause: SECOND,
            longest_pause: HOUR,
        };
        let set = Retry::default().attempts(1).first_pause(SECOND).longest_pause(HOUR);
        assert_eq!(set, retry);
        let all = OnFailure {
            retry,
            then: AfterFailure::Park,
        };
        assert_eq!(OnFailure::default().retry(retry).then(AfterFailure::Park), all);
    }
}
