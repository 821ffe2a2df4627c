//! Services as tests open and use them.
#![allow(dead_code, reason = "each test uses its part")]

use std::time::Duration;

use engram::service::{AllocationRequest, AllocationServiceConfig, ConceptType, MemoryAllocationService};

pub(crate) fn open(config: AllocationServiceConfig) -> MemoryAllocationService {
    MemoryAllocationService::open(config).expect("the config is in range")
}

pub(crate) fn small() -> AllocationServiceConfig {
    AllocationServiceConfig { capacity_bytes: 16 << 20, columns: 8, ..AllocationServiceConfig::default() }
}

pub(crate) fn entity(id: impl Into<String>, content: impl Into<String>) -> AllocationRequest {
    AllocationRequest::new(id, ConceptType::ENTITY, content)
}

pub(crate) fn used(service: &MemoryAllocationService, pool: ConceptType) -> u64 {
    let metrics = service.get_allocation_metrics();
    metrics.pool_statistics.iter().find(|of| of.concept_type == pool).expect("the pool is there").used_bytes
}

/// Maintains until nothing is left to do.
pub(crate) fn settle(service: &MemoryAllocationService) -> u64 {
    let mut relocated = 0;
    for _ in 0..10_000 {
        let report = service.maintain(Duration::from_millis(5));
        relocated += report.relocated;
        if !report.more {
            break;
        }
    }
    relocated
}
