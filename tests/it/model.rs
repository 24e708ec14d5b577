//! Store and model agree on whatever is done to them.

use annals::testing::operation::{Choices, Pair};
use proptest::prelude::*;

/// `PROPTEST_CASES` runs as many cases as it says.
fn config() -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES")
        .ok()
        .and_then(|cases| cases.parse().ok());
    ProptestConfig {
        cases: cases.unwrap_or(300),
        max_shrink_iters: 20_000,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

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
