//! Zipf's distribution: the first of many is chosen the most often.

use super::random::Random;

/// Draws ranks from 1 to `count`, rank *k* in proportion to *k* to the power of `-theta`.
///
/// By rejection-inversion (Hörmann and Derflinger 1996): no table, and the same cost for any count.
#[derive(Clone, Debug)]
pub(crate) struct Zipf {
    count: f64,
    theta: f64,
    /// The integral up to 1.5, minus the mass of rank 1.
    first: f64,
    /// The integral up to the last rank and a half.
    last: f64,
    /// A draw this near to its rank needs no second look.
    near: f64,
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "ranks are far below 2 to the power of 53, and not negative"
)]
impl Zipf {
    pub(crate) fn new(count: u64, theta: f64) -> Self {
        let mut zipf = Self {
            count: count.max(1) as f64,
            theta,
            first: 0.0,
            last: 0.0,
            near: 0.0,
        };
        zipf.first = zipf.integral(1.5) - 1.0;
        zipf.last = zipf.integral(zipf.count + 0.5);
        zipf.near = 2.0 - zipf.inverse(zipf.integral(2.5) - zipf.mass(2.0));
        zipf
    }

    /// A rank, from 0 on.
    pub(crate) fn draw(&self, random: &mut Random) -> u64 {
        loop {
            let area = self.last + random.unit() * (self.first - self.last);
            let point = self.inverse(area);
            let rank = (point + 0.5).floor().clamp(1.0, self.count);
            if rank - point <= self.near || area >= self.integral(rank + 0.5) - self.mass(rank) {
                return rank as u64 - 1;
            }
        }
    }

    fn mass(&self, rank: f64) -> f64 {
        (-self.theta * rank.ln()).exp()
    }

    /// The integral of the mass from 1 to `point`.
    fn integral(&self, point: f64) -> f64 {
        let power = 1.0 - self.theta;
        let log = point.ln();
        if power.abs() < 1e-9 {
            log
        } else {
            (power * log).exp_m1() / power
        }
    }

    fn inverse(&self, area: f64) -> f64 {
        let power = 1.0 - self.theta;
        if power.abs() < 1e-9 {
            area.exp()
        } else {
            ((area * power).max(-1.0).ln_1p() / power).exp()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_drawn_in_proportion_to_their_mass() {
        for theta in [0.5, 0.99, 1.0, 1.3] {
            let zipf = Zipf::new(20, theta);
            let mut drawn = [0_u32; 20];
            let mut random = Random::of(9, 9);
            for _ in 0..400_000 {
                drawn[usize::try_from(zipf.draw(&mut random)).unwrap()] += 1;
            }
            let all: f64 = (1..=20).map(|rank| f64::from(rank).powf(-theta)).sum();
            for (rank, count) in (1..=20).zip(drawn) {
                let expected = 400_000.0 * f64::from(rank).powf(-theta) / all;
                let off = (f64::from(count) - expected).abs() / expected.sqrt();
                assert!(off < 5.0, "theta {theta}, rank {rank}: {count}, expected {expected}");
            }
        }
    }

    #[test]
    fn one_stream_is_always_the_first() {
        let zipf = Zipf::new(1, 0.99);
        assert!((0..100).all(|number| zipf.draw(&mut Random::of(1, number)) == 0));
    }
}
