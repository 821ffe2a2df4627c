//! Whether the requests of a batch can be served from the front as they are: all of one kind, in spike order. What a batch costs that
//! is given so is, for the most part, this look.

use super::batch::{AsRequest, RUN, Words};

/// Whether all requests are like the first, and in an ordered batch none is earlier than the one before it.
pub(super) fn are_alike<R: AsRequest>(requests: &[R], ordered: bool) -> bool {
    let mut buffer = [[0; 3]; RUN];
    // The first few tell of most batches that are not; so most that was looked at in vain is a few times what there was.
    let (mut seen, mut most) = (0, RUN);
    while seen < requests.len() {
        // Each is looked at beside the one before it.
        let first = seen.saturating_sub(1);
        let words = R::words_of(&requests[first..requests.len().min(first + most)], &mut buffer);
        if !go_on(words, ordered) {
            return false;
        }
        (seen, most) = (first + words.len(), 4 * words.len());
    }
    true
}

/// Lets the first batch find what is known of the processor: to ask it may take a virtual machine microseconds.
pub(super) fn know_the_processor() {
    #[cfg(target_arch = "x86_64")]
    let _ = std::arch::is_x86_feature_detected!("avx2");
}

/// Whether each of some requests is like the one before it, and in an ordered batch not earlier.
fn go_on(words: &[Words], ordered: bool) -> bool {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has the instructions, as was just asked.
        return unsafe { at_a_glance::go_on(words, ordered) };
    }
    go_on_one_by_one(words, ordered)
}

fn go_on_one_by_one(words: &[Words], ordered: bool) -> bool {
    // The column lies below the spike time.
    let counts = if ordered { u64::from(u32::MAX) } else { u64::MAX };
    words.is_sorted_by(|before, next| before[..2] == next[..2] && (before[2] ^ next[2]) & counts == 0 && before[2] <= next[2])
}

/// The same with instructions that not every processor has, for four requests at once and without a branch for each: 15 for four.
#[cfg(target_arch = "x86_64")]
mod at_a_glance {
    use super::{Words, go_on_one_by_one};
    use core::arch::x86_64::{
        __m256i, _mm256_and_si256, _mm256_extract_epi64, _mm256_or_si256, _mm256_set_epi64x, _mm256_set1_epi64x, _mm256_setzero_si256,
        _mm256_sub_epi64,
    };

    /// Words of four requests.
    const FOUR: usize = 12;
    /// The highest bit of a spike time, in its word.
    const LATE: u64 = 1 << 63;

    fn is_late(words: &Words) -> bool {
        words[2] & LATE != 0
    }

    #[target_feature(enable = "avx2")]
    pub(super) fn go_on(words: &[Words], ordered: bool) -> bool {
        if !words.last().is_some_and(is_late) {
            return go_on_alike::<false>(words, ordered);
        }
        // Those without the highest bit come first, if all is well, and else one of the two looks sees it.
        let border = words.partition_point(|words| !is_late(words));
        let (early, late) = words.split_at(border);
        go_on_alike::<false>(early, ordered)
            && go_on_alike::<true>(late, ordered)
            && go_on_one_by_one(&words[border.saturating_sub(1)..=border], ordered)
    }

    /// Whether the spike time of each has its highest bit, or of none, as is said, and each goes on as the one before it.
    #[target_feature(enable = "avx2")]
    fn go_on_alike<const ARE_LATE: bool>(words: &[Words], ordered: bool) -> bool {
        let all = words.as_flattened();
        let fours = all.get(3..).unwrap_or_default().as_chunks::<FOUR>().0;
        // For each of twelve lanes: the OR of all values, or the AND, and the OR of all differences to the request before.
        let nothing = _mm256_set1_epi64x(if ARE_LATE { -1 } else { 0 });
        let (mut values, mut steps) = ([nothing; 3], [_mm256_setzero_si256(); 3]);
        for (now, before) in fours.iter().zip(all.as_chunks::<FOUR>().0) {
            for (part, (now, before)) in now.as_chunks::<4>().0.iter().zip(before.as_chunks::<4>().0).enumerate() {
                let now = load(now);
                values[part] = if ARE_LATE { _mm256_and_si256(values[part], now) } else { _mm256_or_si256(values[part], now) };
                steps[part] = _mm256_or_si256(steps[part], _mm256_sub_epi64(now, load(before)));
            }
        }
        let (values, steps) = (store(values), store(steps));
        // Of two times that agree in their highest bit, the later less the earlier has it clear, and the other way it is set. Where
        // columns are the same, the lower half of the difference is 0.
        let may_differ = if ordered { u64::MAX << 32 & !LATE } else { 0 };
        let goes_on = |word: usize| match word % 3 {
            2 => steps[word] & !may_differ == 0 && (values[word] & LATE != 0) == ARE_LATE,
            _ => steps[word] == 0,
        };
        // At most three come behind them.
        let rest = &words[fours.len() * 4..];
        (0..FOUR).all(goes_on) && words.first().is_none_or(|first| is_late(first) == ARE_LATE) && go_on_one_by_one(rest, ordered)
    }

    #[target_feature(enable = "avx2")]
    fn load(words: &[u64; 4]) -> __m256i {
        let [first, second, third, fourth] = words.map(u64::cast_signed);
        _mm256_set_epi64x(fourth, third, second, first)
    }

    #[target_feature(enable = "avx2")]
    fn store(parts: [__m256i; 3]) -> [u64; FOUR] {
        let mut words = [0; FOUR];
        for (four, part) in words.as_chunks_mut::<4>().0.iter_mut().zip(parts) {
            *four = [
                _mm256_extract_epi64::<0>(part),
                _mm256_extract_epi64::<1>(part),
                _mm256_extract_epi64::<2>(part),
                _mm256_extract_epi64::<3>(part),
            ];
        }
        words.map(i64::cast_unsigned)
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
