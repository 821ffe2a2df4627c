use super::*;
use crate::arena::Request;
use crate::{ColumnId, SpikeTime};

/// Whether a batch of them may be served from the front, read off what that means.
fn expected(requests: &[Request], ordered: bool) -> bool {
    requests.windows(2).all(|two| {
        let [before, next] = [two[0], two[1]].map(|request| Request { spike: SpikeTime::NONE, ..request });
        let spikes = [two[0].spike.raw(), two[1].spike.raw()];
        before == next && if ordered { spikes[0] <= spikes[1] } else { spikes[0] == spikes[1] }
    })
}

/// Seen with: times with and without the highest bit told apart by their difference alone; the last few left out; a border between
/// two looks, or between times with and without that bit, that nobody looks at; columns left out.
#[test]
fn requests_are_alike_exactly_if_each_is_like_the_one_before() {
    let column = Some(ColumnId::new(3));
    let kind = Request { size: 64, align: 16, column, spike: SpikeTime::NONE };
    let at = |nanos: u32| Request { spike: SpikeTime::from_nanos(nanos), ..kind };
    let times = [0, 1, 7, 1 << 20, (1 << 31) - 1, 1 << 31, u32::MAX - 1, u32::MAX];
    let others = [Request { size: 65, ..kind }, Request { align: 0, ..kind }, Request { column: None, ..kind }];
    let mut wrong = 0;
    for count in (0..20).chain(60..70).chain([127, 128, 129, 200, 259, 5000]) {
        let ascending = |index: usize| at(times[index * times.len() / count.max(1)] + (index as u32 % 2) * u32::from(count == 7));
        let alike: [Vec<_>; 3] =
            [(0..count).map(ascending).collect(), (0..count as u32).map(|index| at(index * 3)).collect(), vec![kind; count]];
        for requests in alike {
            for changed in (0..count).step_by(1 + count / 40) {
                let changes = times.map(at).into_iter().chain(others.map(|other| Request { spike: requests[changed].spike, ..other }));
                for change in changes {
                    let mut requests = requests.clone();
                    requests[changed] = change;
                    for ordered in [false, true] {
                        assert_eq!(are_alike(&requests, ordered), expected(&requests, ordered), "{count} {changed} {change:?} {ordered}");
                        wrong += usize::from(!expected(&requests, ordered));
                    }
                }
            }
        }
    }
    assert!(wrong > 1000);
}
