//! Drawings made of characters: bars, sparklines and shades.

const EIGHTHS: [char; 8] = ['▏', '▎', '▍', '▌', '▋', '▊', '▉', '█'];
const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
const SHADES: [char; 5] = [' ', '░', '▒', '▓', '█'];
/// Ranks of a heatmap.
pub(crate) const RANKS: usize = 8;
/// The colours of the ranks, of the 256: from dark to light, and from blue to yellow.
pub(crate) const RAMP: [u8; RANKS] = [17, 19, 26, 32, 37, 71, 149, 227];

/// A bar of at most `width` characters for `value` of `max`; empty only if `value` is 0.
pub(crate) fn bar(value: u64, max: u64, width: usize) -> String {
    let eighths = scaled(value, max, width as u64 * 8);
    let eighths = if value > 0 { eighths.max(1) } else { 0 };
    let (full, rest) = (index(eighths / 8), index(eighths % 8));
    let mut text = "█".repeat(full);
    text.extend(rest.checked_sub(1).and_then(|rest| EIGHTHS.get(rest)));
    text
}

/// One character for every value, with a height relative to the highest; 0 is a blank.
///
/// If there are more than `width` values, neighbours are added.
pub(crate) fn sparkline(values: &[u64], width: usize) -> String {
    let together = values.len().div_ceil(width.max(1)).max(1);
    let sums: Vec<u64> = values.chunks(together).map(|chunk| chunk.iter().sum()).collect();
    let max = sums.iter().copied().max().unwrap_or(0);
    sums.iter().map(|sum| level(*sum, max)).collect()
}

fn level(value: u64, max: u64) -> char {
    if value == 0 {
        return ' ';
    }
    LEVELS.get(index(scaled(value, max, 7))).copied().unwrap_or('█')
}

/// Columns of `height` characters, top line first; each column is the sum of `together` neighbours.
pub(crate) fn columns(values: &[u64], together: usize, height: u64) -> Vec<String> {
    let sums: Vec<u64> = values.chunks(together.max(1)).map(|chunk| chunk.iter().sum()).collect();
    let max = sums.iter().copied().max().unwrap_or(0);
    let eighths = |sum: u64| {
        if sum == 0 {
            0
        } else {
            scaled(sum, max, height * 8).max(1)
        }
    };
    let cell = |sum: u64, row: u64| match eighths(sum).saturating_sub(row * 8) {
        0 => ' ',
        rest => LEVELS.get(index(rest - 1)).copied().unwrap_or('█'),
    };
    (0..height)
        .rev()
        .map(|row| sums.iter().map(|sum| cell(*sum, row)).collect())
        .collect()
}

/// The rank of `value` relative to `max`, from 1 to [`RANKS`]; only 0 has no rank.
pub(crate) fn rank(value: u64, max: u64) -> usize {
    if value == 0 {
        return 0;
    }
    let top = RANKS as u64;
    index(1 + scaled(value - 1, max, top).min(top - 1))
}

/// The lowest value whose rank is at least `rank`; higher than `max` if there is none.
pub(crate) fn least(rank: usize, max: u64) -> u64 {
    let share = u128::from(max) * (rank.saturating_sub(1) as u128);
    u64::try_from(share.div_ceil(RANKS as u128) + 1).unwrap_or(u64::MAX)
}

/// The character of a rank; two ranks share one.
pub(crate) fn shade(rank: usize) -> char {
    SHADES.get(rank.div_ceil(2)).copied().unwrap_or('█')
}

/// `value` of `max` on a scale up to `top`, rounded down.
fn scaled(value: u64, max: u64, top: u64) -> u64 {
    let scaled = u128::from(value) * u128::from(top) / u128::from(max.max(1));
    u64::try_from(scaled).unwrap_or(top).min(top)
}

fn index(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_long_as_their_value() {
        assert_eq!(bar(0, 100, 10), "");
        assert_eq!(bar(1, 1_000_000, 10), "▏");
        assert_eq!(bar(50, 100, 10), "█████");
        assert_eq!(bar(100, 100, 10), "██████████");
        assert_eq!(bar(0, 0, 10), "");
    }

    #[test]
    fn sparklines_rise_and_fall() {
        assert_eq!(sparkline(&[0, 1, 4, 8], 10), " ▁▄█");
        assert_eq!(sparkline(&[1, 1, 4, 4], 2), "▂█");
        assert_eq!(sparkline(&[], 2), "");
    }

    #[test]
    fn columns_stand_on_each_other() {
        assert_eq!(columns(&[0, 1, 8, 16], 1, 2), ["   █", " ▁██"]);
        assert_eq!(columns(&[8, 8, 4, 4], 2, 1), ["█▄"]);
    }

    #[test]
    fn shades_tell_nothing_from_something() {
        let shades: String = [0, 1, 30, 60, 80, 100]
            .map(|value| shade(rank(value, 100)))
            .iter()
            .collect();
        assert_eq!(shades, " ░▒▓██");
        assert_eq!(shade(rank(1, 1)), '░');
        assert_eq!(
            [0, 1, 13, 14, 50, 100].map(|value| rank(value, 100)),
            [0, 1, 1, 2, 4, 8]
        );
    }
}
