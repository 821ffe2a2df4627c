//! Looking at a block: whose it is, how large, and whether it is handed out.

use super::core::{Core, span_bytes};
use crate::error::{Error, Result};
use crate::map::{Granule, SpanId};
use crate::size_class::GRANULE;
use crate::sync::Ordering::{Acquire, Relaxed};

/// A block that is handed out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Live {
    /// Its column.
    pub(crate) column: u32,
    /// Usable bytes.
    pub(crate) bytes: usize,
    /// The alignment to keep.
    pub(crate) align: usize,
    /// The first of its spans, if it is a large one.
    pub(crate) large: Option<SpanId>,
}

impl Core {
    /// The block that starts at `p`.
    ///
    /// # Errors
    /// [`Error::BadPointer`], [`Error::DoubleFree`] if none does.
    pub(crate) fn live_block(&self, p: *const u8) -> Result<Live> {
        let bad = Error::BadPointer(p.addr());
        let granule = self.granule(p).ok_or(bad)?;
        let place = self.place(granule);
        let column = place.owner.index().ok_or(bad)?;
        let unheld = place.owner.is_shared() || place.owner.is_large();
        // Before the live bit: see `remote`.
        if !unheld && self.was_freed(granule, column) {
            return Err(Error::DoubleFree(p.addr()));
        }
        if self.live_word(granule).load(Acquire) & granule.bit() == 0 {
            let large = place.owner.is_large();
            let start = granule == granule.span().first();
            return Err(if !large {
                Self::not_live(granule, place).of(p)
            } else if start {
                Error::DoubleFree(p.addr())
            } else {
                bad
            });
        }
        if place.owner.is_large() {
            let head = granule.span();
            let meta = self.span(head);
            let bytes = span_bytes(u64::from(meta.spans.load(Relaxed)));
            return Ok(Live { column, bytes, align: 1 << meta.align.load(Relaxed), large: Some(head) });
        }
        let class = place.class();
        // The largest that blocks of the span asked for. Given memory that is somewhere else now may be aligned to less; blocks that
        // had more asked for none. In a file a span may say anything: no slot has more than its class.
        let align = if place.cell.is_aligned() || place.cell.is_published() {
            let asked = 1_usize.checked_shl(self.span(place.head).align.load(Relaxed)).unwrap_or(usize::MAX);
            asked.min(class.natural_align()).min(self.region.alignment()).max(GRANULE)
        } else {
            GRANULE
        };
        Ok(Live { column, bytes: class.bytes as usize, align, large: None })
    }

    /// Whether a block whose live bit is set is free all the same: held back, or freed by another
    /// thread and not yet taken back.
    fn was_freed(&self, granule: Granule, column: u32) -> bool {
        self.remote_word(granule).load(Acquire) & granule.bit() != 0 || self.block(column).holds.all().any(|held| held == granule)
    }
}
