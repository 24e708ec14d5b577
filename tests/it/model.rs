//! Store and model agree on whatever is done to them.

use annals::testing::operation::{Choices, Pair};
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, max_shrink_iters: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn store_and_model_agree(
        operations in prop::collection::vec(prop::collection::vec(any::<u16>(), 0..48), 0..60),
        shards in prop::sample::select(vec![1_usize, 4, 16]),
    ) {
        let mut pair = Pair::new(shards);
        for numbers in operations {
            pair.step(&mut Choices::new(numbers.into_iter()));
        }
        pair.check_all();
    }
}
