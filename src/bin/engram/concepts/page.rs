//! The heap map as an HTML page of its own: each span a cell, coloured by its column, the fuller the darker.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;

use engram::SpanView;
use engram::service::MemoryAllocationService;

/// Degrees of hue from one column to the next: the golden angle, so that neighbours differ.
const HUE: f64 = 137.508;

const HEAD: &str = "<!doctype html><html lang=en><meta charset=utf-8><title>engram heap map</title><style>\
body{font:14px system-ui,sans-serif;margin:2rem;color:#222;background:#fff}table{border-collapse:separate;border-spacing:1px}\
td{width:11px;height:11px;padding:0}th{font:11px ui-monospace,monospace;text-align:right;padding-right:.5rem;color:#777;font-weight:400}\
.f{background:#f1f1f1}.l{background:#555}p{max-width:46rem;line-height:1.4}@media(prefers-color-scheme:dark){body{background:#181818;color:#ddd}.f{background:#262626}}\
</style>";

/// Writes the page into the folder for temporary files. Its path; `None` if it cannot be written there, perhaps because another
/// user's page is there: what was measured is told all the same.
pub fn write(service: &MemoryAllocationService) -> Option<PathBuf> {
    let path = std::env::temp_dir().join("engram-heap-map.html");
    // The last one is replaced, and no link followed that somebody has laid there.
    let _ = std::fs::remove_file(&path);
    let mut file = File::create_new(&path).ok()?;
    file.write_all(page(service).as_bytes()).is_ok().then_some(path)
}

fn page(service: &MemoryAllocationService) -> String {
    let chunks = service.heap_map();
    let metrics = service.get_allocation_metrics();
    let mut page = String::from(HEAD);
    let used = |span: &SpanView| !matches!(span, SpanView::Free);
    let last = chunks.iter().rposition(|chunk| chunk.spans.iter().any(used)).map_or(0, |last| last + 1);
    let _ = write!(
        page,
        "<h1>WordNet in memory</h1><p>{} concepts after maintenance. Each row is a chunk of 2 MiB, each cell a span of 32 KiB. \
         The hue is the column, the shade how full the span is; light grey is free. Point at a cell to read it. \
         {:.1} % of the known edges lead to another column; concepts' own bytes fill {:.1} % of the touched pages; fragmentation {:.2}. \
         {} free chunks at the end are not shown.</p><table>",
        metrics.active_allocations,
        100.0 * metrics.edge_cut,
        100.0 * metrics.memory_utilization,
        metrics.fragmentation_level,
        chunks.len() - last
    );
    for chunk in &chunks[..last] {
        let _ = write!(page, "<tr><th>{} MiB", chunk.index * 2);
        let mut before = String::new();
        for span in &chunk.spans {
            let cell = match *span {
                SpanView::Run => before.clone(),
                _ => cell(span),
            };
            page.push_str(&cell);
            before = cell;
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</table></html>\n");
    page
}

fn cell(span: &SpanView) -> String {
    match *span {
        SpanView::Small { column, class_bytes, live, slots, .. } | SpanView::Shared { column, class_bytes, live, slots, .. } => {
            let hue = f64::from(column) * HUE % 360.0;
            let light = 88.0 - 48.0 * f64::from(live) / f64::from(slots.max(1));
            format!(
                "<td style=\"background:hsl({hue:.0},65%,{light:.0}%)\" title=\"column {column}, {live} of {slots} slots of {class_bytes} bytes\">"
            )
        }
        SpanView::Large { column } => format!("<td class=l title=\"column {column}, a large block\">"),
        _ => "<td class=f>".to_owned(),
    }
}
