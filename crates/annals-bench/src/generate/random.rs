//! Random numbers that are the same for the same seed, on every machine and in every version.

/// `SplitMix64` (Steele, Lea and Flood 2014): starting one costs nothing, so that every operation has its own.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    /// The numbers of `seed` and `number`.
    pub(crate) fn of(seed: u64, number: u64) -> Self {
        let mut random = Self(seed);
        let seed = random.next();
        random.0 = seed ^ number.wrapping_mul(0xd134_2543_de82_ef95);
        random.next();
        random
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from 0 up to but not including `bound`; 0 when that is 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    /// A number from 0 up to but not including 1.
    #[expect(clippy::cast_precision_loss, reason = "53 bits are exact")]
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// The distance to the next event of a Poisson process with one event per unit on average.
    pub(crate) fn exponential(&mut self) -> f64 {
        -(1.0 - self.unit()).ln()
    }

    /// A number of the normal distribution with mean 0 and deviation 1 (Box and Muller 1958).
    pub(crate) fn normal(&mut self) -> f64 {
        let radius = (2.0 * self.exponential()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }
}

/// Shuffles `items` (Fisher and Yates).
pub(crate) fn shuffle<T>(items: &mut [T], random: &mut Random) {
    for end in (1..items.len()).rev() {
        let other = random.below(end as u64 + 1) as usize;
        items.swap(end, other);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_a_seed_changed() {
        let mut random = Random::of(42, 7);
        assert_eq!(
            [random.next(), random.next()],
            [2_880_332_825_119_025_868, 303_376_480_709_518_290]
        );
    }

    #[test]
    fn exponential_and_normal_numbers_have_their_means() {
        let mut random = Random::of(1, 1);
        let count = 200_000;
        let exponential: f64 = (0..count).map(|_| random.exponential()).sum::<f64>() / f64::from(count);
        let normal: f64 = (0..count).map(|_| random.normal().powi(2)).sum::<f64>() / f64::from(count);
        assert!((exponential - 1.0).abs() < 0.02, "{exponential}");
        assert!((normal - 1.0).abs() < 0.02, "{normal}");
    }

    #[test]
    fn a_shuffle_lost_an_item() {
        let mut items: Vec<u32> = (0..50).collect();
        shuffle(&mut items, &mut Random::of(3, 3));
        assert_ne!(items, (0..50).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..50).collect::<Vec<_>>());
    }
}
