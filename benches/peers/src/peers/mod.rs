//! The stores.

mod cqrs_es;
mod eventcore;
mod eventually;
mod naive;
mod ours;
mod sourcerer;

pub use cqrs_es::CqrsEs;
pub use eventcore::EventCore;
pub use eventually::Eventually;
pub use naive::{Indexed, Naive};
pub use ours::{Annals, AnnalsCached, AnnalsInPlace};
pub use sourcerer::Sourcerer;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::{Measure, Peer, Scale};
    use crate::work::{Batch, Content, Work};

    const SMALL: Scale = Scale {
        aggregates: 100,
        loaded_aggregates: 10,
    };

    fn check<P: Peer>() {
        for work in P::CAN {
            let mut measure = Measure::<P>::new(SMALL);
            assert!(measure.time(*work, 2).is_ok(), "{} {work:?}", P::NAME);
        }
    }

    #[test]
    fn every_store_can_do_what_it_says() {
        check::<Annals>();
        check::<AnnalsCached>();
        check::<AnnalsInPlace>();
        check::<Naive>();
        check::<Indexed>();
        check::<Eventually>();
        check::<Sourcerer>();
        check::<EventCore>();
        check::<CqrsEs>();
    }

    fn filled<P: Peer>(content: &Content) -> P {
        let mut peer = P::empty();
        let batches = crate::work::interleaved(10, 10, 10);
        for batch in batches {
            futures_executor::block_on(peer.append(content, &batch)).unwrap();
        }
        peer
    }

    fn loads<P: Peer>(content: &Content) -> usize {
        futures_executor::block_on(filled::<P>(content).load(content.aggregate(3))).unwrap()
    }

    #[test]
    fn every_store_loads_the_same() {
        let content = Content::new(10, 1_000);
        let loaded = [
            loads::<Annals>(&content),
            loads::<Naive>(&content),
            loads::<Indexed>(&content),
            loads::<Eventually>(&content),
            loads::<Sourcerer>(&content),
            loads::<EventCore>(&content),
            loads::<CqrsEs>(&content),
        ];
        assert_eq!(loaded, [100; 7]);
    }

    #[test]
    fn every_store_that_can_finds_the_same() {
        let content = Content::new(10, 1_000);
        let (annals, naive, indexed) = (
            filled::<Annals>(&content),
            filled::<Naive>(&content),
            filled::<Indexed>(&content),
        );
        let (event_type, correlation) = (crate::work::TYPES[5], content.correlation(7));
        let expected = (0..1_000)
            .filter(|number| content.facts(*number).event_type == event_type)
            .count();
        let by_type = [
            &annals.by_type(event_type),
            &naive.by_type(event_type),
            &indexed.by_type(event_type),
        ];
        assert!(
            expected > 0
                && by_type
                    .iter()
                    .all(|found| found.as_ref().is_ok_and(|count| *count == expected))
        );
        let found = [
            annals.conversation(correlation),
            naive.conversation(correlation),
            indexed.conversation(correlation),
        ];
        assert!(found.iter().all(|found| found.as_ref().is_ok_and(|count| *count == 10)));
    }

    fn refuses<P: Peer>(content: &Content) -> bool {
        let stale = Batch {
            aggregate: 3,
            version: 50,
            first: 0,
            count: 1,
        };
        futures_executor::block_on(filled::<P>(content).append(content, &stale)).is_err()
    }

    #[test]
    fn all_but_one_refuse_a_stale_version() {
        let content = Content::new(10, 1_000);
        assert!(refuses::<Annals>(&content) && refuses::<Naive>(&content) && refuses::<Indexed>(&content));
        assert!(refuses::<Eventually>(&content) && refuses::<Sourcerer>(&content));
        assert!(refuses::<EventCore>(&content));
        assert!(
            !refuses::<CqrsEs>(&content),
            "cqrs-es checks versions now: say so in the table"
        );
        assert!(Work::ALL.iter().all(|work| Annals::CAN.contains(work)));
    }
}
