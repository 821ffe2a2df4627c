//! Recovery: from what is in a region to an arena.
//!
//! Every region that is opened again is recovered, whether it was closed or its process died: there is one
//! way, and what is derived is never read.
//!
//! ```text
//! truth      page entries: owner, cell     live map     remote map     of a large block: length, alignment, published or not
//!            of a column: the held-back frees, "resetting", limit      intents of publications
//!            of a span of aligned or published blocks: alignment
//! derived    all else: leases, cells, lists, summaries, counts, inboxes, chunks, the chunk index
//!
//! 1 audit    every index among the truth is in its range, or the region is refused, unchanged
//! 2 settle   what was in flight has happened or not: frees that were held back or made by others, resets,
//!            publications; half-made runs and blocks are gone
//! 3 rebuild  the derived, from nothing
//! ```
//!
//! A process that is killed leaves all stores of the instructions before; so what counts is the order of stores in the
//! program, which the compiler must keep. The rules that the layers above keep for it:
//! - **Y1** a block is given to the program after its live bit is set, and its span owned before: what is live in
//!   an owned span was handed out or was about to be.
//! - **Y2** a free that was answered shows in the maps or in a held-back free: the live bit is clear, or the remote
//!   bit set, or the column holds it back. Live bits are cleared before remote bits, and before another
//!   free is held back, so a freed block never looks handed out.
//! - **Y3** the length of a large block, and whether it is published, are written before its page entry, which is one word, and a span
//!   is given up only when no block in it is live. So a head with a live block is whole; its continuations are written again from it.
//! - **Y4** a reset is noted before it clears anything, until all is cleared: it happened, or will have.
//! - **Y5** an intent is about a published block that its place does not name, from before it is live until it is named, and from
//!   before it is named no more until it is free; and no intent is about a block that is named elsewhere. See `column::publish`.
//!
//! Settling and rebuilding may be killed too: each step leaves a region that settles to the same. Time grows
//! with the chunks that were ever used. A block of several chunks hides what was known of its spans before, which is forgotten, as far as
//! there is anything: a hole of the file is as all is that was never used, or forgotten.

mod rebuild;
mod truth;

pub(crate) use truth::Head;

use crate::column::core::Core;
use crate::error::Result;
use crate::region::header::Found;

/// Makes an arena of the region that `core` has found.
///
/// # Errors
/// [`Error::Format`](crate::Error::Format): the region is damaged, and was not changed.
pub(crate) fn recover(core: &Core, found: Found) -> Result<()> {
    let strict = match found {
        Found::Nothing => return Ok(()),
        Found::Closed(_) => true,
        Found::Unclosed(_) => false,
    };
    let chunks = core.used_chunks();
    core.audit(&chunks, strict)?;
    core.header.set_open();
    core.settle(&chunks);
    core.rebuild(&chunks);
    Ok(())
}
